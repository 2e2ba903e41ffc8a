"""What a delivery state still proves when the remote was restored from a backup, or lost data. Pure.

`localtrack sync --repair` marks the bindings of runs as doubted. The next job of such a run looks at the remote, and
one transaction makes of its records what they would be if we had stopped delivering where the remote stands now: what
is there stays delivered, what is not is owed again. Conflicts and pins that still hold are kept; values that others
wrote are as safe as ever. From there on the ordinary replay goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from localtrack.catalog.desired import DesiredExperiment
from localtrack_sync.protocol.cells import spelled
from localtrack_sync.protocol.effects import Save
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import Cell, Conflict, Intent, ParamDelivered, Record, RunBinding, Watermark
from localtrack_sync.protocol.request import UID_TAG
from localtrack_sync.protocol.snapshot import RemoteExperiment, RemoteItem, RemoteRun
from localtrack_sync.uploads.manifest import MANIFEST

#: State of a run's binding: its remote id is known, and nothing else is believed.
DOUBTED = "doubted"
NAME, STATUS, DELETED = "@name", "@status", "@deleted"
#: Kinds of intents, as `links` and `log_model` write them.
LINKS, LOG_MODEL = "links", "log_model"


#: Whether a value in a tag (name, value) may be there as our own.
Ours: TypeAlias = Callable[[str, str], bool]


@dataclass(slots=True)
class Change:
    """Records to put and to drop, in one transaction."""

    puts: list[Record] = field(default_factory=list)
    drops: list[Record] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at a doubted run or logged model showed.

    Attributes:
        remote: as the remote shows it, tags cut to what it can hold.
        ours: whether a value in a tag may be there as our own.
        most: characters of a param that the remote keeps.
        wall_s: seconds since the epoch.
        settle_s: how old a state a look may show.
        points: every point up to the watermarks was found.
        links: all inputs and outputs were found, under the ids that their models had.
        sweep: it was created by us, perhaps twice.
    """

    remote: RemoteItem
    ours: Ours
    most: int
    wall_s: float
    settle_s: float
    points: bool = True
    links: bool = True
    sweep: bool = True


def doubt(records: Iterable[Record]) -> Save:
    """What marks the runs among these records: whatever was delivered to them is to be looked at again."""
    bound = (one for one in records if isinstance(one, RunBinding) and one.state == "bound")
    return Save(tuple(replace(one, state=DOUBTED) for one in bound))


# --- runs ---


def still_there(ledger: Ledger, found: Found) -> Change:
    """What the records of a doubted run or logged model become when the remote has it."""
    assert ledger.run is not None, "doubted, so it was bound"
    change, remote = Change(), found.remote
    # A second run with our uid, deleted since the backup was made, may be live again: it is looked for in this pass.
    sweep_wall_s = max(ledger.run.sweep_wall_s, found.wall_s if found.sweep else 0.0)
    change.puts.append(replace(ledger.run, state="bound", artifact_uri=remote.artifact_uri, sweep_wall_s=sweep_wall_s))
    _params(change, ledger, {key: value[: found.most] for key, value in remote.params.items()}, found.wall_s)
    for key, cell in ledger.cells.items():
        if not key.startswith("@"):
            _again(change, ledger, "tag", cell, remote.tags.get(key), found.ours, found.wall_s - found.settle_s)
    ended = (f"{remote.status} {remote.end_time}",) if isinstance(remote, RemoteRun) else ()
    _register(change, ledger.cells.get(STATUS), (remote.status, *ended))
    live = "" if isinstance(remote, RemoteRun) else "0"
    _register(change, ledger.cells.get(DELETED), ("1" if remote.deleted else "0",), live)
    if not found.points:
        _points(change, ledger)
    if not (found.links and remote.deleted):
        _links(change, ledger)
    if not remote.deleted:
        _files(change, ledger)
    return change


def gone(ledger: Ledger) -> Change:
    """What the records of a doubted run or model become when the remote does not have it: it is made again.

    That journals disagree stays on record. The number of creates goes on, so that an earlier one that comes to light is
    told from the next.
    """
    assert ledger.run is not None, "doubted, so it was bound"
    creating = replace(
        ledger.run, state="creating", remote_id="", artifact_uri="", fresh=False, restores=0, sweep_wall_s=0.0
    )
    kept = [one for (kind, _), one in ledger.conflicts.items() if kind == "journals"]
    return Change([creating], [one for one in ledger.everything() if one not in kept and one is not ledger.run])


def _params(change: Change, ledger: Ledger, shown: dict[str, str], wall_s: float) -> None:
    for key, delivered in ledger.params.items():
        there = shown.get(key)
        if there != delivered.value:
            change.drops.append(delivered)
        if there is not None and there != delivered.value:
            where = (delivered.scope, delivered.scope_id)
            change.puts.append(Conflict(*where, "param", key, delivered.value, there, since_wall_s=wall_s))
    for (kind, key), conflict in ledger.conflicts.items():
        there = shown.get(key)
        if kind != "param" or (there == conflict.theirs and there is not None):
            continue
        if there is not None and there != conflict.ours:
            change.puts.append(replace(conflict, theirs=there))
            continue
        change.drops.append(conflict)
        if there is not None:
            change.puts.append(ParamDelivered(conflict.scope, conflict.scope_id, key, there))


