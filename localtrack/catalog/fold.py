"""One record of a journal folded into `Changes`: a rule for each kind of op. Pure: no I/O, no clock."""

from __future__ import annotations

from localtrack.catalog.changes import (
    INPUT,
    MODEL_PREFIX,
    OPEN_END,
    OUTPUT,
    Changes,
    extent_of,
    extra_text,
    put_name,
    put_tag,
    reach,
)
from localtrack.catalog.merge import (
    COVERS,
    DELETED,
    END_TIME,
    ENDED,
    NAME,
    STATUS,
    TAG,
    Rank,
    first,
    put,
)
from localtrack.entities import Metric
from localtrack.journal.ops import (
    ENDED_BY_TAG,
    POSITIONS_PER_RECORD,
    ArtifactStored,
    Damage,
    ExperimentCreate,
    ExperimentLifecycle,
    ExperimentRename,
    ExperimentTagSet,
    LogBatch,
    Loss,
    ModelCreate,
    ModelFinalize,
    ModelLifecycle,
    ModelParamsLogged,
    ModelTagsSet,
    Op,
    OpId,
    Record,
    RunAttach,
    RunCreate,
    RunInputs,
    RunLifecycle,
    RunModelLogged,
    RunOutputs,
    RunUpdate,
    Seal,
    Unknown,
    stamp_ms,
)
from localtrack.json_text import loaded


def fold(changes: Changes, record: Record | Damage) -> None:
    """Add one record to `changes`, or note that it cannot be read."""
    if isinstance(record, Damage):
        changes.damage.append(record)
        if record.last_n < OPEN_END:
            reach(changes, record.last_n, 0)
        return
    ms = stamp_ms(record.stamp)
    reach(changes, record.n, record.stamp)
    changes.max_stamp = max(changes.max_stamp, record.stamp)
    changes.first_ms = min(changes.first_ms, ms)
    changes.last_ms = max(changes.last_ms, ms)
    _fold_op(changes, OpId(record.stamp, changes.incarnation, record.n), record.op)


def _fold_op(changes: Changes, op_id: OpId, op: Op) -> None:
    match op:
        case LogBatch():
            _fold_batch(changes, op_id, op)
        case RunCreate() | RunUpdate() | RunLifecycle():
            _fold_run(changes, op_id, op)
        case ExperimentCreate() | ExperimentRename() | ExperimentTagSet() | ExperimentLifecycle():
            _fold_experiment(changes, op_id, op)
        case RunAttach() | RunInputs() | RunOutputs() | RunModelLogged():
            _fold_links(changes, op_id, op)
        case ModelCreate() | ModelFinalize() | ModelTagsSet() | ModelParamsLogged() | ModelLifecycle():
            _fold_model(changes, op_id, op)
        case ArtifactStored():
            _fold_artifact(changes, op_id, op)
        case Loss():
            changes.losses.append((op_id.n, op))
        case Seal():
            changes.sealed = True
        case Unknown(kind=kind):
            changes.unknown[kind] = changes.unknown.get(kind, 0) + 1
        case _:
            raise AssertionError(f"an op that the merge does not know: {op!r}")


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
        if op.ended_by is not None and op.status is not None:
            put(cells, (where, ENDED, ""), op_id, op.end_time)
            put_tag(changes, op_id, where, ENDED_BY_TAG, op.ended_by)
        elif op.end_time is not None:
            put(cells, (where, END_TIME, ""), op_id, op.end_time)
        put_name(changes, op_id, where, op.name)


def _fold_links(changes: Changes, op_id: OpId, op: RunAttach | RunInputs | RunOutputs | RunModelLogged) -> None:
    where = op.run_id
    extent_of(changes, where, stamp_ms(op_id.stamp))
    if isinstance(op, RunAttach):
        old = changes.attaches.get(where)
        if old is None or op_id < old[0]:
            changes.attaches[where] = (op_id, op)
    elif isinstance(op, RunModelLogged):
        if not isinstance(loaded(op.model_json), dict):
            raise TypeError("an entry of log_model that is no JSON object")
        changes.history[where, op_id] = op.model_json
    elif isinstance(op, RunOutputs):
        for model_id, step in op.models:
            _link(changes, op_id, (where, OUTPUT, model_id), step)
    else:
        for row in op.datasets:
            name, digest = row[0], row[1]
            known = changes.datasets.get((where, name, digest))
            if known is None or op_id < known[0]:
                changes.datasets[where, name, digest] = (op_id, row)
        for model_id in op.models:
            _link(changes, op_id, (where, INPUT, model_id), 0)


def _link(changes: Changes, op_id: OpId, where: tuple[str, str, str], step: int) -> None:
    old = changes.links.get(where)
    if old is None or op_id < old[0]:
        changes.links[where] = (op_id, step)


def _fold_model(
    changes: Changes,
    op_id: OpId,
    op: ModelCreate | ModelFinalize | ModelTagsSet | ModelParamsLogged | ModelLifecycle,
) -> None:
    where, cells = op.model_id, changes.model_cells
    if isinstance(op, ModelCreate):
        old = changes.models.get(where)
        if old is None or op_id < old[0]:
            changes.models[where] = (op_id, op)
    if isinstance(op, ModelCreate | ModelTagsSet):
        for key, value in op.tags:
            put(cells, (where, TAG, key), op_id, value)
            if value is not None:
                changes.model_ever[where, key, value] = None
    if isinstance(op, ModelCreate | ModelParamsLogged):
        for key, value in op.params:
            first(changes.model_claims, (where, key, value), op_id)
    if isinstance(op, ModelFinalize):
        put(cells, (where, STATUS, ""), op_id, op.status)
    if isinstance(op, ModelLifecycle):
        put(cells, (where, DELETED, ""), op_id, int(op.deleted))


def _fold_artifact(changes: Changes, op_id: OpId, op: ArtifactStored) -> None:
    if not op.owner.startswith(MODEL_PREFIX):
        extent_of(changes, op.owner, stamp_ms(op_id.stamp))
    old = changes.artifacts.get((op.owner, op.path))
    if old is None or op_id > old[0]:
        changes.artifacts[op.owner, op.path] = (op_id, op.size, op.sha256)


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
