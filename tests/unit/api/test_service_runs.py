from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from localtrack.entities import Metric, Param, ViewType
from localtrack.errors import TrackingError
from localtrack.journal.ops import RunCreate
from localtrack.journal.writer import Journal
from localtrack.service import Service
from tests.unit.api.journals import another, code, ops_in


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
