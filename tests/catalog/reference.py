"""The merge written a second time, from the rules alone and from all ops at once: slow, plain, for tests only."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from localtrack.journal import ops
from localtrack.journal.ops import OpId, stamp_ms
from tests.catalog.dump import Content
from tests.catalog.strategies import FakeJournal

#: (OpId, place in the record, value)
Write = tuple[OpId, int, Any]


def last(writes: Sequence[Write]) -> Any:
    """The value of the last write by (OpId, place)."""
    return max(writes, key=lambda write: write[:2])[2]


def content(journals: Sequence[FakeJournal]) -> Content:
    """What `dump` must give after importing `journals`."""
    every = [
        (OpId(record.stamp, journal.info.incarnation, record.n), record.op)
        for journal in journals
        for record in journal.records
    ]
    every.sort(key=lambda pair: pair[0])
    result: Content = {
        "journal": [journal_row(journal) for journal in journals],
        "damage": [
            (journal.info.incarnation, item.first_n, item.last_n, item.reason)
            for journal in journals
            for item in journal.items
            if isinstance(item, ops.Damage)
        ],
        "loss": [
            (op_id.incarnation, op_id.n, kind, count, op.reason)
            for op_id, op in every
            if isinstance(op, ops.Loss)
            for kind, count in op.counts
        ],
        "unknown": [],
    }
    for journal in journals:
        unknown = [record.op.kind for record in journal.records if isinstance(record.op, ops.Unknown)]
        result["unknown"] += [(journal.info.incarnation, kind, unknown.count(kind)) for kind in sorted(set(unknown))]
    result |= experiment_content(every)
    result |= run_content(every)
    result |= metric_content(every)
    result |= linked_content(every)
    result |= model_content(every)
    return {name: sorted(rows, key=repr) for name, rows in result.items()}


def journal_row(journal: FakeJournal) -> tuple[Any, ...]:
    """The row of `journal`."""
    info, stamps = journal.info, [record.stamp for record in journal.records]
    return (
        *(info.incarnation, info.host, info.pid, info.user, info.created_ms, info.format),
        len(journal.items),
        int(any(isinstance(record.op, ops.Seal) for record in journal.records)),
        max(stamps, default=0),
        stamp_ms(min(stamps)) if stamps else None,
        stamp_ms(max(stamps)) if stamps else None,
    )


def experiment_content(every: Sequence[tuple[OpId, ops.Op]]) -> Content:
    """Experiments, their registers and what they ever held."""
    kinds = (ops.ExperimentCreate, ops.ExperimentRename, ops.ExperimentTagSet, ops.ExperimentLifecycle)
    mine = [(op_id, op) for op_id, op in every if isinstance(op, kinds)]
    result: Content = {"experiment": [], "experiment_cell": [], "experiment_ever": []}
    for experiment_id in {op.experiment_id for _, op in mine} | {"0"}:
        of = [(op_id, op) for op_id, op in mine if op.experiment_id == experiment_id]
        creations = [(op_id, op) for op_id, op in of if isinstance(op, ops.ExperimentCreate)]
        renames = [(op_id, 0, op.name) for op_id, op in of if isinstance(op, ops.ExperimentRename)]
        covers = [(op_id, 0, int(op.deleted)) for op_id, op in of if isinstance(op, ops.ExperimentLifecycle)]
        tags: dict[str, list[Write]] = {}
        for op_id, op in of:
            if isinstance(op, ops.ExperimentTagSet):
                tags.setdefault(op.key, []).append((op_id, 0, op.value))
            elif isinstance(op, ops.ExperimentCreate):
                for place, (key, value) in enumerate(op.tags):
                    tags.setdefault(key, []).append((op_id, place, value))
        alive = covers + [(op_id, 0, 0) for op_id, _ in creations]
        created_name, location, born = ("Default" if experiment_id == "0" else None), None, None
        if creations:
            op_id, op = creations[0]
            created_name, location, born = op.name, op.artifact_location, stamp_ms(op_id.stamp)
        times = [stamp_ms(max(each)[0].stamp) for each in (renames, covers) if each]
        times += [] if born is None else [born]
        result["experiment"].append(
            (
                *(experiment_id, created_name, location, born),
                last(renames) if renames else created_name or "",
                last(alive) if alive else 0,
                max(times, default=None),
            )
        )
        cells: dict[tuple[str, str], list[Write]] = {
            ("name", ""): renames,
            ("covers", ""): covers,
            ("deleted", ""): alive,
        }
        cells |= {("tag", key): writes for key, writes in tags.items()}
        result["experiment_cell"] += [(experiment_id, *cell, last(writes)) for cell, writes in cells.items() if writes]
        ever = {("name", "", value) for _, _, value in renames} | {("name", "", op.name) for _, op in creations}
        ever |= {("tag", key, value) for key, writes in tags.items() for _, _, value in writes if value is not None}
        result["experiment_ever"] += [(experiment_id, *each) for each in ever]
    return result


def run_writes(op_id: OpId, op: ops.Op) -> tuple[list[tuple[str, Write]], list[Write]]:  # noqa: C901 - one rule a branch
    """Tag writes (key, write) and name writes of one op, in the order in which they count."""
    tags: list[tuple[str, Write]] = []
    names: list[Write] = []

    def name(value: str | None) -> None:
        if value:
            tags.append(("mlflow.runName", (op_id, len(tags), value)))
            names.append((op_id, len(names), value))

    def tag(key: str, value: str) -> None:
        if key == "mlflow.runName":
            name(value)
        else:
            tags.append((key, (op_id, len(tags), value)))

    if isinstance(op, ops.RunCreate):
        for key, value in op.tags:
            tag(key, value)
        name(op.name)
    elif isinstance(op, ops.RunUpdate):
        name(op.name)
        if op.ended_by is not None and is_end(op):
            tag(ops.ENDED_BY_TAG, op.ended_by)
    elif isinstance(op, ops.LogBatch):
        for key in op.deleted_tags:
            tags.append((key, (op_id, len(tags), None)))
        for each in op.tags:
            tag(each.key, each.value)
    return tags, names


def run_content(every: Sequence[tuple[OpId, ops.Op]]) -> Content:
    """Runs, their tags and params."""
    linked = (ops.RunAttach, ops.RunInputs, ops.RunOutputs, ops.RunModelLogged)
    kinds = (ops.RunCreate, ops.RunUpdate, ops.RunLifecycle, ops.LogBatch, *linked)
    result: Content = {name: [] for name in ("run", "run_tag", "run_tag_ever", "param", "param_claim", "run_journal")}
    mine = [(op_id, op) for op_id, op in every if isinstance(op, kinds) or is_file_of_run(op)]
    for run_id in {about(op) for _, op in mine}:
        of = [(op_id, op) for op_id, op in mine if about(op) == run_id]
        births: list[tuple[OpId, ops.Op]] = [(op_id, op) for op_id, op in of if isinstance(op, ops.RunCreate)]
        births += [(op_id, op) for op_id, op in of if isinstance(op, ops.RunAttach)]
        creation = births[0] if births else None
        result["run"].append(run_row(run_id, of, creation, every))
        tags = [write for op_id, op in of for write in run_writes(op_id, op)[0]]
        for key in {key for key, _ in tags}:
            writes = [write for each, write in tags if each == key]
            if key == ops.ENDED_BY_TAG:  # a status without it takes it back
                writes += [(i, -1, None) for i, op in of if isinstance(op, ops.RunUpdate) and op.status is not None]
            result["run_tag"].append((run_id, key, last(writes)))
            result["run_tag_ever"] += [(run_id, key, v) for v in {value for _, _, value in writes if value is not None}]
        params(result, run_id, of, creation[0].incarnation if creation else None)
        for incarnation in {op_id.incarnation for op_id, _ in of}:
            there = [(op_id, op) for op_id, op in of if op_id.incarnation == incarnation]
            batches = [(op_id, op) for op_id, op in there if isinstance(op, ops.LogBatch) and op.metrics]
            times = [stamp_ms(op_id.stamp) for op_id, _ in there]
            head = max((op_id.n * 4096 + len(op.metrics) - 1 for op_id, op in batches), default=-1)
            count = sum(len(op.metrics) for _, op in batches)
            result["run_journal"].append((run_id, incarnation, head, count, min(times), max(times)))
    return result


def is_file_of_run(op: ops.Op) -> bool:
    """Whether an op stores a file of a run."""
    return isinstance(op, ops.ArtifactStored) and not op.owner.startswith("m-")


def is_end(op: ops.RunUpdate) -> bool:
    """Whether somebody else than the run's own process ended it."""
    return op.ended_by is not None and op.status is not None


