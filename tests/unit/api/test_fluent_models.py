"""Module functions about inputs, outputs and logged models; the active model of a thread."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import localtrack as mlflow
from localtrack.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput, Metric
from localtrack.errors import TrackingError
from localtrack.fluent.active import thread
from localtrack.journal.ops import ModelTagsSet, RunInputs
from tests.unit.api.journals import code, logged, ops_in
from tests.unit.api.test_process import python

pytestmark = pytest.mark.usefixtures("store_path", "no_active_model")


@pytest.fixture
def no_active_model() -> None:
    """No model is active in this thread, whatever the test before left."""
    mlflow.clear_active_model()
    thread.last_model_id = None


def models_of_points(store_path: str) -> list[tuple[str, str | None]]:
    """Key and model of every point, in order."""
    return [(m.key, m.model_id) for batch in logged(store_path) for m in batch.metrics]


def test_inputs_start_a_run_and_have_a_context() -> None:
    """log_input without a run starts one; context and tags are tags of the input."""
    mlflow.log_input(Dataset("d", "v", "s", "x"), context="training", tags={"a": "b"})
    run = mlflow.active_run()
    assert run is not None
    (given,) = mlflow.get_run(run.info.run_id).inputs.dataset_inputs
    assert set(given.tags) == {InputTag("mlflow.data.context", "training"), InputTag("a", "b")}


def test_several_inputs_are_one_record(store_path: str) -> None:
    """log_inputs writes datasets and models of one call as one record; None entries are left out."""
    datasets = [Dataset("d", str(i), "s", "x") for i in range(3)]
    with mlflow.start_run() as run:
        mlflow.log_inputs([*datasets, None], ["a", None, "c", None], [None] * 4, [LoggedModelInput("m-1")])
    (op,) = [op for op in ops_in(store_path) if isinstance(op, RunInputs)]
    assert (len(op.datasets), op.models) == (3, ("m-1",))
    assert mlflow.get_run(run.info.run_id).inputs.dataset_inputs[0] == DatasetInput(
        datasets[0], (InputTag("mlflow.data.context", "a"),)
    )


def test_bad_inputs_start_no_run(store_path: str) -> None:
    """Lists of unequal length, a context without a dataset, bad tags: refused before a run is started."""
    for datasets, contexts, tags in ([[None], [], []], [[None], ["a"], [None]], [[None], [None], [{"a": "1"}]]):
        with pytest.raises(TrackingError) as caught:
            mlflow.log_inputs(datasets, contexts, tags)  # type: ignore[arg-type]
        assert code(caught) == "INVALID_PARAMETER_VALUE"
    with pytest.raises(TrackingError):
        mlflow.log_input(Dataset("d", "v", "s", "x"), tags={"a": "x" * 501})
    assert ops_in(store_path) == []


def test_a_model_belongs_to_the_active_run() -> None:
    """Source run and experiment are the active run's; without one the active experiment's; the last one is known."""
    assert mlflow.last_logged_model() is None
    with mlflow.start_run(experiment_id=mlflow.create_experiment("e")) as run:
        model = mlflow.initialize_logged_model("net", params={"a": 1}, tags={"t": 2}, model_type="x")
    assert (model.source_run_id, model.experiment_id) == (run.info.run_id, run.info.experiment_id)
    assert (model.status, model.params, model.tags["t"]) == ("PENDING", {"a": "1"}, "2")
    assert model.tags["mlflow.source.type"] == "LOCAL"
    alone = mlflow.create_external_model()
    assert (alone.source_run_id, alone.experiment_id, alone.status) == (None, "0", "READY")
    assert alone.tags["mlflow.model.isExternal"] == "true"
    told = Path(alone.artifact_location, "MLmodel").read_text(encoding="utf-8")
    assert f"\nmodel_id: '{alone.model_id}'\n" in told
    assert "\nrun_id: " not in told
    assert mlflow.initialize_logged_model(source_run_id=run.info.run_id).source_run_id == run.info.run_id
    last = mlflow.last_logged_model()
    assert last is not None
    assert last.source_run_id == run.info.run_id


def test_metrics_are_linked_to_the_active_model(store_path: str) -> None:
    """Inside the with block points name the model, by every function; before and after they name none."""
    model_id = mlflow.create_external_model().model_id
    with mlflow.start_run() as run:
        mlflow.log_metric("before", 1.0)
        with mlflow.set_active_model(model_id=model_id) as model:
            assert mlflow.get_active_model_id() == model.model_id == model_id
            mlflow.log_metric("in", 1.0)
            mlflow.log_metrics({"in too": 1.0})
            mlflow.MlflowClient().log_metric(run.info.run_id, "client", 1.0)
            mlflow.MlflowClient().log_batch(run.info.run_id, [Metric("batch", 1.0, 1)])
        assert mlflow.get_active_model_id() is None
        mlflow.log_metric("before", 2.0)
    assert models_of_points(store_path) == [
        ("before", None),
        ("in", model_id),
        ("in too", model_id),
        ("client", model_id),
        ("batch", model_id),
        ("before", None),
    ]
    inputs = [op for op in ops_in(store_path) if isinstance(op, RunInputs)]
    assert inputs == [RunInputs(run.info.run_id, (), (model_id,))]  # once, not once a point


def test_active_models_nest_and_need_no_run(store_path: str) -> None:
    """The inner block gives way to the outer one; a run started inside is linked, one started after is not."""
    outer, inner = mlflow.create_external_model("a").model_id, mlflow.create_external_model("b").model_id
    with mlflow.set_active_model(model_id=outer):
        with mlflow.set_active_model(model_id=inner):
            mlflow.log_metric("m", 1.0)
        mlflow.log_metric("m", 2.0)
    mlflow.end_run()
    mlflow.log_metric("m", 3.0)
    assert [model for _, model in models_of_points(store_path)] == [inner, outer, None]


def test_an_active_model_can_be_named() -> None:
    """By name the youngest is taken, or an external one made; a wrong pair, neither, and an unknown id are refused."""
    made = mlflow.set_active_model(name="new")
    assert (made.status, made.tags["mlflow.model.isExternal"]) == ("READY", "true")
    assert mlflow.set_active_model(name="new").model_id == made.model_id
    for arguments, expected in (
        ({}, "INVALID_PARAMETER_VALUE"),
        ({"name": "x", "model_id": made.model_id}, "INVALID_PARAMETER_VALUE"),
        ({"model_id": "m-unknown"}, "RESOURCE_DOES_NOT_EXIST"),
    ):
        with pytest.raises(TrackingError) as caught:
            mlflow.set_active_model(**arguments)
        assert code(caught) == expected
    assert mlflow.get_active_model_id() == made.model_id
    mlflow.log_model_params({"a": 1})
    assert mlflow.get_logged_model(made.model_id).params == {"a": "1"}
    mlflow.clear_active_model()
    with pytest.raises(TrackingError):
        mlflow.log_model_params({"a": "1"})


def test_each_thread_has_its_own_active_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread begins with what MLFLOW_ACTIVE_MODEL_ID says, not with this thread's model."""
    mlflow.set_active_model(model_id=mlflow.create_external_model().model_id)
    monkeypatch.setenv("MLFLOW_ACTIVE_MODEL_ID", "m-from-outside")
    seen: list[str | None] = []
    other = threading.Thread(target=lambda: seen.append(mlflow.get_active_model_id()))
    other.start()
    other.join()
    assert seen == ["m-from-outside"]
    assert mlflow.get_active_model_id() != "m-from-outside"


