"""Module functions that log to the active run; without one they start one."""

from __future__ import annotations

from typing import Any

from localtrack import rules
from localtrack.entities import Param, RunTag
from localtrack.fluent.active import thread
from localtrack.fluent.runs import run_for_log
from localtrack.rules import INT64_MAX, INT64_MIN, VALID_KEYS
from localtrack.run_operations import RunOperations, finished
from localtrack.service import Service
from localtrack.service.active_model import active_model_id
from localtrack.service.current import current_service


def log_metric(
    key: str,
    value: float,
    step: int | None = None,
    synchronous: bool | None = None,
    timestamp: int | None = None,
    run_id: str | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """Append one point to a metric of the active run; it survives a kill of the process when the call returns.

    Args:
        key: name, at most 250 characters.
        value: a number, a bool, or a tensor or array of one number.
        step: int64; None is 0.
        synchronous: False returns a finished RunOperations.
        timestamp: milliseconds since the epoch; None or 0 is now.
        run_id: another run than the active one.
        model_id: a logged model of the store; None is the active one, else one that came out of the run at this step.
        dataset: what was measured on; it becomes an input of the run, and so does the model.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, or BAD_REQUEST for an unknown model_id.
    """
    # The hot path: nothing to convert, nothing to look up. Everything else goes the long way, which checks the same.
    if (
        type(value) is float
        and (step is None or (type(step) is int and INT64_MIN <= step <= INT64_MAX))
        and type(key) is str
        and key in VALID_KEYS
        and run_id is None
        and synchronous is None
        and timestamp is None
        and model_id is None
        and dataset is None
        and (direct := thread.direct)
    ):
        run = direct[0]
        if not run.known.deleted and not run.service.settings.async_logging:
            run.append_metric(run.known.run_id, key, value, None, step or 0)
            return None
    service, target = _target(run_id)
    models = _models(service, target, run_id, step, model_id)
    if dataset is None and not models:
        service.log_metric(target, key, value, timestamp or None, step)
    else:
        # Of several models that came out at this step MLflow's function takes the first.
        service.log_measured(target, {key: value}, timestamp or None, step, models[:1] or [None], dataset)
    return finished(synchronous, async_by_default=service.settings.async_logging)


def log_metrics(
    metrics: dict[str, float],
    step: int | None = None,
    synchronous: bool | None = None,
    run_id: str | None = None,
    timestamp: int | None = None,
    model_id: str | None = None,
    dataset: Any = None,
) -> RunOperations | None:
    """Append one point to each of several metrics, as one record; arguments as for log_metric."""
    service, target = _target(run_id)
    models = _models(service, target, run_id, step, model_id)
    if dataset is None and not models:
        service.log_metrics(target, metrics, timestamp or None, step)
    else:
        service.log_measured(target, metrics, timestamp or None, step, models or [None], dataset)
    return finished(synchronous, async_by_default=service.settings.async_logging)


def log_param(key: str, value: Any, synchronous: bool | None = None) -> Any:
    """Log a param of the active run, once; the value is stringified. Returns `value`."""
    run = run_for_log()
    run.service.log_param(run.info.run_id, key, value)
    return finished(synchronous, async_by_default=run.service.settings.async_logging) or value


def log_params(
    params: dict[str, Any], synchronous: bool | None = None, run_id: str | None = None
) -> RunOperations | None:
    """Log params; values are stringified."""
    service, target = _target(run_id)
    pairs = [Param(key, value) for key, value in rules.items("params", params)]  # type: ignore[arg-type] # checked below
    if pairs:
        service.log_all(target, params=pairs)
    return finished(synchronous, async_by_default=service.settings.async_logging)


def set_tag(key: str, value: Any, synchronous: bool | None = None) -> RunOperations | None:
    """Set a tag of the active run; the value is stringified."""
    run = run_for_log()
    run.service.set_tag(run.info.run_id, key, value)
    return finished(synchronous, async_by_default=run.service.settings.async_logging)


def set_tags(tags: dict[str, Any], synchronous: bool | None = None) -> RunOperations | None:
    """Set tags of the active run; values are stringified."""
    run = run_for_log()
    pairs = [RunTag(key, value) for key, value in rules.items("tags", tags)]  # type: ignore[arg-type] # checked below
    if pairs:
        run.service.log_all(run.info.run_id, tags=pairs)
    return finished(synchronous, async_by_default=run.service.settings.async_logging)


def delete_tag(key: str) -> None:
    """Delete a tag of the active run; RESOURCE_DOES_NOT_EXIST if it has none of that name."""
    run = run_for_log()
    run.service.delete_tag(run.info.run_id, key)


def flush_async_logging() -> None:
    """Return at once: nothing is asynchronous here. For the disk's own guarantee see `flush(sync=True)`."""


def flush(sync: bool = False) -> bool:
    """Write what trouble with the disk kept in memory; with `sync`, return when power loss can no longer take anything.

    Returns:
        True when nothing is pending, and nothing was lost since the last call.
    """
    services = [run.service for run in thread.stack] or [current_service()]
    stores = {service.store.path: service for service in services}
    flushed = [service.flush(sync=sync) for service in stores.values()]  # each of them, whatever the first one says
    return all(flushed)


def _target(run_id: str | None) -> tuple[Service, str]:
    if run_id is not None:
        for run in thread.stack:  # an active run keeps its store, whatever the tracking URI says now
            if run.info.run_id == run_id:
                return run.service, run_id
        return current_service(), run_id
    run = run_for_log()
    return run.service, run.info.run_id


def _models(
    service: Service, target: str, run_id: str | None, step: int | None, model_id: str | None
) -> list[str | None]:
    """The models that a metric belongs to: the one given, the active one, else the run's outputs at this step."""
    chosen = model_id or active_model_id()
    if chosen:
        return [chosen]
    if run_id is not None:
        return [*service.model_outputs_at(target, step)]
    # As in MLflow, outputs of the active run count from its next start on.
    outputs = thread.stack[-1].outputs.model_outputs
    return [output.model_id for output in outputs if output.step == (step or 0)]
