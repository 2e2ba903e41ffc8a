from __future__ import annotations

import os
import threading
from typing import Any

import pytest

import localtrack
import localtrack as mlflow
from localtrack.errors import TrackingError
from localtrack.journal.ops import RunCreate, RunUpdate
from tests.unit.api.journals import ops_in

pytestmark = pytest.mark.usefixtures("store_path")


def test_a_plain_training_script() -> None:
    """The calls of a plain script end in one FINISHED run with everything in it."""
    mlflow.set_experiment("plain")
    with mlflow.start_run(run_name="first", tags={"team": "a"}, description="about") as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"depth": 3, "name": None})
        for step in range(5):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
        mlflow.log_metrics({"acc": 1, "f1": True}, step=7)
        mlflow.set_tag("stage", "x")
        mlflow.set_tags({"n": 1})
        assert mlflow.active_run() is run
    assert mlflow.active_run() is None
    seen = mlflow.last_active_run()
    assert seen is not None
    assert seen.info.run_id == run.info.run_id
    assert (seen.info.status, seen.info.run_name) == ("FINISHED", "first")
    assert seen.info.end_time is not None
    assert seen.info.end_time >= seen.info.start_time
    assert seen.data.params == {"lr": "0.1", "depth": "3", "name": "None"}
    assert seen.data.metrics == {"loss": 0.2, "acc": 1.0, "f1": 1.0}
    own = {"team": "a", "mlflow.note.content": "about", "stage": "x", "n": "1", "mlflow.runName": "first"}
    assert own.items() <= seen.data.tags.items()
    assert {"mlflow.user", "mlflow.source.name", "mlflow.source.type"} <= seen.data.tags.keys()
    assert len(mlflow.TrackingClient().get_metric_history(run.info.run_id, "loss")) == 5


def test_an_exception_ends_the_run_as_failed() -> None:
    """A run left by an exception is FAILED, and the exception goes on."""
    with pytest.raises(ZeroDivisionError), mlflow.start_run() as run:
        raise ZeroDivisionError
    assert mlflow.get_run(run.info.run_id).info.status == "FAILED"


@pytest.mark.parametrize(
    "call",
    [
        lambda: mlflow.log_metric("m", 1.0),
        lambda: mlflow.log_metrics({"m": 1.0}),
        lambda: mlflow.log_param("p", 1),
        lambda: mlflow.log_params({"p": 1}),
        lambda: mlflow.set_tag("t", 1),
        lambda: mlflow.set_tags({"t": 1}),
    ],
)
def test_log_calls_start_a_run(call: object) -> None:
    """Each log call starts a run when none is active, in the default experiment, with a made-up name."""
    call()  # type: ignore[operator]
    run = mlflow.active_run()
    assert run is not None
    assert run.info.experiment_id == "0"
    assert run.info.run_name.count("-") == 2
    mlflow.end_run()
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"


def test_a_second_run_needs_nested() -> None:
    """start_run with an active run raises unless nested; the nested run names its parent, and ends alone."""
    with mlflow.start_run() as parent:
        with pytest.raises(Exception, match="is already active"):
            mlflow.start_run()
        with mlflow.start_run(nested=True) as child:
            mlflow.log_metric("m", 1.0)
            with mlflow.start_run(nested=True, parent_run_id=child.info.run_id) as grandchild:
                pass
            with pytest.raises(TrackingError, match="does not match"):
                mlflow.start_run(nested=True, parent_run_id=parent.info.run_id)
        assert mlflow.active_run() is parent
    assert mlflow.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert mlflow.get_parent_run(grandchild.info.run_id) == mlflow.get_run(child.info.run_id)
    assert mlflow.get_parent_run(parent.info.run_id) is None
    assert mlflow.get_run(parent.info.run_id).data.metrics == {}


def test_a_parent_that_ended_can_be_named() -> None:
    """parent_run_id makes a child of a run that is not active; a missing or deleted one is refused."""
    with mlflow.start_run() as parent:
        pass
    with mlflow.start_run(parent_run_id=parent.info.run_id) as child:
        pass
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    mlflow.delete_run(parent.info.run_id)
    for missing in (parent.info.run_id, "f" * 32):
        with pytest.raises(TrackingError):
            mlflow.start_run(parent_run_id=missing)
    assert mlflow.active_run() is None


def test_a_run_can_be_resumed() -> None:
    """start_run(run_id=...) makes an ended run RUNNING again, sets name and tags, keeps its params."""
    with mlflow.start_run() as run:
        mlflow.log_param("p", 1)
    with mlflow.start_run(run_id=run.info.run_id, run_name="again", tags={"t": 1}, description="d") as resumed:
        assert resumed.info.run_id == run.info.run_id
        assert mlflow.get_run(run.info.run_id).info.status == "RUNNING"
        with pytest.raises(TrackingError, match="Changing param values"):
            mlflow.log_param("p", 2)
    seen = mlflow.get_run(run.info.run_id)
    assert (seen.info.status, seen.info.run_name) == ("FINISHED", "again")
    assert (seen.data.tags["t"], seen.data.tags["mlflow.note.content"]) == ("1", "d")


