from __future__ import annotations

from collections.abc import Callable

import pytest

from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import TrackingError
from localtrack.service import Service
from tests.unit.api.journals import another, code, logged, ops_in

NOW = 1_700_000_000_000


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
