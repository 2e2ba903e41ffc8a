"""What a pass over the records of one journal changes: ops folded into joined values. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from localtrack.catalog.merge import (
    COVERS,
    DELETED,
    END_TIME,
    NAME,
    RUN_NAME_TAG,
    STATUS,
    TAG,
    Cell,
    CellKey,
    Rank,
    first,
    put,
)
from localtrack.entities import Metric
from localtrack.journal.ops import (
    POSITIONS_PER_RECORD,
    Damage,
    ExperimentCreate,
    ExperimentLifecycle,
    ExperimentRename,
    ExperimentTagSet,
    LogBatch,
    Loss,
    OpId,
    Record,
    RunCreate,
    RunLifecycle,
    RunUpdate,
    Seal,
    Unknown,
    stamp_ms,
)

#: last_n of damage at the end of a file that does not tell how far it went: more may yet be read behind it.
OPEN_END = 1 << 62
#: How the reason of damage begins when the record is whole, but not something that a catalog can hold.
CANNOT_KEEP = "cannot be kept"

#: One metric point as the table `metric` holds it: run, journal, pos, key, step, ts, value, nan, extra. Run, journal,
#: key and extra are the catalog's own numbers; value is 0.0 when nan is 1 (SQLite has no NaN).
MetricRow: TypeAlias = tuple[int, int, int, int, int, int, float, int, int]


@dataclass(frozen=True)
class Numbers:
    """The catalog's own numbers of names; a name that is looked up gets one.

    Attributes:
        journal: the journal that is being imported.
        run, key, extra: run_id, metric key, `extra_text` -> number. `extra` holds "" -> 0.
    """

    journal: int
    run: Mapping[str, int]
    key: Mapping[str, int]
    extra: Mapping[str, int]


@dataclass(slots=True)
class Extent:
    """What one journal says about one run: greatest position of a point, count, first and last record (ms)."""

    head: int = -1
    points: int = 0
    first_ms: int = 1 << 62
    last_ms: int = 0


@dataclass
class Changes:
    """What a pass over records of one journal adds to the catalog.

    Attributes:
        incarnation: the journal.
        claims: (run_id, key, value) -> smallest OpId of this journal for that param value.
        run_ever: (run_id, tag key, value) -> nothing: every value ever written to a tag.
        experiment_ever: (experiment_id, kind, key, value) -> nothing: the same, and every name.
        upto: greatest record number seen, 0 for none; `last_stamp` is its stamp, 0 when it is damaged.
    """

    incarnation: str
    numbers: Numbers
    runs: dict[str, tuple[OpId, RunCreate]] = field(default_factory=dict)
    experiments: dict[str, tuple[OpId, ExperimentCreate]] = field(default_factory=dict)
    run_cells: dict[CellKey, Cell] = field(default_factory=dict)
    experiment_cells: dict[CellKey, Cell] = field(default_factory=dict)
    run_ever: dict[tuple[str, str, str], None] = field(default_factory=dict)
    experiment_ever: dict[tuple[str, str, str, str], None] = field(default_factory=dict)
    claims: dict[tuple[str, str, str], OpId] = field(default_factory=dict)
    metrics: list[MetricRow] = field(default_factory=list)
    latest: dict[tuple[int, int], Rank] = field(default_factory=dict)
    extents: dict[str, Extent] = field(default_factory=dict)
    losses: list[tuple[int, Loss]] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    unknown: dict[int, int] = field(default_factory=dict)
    sealed: bool = False
    upto: int = 0
    last_stamp: int = 0
    max_stamp: int = 0
    first_ms: int = 1 << 62
    last_ms: int = 0


class Points(Protocol):
    """Metrics of one run from consecutive records that hold nothing else (localtrack.journal.reader.Points)."""

    @property
    def run_id(self) -> str:
        """The run."""

    @property
    def last_n(self) -> int:
        """The last record."""

    @property
    def first_stamp(self) -> int:
        """Stamp of the first record."""

    @property
    def last_stamp(self) -> int:
        """Stamp of the last record."""

    @property
    def rows(self) -> Sequence[tuple[int, str, int, int, float]]:
        """(pos, key, step, ts, value), in order."""


def fold(changes: Changes, record: Record | Damage) -> None:
    """Add one record to `changes`, or note that it cannot be read."""
    if isinstance(record, Damage):
        changes.damage.append(record)
        if record.last_n < OPEN_END:
            _reach(changes, record.last_n, 0)
        return
    op_id = OpId(record.stamp, changes.incarnation, record.n)
    op = record.op
    ms = stamp_ms(record.stamp)
    _reach(changes, record.n, record.stamp)
    changes.max_stamp = max(changes.max_stamp, record.stamp)
    changes.first_ms = min(changes.first_ms, ms)
    changes.last_ms = max(changes.last_ms, ms)
    if isinstance(op, LogBatch):
        _fold_batch(changes, op_id, op)
    elif isinstance(op, RunCreate | RunUpdate | RunLifecycle):
        _fold_run(changes, op_id, op)
    elif isinstance(op, ExperimentCreate | ExperimentRename | ExperimentTagSet | ExperimentLifecycle):
        _fold_experiment(changes, op_id, op)
    elif isinstance(op, Loss):
        changes.losses.append((record.n, op))
    elif isinstance(op, Seal):
        changes.sealed = True
    elif isinstance(op, Unknown):
        changes.unknown[op.kind] = changes.unknown.get(op.kind, 0) + 1
    else:
        raise AssertionError(f"an op that the merge does not know: {op!r}")  # noqa: TRY004 - a broken invariant


def _reach(changes: Changes, n: int, stamp: int) -> None:
    if n > changes.upto:
        changes.upto, changes.last_stamp = n, stamp


def fold_points(changes: Changes, points: Points) -> None:
    """Add a stretch of records that hold nothing but points: what `fold` does, without a value per record."""
    run_id = points.run_id
    _reach(changes, points.last_n, points.last_stamp)
    changes.max_stamp = max(changes.max_stamp, points.first_stamp, points.last_stamp)
    first_ms, last_ms = stamp_ms(points.first_stamp), stamp_ms(points.last_stamp)
    changes.first_ms = min(changes.first_ms, first_ms)
    changes.last_ms = max(changes.last_ms, last_ms)
    extent_of(changes, run_id, first_ms)
    extent = extent_of(changes, run_id, last_ms)
    if not points.rows:
        return
    extent.points += len(points.rows)
    extent.head = max(extent.head, points.rows[-1][0])
    _add_rows(changes, changes.numbers.run[run_id], points.rows)


def _add_rows(changes: Changes, run: int, rows: Sequence[tuple[int, str, int, int, float]]) -> None:
    """The hot loop of an import: one pass, no call per point."""
    journal, key_of = changes.numbers.journal, changes.numbers.key
    add = changes.metrics.append
    latest: dict[str, tuple[int, int, float, int]] = {}
    newest = latest.get
    for pos, key, step, ts, logged in rows:
        if logged == logged:  # noqa: PLR0124 - only a NaN differs from itself; a call per point costs more
            value, nan = logged + 0.0, 0  # + 0.0: SQLite knows no -0.0
        else:
            value, nan = 0.0, 1
        add((run, journal, pos, key_of[key], step, ts, value, nan, 0))
        old = newest(key)
        if old is None or step > old[0] or (step == old[0] and (step, ts, value, nan) > old):
            latest[key] = (step, ts, value, nan)
    for key, rank in latest.items():
        where = (run, key_of[key])
        known = changes.latest.get(where)
        if known is None or rank > known:
            changes.latest[where] = Rank(*rank)


def extent_of(changes: Changes, run_id: str, ms: int) -> Extent:
    """The extent of a run, stretched to a record at `ms`."""
    extent = changes.extents.get(run_id)
    if extent is None:
        extent = changes.extents[run_id] = Extent()
    extent.first_ms = min(extent.first_ms, ms)
    extent.last_ms = max(extent.last_ms, ms)
    return extent


def _fold_experiment(
    changes: Changes,
    op_id: OpId,
    op: ExperimentCreate | ExperimentRename | ExperimentTagSet | ExperimentLifecycle,
) -> None:
    where, cells = op.experiment_id, changes.experiment_cells
    if isinstance(op, ExperimentCreate):
        old = changes.experiments.get(where)
        if old is None or op_id < old[0]:
            changes.experiments[where] = (op_id, op)
        # A machine that did not know of the deletion goes on logging: its later creation brings the experiment back,
        # else its runs could never be delivered. Only the runs made since then are back with it.
        put(cells, (where, DELETED, ""), op_id, 0)
        changes.experiment_ever[where, NAME, "", op.name] = None
        for key, value in op.tags:
            _put_experiment_tag(changes, op_id, where, key, value)
    elif isinstance(op, ExperimentRename):
        put(cells, (where, NAME, ""), op_id, op.name)
        changes.experiment_ever[where, NAME, "", op.name] = None
    elif isinstance(op, ExperimentLifecycle):
        put(cells, (where, DELETED, ""), op_id, int(op.deleted))
        put(cells, (where, COVERS, ""), op_id, int(op.deleted))
    else:
        _put_experiment_tag(changes, op_id, where, op.key, op.value)


def _put_experiment_tag(changes: Changes, op_id: OpId, where: str, key: str, value: str | None) -> None:
    put(changes.experiment_cells, (where, TAG, key), op_id, value)
    if value is not None:
        changes.experiment_ever[where, TAG, key, value] = None


def _fold_run(changes: Changes, op_id: OpId, op: RunCreate | RunUpdate | RunLifecycle) -> None:
    where, cells = op.run_id, changes.run_cells
    extent_of(changes, where, stamp_ms(op_id.stamp))
    if isinstance(op, RunCreate):
        old = changes.runs.get(where)
        if old is None or op_id < old[0]:
            changes.runs[where] = (op_id, op)
        for key, value in op.tags:
            put_tag(changes, op_id, where, key, value)
        put_name(changes, op_id, where, op.name)
    elif isinstance(op, RunLifecycle):
        put(cells, (where, DELETED, ""), op_id, int(op.deleted))
    else:
        if op.status is not None:
            put(cells, (where, STATUS, ""), op_id, op.status)
        if op.end_time is not None:
            put(cells, (where, END_TIME, ""), op_id, op.end_time)
        put_name(changes, op_id, where, op.name)


def put_name(changes: Changes, op_id: OpId, run_id: str, name: str | None) -> None:
    """Name and name tag in one; an empty name changes nothing."""
    if name:
        put(changes.run_cells, (run_id, NAME, ""), op_id, name)
        put(changes.run_cells, (run_id, TAG, RUN_NAME_TAG), op_id, name)
        changes.run_ever[(run_id, RUN_NAME_TAG, name)] = None


def put_tag(changes: Changes, op_id: OpId, run_id: str, key: str, value: str) -> None:
    """Set a tag of a run."""
    if key == RUN_NAME_TAG:
        put_name(changes, op_id, run_id, value)
        return
    put(changes.run_cells, (run_id, TAG, key), op_id, value)
    changes.run_ever[(run_id, key, value)] = None


def _fold_batch(changes: Changes, op_id: OpId, op: LogBatch) -> None:
    run_id = op.run_id
    extent = extent_of(changes, run_id, stamp_ms(op_id.stamp))
    for param in op.params:
        first(changes.claims, (run_id, param.key, param.value), op_id)
    for key in op.deleted_tags:
        put(changes.run_cells, (run_id, TAG, key), op_id, None)
    for tag in op.tags:
        put_tag(changes, op_id, run_id, tag.key, tag.value)
    if op.metrics:
        assert len(op.metrics) <= POSITIONS_PER_RECORD, "a record holds more points than it has positions"
        base = op_id.n * POSITIONS_PER_RECORD
        run = changes.numbers.run[run_id]
        for pos, metric in enumerate(op.metrics, base):
            _fold_metric(changes, run, pos, metric)
        extent.points += len(op.metrics)
        extent.head = max(extent.head, base + len(op.metrics) - 1)


def _fold_metric(changes: Changes, run: int, pos: int, metric: Metric) -> None:
    nan = int(metric.value != metric.value)
    value = 0.0 if nan else metric.value + 0.0  # SQLite knows no -0.0 either
    numbers = changes.numbers
    key = numbers.key[metric.key]
    extra = numbers.extra[extra_text(metric.model_id, metric.dataset_name, metric.dataset_digest)]
    changes.metrics.append((run, numbers.journal, pos, key, metric.step, metric.timestamp, value, nan, extra))
    rank = Rank(metric.step, metric.timestamp, value, nan)
    old = changes.latest.get((run, key))
    if old is None or rank > old:
        changes.latest[run, key] = rank


def extra_text(model_id: str | None, dataset_name: str | None, dataset_digest: str | None) -> str:
    """The model and dataset of a point as one text that can be interned: "" for none, else three parts with lengths."""
    if model_id is None and dataset_name is None and dataset_digest is None:
        return ""
    return "".join("-" if part is None else f"{len(part)}:{part}" for part in (model_id, dataset_name, dataset_digest))


def extra_parts(text: str) -> tuple[str | None, str | None, str | None]:
    """The inverse of `extra_text`."""
    parts: list[str | None] = []
    while text:
        if text[0] == "-":
            parts.append(None)
            text = text[1:]
        else:
            length, _, rest = text.partition(":")
            parts.append(rest[: int(length)])
            text = rest[int(length) :]
    return (parts[0], parts[1], parts[2]) if parts else (None, None, None)
