"""Logging to runs that were created elsewhere: the local side."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

import localtrack as mlflow
from localtrack import TrackingClient, identity
from localtrack.catalog.lock import WriteLock
from localtrack.entities import LoggedModelOutput
from localtrack.errors import TrackingError
from localtrack.journal.ops import ModelCreate, RunAttach, RunUpdate
from localtrack.service import Service, service_for
from localtrack.settings import load
from localtrack.store import Store
from tests.unit.api.journals import another, code, ops_in
from tests.unit.api.test_process import python

REMOTE_ID = "3f2a9c0e5d7b4a1f8c6e2b9d0a4f7c31"


def attaches(store_path: str) -> list[RunAttach]:
    """The attach records of a store."""
    return [op for op in ops_in(store_path) if isinstance(op, RunAttach)]


def test_without_the_opt_in_an_unknown_run_is_an_error(store_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """start_run, MLFLOW_RUN_ID and the client refuse an unknown run id as MLflow does, and write nothing."""
    with pytest.raises(TrackingError) as caught:
        mlflow.start_run(run_id=REMOTE_ID)
    assert code(caught) == "RESOURCE_DOES_NOT_EXIST"
    monkeypatch.setenv("MLFLOW_RUN_ID", REMOTE_ID)
    with pytest.raises(TrackingError) as caught:
        mlflow.log_metric("m", 1.0)
    assert code(caught) == "RESOURCE_DOES_NOT_EXIST"
    with pytest.raises(TrackingError) as caught:
        TrackingClient().log_param(REMOTE_ID, "p", 1)
    assert code(caught) == "RESOURCE_DOES_NOT_EXIST"
    assert ops_in(store_path) == []


def test_a_run_is_attached_to_and_everything_can_be_logged(store_path: str) -> None:
    """With attach=True the run is RUNNING, takes every kind of record, ends, and is read back; it is attached once."""
    with mlflow.start_run(run_id=REMOTE_ID, attach=True, run_name="named", tags={"t": 1}) as run:
        assert run.info.run_id == REMOTE_ID
        mlflow.log_metric("m", 1.0)
        mlflow.log_metrics({"m": 2.0}, step=1)
        mlflow.log_param("p", 1)
        mlflow.set_tag("gone", 1)
        mlflow.delete_tag("gone")
        mlflow.log_input(mlflow.data.MetaDataset("s3://b/x", "train", "v1"))
        mlflow.log_outputs([LoggedModelOutput("m-1", 1)])
        with pytest.raises(TrackingError):
            mlflow.log_param("p", 2)
        assert mlflow.get_run(REMOTE_ID).info.status == "RUNNING"
    found = mlflow.get_run(REMOTE_ID)
    assert (found.info.status, found.info.experiment_id, found.info.run_name) == ("FINISHED", "", "named")
    assert (found.data.metrics, found.data.params, found.data.tags["t"]) == ({"m": 2.0}, {"p": "1"}, "1")
    assert found.inputs.dataset_inputs[0].dataset.name == "train"
    assert found.outputs.model_outputs == (LoggedModelOutput("m-1", 1),)
    assert len(attaches(store_path)) == 1
    states = [op.status for op in ops_in(store_path) if isinstance(op, RunUpdate)]
    assert states == ["RUNNING", "FINISHED"]


def test_another_process_goes_on_without_attaching_again(service: Service) -> None:
    """What one process attached to is a run of the store: the next one needs no opt-in and writes no second attach."""
    service.attach_run(REMOTE_ID)
    service.log_param(REMOTE_ID, "p", 1)
    fresh = another(service)
    fresh.log_metric(REMOTE_ID, "m", 1.0)
    assert fresh.attach_run(REMOTE_ID).data.params == {"p": "1"}
    with pytest.raises(TrackingError):
        fresh.log_param(REMOTE_ID, "p", 2)
    assert len(attaches(service.store.path)) == 1


def test_a_run_of_the_store_is_not_attached_to(service: Service) -> None:
    """To attach with the id of a run that the store has is an ordinary resumption."""
    run_id = service.create_run("0").info.run_id
    assert another(service).attach_run(run_id).info.experiment_id == "0"
    assert service.attach_run(run_id).info.experiment_id == "0"
    assert attaches(service.store.path) == []


def test_the_environment_opts_in(store_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOCALTRACK_ATTACH=1: start_run by MLFLOW_RUN_ID, and every client call that logs to an unknown run, attach."""
    monkeypatch.setenv("LOCALTRACK_ATTACH", "1")
    monkeypatch.setenv("MLFLOW_RUN_ID", REMOTE_ID)
    with mlflow.start_run() as run:
        assert run.info.run_id == REMOTE_ID
    client = TrackingClient()
    client.log_metric("other-run", "m", 1.0)
    client.set_terminated("third")
    client.log_text("fourth", "text", "a.txt")
    client.log_artifacts("fifth", store_path, "copy")
    assert [op.run_id for op in attaches(store_path)] == [REMOTE_ID, "other-run", "third", "fourth", "fifth"]
    for call in (client.get_run, client.delete_run, client.get_parent_run, client.list_artifacts):
        with pytest.raises(TrackingError) as caught:
            call("never-logged-to")
        assert code(caught) == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", "-a", "a.b", "a" * 257, "a\n", 7, None])
