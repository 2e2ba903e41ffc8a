from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.client import TrackingClient
from localtrack.entities import Metric, ViewType
from localtrack.errors import TrackingError
from localtrack.journal import ops
from localtrack.journal.ops import RunLifecycle
from localtrack.service import Service
from tests.unit.api.journals import ops_in

MODEL = "m-" + "0" * 31


def code(refused: Callable[[], object]) -> str:
    """The error code of a refusal."""
    with pytest.raises(TrackingError) as caught:
        refused()
    return caught.value.error_code


def runs_at(service: Service, experiment_id: str, *starts: int) -> list[str]:
    """Runs that started at these times."""
    return [service.create_run(experiment_id, f"r{start}", None, start).info.run_id for start in starts]


def names(service: Service, experiment_id: str, view: int = ViewType.ACTIVE_ONLY) -> list[str]:
    """Names of the runs, the latest first."""
    return [run.info.run_name for run in service.search_runs([experiment_id], run_view_type=view)]


def test_runs_are_searched_with_filter_and_order(service: Service) -> None:
    """The service's search takes MLflow's language, and its pages follow each other under it."""
    experiment_id = service.create_experiment("e")
    for number, run_id in enumerate(runs_at(service, experiment_id, *range(7))):
        service.log_metric(run_id, "loss", float(number % 3), 1)
    found = service.search_runs([experiment_id], "metrics.loss < 2", ["metrics.loss DESC"], max_results=3)
    assert [run.info.run_name for run in found] == ["r4", "r1", "r6"]
    rest = service.search_runs(
        [experiment_id], "metrics.loss < 2", ["metrics.loss DESC"], max_results=3, page_token=found.token
    )
    assert [run.info.run_name for run in rest] == ["r3", "r0"]
    assert rest.token is None
    everything = service.search_runs_iter([experiment_id], "metrics.loss < 2", ["start_time"])
    assert [run.info.run_name for run in everything] == ["r0", "r1", "r3", "r4", "r6"]


def test_a_bad_search_is_refused_before_anything_is_read(service: Service) -> None:
    """INVALID_PARAMETER_VALUE for filter, order, ids, length, view and token; also when no experiment is named."""
    refusals: list[Callable[[], object]] = [
        lambda: service.search_runs(["0"], "nothing > 1"),
        lambda: service.search_runs([], "nothing > 1"),
        lambda: service.search_runs(["0"], 5),  # type: ignore[arg-type]
        lambda: service.search_runs(["0"], order_by=["nothing"]),
        lambda: service.search_runs(["0"], order_by="start_time"),  # type: ignore[arg-type]
        lambda: service.search_runs(["no id!"]),
        lambda: service.search_runs(None),  # type: ignore[arg-type]
        lambda: service.search_runs(["0"], max_results=0),
        lambda: service.search_runs(["0"], max_results=50_001),
        lambda: service.search_runs(["0"], run_view_type=4),
        lambda: service.search_runs(["0"], page_token="x"),  # noqa: S106 - no secret
        lambda: service.search_runs(["0"], page_token=5),  # type: ignore[arg-type]
        lambda: service.search_experiments("nothing = 'x'"),
        lambda: service.search_experiments(order_by=["nothing"]),
        lambda: service.search_experiments(max_results=0),
        lambda: service.search_logged_models(["0"], "nothing = 'x'"),
        lambda: service.search_logged_models(["0"], order_by=["name"]),  # type: ignore[list-item]
        lambda: service.search_logged_models(["0"], max_results=-1),
        lambda: service.search_logged_models([5.0]),  # type: ignore[list-item]
    ]
    assert {code(refused) for refused in refusals} == {"INVALID_PARAMETER_VALUE"}
    assert service.search_runs([]) == []
    assert service.search_logged_models([]) == []


