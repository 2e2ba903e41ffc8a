from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.entities import Metric, Param, RunTag, ViewType
from localtrack.errors import StoreError, TrackingError
from localtrack.journal.ops import ExperimentCreate, RunCreate, RunUpdate
from localtrack.journal.writer import Journal
from localtrack.service import Service, service_for
from localtrack.service.experiments import experiment_id_of
from localtrack.service.known import ENDED_REMEMBERED
from localtrack.settings import load
from localtrack.store import Store
from tests.unit.api.journals import logged, ops_in

NOW = 1_700_000_000_000


def another(service: Service) -> Service:
    """The same store as another process sees it: nothing is known but what the catalog says."""
    fresh = Service(service.store, service.settings)
    fresh.known = type(fresh.known)()
    return fresh


def code(caught: pytest.ExceptionInfo[TrackingError]) -> str:
    """The error code that was raised."""
    return caught.value.error_code


# --- experiments -----------------------------------------------------------------------------------------------------


def test_experiment_ids_are_derived_from_the_name(service: Service) -> None:
    """Machines that never met agree on the id; it has 18 digits, the first not 0; Default is 0."""
    assert service.create_experiment("mnist") == experiment_id_of("mnist")
    assert experiment_id_of("Default") == "0"
    for name in ("mnist", "", "é", "x" * 500):
        assert len(str(int(experiment_id_of(name)))) == 18
    assert experiment_id_of("a") != experiment_id_of("a", 1)
    assert experiment_id_of("mnist") == "900393046759720960"


def test_a_taken_name_is_refused_deleted_ones_too(service: Service) -> None:
    """RESOURCE_ALREADY_EXISTS for a name in the store, also a deleted one, also Default, also for another process."""
    experiment_id = service.create_experiment("a")
    for deleted in (False, True):
        if deleted:
            service.delete_experiment(experiment_id)
        for one in (service, another(service)):
            with pytest.raises(TrackingError) as caught:
                one.create_experiment("a")
            assert code(caught) == "RESOURCE_ALREADY_EXISTS"
    with pytest.raises(TrackingError) as caught:
        service.create_experiment("Default")
    assert code(caught) == "RESOURCE_ALREADY_EXISTS"


def test_a_name_that_became_free_gets_another_id(service: Service) -> None:
    """After a rename the old name can be used again, and the new experiment is not the renamed one."""
    first = service.create_experiment("a")
    service.update_experiment(first, "b")
    second = service.create_experiment("a")
    assert second == experiment_id_of("a", 1)
    seen = another(service)
    assert (seen.get_experiment(first).name, seen.get_experiment(second).name) == ("b", "a")
    assert seen.get_experiment_by_name("a").experiment_id == second


def test_experiments_are_read_back(service: Service) -> None:
    """What was created, tagged, renamed, deleted and restored is what any process of the store reads."""
    experiment_id = service.create_experiment("a", "s3://bucket/x", {"team": 7})
    service.set_experiment_tag(experiment_id, "note", "é")
    service.set_experiment_tag(experiment_id, "gone", "x")
    service.delete_experiment_tag(experiment_id, "gone")
    service.update_experiment(experiment_id, "b")
    found = another(service).get_experiment(experiment_id)
    assert (found.name, found.artifact_location, found.tags) == ("b", "s3://bucket/x", {"team": "7", "note": "é"})
    service.delete_experiment(experiment_id)
    assert another(service).get_experiment(experiment_id).lifecycle_stage == "deleted"
    service.restore_experiment(experiment_id)
    assert another(service).get_experiment(experiment_id).lifecycle_stage == "active"


