"""Metric points in request bodies."""

from __future__ import annotations

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.catalog.desired import Point
from localtrack_sync.protocol.limits import MLFLOW, Limits
from localtrack_sync.protocol.plan import cut, row_of
from localtrack_sync.protocol.values import canonical, identity, remote_identity

SMALL = Limits(metrics=7, metric_keys=3, body_bytes=1400)

keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)
values = st.floats(width=64) | st.just(math.nan) | st.just(-0.0)
points = st.lists(
    st.builds(
        Point,
        incarnation=st.just("j"),
        pos=st.integers(0, 2**40),
        key=keys,
        value=values,
        ts=st.integers(0, 2**63 - 1),
        step=st.integers(-(2**63), 2**63 - 1),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(points, st.booleans())
def test_batches_keep_every_limit_and_every_point(some: list[Point], nan_apart: bool) -> None:
    """Whatever the points: each travels once, in a batch within rows, names and bytes, as strict JSON, unchanged."""
    batches = cut(some, SMALL, nan_apart=nan_apart)
    sent = []
    for batch in batches:
        body = batch.body("a-run")
        assert len(batch.points) == len(batch.rows) <= SMALL.metrics
        assert len({p.key for p in batch.points}) <= SMALL.metric_keys
        assert len(body) <= SMALL.body_bytes or len(batch.points) == 1
        given_back = json.loads(body, parse_constant=lambda name: f"a bare {name}")
        assert given_back["run_id"] == "a-run"
        assert [remote_identity(m) for m in given_back["metrics"]] == [identity(p) for p in batch.points]
        assert all(type(m["step"]) is int and type(m["timestamp"]) is int for m in given_back["metrics"])
        if nan_apart:
            assert len({math.isnan(p.value) for p in batch.points}) == 1
        sent += batch.points
    assert sorted(map(id, sent)) == sorted(map(id, some))


@settings(max_examples=300, deadline=None)
@given(points)
def test_the_last_row_is_the_greatest_of_its_name(some: list[Point]) -> None:
    """A fence is the last row, and no row of the same name in its batch is greater by step, time and value."""
    for batch in cut(some, SMALL, nan_apart=False):
        if batch.fence is None:
            assert any(math.isnan(p.value) for p in batch.points)
            continue
        assert batch.fence is batch.points[-1]
        own = [(p.step, p.ts, p.value) for p in batch.points if p.key == batch.fence.key]
        assert max(own) == (batch.fence.step, batch.fence.ts, batch.fence.value)


def test_a_hundred_and_fifty_names_fill_their_batches() -> None:
    """150 names at 100 steps make 15,000 points: 16 requests, not 150 (names are grouped, not cut where they come)."""
    some = [Point("j", i, f"m{i % 150}", 1.0, 1, i // 150) for i in range(15_000)]
    assert len(cut(some, MLFLOW, nan_apart=False)) <= 16


def test_values_compare_as_the_server_keeps_them() -> None:
    """Infinity is the greatest double, -0.0 is 0.0, NaN equals NaN; different numbers stay different."""
    assert canonical(math.inf) == canonical(1.7976931348623157e308)
    assert canonical(-math.inf) == canonical(-1.7976931348623157e308)
    assert canonical(-0.0) == canonical(0.0)
    assert canonical(math.nan) == canonical(float("nan"))
    assert canonical(0.1) != canonical(0.1 + 2**-55)


def test_rows_name_models_and_datasets() -> None:
    """A point's model travels under its id on the remote, one that is not there is left out; a dataset always goes."""
    linked = Point("j", 1, "m", math.nan, 5, 2, "m-1", "data", "d1")
    [batch] = cut([linked, linked._replace(pos=2, model_id="m-2")], MLFLOW, nan_apart=False, models={"m-1": "m-9"})
    rows = [json.loads(row) for row in batch.rows]
    assert sorted(row.get("model_id", "") for row in rows) == ["", "m-9"]
    assert {(row["dataset_name"], row["dataset_digest"]) for row in rows} == {("data", "d1")}
    assert row_of(linked, '"m"', {"m-1": "m-9"}) in batch.rows
    [plain] = cut([linked], MLFLOW, nan_apart=False)
    assert "model_id" not in json.loads(plain.rows[0])
