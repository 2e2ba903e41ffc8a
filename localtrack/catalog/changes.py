"""What a pass over the records of one journal changes: ops folded into joined values. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from localtrack.catalog.merge import (
    NAME,
    RUN_NAME_TAG,
    TAG,
    Cell,
    CellKey,
    Rank,
    put,
)
from localtrack.journal.ops import (
    Damage,
    ExperimentCreate,
    Loss,
    ModelCreate,
    OpId,
    RunAttach,
    RunCreate,
    stamp_ms,
)

#: (name, digest, source_type, source, schema, profile, tags) of a dataset, as in RunInputs.
DatasetRow: TypeAlias = tuple[str, str, str, str, str | None, str | None, tuple[tuple[str, str], ...]]
#: How the id of a logged model begins; other owners of artifacts are runs.
MODEL_PREFIX = "m-"
INPUT, OUTPUT = "input", "output"

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
        run, key, extra, model: run_id, metric key, `extra_text`, model_id -> number. `extra` holds "" -> 0.
    """

    journal: int
    run: Mapping[str, int]
    key: Mapping[str, int]
    extra: Mapping[str, int]
    model: Mapping[str, int]


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
        attaches: run_id -> first attach.
        datasets: (run_id, name, digest) -> first input of that dataset.
        links: (run_id, INPUT or OUTPUT, model_id) -> first link and its step.
        history: (run_id, op) -> entry of the deprecated log_model.
        model_claims: (model_id, key, value) -> smallest OpId, as `claims`.
        model_ever: (model_id, tag key, value) -> nothing.
        artifacts: (owner, path) -> last (size, sha256).
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
    attaches: dict[str, tuple[OpId, RunAttach]] = field(default_factory=dict)
    datasets: dict[tuple[str, str, str], tuple[OpId, DatasetRow]] = field(default_factory=dict)
    links: dict[tuple[str, str, str], tuple[OpId, int]] = field(default_factory=dict)
    history: dict[tuple[str, OpId], str] = field(default_factory=dict)
    models: dict[str, tuple[OpId, ModelCreate]] = field(default_factory=dict)
    model_cells: dict[CellKey, Cell] = field(default_factory=dict)
    model_ever: dict[tuple[str, str, str], None] = field(default_factory=dict)
    model_claims: dict[tuple[str, str, str], OpId] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], tuple[OpId, int, str]] = field(default_factory=dict)
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


def reach(changes: Changes, n: int, stamp: int) -> None:
    """Note how far the records came."""
    if n > changes.upto:
        changes.upto, changes.last_stamp = n, stamp


def fold_points(changes: Changes, points: Points) -> None:
    """Add a stretch of records that hold nothing but points: what `fold` does, without a value per record."""
    run_id = points.run_id
    reach(changes, points.last_n, points.last_stamp)
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