def about(op: Any) -> str:
    """The run that an op is about."""
    return str(op.owner if isinstance(op, ops.ArtifactStored) else op.run_id)


def run_row(run_id: str, of: Any, creation: Any, every: Any) -> tuple[Any, ...]:
    """The row of `run`."""
    names = [write for op_id, op in of for write in run_writes(op_id, op)[1]]
    updates = [(op_id, op) for op_id, op in of if isinstance(op, ops.RunUpdate)]
    statuses = [(op_id, 0, op.status) for op_id, op in updates if op.status is not None]
    ends: list[Write] = [(op_id, 0, op.end_time) for op_id, op in updates if op.end_time is not None and not is_end(op)]
    deciding = [(op_id, op) for op_id, op in updates if op.status is not None]
    if deciding and deciding[-1][1].ended_by is not None:
        ends = [(deciding[-1][0], 0, deciding[-1][1].end_time)]  # somebody else ended it, and nobody took that back
    own = [(op_id, 0, op.deleted) for op_id, op in of if isinstance(op, ops.RunLifecycle)]
    if not own:
        own = [(creation[0] if creation else OpId(0, "", 0), 0, False)]
    covers = []
    if creation and isinstance(creation[1], ops.RunCreate):
        covers = [
            (op_id, 0, op.deleted)
            for op_id, op in every
            if isinstance(op, ops.ExperimentLifecycle) and op.experiment_id == creation[1].experiment_id
        ]
    born: tuple[Any, ...] = (None, None, None, None, 0, None, None, None)
    if creation:
        op_id, op = creation
        attached = isinstance(op, ops.RunAttach)
        where = ("", "") if attached else (op.experiment_id, op.user_id)
        born = (*where, op.start_time, op.remote, int(attached), *op_id)
    return (
        run_id,
        *born,
        last(names) if names else "",
        last(statuses) if statuses else "RUNNING",
        last(ends) if ends else None,
        int(last(own + covers)),
    )


