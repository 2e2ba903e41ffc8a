from __future__ import annotations

import time

import pytest

import localtrack as mlflow
from localtrack.errors import TrackingError
from tests.unit.api.journals import logged

pytestmark = pytest.mark.usefixtures("store_path")


def test_long_values_are_cut_with_a_warning(store_path: str, caplog: pytest.LogCaptureFixture) -> None:
    """A param over 6000 characters is cut as MLflow cuts it, never in silence; the same value again is the same."""
    mlflow.log_param("p", "x" * 7000)
    assert "7000 characters" in caplog.text
    mlflow.log_param("p", "x" * 6000 + "y")
    mlflow.set_tag("t", "x" * 9000)
    assert [len(batch.params[0].value) for batch in logged(store_path) if batch.params] == [6000]
    assert [len(batch.tags[0].value) for batch in logged(store_path) if batch.tags] == [8000]


def test_long_values_can_be_refused(store_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With MLFLOW_TRUNCATE_LONG_VALUES=false a long value is bad input and nothing is written."""
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    with mlflow.start_run(), pytest.raises(TrackingError, match="at most 6000"):
        mlflow.log_param("p", "x" * 7000)
    assert logged(store_path) == []


def test_asynchronous_calls_are_finished_when_they_return(store_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """synchronous=False returns a RunOperations whose wait returns at once; the record is there already."""
    for operations in (
        mlflow.log_metric("m", 1.0, synchronous=False),
        mlflow.log_metrics({"m": 1.0}, synchronous=False),
        mlflow.log_param("p", 1, synchronous=False),
        mlflow.log_params({"q": 1}, synchronous=False),
        mlflow.set_tag("t", 1, synchronous=False),
        mlflow.set_tags({"t": 1}, synchronous=False),
    ):
        assert operations is not None
        operations.wait()
    assert len(logged(store_path)) == 6
    assert mlflow.log_param("r", 7, synchronous=True) == 7
    assert mlflow.log_metric("m", 1.0) is None
    mlflow.end_run()
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    with mlflow.start_run():
        for _ in range(2):
            assert mlflow.log_metric("m", 1.0, step=1) is not None
    mlflow.flush_async_logging()


def test_points_have_times_and_steps(store_path: str) -> None:
    """Timestamp is now unless given, step 0; equal on the fast and on the slow way."""
    before = time.time_ns() // 1_000_000
    with mlflow.start_run():
        for value in (1.0, 1):  # a float takes the hot path, an int the long way
            mlflow.log_metric("m", value)
            mlflow.log_metric("m", value, step=-3)
            mlflow.log_metric("m", value, timestamp=5)
            mlflow.log_metric("m", value, step=2**63 - 1, timestamp=0)
    after = time.time_ns() // 1_000_000
    points = [batch.metrics[0] for batch in logged(store_path)]
    assert [point.step for point in points] == [0, -3, 0, 2**63 - 1] * 2
    assert all(before <= point.timestamp <= after for i, point in enumerate(points) if i % 4 != 2)
    assert [point.timestamp for i, point in enumerate(points) if i % 4 == 2] == [5, 5]


def test_a_deleted_run_takes_no_points_on_the_hot_path() -> None:
    """The hot path checks what the long way checks: a run that was deleted while it was active."""
    run = mlflow.start_run()
    mlflow.log_metric("m", 1.0, step=1)
    mlflow.delete_run(run.info.run_id)
    with pytest.raises(TrackingError, match="active"):
        mlflow.log_metric("m", 2.0, step=2)
    with pytest.raises(TrackingError, match="active"):
        mlflow.end_run()
    mlflow.TrackingClient().restore_run(run.info.run_id)
    assert mlflow.get_run(run.info.run_id).data.metrics == {"m": 1.0}


def test_metrics_can_go_to_another_run(store_path: str) -> None:
    """run_id logs to that run and starts none; a dataset is named with the point; an unknown model is refused."""

    class Data:
        name, digest = "d", "1"

    run_id = mlflow.TrackingClient().create_run("0").info.run_id
    mlflow.log_metric("m", 1.0, step=1, run_id=run_id, dataset=Data())
    mlflow.log_metrics({"m": 2.0}, run_id=run_id)
    mlflow.log_params({"p": 1}, run_id=run_id)
    assert mlflow.active_run() is None
    assert [batch.run_id for batch in logged(store_path)] == [run_id] * 3
    assert logged(store_path)[0].metrics[0].dataset_name == "d"
    with pytest.raises(TrackingError) as caught:
        mlflow.log_metric("m", 1.0, run_id=run_id, model_id="m-1")
    assert caught.value.error_code == "BAD_REQUEST"