def test_resuming_is_refused_where_mlflow_refuses(store_path: str) -> None:
    """A missing run, a deleted one, one of another experiment, a bad id: errors, and the run is left as it was."""
    with mlflow.start_run() as run:
        pass
    before = len(ops_in(store_path))
    with pytest.raises(TrackingError) as caught:
        mlflow.start_run(run_id="f" * 32)
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(TrackingError):
        mlflow.start_run(run_id="no id!")
    with pytest.raises(TrackingError):
        mlflow.start_run(run_id=run.info.run_id, tags={"a@b": 1})
    with pytest.raises(TrackingError, match="already set via the tag"):
        mlflow.start_run(run_id=run.info.run_id, tags={"mlflow.note.content": "x"}, description="y")
    assert len(ops_in(store_path)) == before
    mlflow.set_experiment("other")
    with pytest.raises(TrackingError, match="does not match environment run ID"):
        mlflow.start_run(run_id=run.info.run_id)
    mlflow.set_experiment("Default")
    mlflow.delete_run(run.info.run_id)
    with pytest.raises(TrackingError, match="deleted state"):
        mlflow.start_run(run_id=run.info.run_id)
    assert mlflow.active_run() is None


def test_run_id_from_the_environment_is_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_RUN_ID resumes that run and is consumed."""
    with mlflow.start_run() as run:
        pass
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    with mlflow.start_run() as resumed:
        assert resumed.info.run_id == run.info.run_id
        assert "MLFLOW_RUN_ID" not in os.environ
    with mlflow.start_run() as fresh:
        assert fresh.info.run_id != run.info.run_id


def test_active_runs_belong_to_their_thread() -> None:
    """A thread does not see another thread's active run; its own log call starts its own run."""
    seen: dict[str, Any] = {}
    with mlflow.start_run() as run:

        def work() -> None:
            seen["before"] = mlflow.active_run()
            mlflow.log_metric("m", 1.0)
            own = mlflow.active_run()
            assert own is not None
            seen["run"] = own.info.run_id
            mlflow.end_run()
            seen["last"] = mlflow.last_active_run()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(30)
        assert mlflow.active_run() is run
    assert seen["before"] is None
    assert seen["run"] != run.info.run_id
    assert seen["last"].info.run_id == seen["run"]
    assert mlflow.get_run(run.info.run_id).data.metrics == {}


def test_set_experiment() -> None:
    """By name it creates once, by id it needs one that exists; the choice is exported; deleted ones are refused."""
    first = mlflow.set_experiment("a")
    assert os.environ["MLFLOW_EXPERIMENT_ID"] == first.experiment_id
    assert mlflow.set_experiment("a") == first
    assert mlflow.set_experiment(experiment_id=first.experiment_id) == first
    with mlflow.start_run() as run:
        assert run.info.experiment_id == first.experiment_id
    with mlflow.start_run(experiment_id=0) as elsewhere:  # type: ignore[arg-type] # an int, as MLflow takes it
        assert elsewhere.info.experiment_id == "0"
    mlflow.set_experiment_tag("k", 1)
    mlflow.set_experiment_tags({"l": 2, "m": 3})
    mlflow.delete_experiment_tag("m")
    assert mlflow.get_experiment(first.experiment_id).tags == {"k": "1", "l": "2"}
    refused: list[dict[str, Any]] = [
        {},
        {"experiment_name": "a", "experiment_id": "0"},
        {"experiment_id": "999"},
        {"experiment_name": " "},
    ]
    for bad in refused:
        with pytest.raises(TrackingError):
            mlflow.set_experiment(**bad)
    mlflow.delete_experiment(first.experiment_id)
    refused = [{"experiment_name": "a"}, {"experiment_id": first.experiment_id}]
    for deleted in refused:
        with pytest.raises(TrackingError, match="deleted experiment"):
            mlflow.set_experiment(**deleted)
    assert mlflow.get_experiment_by_name("nope") is None


def test_searching_runs() -> None:
    """search_runs follows the active experiment, ids, names or all experiments, and answers with a list."""
    mlflow.set_experiment("a")
    with mlflow.start_run() as one:
        pass
    mlflow.set_experiment("b")
    with mlflow.start_run() as two:
        pass

    def ids(**arguments: object) -> set[str]:
        found = mlflow.search_runs(**arguments, output_format="list")  # type: ignore[arg-type]
        assert isinstance(found, list)
        return {run.info.run_id for run in found}

    assert ids() == {two.info.run_id}
    assert ids(experiment_ids=[one.info.experiment_id]) == {one.info.run_id}
    assert ids(experiment_names=["a", "b", "none", None]) == {one.info.run_id, two.info.run_id}
    assert ids(search_all_experiments=True) == {one.info.run_id, two.info.run_id}
    assert len(ids(search_all_experiments=True, max_results=1)) == 1
    assert ids(run_view_type=2) == set()
    with pytest.raises(TrackingError):
        mlflow.search_runs(experiment_ids=["0"], experiment_names=["a"])
    assert ids(search_all_experiments=True, filter_string=f"run_id = '{one.info.run_id}'") == {one.info.run_id}
    with pytest.raises(TrackingError, match="not_there"):
        mlflow.search_runs(filter_string="not_there > 1")
    with pytest.raises(TrackingError, match="output format"):
        mlflow.search_runs(output_format="json")  # type: ignore[arg-type]
    names = [experiment.name for experiment in mlflow.search_experiments()]
    assert sorted(names) == ["Default", "a", "b"]
    assert len(mlflow.search_experiments(max_results=2)) == 2