def test_only_run_ids_can_be_attached_to(service: Service, run_id: object) -> None:
    """MLflow's form of ids; what could be a path is refused and nothing is written."""
    with pytest.raises(TrackingError) as caught:
        service.attach_run(run_id)  # type: ignore[arg-type]
    assert code(caught) == "INVALID_PARAMETER_VALUE"
    assert ops_in(service.store.path) == []


def test_attach_needs_an_id_and_good_arguments(store_path: str) -> None:
    """attach=True alone is bad input; bad tags leave no attach record."""
    with pytest.raises(TrackingError, match="needs the id"):
        mlflow.start_run(attach=True)
    with pytest.raises(TrackingError):
        mlflow.start_run(run_id=REMOTE_ID, attach=True, tags={"a@b": 1})
    assert ops_in(store_path) == []


def test_the_remote_is_recorded_with_a_proof(home: Path) -> None:
    """An attach under an http URI names that remote with this user's proof, as a creation does."""
    service = service_for("https://host:5000", load({"HOME": str(home), "LOCALTRACK_STORE": str(home / "s")}))
    service.attach_run(REMOTE_ID)
    (op,) = attaches(str(home / "s"))
    assert op.remote == "https://host:5000"
    assert identity.verify(REMOTE_ID, op.remote, op.remote_proof, service.settings.identity_key)


def test_its_files_have_a_place_of_their_own(service: Service) -> None:
    """Memory, catalog and the room of the artifacts name the same directory, inside the store, for an attached run."""
    told = service.attach_run(REMOTE_ID).info.artifact_uri
    assert told == service.get_artifact_uri(REMOTE_ID)
    assert told == f"{service.store.path}/artifacts/attached/{REMOTE_ID}/artifacts"
    assert another(service).get_run(REMOTE_ID).info.artifact_uri == told


def test_a_model_of_an_attached_run_is_in_its_experiment(store_path: str) -> None:
    """The experiment is not known here, so the model names none; it is read back, with a place of its own."""
    with mlflow.start_run(run_id=REMOTE_ID, attach=True):
        model = mlflow.initialize_logged_model("net")
        mlflow.log_metric("m", 1.0, model_id=model.model_id)
    (op,) = [op for op in ops_in(store_path) if isinstance(op, ModelCreate)]
    assert (op.experiment_id, op.source_run_id) == ("", REMOTE_ID)
    assert mlflow.get_logged_model(model.model_id).artifact_location == (
        f"{store_path}/artifacts/attached/models/{model.model_id}/artifacts"
    )
    with pytest.raises(TrackingError):
        TrackingClient().create_logged_model("", "net")  # no attached run is its source


def test_attaching_asks_nobody_and_waits_for_nobody(home: Path) -> None:
    """With a store that cannot be made, or a catalog that another process holds, the run is attached to just so."""
    (home / "broken").write_text("")
    broken = Service(Store.at(home / "broken"), load({"HOME": str(home)}))
    broken.log_metric(REMOTE_ID, "m", 1.0)  # taken at the caller's word
    assert broken.attach_run(REMOTE_ID).info.artifact_uri  # and now journaled, as far as the disk lets it
    broken.log_param(REMOTE_ID, "p", 1)
    assert broken.get_run(REMOTE_ID).data.params == {"p": "1"}

    busy = Service(Store.at(home / "store"), load({"HOME": str(home)}))
    busy.create_run("0")
    fresh = another(busy)
    with WriteLock(f"{busy.store.path}/catalog.lock").held(lambda: None):
        began = time.monotonic()
        fresh.attach_run(REMOTE_ID)
        assert time.monotonic() - began < 20  # CHECK_SECONDS once; the patience with that lock is 30 s
    assert another(busy).get_run(REMOTE_ID).info.run_id == REMOTE_ID


def test_it_survives_a_kill(tmp_path: Path) -> None:
    """A process that is killed right after its calls leaves the attach, inputs, models and outputs behind."""
    done = python(
        tmp_path,
        f"""
        import localtrack, os, signal
        from localtrack.entities import LoggedModelOutput
        localtrack.start_run(run_id="{REMOTE_ID}", attach=True)
        localtrack.log_input(localtrack.data.MetaDataset("s3://b/x", "train", "v1"), context="training")
        model = localtrack.create_external_model("net", params={{"a": 1}})
        localtrack.log_metric("m", 1.0, model_id=model.model_id)
        localtrack.log_outputs([LoggedModelOutput(model.model_id, 1)])
        print(model.model_id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    client = TrackingClient(str(tmp_path / "store"))
    found, model = client.get_run(REMOTE_ID), client.get_logged_model(done.stdout.strip())
    assert (found.info.status, found.data.metrics) == ("RUNNING", {"m": 1.0})
    assert [one.dataset.name for one in found.inputs.dataset_inputs] == ["train"]
    assert [one.model_id for one in found.inputs.model_inputs] == [model.model_id]
    assert found.outputs.model_outputs == (LoggedModelOutput(model.model_id, 1),)
    assert (model.status, model.params, [m.value for m in model.metrics]) == ("READY", {"a": "1"}, [1.0])