def params(result: Content, run_id: str, of: Any, owner: str | None) -> None:
    """Claims and winners: the owner's first value, else the first of all."""
    claims = [
        (op_id, param.key, param.value) for op_id, op in of if isinstance(op, ops.LogBatch) for param in op.params
    ]
    for key in {key for _, key, _ in claims}:
        mine = [(op_id, value) for op_id, each, value in claims if each == key]
        best = min(mine, key=lambda claim: (claim[0].incarnation != owner, claim))
        result["param"].append((run_id, key, best[1]))
        for incarnation, value in {(op_id.incarnation, value) for op_id, value in mine}:
            first = min(op_id for op_id, each in mine if (op_id.incarnation, each) == (incarnation, value))
            result["param_claim"].append((run_id, key, incarnation, value, first.stamp, first.n))


def metric_content(every: Sequence[tuple[OpId, ops.Op]]) -> Content:
    """Points and the latest of each key."""
    result: Content = {"metric": [], "metric_latest": []}
    latest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for op_id, op in every:
        if not isinstance(op, ops.LogBatch):
            continue
        for i, m in enumerate(op.metrics):
            nan = int(math.isnan(m.value))
            value = 0.0 if nan or m.value == 0 else m.value
            place = (op.run_id, op_id.incarnation, op_id.n * 4096 + i)
            result["metric"].append((*place, m.key, m.step, m.timestamp, value, nan, m.model_id, m.dataset_name))
            rank = (m.step, m.timestamp, value, nan)
            latest[op.run_id, m.key] = max(latest.get((op.run_id, m.key), rank), rank)
    result["metric_latest"] = [(*where, *rank) for where, rank in latest.items()]
    return result