def test_runs_keep_their_store_when_the_uri_changes(store_path: str, home: os.PathLike[str]) -> None:
    """An active run stays in the store that it was started in; the next one goes to the new one."""
    elsewhere = os.path.join(home, "elsewhere")
    with mlflow.start_run():
        mlflow.set_tracking_uri(elsewhere)
        mlflow.log_metric("m", 1.0, step=1)
        mlflow.log_param("p", 1)
    with mlflow.start_run():
        pass
    kinds = [type(op) for op in ops_in(store_path)]
    assert kinds[0] is RunCreate
    assert kinds[-1] is RunUpdate
    assert len(kinds) == 4
    assert [type(op) for op in ops_in(elsewhere)] == [RunCreate, RunUpdate]


def test_the_tracking_uri_is_set_exported_and_forgotten(home: os.PathLike[str]) -> None:
    """set_tracking_uri is seen by get_tracking_uri and by child processes, and None undoes it."""
    mlflow.set_tracking_uri(None)
    default = f"localtrack:{home}/.local/share/localtrack"
    assert (mlflow.get_tracking_uri(), mlflow.is_tracking_uri_set()) == (default, False)
    mlflow.set_tracking_uri("runs")
    assert (mlflow.get_tracking_uri(), mlflow.is_tracking_uri_set()) == ("runs", True)
    assert os.environ["MLFLOW_TRACKING_URI"] == f"localtrack:{home}/runs"
    mlflow.set_tracking_uri("http://ada:secret@host:5000")
    assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == "http://host:5000"
    with pytest.raises(TrackingError):
        mlflow.set_tracking_uri("sqlite:///x.db")
    assert mlflow.get_tracking_uri() == "http://host:5000"
    mlflow.set_tracking_uri(None)
    assert (mlflow.get_tracking_uri(), mlflow.is_tracking_uri_set()) == (default, False)


def test_a_server_uri_keeps_logging_local(store_path: str, home: os.PathLike[str]) -> None:
    """Under an http URI nothing but the default store is touched, and the run carries the remote."""
    mlflow.set_tracking_uri("http://192.0.2.1:9")
    with mlflow.start_run():
        mlflow.log_metric("m", 1.0)
    create = ops_in(os.path.join(home, ".local/share/localtrack"))[0]
    assert isinstance(create, RunCreate)
    assert create.remote == "http://192.0.2.1:9"
    assert ops_in(store_path) == []


def test_flush() -> None:
    """A flush says that everything is written, and with sync that it is on the disk."""
    mlflow.log_metric("m", 1.0)
    assert localtrack.flush()
    assert localtrack.flush(sync=True)


def test_delete_tag() -> None:
    """delete_tag removes a tag of the active run, and a missing one is RESOURCE_DOES_NOT_EXIST."""
    mlflow.set_tag("t", 1)
    mlflow.delete_tag("t")
    with pytest.raises(TrackingError) as caught:
        mlflow.delete_tag("t")
    assert caught.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_end_run_takes_any_status_of_a_run_and_no_other() -> None:
    """KILLED is recorded; an unknown status is an error instead of a server's silence."""
    run = mlflow.start_run()
    mlflow.end_run("KILLED")
    assert mlflow.get_run(run.info.run_id).info.status == "KILLED"
    mlflow.start_run()
    with pytest.raises(TrackingError, match="Invalid run status"):
        mlflow.end_run("DONE")
    assert mlflow.active_run() is None
    mlflow.end_run()  # without an active run: nothing


def test_what_is_missing_says_so() -> None:
    """A function of MLflow that is not offered is an AttributeError that names the page with the list."""
    with pytest.raises(AttributeError, match=r"docs/api\.md"):
        _ = mlflow.autolog


def test_pandas_output() -> None:
    """Searches make MLflow's columns where pandas is installed; without it they make lists."""
    with mlflow.start_run():
        mlflow.log_metric("m", 1.0)
        mlflow.log_param("p", 1)
    with mlflow.start_run():
        pass
    try:
        import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore] # noqa: F401, ICN001
    except ModuleNotFoundError:
        found = mlflow.search_runs()
        assert isinstance(found, list)
        assert len(found) == 2
        assert mlflow.search_logged_models() == []
        return
    frame: Any = mlflow.search_runs(output_format="pandas")
    assert {"run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time"} <= set(frame)
    assert list(frame["params.p"]) == [None, "1"]
