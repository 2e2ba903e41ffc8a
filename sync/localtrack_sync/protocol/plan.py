"""Metric points into request bodies that fit the remote's limits. Pure; the hot loop of replay.

A body is put together as text: a third faster than json.dumps of dicts (`bench.planner` measures it). NaN and the
infinities become the strings that MLflow's protobuf parser reads; as bare words they would make it drop the rest of the
batch and answer 200.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from localtrack.catalog.desired import Point
from localtrack_sync.protocol.limits import Limits
from localtrack_sync.protocol.values import INFINITY

#: Room for the braces, the run id and the field names around the rows, in bytes.
ENVELOPE_BYTES = 1000


@dataclass(slots=True)
class Batch:
    """Metric points that go out in one request.

    Attributes:
        rows: their JSON texts, in the same order.
        fence: the last row, greatest (step, timestamp, value) of its key: seen as the latest on the remote, it proves
            that the whole batch was applied. None when NaN makes "greatest" ambiguous.
    """

    points: list[Point] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    fence: Point | None = None

    def body(self, run_id: str) -> bytes:
        """The request body."""
        return f'{{"run_id":{json.dumps(run_id)},"metrics":[{",".join(self.rows)}]}}'.encode("ascii")

    def split(self) -> list[Batch]:
        """Two halves."""
        middle = len(self.points) // 2
        halves = [Batch(self.points[:middle], self.rows[:middle]), Batch(self.points[middle:], self.rows[middle:])]
        for half in halves:
            set_fence(half)
        return halves

    def only(self, points: Iterable[Point]) -> Batch:
        """The batch without the points that are not in `points`."""
        kept = set(map(id, points))
        pairs = [(p, r) for p, r in zip(self.points, self.rows, strict=True) if id(p) in kept]
        batch = Batch([p for p, _ in pairs], [r for _, r in pairs])
        set_fence(batch)
        return batch


class _Group:
    """At most `metric_keys` names, whose points may share a request."""

    __slots__ = ("batch", "bytes", "keys")

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.batch = Batch()
        self.bytes = ENVELOPE_BYTES


def cut(
    points: Sequence[Point], limits: Limits, *, nan_apart: bool, models: Mapping[str, str] | None = None
) -> list[Batch]:
    """Points in batches within the limits, each point once, order kept within a key.

    Args:
        points: in any order.
        limits: of the remote.
        models: local ids of logged models -> ids on the remote; a point of any other goes without its model.
        nan_apart: NaNs go in batches of their own: servers before 3.16 refuse for ever to repeat a batch with one.
    """
    done: list[Batch] = []
    groups: dict[str, _Group] = {}
    nan_groups: dict[str, _Group] = {}
    last: list[_Group | None] = [None, None]
    most, room = limits.metrics, limits.body_bytes
    for point in points:
        value = point.value
        if value - value == 0.0:
            text, apart = repr(value), False
        else:
            text, apart = _special(value), nan_apart and value != value  # noqa: PLR0124
        table = nan_groups if apart else groups
        key = point.key
        group = table.get(key)
        if group is None:
            group = last[apart]
            if group is None or len(group.keys) >= limits.metric_keys:
                group = last[apart] = _Group()
            table[key] = group
            group.keys[key] = json.dumps(key)
        row = f'{{"key":{group.keys[key]},"value":{text},"timestamp":{point.ts},"step":{point.step}}}'
        if point.dataset_name is not None or models is not None:
            row = _more(row, point, models or {})
        batch = group.batch
        group.bytes += len(row) + 1
        if len(batch.rows) >= most or (group.bytes > room and batch.rows):
            _close(batch, done)
            batch = group.batch = Batch()
            group.bytes = ENVELOPE_BYTES + len(row) + 1
        batch.points.append(point)
        batch.rows.append(row)
    for group in {id(g): g for table in (groups, nan_groups) for g in table.values()}.values():
        _close(group.batch, done)
    return done


def row_of(point: Point, key: str, models: Mapping[str, str]) -> str:
    """The JSON text of one point, whose name is `key` as JSON text."""
    value = point.value
    text = repr(value) if value - value == 0.0 else _special(value)
    row = f'{{"key":{key},"value":{text},"timestamp":{point.ts},"step":{point.step}}}'
    return _more(row, point, models)


def _more(row: str, point: Point, models: Mapping[str, str]) -> str:
    """A row with the logged model and the dataset that its point was logged to."""
    model_id = models.get(point.model_id) if point.model_id is not None else None
    named = {"model_id": model_id, "dataset_name": point.dataset_name, "dataset_digest": point.dataset_digest}
    extra = "".join(f',"{name}":{json.dumps(text)}' for name, text in named.items() if text is not None)
    return f"{row[:-1]}{extra}}}"


def _close(batch: Batch, done: list[Batch]) -> None:
    set_fence(batch)
    done.append(batch)


def _special(value: float) -> str:
    """NaN and the infinities as JSON strings; an int that is too large for a double is the caller's mistake."""
    if value == INFINITY:
        return '"Infinity"'
    if value == -INFINITY:
        return '"-Infinity"'
    assert value != value, f"not a float: {value!r}"  # noqa: PLR0124 - NaN is what differs from itself
    return '"NaN"'


def set_fence(batch: Batch) -> None:
    """Move the greatest row of one key to the end, and name it."""
    points = batch.points
    key = points[-1].key
    best = len(points) - 1
    top = points[best]
    for index, point in enumerate(points):
        if point.key == key:
            if point.value != point.value:
                batch.fence = None
                return
            if (point.step, point.ts, point.value) > (top.step, top.ts, top.value):
                best, top = index, point
    if best != len(points) - 1:
        points.append(points.pop(best))
        batch.rows.append(batch.rows.pop(best))
    batch.fence = top