def test_experiment_errors_are_those_of_the_server(service: Service) -> None:
    """Missing, deleted and taken experiments answer with the server's error codes."""
    a, b = service.create_experiment("a"), service.create_experiment("b")
    refusals: list[tuple[Callable[[], object], str]] = [
        (lambda: service.get_experiment("12345"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.get_experiment_by_name("zzz"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.delete_experiment("12345"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.restore_experiment(a), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.update_experiment(a, "b"), "RESOURCE_ALREADY_EXISTS"),
        (lambda: service.delete_experiment_tag(a, "none"), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.create_experiment("c", artifact_location="runs:/x"), "INVALID_PARAMETER_VALUE"),
        (lambda: service.create_experiment("c", tags={"a@b": 1}), "INVALID_PARAMETER_VALUE"),
        (lambda: service.create_experiment("c", tags=["t"]), "INVALID_PARAMETER_VALUE"),  # type: ignore[arg-type]
    ]
    for refused, expected in refusals:
        with pytest.raises(TrackingError) as caught:
            refused()
        assert code(caught) == expected
    service.delete_experiment(b)
    refusals = [
        (lambda: service.delete_experiment(b), "RESOURCE_DOES_NOT_EXIST"),
        (lambda: service.update_experiment(b, "c"), "INVALID_STATE"),
        (lambda: service.set_experiment_tag(b, "k", "v"), "INVALID_PARAMETER_VALUE"),
        (lambda: service.create_run(b), "INVALID_PARAMETER_VALUE"),
    ]
    for refused, expected in refusals:
        with pytest.raises(TrackingError) as caught:
            refused()
        assert code(caught) == expected
    service.update_experiment(a, "a")  # the same name again is fine


def test_experiments_are_paged(service: Service) -> None:
    """Pages are disjoint, together complete, and follow the view type."""
    ids = [service.create_experiment(f"e{i}") for i in range(7)]
    service.delete_experiment(ids[0])
    page = service.list_experiments(max_results=3)
    assert len(page) == 3
    found = [e.experiment_id for e in service.list_experiments_iter()]
    assert sorted(found) == sorted([*ids[1:], "0"])
    assert [e.experiment_id for e in service.search_experiments_iter(view_type=ViewType.DELETED_ONLY)] == [ids[0]]
    assert len(list(service.list_experiments_iter(ViewType.ALL))) == 8
    with pytest.raises(TrackingError, match="not supported yet"):
        service.search_experiments("name = 'a'")
    with pytest.raises(TrackingError, match="not supported yet"):
        service.search_experiments(order_by=["name ASC"])


# --- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_read_back(service: Service) -> None:
    """Everything that a run was given is what another process reads."""
    run_id = service.create_run("0", "r", "ada", 123, {"k": 1}).info.run_id
    service.log_metric(run_id, "m", 1.5, timestamp=7, step=2)
    service.log_metric(run_id, "m", 2.5)
    service.log_param(run_id, "p", 0.1)
    service.set_tag(run_id, "t", None)
    service.update_run(run_id, "FINISHED", 456)
    run = another(service).get_run(run_id)
    assert run.data.metrics == {"m": 1.5}  # the highest step is the latest
    assert (run.data.params, run.data.tags) == ({"p": "0.1"}, {"k": "1", "t": "None", "mlflow.runName": "r"})
    info = run.info
    assert (info.run_name, info.user_id, info.status) == ("r", "ada", "FINISHED")
    assert (info.start_time, info.end_time) == (123, 456)
    assert info.artifact_uri == f"{service.store.artifacts}/0/{run_id}/artifacts"


def test_what_a_service_returns_is_what_the_catalog_returns(service: Service) -> None:
    """create_run and update_run answer from memory exactly what the catalog says afterwards."""
    created = service.create_run("0", tags={"a": "b"})
    assert another(service).get_run(created.info.run_id) == created
    service.set_tag(created.info.run_id, "mlflow.runName", "other")
    info = service.update_run(created.info.run_id, "KILLED", 9, "third")
    assert another(service).get_run(created.info.run_id).info == info


def test_run_name_and_its_tag_are_one(service: Service) -> None:
    """Name and tag mlflow.runName follow each other; two different ones at once are refused."""
    run_id = service.create_run("0", tags={"mlflow.runName": "by tag"}).info.run_id
    assert service.get_run(run_id).info.run_name == "by tag"
    service.update_run(run_id, run_name="by name")
    assert service.get_run(run_id).data.tags["mlflow.runName"] == "by name"
    service.set_tag(run_id, "mlflow.runName", "again")
    assert service.run_info(run_id).run_name == service.get_run(run_id).info.run_name == "again"
    with pytest.raises(TrackingError, match="different values"):
        service.create_run("0", "a", tags={"mlflow.runName": "b"})
    with pytest.raises(TrackingError):
        service.set_tag(run_id, "mlflow.runName", "")


def test_missing_and_deleted_runs(service: Service) -> None:
    """Every write to a missing run is RESOURCE_DOES_NOT_EXIST, to a deleted one INVALID_PARAMETER_VALUE."""
    run_id = service.create_run("0").info.run_id
    service.delete_run(run_id)
    writes: list[Callable[[str], object]] = [
        lambda r: service.log_metric(r, "m", 1.0),
        lambda r: service.log_param(r, "p", 1),
        lambda r: service.set_tag(r, "t", 1),
        lambda r: service.delete_tag(r, "t"),
        lambda r: service.log_batch(r, [Metric("m", 1.0, 1)]),
        lambda r: service.update_run(r, "FINISHED"),
    ]
    before = len(ops_in(service.store.path))
    for write in writes:
        with pytest.raises(TrackingError) as caught:
            write("f" * 32)
        assert code(caught) == "RESOURCE_DOES_NOT_EXIST"
        with pytest.raises(TrackingError, match="must be in the 'active' state") as caught:
            write(run_id)
        assert code(caught) == "INVALID_PARAMETER_VALUE"
        with pytest.raises(TrackingError) as caught:
            write("no id!")
        assert code(caught) == "INVALID_PARAMETER_VALUE"
    assert len(ops_in(service.store.path)) == before
    service.delete_run(run_id)  # again: fine
    service.restore_run(run_id)
    service.restore_run(run_id)
    service.log_metric(run_id, "m", 1.0)
    assert service.get_run(run_id).info.lifecycle_stage == "active"


def test_deleting_an_experiment_deletes_its_runs(service: Service) -> None:
    """Runs of a deleted experiment take no more records; restoring it restores all of them, as MLflow does."""
    experiment_id = service.create_experiment("a")
    kept, dropped = (service.create_run(experiment_id).info.run_id for _ in range(2))
    service.delete_run(dropped)
    service.delete_experiment(experiment_id)
    for one in (service, another(service)):
        with pytest.raises(TrackingError, match="active"):
            one.log_metric(kept, "m", 1.0)
    service.restore_experiment(experiment_id)
    for run_id in (kept, dropped):
        service.log_metric(run_id, "m", 1.0)
        assert another(service).get_run(run_id).info.lifecycle_stage == "active"


def test_a_param_is_written_once(service: Service) -> None:
    """The same value again is fine and writes nothing; another value is INVALID_PARAMETER_VALUE, for any process."""
    run_id = service.create_run("0").info.run_id
    service.log_param(run_id, "p", 1)
    before = len(ops_in(service.store.path))
    service.log_param(run_id, "p", "1")
    assert len(ops_in(service.store.path)) == before
    for one in (service, another(service)):
        with pytest.raises(TrackingError, match="Changing param values is not allowed") as caught:
            one.log_param(run_id, "p", 2)
        assert code(caught) == "INVALID_PARAMETER_VALUE"
    with pytest.raises(TrackingError, match="Duplicate"):
        service.log_batch(run_id, params=[Param("q", "1"), Param("q", "1")])
    assert service.get_run(run_id).data.params == {"p": "1"}


def test_one_bad_value_refuses_the_whole_call(service: Service) -> None:
    """Nothing of a batch is written when any part of it is bad, also beyond a request's size."""
    run_id = service.create_run("0").info.run_id
    service.log_param(run_id, "old", "1")
    before = len(ops_in(service.store.path))
    good = [Metric("m", float(i), i) for i in range(3000)]
    for metrics, params, tags in [
        ([*good, Metric("m", float("nan"), -1)], [], []),
        (good, [Param("p", "1"), Param("old", "2")], []),
        (good, [Param("p", "1")], [RunTag("a//b", "1")]),
        (good, [Param("p", "1")], ["tag"]),
    ]:
        with pytest.raises(TrackingError):
            service.log_all(run_id, metrics, params, tags)  # type: ignore[arg-type]
    assert len(ops_in(service.store.path)) == before


def test_log_batch_has_the_servers_limits(service: Service) -> None:
    """1000 metrics, 100 params, 100 tags, 1000 in all; more is refused, and split only by log_all."""
    run_id = service.create_run("0").info.run_id
    metrics = [Metric("m", 1.0, i) for i in range(1001)]
    params = [Param(f"p{i}", "1") for i in range(101)]
    tags = [RunTag(f"t{i}", "1") for i in range(101)]
    for m, p, t in [(metrics, [], []), ([], params, []), ([], [], tags), (metrics[:900], params[:51], tags[:50])]:
        with pytest.raises(TrackingError, match="can contain at most"):
            service.log_batch(run_id, m, p, t)
    service.log_batch(run_id, metrics[:900], params[:50], tags[:50])
    assert len(logged(service.store.path)) == 1


def test_long_calls_are_split_as_mlflows_client_splits(service: Service) -> None:
    """100 params and tags a record, metrics filling it up to 1000; order is kept and nothing is missing."""
    run_id = service.create_run("0").info.run_id
    metrics = [Metric("m", 1.0, i, i) for i in range(2500)]
    params = [Param(f"p{i}", "1") for i in range(250)]
    tags = [RunTag(f"t{i}", "1") for i in range(120)]
    service.log_all(run_id, metrics, params, tags)
    batches = logged(service.store.path)
    sizes = [(len(b.metrics), len(b.params), len(b.tags)) for b in batches]
    assert sizes == [(800, 100, 100), (880, 100, 20), (820, 50, 0)]
    assert [m.step for b in batches for m in b.metrics] == list(range(2500))


def test_tags_can_be_deleted(service: Service) -> None:
    """A deleted tag is gone; a missing one is RESOURCE_DOES_NOT_EXIST; another process's tag can be deleted."""
    run_id = service.create_run("0").info.run_id
    another(service).set_tag(run_id, "t", "1")
    service.delete_tag(run_id, "t")
    assert "t" not in service.get_run(run_id).data.tags
    with pytest.raises(TrackingError) as caught:
        service.delete_tag(run_id, "t")
    assert code(caught) == "RESOURCE_DOES_NOT_EXIST"


def test_a_model_that_is_not_in_the_store_is_refused(service: Service) -> None:
    """A metric for an unknown model is the server's BAD_REQUEST, and nothing of it is written."""
    run_id = service.create_run("0").info.run_id
    writes: list[Callable[[], object]] = [
        lambda: service.log_metric(run_id, "m", 1.0, model_id="m-1"),
        lambda: service.log_batch(run_id, [Metric("m", 1.0, 1, model_id="m-1")]),
    ]
    for write in writes:
        with pytest.raises(TrackingError) as caught:
            write()
        assert code(caught) == "BAD_REQUEST"
    assert logged(service.store.path) == []


def test_a_point_carries_its_dataset(service: Service) -> None:
    """dataset_name and dataset_digest are recorded with the point."""
    run_id = service.create_run("0").info.run_id
    service.log_metric(run_id, "m", 1.0, dataset_name="d", dataset_digest="123")
    assert logged(service.store.path)[0].metrics == (Metric("m", 1.0, NOW, 0, None, "d", "123"),)


def test_runs_are_searched_and_paged(service: Service) -> None:
    """Newest first or oldest first, page by page, by experiment and view type; no experiment finds nothing."""
    a, b = service.create_experiment("a"), service.create_experiment("b")
    runs = [service.create_run(a, start_time=1000 + i).info.run_id for i in range(7)]
    other = service.create_run(b, start_time=5000).info.run_id
    service.delete_run(runs[0])
    assert [run.info.run_id for run in service.search_runs_iter([a])] == runs[:0:-1]
    assert [run.info.run_id for run in service.search_runs([a], order_by=["start_time ASC"])] == runs[1:]
    assert [run.info.run_id for run in service.search_runs([a, b], max_results=1)] == [other]
    assert [run.info.run_id for run in service.search_runs([a], run_view_type=ViewType.DELETED_ONLY)] == [runs[0]]
    page = service.search_runs([a], max_results=4)
    rest = service.search_runs([a], max_results=4, page_token=page.token)
    assert [run.info.run_id for run in [*page, *rest]] == runs[:0:-1]
    assert rest.token is None
    assert service.search_runs([]) == []


def test_metric_history_has_all_points(service: Service) -> None:
    """Every point of a metric is listed, page by page, by (timestamp, step, value)."""
    run_id = service.create_run("0").info.run_id
    service.log_all(run_id, [Metric("m", float(i % 7), 1000 - i, i) for i in range(100)])
    points = service.list_metric_history(run_id, "m")
    assert [point.timestamp for point in points] == sorted(1000 - i for i in range(100))
    page = service.get_history(run_id, "m", 30)
    assert len(page) == 30
    assert page.token
    assert list(service.list_metric_history_iter(run_id, "m")) == list(points)


def test_a_write_wins_over_what_was_read_before_it(service: Service) -> None:
    """A tag that another machine set with a clock five minutes ahead is overwritten by who read it and set it anew."""
    ahead = Journal(service.store, clock=lambda: time.time_ns() + 300 * 10**9)
    run_id = "a" * 32
    ahead.append(RunCreate(run_id, "0", "n", "u", 1, (("t", "theirs"),)))
    ahead.close()
    assert service.get_run(run_id).data.tags["t"] == "theirs"
    service.set_tag(run_id, "t", "ours")
    assert service.get_run(run_id).data.tags["t"] == "ours"


# --- the machine in trouble ------------------------------------------------------------------------------------------


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
    for _ in range(ENDED_REMEMBERED):
        service.update_run(service.create_run("0").info.run_id, "FINISHED", 1)
    assert first not in service.known.runs
    assert len(service.known.runs) == ENDED_REMEMBERED
    service.log_metric(first, "m", 1.0)
    assert service.get_run(first).data.metrics == {"m": 1.0}


# --- remotes ---------------------------------------------------------------------------------------------------------


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