def test_the_environment_names_the_active_model(tmp_path: Path) -> None:
    """A program that is started with MLFLOW_ACTIVE_MODEL_ID links its metrics; a forked child begins anew from it."""
    model_id = mlflow.MlflowClient(str(tmp_path / "store")).create_logged_model("0").model_id
    done = python(
        tmp_path,
        """
        import localtrack, os, warnings
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        with localtrack.start_run():
            localtrack.log_metric("m", 1.0)
        named = localtrack.get_active_model_id()
        with localtrack.set_active_model(model_id=localtrack.create_external_model().model_id):
            pid = os.fork()
            if pid == 0:
                os._exit(localtrack.get_active_model_id() != named)
            assert os.waitpid(pid, 0)[1] == 0
        localtrack.clear_active_model()
        assert "MLFLOW_ACTIVE_MODEL_ID" not in os.environ
        localtrack.log_metric("m", 2.0)
        """,
        MLFLOW_ACTIVE_MODEL_ID=model_id,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert models_of_points(str(tmp_path / "store")) == [("m", model_id), ("m", None)]


def test_metrics_go_to_the_models_that_came_out_at_their_step(store_path: str) -> None:
    """As in MLflow: of a run that is started again, or named by id, a point at the step of an output is the model's."""
    client = mlflow.MlflowClient()
    first, second = (client.create_logged_model("0").model_id for _ in range(2))
    with mlflow.start_run() as run:
        mlflow.log_outputs([LoggedModelOutput(first, 3), LoggedModelOutput(second, 3)])
        mlflow.log_metric("fresh", 1.0, step=3)
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("again", 1.0, step=3)
        mlflow.log_metric("again", 1.0, step=4)
        mlflow.log_metrics({"both": 1.0}, step=3)
    mlflow.log_metric("by id", 1.0, step=3, run_id=run.info.run_id)
    points = models_of_points(store_path)
    assert points[0] == ("fresh", None)
    assert points[1][1] in (first, second)
    assert points[2] == ("again", None)
    assert {model for _, model in points[3:5]} == {first, second}
    assert points[5][1] in (first, second)
    assert not [op for op in ops_in(store_path) if isinstance(op, RunInputs)]  # outputs are not inputs


def direct() -> tuple[object, ...]:
    """The run that the hot path would log to."""
    return thread.direct


def test_plain_metrics_take_the_short_way() -> None:
    """The hot path is open while no model is active, closed while one is, and open again behind it."""
    model_id = mlflow.create_external_model().model_id
    assert direct() == ()
    with mlflow.start_run() as outer:
        assert direct() == (outer,)
        with mlflow.set_active_model(model_id=model_id):
            assert direct() == ()
            with mlflow.start_run(nested=True):
                assert direct() == ()
        assert direct() == (outer,)
        with mlflow.start_run(nested=True) as inner:
            assert direct() == (inner,)
        assert direct() == (outer,)
    assert direct() == ()


def test_models_stay_in_the_active_runs_store(store_path: str, tmp_path: Path) -> None:
    """When the tracking URI changes under an active run, its models are still made and changed in the run's store."""
    with mlflow.start_run():
        mlflow.set_tracking_uri(tmp_path / "other")
        model = mlflow.create_external_model("net")
        mlflow.set_logged_model_tags(model.model_id, {"a": 1})
        mlflow.delete_logged_model_tag(model.model_id, "a")
        assert mlflow.finalize_logged_model(model.model_id, "FAILED").status == "FAILED"
        assert mlflow.get_logged_model(model.model_id).status == "FAILED"
    assert len([op for op in ops_in(store_path) if isinstance(op, ModelTagsSet)]) == 2
    with pytest.raises(TrackingError):
        mlflow.get_logged_model(model.model_id)
