from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from localtrack.catalog.lock import WriteLock
from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import StoreError, TrackingError
from localtrack.journal.ops import ExperimentCreate, RunCreate, RunUpdate
from localtrack.service import Service, service_for
from localtrack.service.known import ENDED_REMEMBERED, KnownRun
from localtrack.settings import load
from localtrack.store import Store
from tests.unit.api.journals import another, ops_in


def break_disk(store: Path) -> None:
    """A plain file stands where the store's directory should be."""
    store.parent.mkdir(parents=True, exist_ok=True)
    store.write_text("")


def test_logging_goes_on_without_a_disk(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a store that cannot be made, experiments, runs and records are accepted, and one warning says so."""
    break_disk(home / "store")
    service = Service(Store.at(home / "store"), load({"HOME": str(home)}))
    with caplog.at_level(logging.WARNING, "localtrack"):
        run = service.create_run(service.create_experiment("a"))
        for i in range(100):
            service.log_metric(run.info.run_id, "m", float(i), step=i)
        service.log_param(run.info.run_id, "p", 1)
        with pytest.raises(TrackingError):
            service.log_param(run.info.run_id, "p", 2)  # what this process knows still holds
        service.update_run(run.info.run_id, "FINISHED", 1)
    assert 1 <= len(caplog.records) <= 3
    assert service.get_run(run.info.run_id).data.params == {"p": "1"}


def test_attaching_goes_on_without_a_disk(home: Path) -> None:
    """When the catalog cannot be read, a run of another process is taken at its word."""
    break_disk(home / "store")
    service = Service(Store.at(home / "store"), load({"HOME": str(home)}))
    service.log_metric("a" * 32, "m", 1.0)


def test_strict_raises_instead(home: Path) -> None:
    """With strict the same trouble is a StoreError in the caller's stack."""
    break_disk(home / "store")
    service = Service(Store.at(home / "store"), load({"HOME": str(home), "LOCALTRACK_STRICT": "1"}))
    with pytest.raises(StoreError):
        service.create_run("0")


def test_a_run_of_this_process_is_logged_to_without_the_catalog(service: Service) -> None:
    """Logging to a run made here neither opens nor needs the catalog."""
    run_id = service.create_run("0").info.run_id
    fresh = Service(service.store, service.settings)
    for i in range(10):
        fresh.log_metric(run_id, "m", float(i))
        fresh.log_param(run_id, f"p{i}", i)
        fresh.set_tag(run_id, "t", i)
    fresh.delete_tag(run_id, "t")
    fresh.update_run(run_id, "FINISHED", 1)
    assert fresh._catalog is None


def test_ended_runs_are_not_remembered_for_ever(service: Service) -> None:
    """A process that makes many runs keeps the last thousand ended ones in memory, and can still log to the others."""
    first = service.create_run("0").info.run_id
    service.update_run(first, "FINISHED", 1)
    for i in range(ENDED_REMEMBERED):
        service.known.runs[f"{i}"] = KnownRun(f"{i}", "0", "", "", 1, "", status="FINISHED")
        service.known.ended(f"{i}")
    assert first not in service.known.runs
    assert len(service.known.runs) == ENDED_REMEMBERED
    service.log_metric(first, "m", 1.0)
    assert service.get_run(first).data.metrics == {"m": 1.0}


def test_a_server_uri_is_recorded_with_the_run_and_proved(home: Path) -> None:
    """A run under an http URI is logged locally and carries the remote without its password, with this user's proof."""
    from localtrack import identity

    settings = load({"HOME": str(home), "LOCALTRACK_STORE": str(home / "s")})
    service = service_for("https://user:secret@host:5000/x", settings)
    run_id = service.create_run("0").info.run_id
    create = next(op for op in ops_in(str(home / "s")) if isinstance(op, RunCreate))
    assert create.remote == "https://host:5000/x"
    assert identity.verify(run_id, create.remote, create.remote_proof, service.settings.identity_key)
    assert not any(b"secret" in (Path(root) / name).read_bytes() for root, _, names in os.walk(home) for name in names)


def test_a_store_uri_names_no_remote(service: Service) -> None:
    """Without a server URI a run has no default remote."""
    service.create_run("0")
    create = next(op for op in ops_in(service.store.path) if isinstance(op, RunCreate))
    assert (create.remote, create.remote_proof) == (None, None)


def test_each_call_is_one_record(service: Service) -> None:
    """One call is one record, so a call is in the journal wholly or not at all."""
    experiment_id = service.create_experiment("a", tags={"x": 1, "y": 2})
    run_id = service.create_run(experiment_id, tags={"z": 3}).info.run_id
    service.log_all(run_id, [Metric("m", 1.0, 1)], [Param("p", "1")], [RunTag("t", "1")])
    service.update_run(run_id, "FINISHED", 5, "n")
    assert [type(op).__name__ for op in ops_in(service.store.path)] == [
        ExperimentCreate.__name__,
        RunCreate.__name__,
        "LogBatch",
        RunUpdate.__name__,
    ]


def test_a_backlog_does_not_hold_up_the_start(service: Service) -> None:
    """While another process imports for long, a run starts at once; its experiment is taken at the caller's word."""
    service.create_run("0")
    service.journal.flush(sync=True)
    fresh = another(service)
    with WriteLock(f"{service.store.path}/catalog.lock").held(lambda: None):
        began = time.monotonic()
        experiment = fresh.get_or_create_experiment("busy")
        run_id = fresh.create_run(experiment.experiment_id).info.run_id
        assert time.monotonic() - began < 20  # CHECK_SECONDS once; the patience with that lock is 30 s
    fresh.log_metric(run_id, "m", 1.0)
    assert another(service).get_run(run_id).info.experiment_id == experiment.experiment_id
