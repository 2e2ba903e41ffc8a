"""Whatever a program passes to a log call: a TrackingError and nothing written, or canonical values in the journal."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import TrackingError
from localtrack.journal.ops import LogBatch, Op, Record
from localtrack.journal.reader import JournalReader
from localtrack.service import Service
from localtrack.settings import load
from localtrack.store import Store


class Hostile:
    """An object whose conversions raise whatever they like."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def fail(self, *_: object) -> Any:
        raise self.error

    # Hypothesis itself needs __repr__, __eq__ and __hash__; a broken __repr__ has a test of its own in test_rules.
    __str__ = __float__ = __int__ = __index__ = __len__ = __bool__ = fail


_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | st.text()
    | st.text(alphabet=st.characters(categories=["Cs", "Cc", "Lu"]), min_size=1)
    | st.binary()
    | st.complex_numbers()
    | st.decimals(allow_nan=True)
    | st.fractions()
    | st.sampled_from(
        [np.float32(0.1), np.int64(3), np.ones(1, bool)[0], np.array(1.0), np.array([1, 2]), np.float64("nan")]
    )
    | st.sampled_from([Hostile(error) for error in (ValueError, TypeError, KeyError, RuntimeError, RecursionError)])
    | st.sampled_from(["1e999", "NaN", "inf", "1_000", "٣", " 1 ", Decimal("1e400"), Fraction(10**400, 1), object()])
)
anything = _scalars | st.lists(_scalars, max_size=3) | st.dictionaries(st.text(max_size=3), _scalars, max_size=2)
keys = st.sampled_from(["loss", "a/b", "é", "x" * 250]) | anything


class Bench:
    """A store and a run to log to, and a way to see what each call appended."""

    def __init__(self, home: Path) -> None:
        self.service = Service(Store.at(home / "store"), load({"HOME": str(home)}), clock=lambda: 5)
        self.run_id = self.service.create_run("0").info.run_id
        self.seen = 1

    def new_ops(self) -> list[Op]:
        path = self.service.journal.path
        assert path is not None
        with JournalReader(path) as reader:
            records = list(reader.read(self.seen))
        self.seen += len(records)
        assert all(isinstance(record, Record) for record in records)
        return [record.op for record in records if isinstance(record, Record)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One store for all examples of this module."""
    return Bench(tmp_path_factory.mktemp("admission"))


def assert_canonical(op: Op) -> None:
    """Exact types, int64 numbers, text that strict JSON in UTF-8 can carry."""
    if not isinstance(op, LogBatch):
        fields = [getattr(op, name) for name in op.__dataclass_fields__]
        assert all(type(field) in (str, int, bool, tuple, type(None)) for field in fields)
        json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
        return
    batch = op
    for metric in batch.metrics:
        assert [type(metric.key), type(metric.value)] == [str, float]
        assert [type(metric.timestamp), type(metric.step)] == [int, int]
        assert 0 <= metric.timestamp < 2**63
        assert -(2**63) <= metric.step < 2**63
        value = metric.value if math.isfinite(metric.value) else str(metric.value)
        json.dumps([metric.key, value, metric.timestamp, metric.step], allow_nan=False, ensure_ascii=False).encode()
    entities: list[Param | RunTag] = [*batch.params, *batch.tags]
    for entity in entities:
        assert [type(entity.key), type(entity.value)] == [str, str]
        assert "\0" not in entity.value
        assert len(entity.value) <= 8000
        json.dumps([entity.key, entity.value], ensure_ascii=False).encode()
    for key in batch.deleted_tags:
        assert type(key) is str


def check(bench: Bench, call: Any) -> None:
    """Make the call: either it is refused and the journal is as before, or what it added is canonical."""
    try:
        call()
    except TrackingError as error:
        refused: TrackingError | None = error
    else:
        refused = None
    ops = bench.new_ops()
    if refused is not None:
        assert refused.message.encode()
        assert ops == []
    for op in ops:
        assert_canonical(op)


@settings(deadline=None, max_examples=300)
@given(key=keys, value=anything, timestamp=st.none() | anything, step=st.none() | anything, data=anything)
def test_any_metric(bench: Bench, key: Any, value: Any, timestamp: Any, step: Any, data: Any) -> None:
    """log_metric with arbitrary arguments never lets anything but canonical points into the journal."""
    check(bench, lambda: bench.service.log_metric(bench.run_id, key, value, timestamp, step))
    check(bench, lambda: bench.service.log_metric(bench.run_id, "m", value, dataset_name=data, dataset_digest=data))
    check(bench, lambda: bench.service.log_metric(bench.run_id, key, 1.0, 1, 1, model_id=data))
    check(bench, lambda: bench.service.log_metrics(bench.run_id, data, timestamp, step))
    named: Any = {"loss": 1.0, key if isinstance(key, str | int | bytes | None) else "m": value}
    check(bench, lambda: bench.service.log_metrics(bench.run_id, named, 1, 1))


@settings(deadline=None, max_examples=300)
@given(
    metrics=st.lists(st.builds(Metric, keys, anything, anything, anything) | anything, max_size=4),
    params=st.lists(st.builds(Param, keys, anything) | anything, max_size=3),
    tags=st.lists(st.builds(RunTag, keys, anything) | anything, max_size=3),
)
def test_any_batch(bench: Bench, metrics: Any, params: Any, tags: Any) -> None:
    """log_all with arbitrary entities writes all of a call, canonical, or nothing of it."""
    check(bench, lambda: bench.service.log_all(bench.run_id, metrics, params, tags))


@settings(deadline=None, max_examples=300)
@given(key=keys, value=anything)
def test_any_param_and_tag(bench: Bench, key: Any, value: Any) -> None:
    """log_param, set_tag and delete_tag with arbitrary arguments."""
    check(bench, lambda: bench.service.log_param(bench.run_id, key, value))
    check(bench, lambda: bench.service.set_tag(bench.run_id, key, value))
    check(bench, lambda: bench.service.delete_tag(bench.run_id, key))


@settings(deadline=None, max_examples=200)
@given(one=anything, two=anything, three=anything, four=anything)
def test_any_run_and_experiment(bench: Bench, one: Any, two: Any, three: Any, four: Any) -> None:
    """Lifecycle calls with arbitrary arguments raise a TrackingError or write ops of exact types."""
    service = bench.service
    for call in (
        lambda: service.create_run(one, two, three, four, None),
        lambda: service.create_run("0", one, two, three, four),
        lambda: service.create_run("0", tags={one: two} if isinstance(one, str) else three),
        lambda: service.update_run(bench.run_id, one, two, three),
        lambda: service.update_run(one, "RUNNING"),
        lambda: service.create_experiment(one, two, three),
        lambda: service.set_experiment_tag("0", one, two),
        lambda: service.update_experiment(one, two),
        lambda: service.log_metric(one, "m", 1.0),
    ):
        check(bench, call)
