from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from localtrack import rules, values
from localtrack.entities import Metric
from localtrack.errors import TrackingError


class FakeTensor:
    """What torch.Tensor offers, recording that it left the graph and the GPU before it was read."""

    def __init__(self, value: float, path: tuple[str, ...] = ()) -> None:
        self.value = value
        self.path = path

    def detach(self) -> FakeTensor:
        return FakeTensor(self.value, (*self.path, "detach"))

    def cpu(self) -> FakeTensor:
        return FakeTensor(self.value, (*self.path, "cpu"))

    def item(self) -> float:
        assert self.path == ("detach", "cpu")
        return self.value


class FakeEagerTensor:
    """What a TensorFlow scalar offers: only __float__."""

    def __float__(self) -> float:
        return 2.5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (1.5, 1.5),
        (1, 1.0),
        (True, 1.0),
        ("1.5", 1.5),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 4), 0.25),
        (np.float32(0.5), 0.5),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.bool_(True), 1.0),  # noqa: FBT003
        (np.array(2.0), 2.0),
        (np.array([2.0]), 2.0),
        (np.array([[2]]), 2.0),
        (FakeTensor(0.75), 0.75),
        (FakeEagerTensor(), 2.5),
        (float("inf"), math.inf),
    ],
)
def test_metric_values_are_converted_as_mlflow_does(given: object, expected: float) -> None:
    """Scalars of numpy, torch and TensorFlow, numbers, bools and strings of numbers become exact floats."""
    value = values.metric_value("m", given)
    assert type(value) is float
    assert value == expected


@pytest.mark.parametrize("given", [None, "abc", "", [1.0], {}, 1j, np.array([1.0, 2.0]), 10**400, object(), b"1.5x"])
def test_what_is_not_one_number_is_refused(given: object) -> None:
    """A value that is no number, or several, is bad input."""
    with pytest.raises(TrackingError, match="'m'"):
        values.metric_value("m", given)


@pytest.mark.parametrize("given", [0, 2**63 - 1, -(2**63), 3.0, np.int64(5), np.float64(2.0), True])
def test_steps(given: object) -> None:
    """Steps are int64, negative ones too; integral floats are taken; the result is an exact int."""
    step = values.step("m", given)
    assert type(step) is int
    assert step == given


@pytest.mark.parametrize("given", [1.5, 2**63, -(2**63) - 1, "1", None, float("nan"), float("inf"), [1], 1e300])
def test_steps_that_a_server_would_lose_a_batch_over(given: object) -> None:
    """Fractional, overlong and non-numeric steps are refused: a server would store 0 and drop the rest."""
    with pytest.raises(TrackingError, match="step of metric 'm'"):
        values.step("m", given)


@pytest.mark.parametrize("given", [-1, 0.5, 2**63, "now", None])
def test_timestamps(given: object) -> None:
    """A timestamp is a whole number of milliseconds from 0 to 2**63 - 1."""
    assert values.timestamp("m", 0) == 0
    assert values.timestamp("m", 1.7e12) == 1_700_000_000_000
    with pytest.raises(TrackingError, match="timestamp of metric 'm'"):
        values.timestamp("m", given)


def test_a_dataset_has_a_name_and_a_digest() -> None:
    """One without the other is refused, as MLflow's Metric does."""
    assert values.dataset(None, None) == (None, None)
    assert values.dataset("d", "1234") == ("d", "1234")
    for name, digest in (("d", None), (None, "1"), ("d" * 501, "1"), ("d", "1" * 37)):
        with pytest.raises(TrackingError):
            values.dataset(name, digest)


def test_canonical_metrics_are_passed_on_untouched() -> None:
    """A batch that is canonical already is not copied; another one is converted, key by key."""
    rules.key("metric", "loss")
    good = [Metric("loss", 0.5, 1, 2)]
    assert values.canonical(good) is good
    converted = values.canonical([Metric("loss", np.float32(0.5), 1.0, np.int32(2))])  # type: ignore[arg-type]
    assert converted == good
    assert [type(part) for part in (converted[0].value, converted[0].timestamp, converted[0].step)] == [float, int, int]


@pytest.mark.parametrize(
    "bad",
    [
        Metric("a@b", 0.5, 1, 2),
        Metric("loss", "x", 1, 2),  # type: ignore[arg-type]
        Metric("loss", 0.5, -1, 2),
        Metric("loss", 0.5, 1, 2**63),
        Metric("loss", 0.5, None, 2),  # type: ignore[arg-type]
        Metric(["loss"], 0.5, 1, 2),  # type: ignore[arg-type]
        "loss",
        None,
        ("loss", 0.5, 1, 2),
    ],
)
def test_one_bad_metric_refuses_the_batch(bad: object) -> None:
    """One unacceptable metric anywhere in a batch is an error for the whole of it."""
    with pytest.raises(TrackingError):
        values.canonical([Metric("loss", 0.5, 1, 1), bad])  # type: ignore[list-item]
