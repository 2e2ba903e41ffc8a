"""The account of one run or logged model on one remote, from what is wanted and what is known. Pure.

It asks the same questions as the engine does (`RunPass`), so that "owed" here is what a replay would still do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from localtrack.catalog.desired import DesiredModel, DesiredRun, StoredFile
from localtrack.catalog.entries import ModelEntry, RunEntry
from localtrack_sync.delivery.item_pass import DELETED, STATUS, ItemPass
from localtrack_sync.delivery.links import OUTPUT
from localtrack_sync.delivery.model_pass import ModelPass
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.cells import is_settled
from localtrack_sync.protocol.history import entry_names
from localtrack_sync.protocol.jobs import Progress, ReplaySettings
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import Parked, Record, Rejected
from localtrack_sync.protocol.request import HISTORY_TAG, PARENT_TAG
from localtrack_sync.protocol.steps import Desk
from localtrack_sync.uploads.file_place import file_open

#: Kinds of a run's records.
RUN_KINDS = ("run", "param", "tag", "metric", "input", "output", "file")


@dataclass(frozen=True, slots=True)
class RunAccount:
    """One run (or logged model) and one remote: every record of it is in exactly one of the columns.

    A record is one metric point, one param, one tag, one file, one input or output, one value that journals disagree
    on, or the run itself (its creation, status, times and life). Points that their run has and their logged model lacks
    count once more: one record for each that was refused, one for all of a model that is waited for.

    Attributes:
        run_id, name, experiment_id, experiment: the local run or logged model.
        remote_run_id: its id there, or None when it is not there yet.
        total: delivered + owed + conflicts + rejected + parked + superseded.
        delivered: the remote has it.
        owed: to be sent.
        conflicts: the remote (or another journal) holds another value that is not ours to change.
        rejected: the remote refused it, with the reason kept.
        parked: waits for something (a run deleted over there, ...).
        superseded: is not to be sent (tags that only the remote itself may set).
        oldest_owed_ms: when the oldest record that is still owed was logged, ms since the epoch, or None.
        reasons: why records are stuck, one line each.
        owed_by_kind: kind ("run", "model", "param", "tag", "metric", "input", "output", "file") -> how many are owed.
        files, files_delivered: how many files it has, and how many of them the remote has.
        bytes, bytes_owed: their size, and the size of those that are owed.
        kind: "run" or "model".
    """

    run_id: str
    name: str
    experiment_id: str
    experiment: str
    remote_run_id: str | None
    total: int
    delivered: int
    owed: int
    conflicts: int = 0
    rejected: int = 0
    parked: int = 0
    superseded: int = 0
    oldest_owed_ms: int | None = None
    reasons: tuple[str, ...] = ()
    owed_by_kind: tuple[tuple[str, int], ...] = ()
    files: int = 0
    files_delivered: int = 0
    bytes: int = 0
    bytes_owed: int = 0
    kind: str = "run"

    def __post_init__(self) -> None:
        columns = (self.delivered, self.owed, self.conflicts, self.rejected, self.parked, self.superseded)
        assert sum(columns) == self.total, f"run {self.run_id}: {columns} do not add up to {self.total}"
        assert min(columns) >= 0, f"run {self.run_id}: a negative column in {columns}"

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> RunAccount:
        """The account whose fields `facts` holds, lists in the place of tuples."""
        by_kind = tuple((str(kind), int(count)) for kind, count in facts["owed_by_kind"])
        return cls(**{**facts, "reasons": tuple(facts["reasons"]), "owed_by_kind": by_kind})


def untouched(entry: RunEntry) -> RunAccount:
    """The account of a run of which the remote has nothing and nothing is known."""
    kinds = {"run": 1, "param": entry.params, "tag": entry.tags, "metric": entry.points, "file": entry.files}
    kinds |= {"input": entry.inputs, "output": entry.outputs + entry.models_logged}
    owed = sum(kinds.values())
    return RunAccount(
        entry.run_id, entry.name, entry.experiment_id, entry.experiment_name, None,
        total=owed + entry.param_conflicts, delivered=0, owed=owed, conflicts=entry.param_conflicts,
        oldest_owed_ms=entry.oldest_ms, owed_by_kind=_by_kind(kinds),
        files=entry.files, bytes=entry.bytes, bytes_owed=entry.bytes,
    )  # fmt: skip


def account(
    entry: RunEntry,
    desired: DesiredRun,
    records: Iterable[Record],
    parent_remote_id: str | None,
    points_beyond: int,
    first_owed_ms: int | None,
    settings: ReplaySettings,
    models: Mapping[str, str],
    files: tuple[StoredFile, ...] = (),
) -> RunAccount:
    """The account of a run of which something is known.

    Args:
        entry: the run in the catalog's index.
        desired: the run in whole.
        records: its delivery state.
        parent_remote_id: id of its parent run on the remote, None while that is not there.
        points_beyond: metric points beyond the watermarks.
        first_owed_ms: timestamp of the first of these.
        settings: for the dialect.
        models: ids of logged models on the remote, as far as they are known.
        files: of the run.
    """
    desk, ledger = Desk(settings, _no_rng, Progress()), ledger_of("run", entry.run_id, records)
    run = RunPass(desk, ledger, desired, parent_remote_id, models=dict(models), files=files)
    columns: Counter[tuple[str, str]] = Counter()
    columns["run", _run_column(run)] += 1
    columns["param", "conflicts"] += len(desired.param_conflicts)
    owed_params, owed_tags, sent_tags = run.owed_params(), run.owed_tags(), run.tags()
    for key in desired.params:
        columns["param", _column(run, "param", key, owed=key in owed_params)] += 1
    for key in desired.tags:
        waits = key == PARENT_TAG or (key == HISTORY_TAG and not run.is_bound)
        here = "superseded" if key not in sent_tags and not waits else _tag_column(run, key, owed_tags)
        columns["tag", here] += 1
    stuck = Counter(
        name for name in ("rejected", "parked") for kind, _ in getattr(run.ledger, name) if kind == "metric"
    )
    columns["metric", "owed"] += points_beyond
    columns["metric", "rejected"] += stuck["rejected"]
    columns["metric", "parked"] += stuck["parked"]
    # Not below zero: a rejected point stays listed when the journal that held it has been deleted.
    columns["metric", "delivered"] += max(0, entry.points - points_beyond - stuck.total())
    _count_files(run, columns)
    _count_links(run, columns)
    if run.ledger.whole_parked() is not None:
        columns = _all_parked(columns)
    return _made(entry, run, columns, first_owed_ms)


def _count_links(run: RunPass, columns: Counter[tuple[str, str]]) -> None:
    """Inputs, outputs, entries of log_model, and points that their logged models lack."""
    owed = set(run.owed_links()) | {("log_model", name) for name in run.owed_entries()}
    for kind, key in run.links():
        column = _column(run, kind, key, owed=(kind, key) in owed)
        columns["output" if kind == OUTPUT else "input", column] += 1
    names = entry_names(run.desired.models_logged)
    if names and (not run.is_bound or run.appends()):
        for name in names:
            waits = ("log_model", name) in owed or not run.is_bound
            columns["output", _column(run, "log_model", name, owed=waits)] += 1
    elif names:  # they stand in one tag
        columns["output", _tag_column(run, HISTORY_TAG, run.owed_tags())] += len(names)
    for column in ("rejected", "parked"):
        columns["metric", column] += sum(1 for kind, _ in getattr(run.ledger, column) if kind == "model_metric")


def ledger_of(scope: str, scope_id: str, records: Iterable[Record]) -> Ledger:
    """The records of one scope, as the engine sees them."""
    ledger = Ledger(scope, scope_id)
    filling = ledger.load()
    next(filling)
    try:
        filling.send(tuple(records))
    except StopIteration:
        return ledger
    raise AssertionError("a ledger is filled by one Load")


def _run_column(run: RunPass) -> str:
    """Where the run itself stands: creation, status, times, life, name, and tags that are to go away."""
    ledger = run.ledger
    if any(kind in ("name", "lifecycle", "status") for kind, _ in ledger.conflicts):
        return "conflicts"
    if any(kind in ("status", "name") for kind, _ in ledger.rejected):
        return "rejected"
    if ledger.run is None or ledger.run.state != "bound":
        return "owed"
    lifecycle = is_settled(ledger.cells.get(DELETED), "1" if run.desired.deleted else "0")
    others = set(run.owed_tags()) - set(run.desired.tags)
    return "owed" if run.status_owed() or not lifecycle or others else "delivered"


def _column(run: ItemPass, kind: str, key: str, *, owed: bool) -> str:
    ledger = run.ledger
    if (kind, key) in ledger.parked:
        return "parked"
    if owed:
        return "owed"  # also what was rejected or collided with another value before
    if (kind, key) in ledger.conflicts:
        return "conflicts"
    return "rejected" if (kind, key) in ledger.rejected else "delivered"


def _tag_column(run: ItemPass, key: str, owed: Mapping[str, str | None]) -> str:
    cell = run.ledger.cells.get(key)
    if cell is not None and cell.pinned:
        return "conflicts"
    waits_for_parent = key == PARENT_TAG and (cell is None or cell.base is None)
    return _column(run, "tag", key, owed=key in owed or waits_for_parent)


def _count_files(item: ItemPass, columns: Counter[tuple[str, str]]) -> None:
    for file in item.files:
        columns["file", _file_column(item, file)] += 1


def _with_files(made: RunAccount, item: ItemPass, columns: Counter[tuple[str, str]]) -> RunAccount:
    """An account with the fields that tell of files."""
    owed = [file.size for file in item.files if _file_column(item, file) in ("owed", "parked")]
    return replace(
        made, files=len(item.files), files_delivered=columns["file", "delivered"],
        bytes=sum(file.size for file in item.files), bytes_owed=sum(owed),
    )  # fmt: skip


def _file_column(run: ItemPass, file: StoredFile) -> str:
    if not file_open(run.ledger, file):
        return "rejected" if ("file", file.path) in run.ledger.rejected else "delivered"
    parked = run.ledger.parked
    return "parked" if ("file", file.path) in parked or ("file", "") in parked else "owed"


def _all_parked(columns: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """The whole run is parked: what would be owed waits."""
    return _moved(columns, "parked")


def _moved(columns: Counter[tuple[str, str]], into: str) -> Counter[tuple[str, str]]:
    moved: Counter[tuple[str, str]] = Counter()
    for (kind, column), count in columns.items():
        moved[kind, into if column == "owed" else column] += count
    return moved


def untouched_model(entry: ModelEntry, experiment: str) -> RunAccount:
    """The account of a logged model of which the remote has nothing and nothing is known."""
    kinds = {"model": 1, "param": entry.params, "tag": entry.tags, "file": entry.files}
    owed = sum(kinds.values())
    return RunAccount(
        entry.model_id, entry.name, entry.experiment_id, experiment, None, total=owed, delivered=0, owed=owed,
        oldest_owed_ms=entry.creation_ms, owed_by_kind=_by_kind(kinds), kind="model",
        files=entry.files, bytes=entry.bytes, bytes_owed=entry.bytes,
    )  # fmt: skip


def model_account(
    entry: ModelEntry,
    experiment: str,
    desired: DesiredModel,
    records: Iterable[Record],
    settings: ReplaySettings,
    files: tuple[StoredFile, ...] = (),
) -> RunAccount:
    """The account of a logged model of which something is known."""
    ledger = ledger_of("model", entry.model_id, records)
    model = ModelPass(Desk(settings, _no_rng, Progress()), ledger, desired, files=files)
    columns: Counter[tuple[str, str]] = Counter()
    gone = model.gone_with_us()
    owed_params, owed_tags, sent = model.owed_params(), model.owed_tags(), model.tags()
    for key in desired.params:
        columns["param", _column(model, "param", key, owed=key in owed_params)] += 1
    for key in desired.tags:
        columns["tag", "superseded" if key not in sent else _tag_column(model, key, owed_tags)] += 1
    columns["model", _model_column(model)] += 1
    _count_files(model, columns)
    if gone:  # what was not sent before it was deleted need not be sent any more
        columns = _moved(columns, "superseded")
    elif ledger.whole_parked() is not None:
        columns = _all_parked(columns)
    sums: Counter[str] = Counter()
    for (_, column), count in columns.items():
        sums[column] += count
    made = RunAccount(
        entry.model_id, entry.name, entry.experiment_id, experiment,
        remote_run_id=(ledger.run.remote_id or None) if ledger.run is not None else None,
        total=sums.total(), delivered=sums["delivered"], owed=sums["owed"], conflicts=sums["conflicts"],
        rejected=sums["rejected"], parked=sums["parked"], superseded=sums["superseded"],
        oldest_owed_ms=(entry.creation_ms if ledger.run is None else entry.updated_ms) if sums["owed"] else None,
        reasons=_reasons(model),
        owed_by_kind=_by_kind({kind: columns[kind, "owed"] for kind in ("model", "param", "tag", "file")}),
        kind="model",
    )  # fmt: skip
    return _with_files(made, model, columns)


def _model_column(model: ModelPass) -> str:
    """Where the model itself stands: creation, status, life, and tags that are to go away."""
    if ("status", STATUS) in model.ledger.rejected:
        return "rejected"
    if not model.is_bound:
        return "owed"
    if model.gone_with_us():
        return "delivered"
    others = set(model.owed_tags()) - set(model.desired.tags)
    return "owed" if model.status_owed() or model.desired.deleted or others else "delivered"


def _made(entry: RunEntry, run: RunPass, columns: Counter[tuple[str, str]], first_owed_ms: int | None) -> RunAccount:
    sums: Counter[str] = Counter()
    for (_, column), count in columns.items():
        sums[column] += count
    binding = run.ledger.run
    made = RunAccount(
        entry.run_id, entry.name, entry.experiment_id, entry.experiment_name,
        remote_run_id=(binding.remote_id or None) if binding is not None else None,
        total=sums.total(), delivered=sums["delivered"], owed=sums["owed"], conflicts=sums["conflicts"],
        rejected=sums["rejected"], parked=sums["parked"], superseded=sums["superseded"],
        oldest_owed_ms=_oldest(entry, run, first_owed_ms) if sums["owed"] else None,
        reasons=_reasons(run),
        owed_by_kind=_by_kind({kind: columns[kind, "owed"] for kind in RUN_KINDS}),
    )  # fmt: skip
    return _with_files(made, run, columns)


def _oldest(entry: RunEntry, run: RunPass, first_owed_ms: int | None) -> int:
    """When the oldest owed record was logged; a partly delivered run's is known by the first owed point's timestamp."""
    if run.ledger.run is None:
        return entry.oldest_ms
    if first_owed_ms is None:
        return entry.newest_ms
    return min(max(first_owed_ms, entry.oldest_ms), entry.newest_ms)


def _reasons(run: ItemPass) -> tuple[str, ...]:
    ledger = run.ledger
    stuck: list[Rejected | Parked] = [*ledger.rejected.values(), *ledger.parked.values()]
    return tuple(dict.fromkeys(f"{one.kind} {one.key}: {one.reason}" if one.key else one.reason for one in stuck))


def _by_kind(kinds: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple((kind, count) for kind, count in kinds.items() if count)


def _no_rng() -> float:
    raise AssertionError("accounts draw no random numbers")
