"""From what training code has in hand to the numbers of a metric point. Pure.

No library is imported to recognise its scalars: numpy, torch, JAX and TensorFlow values are taken by what they can do
(`detach`, `cpu`, `item`, `__float__`), as MLflow's client converts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from localtrack.entities import Metric
from localtrack.errors import TrackingError
from localtrack.rules import (
    DATASET_DIGEST_LENGTH,
    DATASET_NAME_LENGTH,
    INT64_MAX,
    INT64_MIN,
    VALID_KEYS,
    items,
    key,
    shown,
    text,
)

_MODEL_ID_LENGTH = 256


def metric_value(name: str, value: object) -> float:
    """The value of metric `name` as an exact float; bools, numbers, strings of numbers and 0-d tensors are taken.

    Raises:
        TrackingError: None, or nothing that is one number.
    """
    if type(value) is float:
        return value
    if value is None:
        raise TrackingError(f"Missing value for metric {name!r}")
    try:
        return float(_scalar(value))  # type: ignore[arg-type] # whatever float() takes
    except Exception as error:
        raise TrackingError(f"Invalid value {shown(value)} for metric {name!r}: it must be one number") from error


def _scalar(value: object) -> object:
    """The Python scalar in a tensor or array; torch tensors leave the graph and the GPU first."""
    detach = getattr(value, "detach", None)
    if callable(detach):
        value = detach().cpu()
    item = getattr(value, "item", None)
    return item() if callable(item) else value


def step(name: str, value: object) -> int:
    """The step of a point of metric `name`: an int64; integral floats are taken.

    Raises:
        TrackingError: no integer, or outside int64.
    """
    return _int64(f"step of metric {name!r}", value, INT64_MIN)


def timestamp(name: str, value: object) -> int:
    """The time of a point of metric `name`: milliseconds since the epoch, 0 to 2**63 - 1; integral floats are taken.

    Raises:
        TrackingError: no integer, negative, or outside int64.
    """
    return _int64(f"timestamp of metric {name!r}", value, 0)


def milliseconds(what: str, value: object) -> int:
    """A time in milliseconds since the epoch, 0 to 2**63 - 1 (`what` names it for the message).

    Raises:
        TrackingError: no integer, negative, or outside int64.
    """
    return _int64(what, value, 0)


def _int64(what: str, value: object, least: int) -> int:
    if type(value) is int and least <= value <= INT64_MAX:
        return value
    try:
        # A fractional float must not get through: a server would store 0 and drop the rest of the batch.
        number = int(value) if isinstance(value, float) and value.is_integer() else index(value)  # type: ignore[arg-type]
    except Exception as error:
        raise TrackingError(f"Invalid {what}: {shown(value)} is not an integer") from error
    if not least <= number <= INT64_MAX:
        raise TrackingError(f"Invalid {what}: {shown(value)} is outside {least} to {INT64_MAX}")
    return int(number)


def dataset(name: object, digest: object) -> tuple[str | None, str | None]:
    """Name and digest of the dataset that a point was measured on: both or none.

    Raises:
        TrackingError: one without the other, or text that a server refuses.
    """
    if name is None and digest is None:
        return None, None
    if name is None or digest is None:
        raise TrackingError("Both dataset_name and dataset_digest must be provided if one is provided")
    return text("dataset_name", name, DATASET_NAME_LENGTH), text("dataset_digest", digest, DATASET_DIGEST_LENGTH)


def named_numbers(metrics: object) -> dict[str, float]:
    """Checked names and values of a mapping of metrics; the same dict when it is canonical already.

    Raises:
        TrackingError: no mapping, or a name or value that is not acceptable.
    """
    if (
        type(metrics) is dict
        and set(map(type, metrics)) == {str}
        and VALID_KEYS.issuperset(metrics)
        and set(map(type, metrics.values())) == {float}
    ):
        return metrics
    return {(k := key("metric", name)): metric_value(k, value) for name, value in items("metrics", metrics)}


def canonical(metrics: Sequence[Metric]) -> Sequence[Metric]:
    """`metrics` with canonical values; the same sequence when all are canonical already (the common case, and fast).

    Any objects with MLflow's attributes are taken, MLflow's own Metric among them.

    Raises:
        TrackingError: one of them is not acceptable; the message names it.
    """
    if _are_canonical(metrics):
        return metrics
    return [_metric(m) for m in metrics]


def with_model(metrics: Sequence[Metric], model_id: str) -> list[Metric]:
    """`metrics`, those that name no model made to name this one."""
    return [point if point.model_id else point._replace(model_id=model_id) for point in map(_metric, metrics)]


def _are_canonical(metrics: Sequence[Metric]) -> bool:
    """Column by column, in C: a loop over the points costs twice as much (bench/api.py, log_batch)."""
    if set(map(type, metrics)) != {Metric}:
        return False
    keys, numbers, times, steps, models, names, digests, _ = zip(*metrics, strict=True)
    return (
        set(map(type, numbers)) == {float}
        and set(map(type, times)) == {int} == set(map(type, steps))
        and set(map(type, keys)) == {str}
        and VALID_KEYS.issuperset(keys)
        and 0 <= min(times) <= max(times) <= INT64_MAX
        and INT64_MIN <= min(steps) <= max(steps) <= INT64_MAX
        and models.count(None) == names.count(None) == digests.count(None) == len(metrics)
    )


def _model_id(given: object) -> str | None:
    return None if given is None else text("model_id", given, _MODEL_ID_LENGTH)


def _metric(given: object) -> Metric:
    try:
        name, value, ts = given.key, given.value, given.timestamp  # type: ignore[attr-defined] # any object with these
        at = getattr(given, "step", 0)
    except AttributeError as error:
        raise TrackingError(f"Not a metric: {shown(given)} ({error})") from error
    name = key("metric", name)
    return Metric(
        name,
        metric_value(name, value),
        timestamp(name, ts),
        step(name, at),
        _model_id(getattr(given, "model_id", None)),
        *dataset(getattr(given, "dataset_name", None), getattr(given, "dataset_digest", None)),
    )