def linked_content(every: Sequence[tuple[OpId, ops.Op]]) -> Content:
    """Datasets, models in and out, log_model entries: the first of each counts; files: the last of each path."""
    datasets: dict[Any, tuple[Any, ...]] = {}
    links: dict[Any, tuple[Any, ...]] = {}
    files: dict[Any, tuple[Any, ...]] = {}
    history = []
    for op_id, op in every:
        if isinstance(op, ops.RunInputs):
            for row in op.datasets:
                tags = json.dumps(row[6], separators=(",", ":"))
                datasets.setdefault((op.run_id, row[0], row[1]), (op.run_id, *row[:6], tags, *op_id))
            for model_id in op.models:
                links.setdefault((op.run_id, "input", model_id), (op.run_id, "input", model_id, 0, *op_id))
        elif isinstance(op, ops.RunOutputs):
            for model_id, step in op.models:
                links.setdefault((op.run_id, "output", model_id), (op.run_id, "output", model_id, step, *op_id))
        elif isinstance(op, ops.RunModelLogged):
            history.append((op.run_id, *op_id, op.model_json))
        elif isinstance(op, ops.ArtifactStored):
            files[op.owner, op.path] = (op.owner, op.path, op.size, op.sha256, *op_id)
    return {
        "dataset_input": list(datasets.values()),
        "model_link": list(links.values()),
        "model_history": list(history),
        "artifact": list(files.values()),
    }


def model_content(every: Sequence[tuple[OpId, ops.Op]]) -> Content:
    """Logged models, their tags and params."""
    kinds = (ops.ModelCreate, ops.ModelFinalize, ops.ModelTagsSet, ops.ModelParamsLogged, ops.ModelLifecycle)
    result: Content = {name: [] for name in ("model", "model_tag", "model_tag_ever", "model_param")}
    mine = [(op_id, op) for op_id, op in every if isinstance(op, kinds)]
    for model_id in {op.model_id for _, op in mine}:
        of = [(op_id, op) for op_id, op in mine if op.model_id == model_id]
        creation = next(((op_id, op) for op_id, op in of if isinstance(op, ops.ModelCreate)), None)
        tags = [
            (key, (op_id, place, value))
            for op_id, op in of
            if isinstance(op, ops.ModelCreate | ops.ModelTagsSet)
            for place, (key, value) in enumerate(op.tags)
        ]
        result["model"].append(model_row(model_id, of, creation, tags))
        for key in {key for key, _ in tags}:
            writes = [write for each, write in tags if each == key]
            result["model_tag"].append((model_id, key, last(writes)))
            values = {value for _, _, value in writes if value is not None}
            result["model_tag_ever"] += [(model_id, key, value) for value in values]
        claims = [
            (op_id, key, value)
            for op_id, op in of
            if isinstance(op, ops.ModelCreate | ops.ModelParamsLogged)
            for key, value in op.params
        ]
        owner = creation[0].incarnation if creation else None
        for key in {key for _, key, _ in claims}:
            best = min((op_id.incarnation != owner, op_id, value) for op_id, each, value in claims if each == key)
            result["model_param"].append((model_id, key, best[2]))
    return result


def model_row(model_id: str, of: Any, creation: Any, tags: Any) -> tuple[Any, ...]:
    """The row of `model`."""
    statuses = [(op_id, 0, op.status) for op_id, op in of if isinstance(op, ops.ModelFinalize)]
    lives = [(op_id, 0, int(op.deleted)) for op_id, op in of if isinstance(op, ops.ModelLifecycle)]
    # A write that a later one of the same register replaced does not count for the time of the last update, but then
    # the later one does.
    times = [stamp_ms(write[0].stamp) for write in (*statuses, *lives, *(write for _, write in tags))]
    born: tuple[Any, ...] = (None, "", None, None, None, None, None, None, None)
    if creation:
        op_id, op = creation
        times.append(stamp_ms(op_id.stamp))
        about_it = (op.experiment_id, op.name, op.model_type, op.source_run_id, op.remote)
        born = (*about_it, *op_id, stamp_ms(op_id.stamp))
    return (
        *(model_id, *born, last(statuses) if statuses else "PENDING", last(lives) if lives else 0),
        max(times, default=None),
    )