def _again(
    change: Change, ledger: Ledger, kind: str, cell: Cell, shown: str | None, ours: Ours, settled_wall_s: float
) -> None:
    """A cell that others may write to, and the conflict that says that they did.

    A look may show the time before their write, when that is young: then the pin is not doubted.
    """
    if cell.pinned and cell.wrote_wall_s > settled_wall_s:
        return
    after = doubted_cell(cell, shown, ours=shown is not None and ours(cell.key, shown))
    if after is cell:
        return
    change.puts.append(after)
    conflict = ledger.conflicts.get((kind, cell.key))
    if conflict is not None:
        (change.puts if after.pinned else change.drops).append(replace(conflict, theirs=shown))


def doubted_cell(cell: Cell, shown: str | None, *, ours: bool) -> Cell:
    """What is believed of a place that others may write to, once the remote shows `shown` in it.

    A value that localtrack logged at some time, and absence, count as an older state of ours that came back, and will
    be written over. Anything else is somebody's, and is left alone.
    """
    ours = ours or shown is None or spelled(shown) in {cell.unsettled, *cell.poss}
    if cell.pinned:
        if shown == cell.base:
            return cell
        return replace(cell, base=shown, pinned=not ours, sure=not ours)
    if shown == cell.base and not cell.unsettled:
        return cell
    poss = cell.poss if not ours else tuple(sorted({*cell.poss, spelled(shown)}))
    return replace(cell, sure=False, poss=poss)


def _register(change: Change, cell: Cell | None, shown: tuple[str, ...], live: str = "") -> None:
    """Status and life: ours to write, so what is not as we left it is written again.

    That we deleted a run is remembered, also when it is live again. A logged model that we deleted owes nothing for
    ever: one that is live again is known as live.
    """
    if cell is not None and cell.base not in shown:
        change.puts.append(replace(cell, base=live if live in shown else cell.base, sure=False))


def _points(change: Change, ledger: Ledger) -> None:
    """Every point up to where we were may be there or not: read back before anything is sent."""
    upto = {inc: max(mark.upto, mark.verify_upto) for inc, mark in ledger.watermarks.items()}
    for intent in (one for kind, one in ledger.intents.items() if kind == "metrics"):
        for cover in intent.covers:
            inc, _, pos = cover.rpartition("=")
            upto[inc] = max(upto.get(inc, 0), int(pos))
        change.drops.append(intent)
    for inc, last in upto.items():
        old = ledger.watermarks.get(inc) or Watermark("run", ledger.scope_id, inc)
        change.puts.append(replace(old, upto=0, verify_upto=last))


def _links(change: Change, ledger: Ledger) -> None:
    """Inputs, outputs and log_model entries, as after a request that nobody answered: they are read back first.

    In a run that we deleted this is left out while all of them are there: it would have to be restored for it.
    """
    collided = [one for (kind, _), one in ledger.conflicts.items() if kind == "output"]
    change.drops += [*ledger.linked.values(), *collided]
    appended = any(kind == LOG_MODEL for kind, _ in ledger.linked)
    if appended:
        change.puts.append(Intent("run", ledger.scope_id, LOG_MODEL))
    if collided or any(kind != LOG_MODEL for kind, _ in ledger.linked):
        change.puts.append(Intent("run", ledger.scope_id, LINKS))


def _files(change: Change, ledger: Ledger) -> None:
    """Files, as after a lost delivery state: what the manifest there and the remote's list agree on is there.

    The record of the manifest stays, without its content: it says that older files of ours may lie there.
    """
    for path, record in ledger.files.items():
        if record.unsettled or path == MANIFEST:
            change.puts.append(replace(record, sha256="", size=-1))
        else:
            change.drops.append(record)


# --- experiments ---


def same_experiment(ledger: Ledger, desired: DesiredExperiment, remote: RemoteExperiment) -> bool:
    """Whether what the remote shows under the known id is still the experiment that was bound.

    SQL servers count ids up: after a restored backup another experiment may get an id again.
    """
    uid = remote.tags.get(UID_TAG)
    if uid is not None:
        return uid == desired.experiment_id or (ledger.experiment is not None and not ledger.experiment.created)
    name = ledger.cells.get(NAME)
    return remote.name in desired.names_ever or (name is not None and remote.name == name.base)


def experiment_still_there(
    ledger: Ledger, desired: DesiredExperiment, remote: RemoteExperiment, settled_wall_s: float
) -> Change:
    """What the records of an experiment become when the remote has it; it may look as it did at `settled_wall_s`."""
    change = Change()

    def named(_: str, shown: str) -> bool:
        return shown in desired.names_ever

    def written(key: str, shown: str) -> bool:
        return shown in desired.ever.get(key, ())

    for key, cell in ledger.cells.items():
        if key == DELETED and not cell.pinned:
            _register(change, cell, ("1" if remote.deleted else "0",))
        elif key == NAME:
            _again(change, ledger, "name", cell, remote.name, named, settled_wall_s)
        elif key != DELETED:
            _again(change, ledger, "tag", cell, remote.tags.get(key), written, settled_wall_s)
    return change