def test_logged_models_are_searched(service: Service, home: Path) -> None:
    """Through service, client and iterator, with MLflow's arguments and its page of 100."""
    for number in range(103):
        service.journal.append(ops.ModelCreate(f"m-{number:032x}", "0", f"net{number}"))
    run_id = service.create_run("0").info.run_id
    service.journal.append_batch(run_id, [Metric("acc", 0.5, 1, 0, f"m-{7:032x}", "iris", "d")])
    page = service.search_logged_models(["0"])
    assert len(page) == 100
    assert page.token is not None
    assert len(list(service.search_logged_models_iter(["0"]))) == 103
    assert [model.name for model in service.search_logged_models(["0"], "name LIKE 'net1_2'")] == ["net102"]
    client = TrackingClient(home / "store")
    datasets = [{"dataset_name": "iris"}]
    found = client.search_logged_models(["0"], "metrics.acc >= 0.5", datasets, 10, [{"field_name": "metrics.acc"}])
    assert [(model.name, model.metrics[0].value) for model in found] == [("net7", 0.5)]


def test_bulk_delete_takes_the_oldest_first(service: Service, home: Path) -> None:
    """Runs that started at the time or before are deleted, at most so many, by one record each; others are not."""
    mine, other = service.create_experiment("mine"), service.create_experiment("other")
    runs_at(service, mine, 30, 10, 20, 40)
    runs_at(service, other, 10)
    before = len(ops_in(str(home / "store")))
    assert service.delete_runs(mine, 30, 2) == 2
    assert names(service, mine) == ["r40", "r30"]
    assert [type(op) for op in ops_in(str(home / "store"))[before:]] == [RunLifecycle, RunLifecycle]
    assert service.delete_runs(mine, 30) == 1
    assert service.delete_runs(mine, 30) == 0
    assert (names(service, mine), names(service, other)) == (["r40"], ["r10"])
    (gone,) = (run for run in service.search_runs([mine], "run_name = 'r10'", None, ViewType.DELETED_ONLY))
    assert code(lambda: service.log_metric(gone.info.run_id, "m", 1.0)) == "INVALID_PARAMETER_VALUE"


def test_bulk_restore_goes_by_the_time_of_deletion(home: Path) -> None:
    """Runs that were deleted at the time or later come back, the last deleted first; also with their experiment."""
    from localtrack.journal.writer import Journal
    from localtrack.settings import load
    from localtrack.store import Store

    store = Store.at(home / "store")
    store.make()
    ms = 1_700_000_000_000
    now = [ms]
    journal = Journal(store, strict=True, clock=lambda: now[0] * 1_000_000)
    journal.append(ops.ExperimentCreate("7", "seven"))
    for number in range(4):
        journal.append(ops.RunCreate(f"{number:032x}", "7", f"r{number}", "u", number))
    for number in range(3):
        now[0] = ms + 1000 * (number + 1)
        journal.append(RunLifecycle(f"{number:032x}", deleted=True))
    journal.close()
    service = Service(store, load({"HOME": str(home)}))
    assert service.restore_runs("7", ms + 2000, 1) == 1
    assert names(service, "7", ViewType.DELETED_ONLY) == ["r1", "r0"]
    assert service.restore_runs("7", ms + 2000) == 1
    assert service.restore_runs("7", ms + 2000) == 0
    assert names(service, "7", ViewType.DELETED_ONLY) == ["r0"]
    service.delete_experiment("7")  # at the time of the test
    client = TrackingClient(home / "store")
    assert client.restore_runs("7", ms + 10_000) == 4
    assert client.delete_runs("7", 1) == 2
    assert names(service, "7") == ["r3", "r2"]


def test_bulk_calls_refuse_bad_arguments(service: Service) -> None:
    """Times are not negative, counts 1 to 10,000, the experiment exists."""
    bad: list[Callable[[], object]] = [
        *(lambda n=n: service.delete_runs("0", 1, n) for n in (0, -1, 10_001, 1.5, True)),
        *(lambda ms=ms: service.restore_runs("0", ms) for ms in (-1, 1.5, "x", None)),
    ]
    assert {code(refused) for refused in bad} == {"INVALID_PARAMETER_VALUE"}
    assert code(lambda: service.delete_runs("123", 1)) == "RESOURCE_DOES_NOT_EXIST"
    assert code(lambda: service.restore_runs("123", 1)) == "RESOURCE_DOES_NOT_EXIST"
