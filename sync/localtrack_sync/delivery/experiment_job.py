"""The job of one experiment: bind it by name, bring its name, tags and life. Pure.

The name is the identity: a remote has one experiment of a name, deleted ones included, so a lost reply needs no
settle time here. An experiment that others made is shared: it is filled, but never renamed or deleted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from localtrack.catalog.desired import DesiredExperiment
from localtrack_sync.delivery.experiment_pass import ExperimentPass
from localtrack_sync.delivery.item_pass import DELETED
from localtrack_sync.delivery.repair import NAME, experiment_still_there, same_experiment
from localtrack_sync.delivery.run_job import result_of
from localtrack_sync.protocol.cells import after_write, is_settled, spelled
from localtrack_sync.protocol.effects import ReadExperiment, Request
from localtrack_sync.protocol.jobs import Ending, JobResult
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.places import FOLDER_SETTING
from localtrack_sync.protocol.records import Cell, Conflict, ExperimentBinding, Parked, Rejected
from localtrack_sync.protocol.request import UID_TAG, create_experiment, get, on_experiment
from localtrack_sync.protocol.snapshot import RemoteExperiment, experiment_of
from localtrack_sync.protocol.steps import AllRuns, Ask, Bound, Desk, Ended, Need, Part, Wait, read, settled
from localtrack_sync.protocol.verdict import Judged, Verdict

#: Tries at a create or at one register in one pass.
TRIES = 8


def experiment_job(desk: Desk, experiment_id: str, *, needed: bool) -> Part[JobResult]:
    """Bring one experiment to the remote.

    Args:
        desk: shared.
        experiment_id: local id.
        needed: a run waits for it, so it must be bound and live even when nothing of its own is owed.
    """
    ledger = Ledger("experiment", experiment_id)
    yield from ledger.load()
    try:
        desired: DesiredExperiment | None = yield ReadExperiment(experiment_id)
        if desired is None:
            raise Ended(Ending.OWED, "this store has no such experiment")  # noqa: TRY301 - one way out for all endings
        p = ExperimentPass(desk, ledger, desired)
        p.settle_in()
        if not needed and not p.owed() and not ledger.parked and not desk.settings.repair:
            return result_of(ledger, Ending.DELIVERED, "")
        yield Need("remote", "")
        p.settle_in()
        yield from _deliver(p, needed=needed)
    except Ended as end:
        yield Bound("", reason=end.reason, ending=end.ending)
        return result_of(ledger, end.ending, end.reason)
    return result_of(ledger, Ending.DELIVERED, "")


def _deliver(p: ExperimentPass, *, needed: bool) -> Part[None]:
    if p.desk.settings.repair:
        yield from _re_examine(p)
    remote = yield from _bind(p)
    if remote is None:
        remote = yield from _look(p)
    if remote.deleted and not _ours_deleted(p):
        yield from _park(p, "deleted on the remote by somebody else; it stays deleted")
    old = p.ledger.parked.get(("experiment", ""))
    yield from p.ledger.save(drops=(old,) if old is not None else ())
    if remote.deleted:
        if not needed and p.desired.deleted and set(p.owed()) <= {DELETED}:
            cell = p.ledger.cells.get(DELETED)
            if cell is not None and cell.unsettled not in ("", spelled("1")):
                yield from _delete(p)  # a restore that was not answered may still be executed: it settles first
            else:
                yield from p.ledger.save(p.cell(DELETED, "1"))
            return
        yield from _restore(p, deleted=True)
        remote = yield from _look(p)
    elif DELETED not in p.ledger.cells:
        yield from p.ledger.save(p.cell(DELETED, "0"))
    yield Bound(p.binding.remote_id, virgin=p.binding.virgin)
    yield from _name(p, remote)
    for key, want in sorted(p.tags().items()):
        yield from _tag(p, key, want, remote)
    if p.desired.deleted:
        yield AllRuns(p.desired.experiment_id)
        yield from _delete(p)
    else:
        yield from _restore(p, deleted=False)


def _re_examine(p: ExperimentPass) -> Part[None]:
    """Look whether the experiment is there, and as we left it; one that is not is bound anew."""
    if p.ledger.experiment is None:
        return
    request = get("experiments/get", experiment_id=p.binding.remote_id)
    judged = yield from read(request, "experiment", "experiment_id")
    if judged.verdict not in (Verdict.OK, Verdict.GONE):
        yield from _park(p, judged.words)
    remote = experiment_of(judged.body["experiment"]) if judged.verdict is Verdict.OK else None
    if remote is None or not same_experiment(p.ledger, p.desired, remote):
        yield from p.ledger.save(drops=p.ledger.everything())
        p.settle_in()
        return
    change = experiment_still_there(p.ledger, p.desired, remote, p.desk.wall_s - p.desk.settle_s)
    yield from p.ledger.save(*change.puts, drops=change.drops)


# --- binding ---


def _bind(p: ExperimentPass) -> Part[RemoteExperiment | None]:
    """Adopt the experiment of this name, or create it. None: it was bound before."""
    if p.ledger.experiment is not None:
        return None
    if p.desk.limits.names_are_paths and not p.desk.folder and not p.local.name.startswith("/"):
        yield from _park(p, f"{p.desk.no_folder}; name a folder: {FOLDER_SETTING}")
    virgin = NAME not in p.ledger.cells  # an earlier process may have sent a create whose answer it did not hear
    words = "no create of the experiment was answered"
    for attempt in range(TRIES):
        if attempt:
            yield Wait(p.desk.now + min(2.0**attempt, p.desk.settle_s / 4), "the experiment is not visible yet")
        yield from _await_other_name(p)
        found = yield from _by_name(p, p.desired.name)
        if found is None:
            found = yield from _by_old_name(p)
        if found is not None:
            yield from _adopt(p, found)
            return found
        yield from p.ledger.save(replace(p.cell(NAME, None), unsettled=spelled(p.desired.name)))
        try:
            judged: Judged = yield Ask(_create_request(p), repeat=True, expects=("experiment_id",))
        except Ended:
            yield from p.ledger.save(drops=(p.ledger.cells[NAME],) if virgin else ())
            raise
        if judged.verdict is Verdict.OK:
            return (yield from _created(p, str(judged.body["experiment_id"]), virgin=virgin))
        if judged.verdict not in (Verdict.UNKNOWN, Verdict.MAYBE, Verdict.EXISTS):
            yield from p.ledger.save(drops=(p.ledger.cells[NAME],) if virgin else ())
            yield from _park(p, f"the experiment cannot be created: {judged.words}{_advice(judged.words)}")
        virgin = False
        p.ledger.unknown[NAME] = p.desk.now
        taken = judged.verdict is Verdict.EXISTS and "node named" in judged.words.lower()
        words = f"{judged.words} (and it is no experiment)" if taken else words
    raise Ended(Ending.OWED, words)


def _advice(words: str) -> str:
    """What to do about a refused create, where that is known."""
    if "parent directory" in words.lower():
        return f" Make that folder in the workspace, or name another one: {FOLDER_SETTING}."
    return ""


def _await_other_name(p: ExperimentPass) -> Part[None]:
    """A create under an earlier name that was not answered would make a second experiment: let it settle first."""
    cell = p.ledger.cells.get(NAME)
    if cell is not None and cell.unsettled not in ("", spelled(p.desired.name)):
        yield from settled(p.desk, p.ledger.unknown.get(NAME, p.desk.started))


def _create_request(p: ExperimentPass) -> Request:
    tags = {UID_TAG: p.desired.experiment_id, **_first_tags(p)}
    location = p.desired.artifact_location or ""
    remote_place = "://" in location and not location.startswith("file:")  # a path here means nothing over there
    return create_experiment(p.desired.name, location if remote_place else None, tags)


def _first_tags(p: ExperimentPass) -> dict[str, str]:
    """Tags that travel in the create; the others follow."""
    limits = p.desk.limits
    tags = {k: v for k, v in sorted(p.tags().items()) if v is not None and limits.sure(k, v)}
    return dict(list(tags.items())[: limits.create_tags - 1])


def _created(p: ExperimentPass, remote_id: str, *, virgin: bool) -> Part[RemoteExperiment]:
    tags = _first_tags(p)
    cells = [p.cell(k, v) for k, v in p.tags().items() if k in tags or v is None]
    # A create of ours that was not answered fails while the name is taken; once we rename, it would succeed.
    echo = "" if virgin else spelled(p.desired.name)
    cells += [replace(p.cell(NAME, p.desired.name), unsettled=echo), p.cell(DELETED, "0")]
    binding = ExperimentBinding("experiment", p.desired.experiment_id, remote_id, created=True, virgin=virgin)
    yield from p.ledger.save(binding, *cells)
    p.desk.progress.experiments_created += 1
    return RemoteExperiment(remote_id, p.desired.name, deleted=False, tags=tags)


def _adopt(p: ExperimentPass, found: RemoteExperiment) -> Part[None]:
    mine = found.tags.get(UID_TAG) == p.desired.experiment_id
    cells = [p.cell(DELETED, "1")] if found.deleted and mine else []
    cells += [replace(p.cell(NAME, found.name), unsettled=spelled(found.name))] if mine else []
    yield from p.ledger.save(
        ExperimentBinding("experiment", p.desired.experiment_id, found.experiment_id, created=mine), *cells
    )


def _by_name(p: ExperimentPass, name: str) -> Part[RemoteExperiment | None]:
    judged = yield from read(get("experiments/get-by-name", experiment_name=name), "experiment", "experiment_id")
    if judged.verdict is Verdict.GONE:
        return None
    if judged.verdict is not Verdict.OK:
        yield from _park(p, judged.words)
    return experiment_of(judged.body["experiment"])


def _by_old_name(p: ExperimentPass) -> Part[RemoteExperiment | None]:
    """An experiment that we made, before it was renamed here (the delivery state was lost since)."""
    for name in p.desired.names_ever:
        if name != p.desired.name:
            found = yield from _by_name(p, name)
            if found is not None and found.tags.get(UID_TAG) == p.desired.experiment_id:
                return found
    return None


def _look(p: ExperimentPass) -> Part[RemoteExperiment]:
    request = get("experiments/get", experiment_id=p.binding.remote_id)
    judged = yield from read(request, "experiment", "experiment_id")
    if judged.verdict is Verdict.GONE:
        yield from _park(p, f"not on the remote any more: {judged.words} (localtrack sync --repair makes it again)")
    if judged.verdict is not Verdict.OK:
        yield from _park(p, judged.words)
    return experiment_of(judged.body["experiment"])


def _ours_deleted(p: ExperimentPass) -> bool:
    cell = p.ledger.cells.get(DELETED)
    if p.desired.deleted and p.binding.created and not p.binding.virgin:
        return True  # a lost delivery state may have done it
    return cell is not None and "=1" in (spelled(cell.base), cell.unsettled, *cell.poss)


def _park(p: ExperimentPass, reason: str) -> Part[None]:
    old = p.ledger.parked.get(("experiment", ""))
    since = old.since_wall_s if old is not None else p.desk.wall_s
    yield from p.ledger.save(Parked("experiment", p.desired.experiment_id, "experiment", "", "", reason, since))
    raise Ended(Ending.PARKED, reason)


# --- name, tags, life ---


def _name(p: ExperimentPass, remote: RemoteExperiment) -> Part[None]:
    want, cell = p.desired.name, p.ledger.cells.get(NAME)
    if is_settled(cell, want) or (cell is not None and cell.pinned):
        return
    if remote.name == want and (cell is None or not cell.unsettled):
        yield from p.ledger.save(p.cell(NAME, want))
        return
    ours = p.binding.created and (
        remote.name in p.desired.names_ever or (cell is not None and remote.name == cell.base)
    )
    if remote.name != want and not ours:
        yield from _pin(p, NAME, "name", want, remote.name)
        return
    request = on_experiment("update", p.binding.remote_id, new_name=want)
    yield from _register(p, NAME, want, request, lambda r: r.name, remote.name)


def _tag(p: ExperimentPass, key: str, want: str | None, remote: RemoteExperiment) -> Part[None]:
    cell, shown = p.ledger.cells.get(key), remote.tags.get(key)
    shown = None if shown is None else shown[: p.desk.limits.experiment_tag_value]
    if key not in p.owed():
        return
    if cell is None and len({spelled(v) for v in (*p.desired.ever.get(key, ()), want)}) > 1 and p.suspect():
        yield from settled(p.desk, p.desk.started)  # an unanswered write of another value may still be executed
    if shown == want and (cell is None or not cell.unsettled):
        echo = spelled(want) if cell is None and p.suspect() else ""
        yield from p.ledger.save(replace(p.cell(key, want), unsettled=echo))
        return
    known = {spelled(v) for v in p.desired.ever.get(key, ())} | {spelled(None)}
    if cell is not None:
        known = {spelled(cell.base), cell.unsettled, *cell.poss}
    if shown != want and spelled(shown) not in known:
        yield from _pin(p, key, "tag", want, shown)
        return
    if want is None:
        request = on_experiment("delete-experiment-tag", p.binding.remote_id, key=key)
    else:
        request = on_experiment("set-experiment-tag", p.binding.remote_id, key=key, value=want)
    yield from _register(p, key, want, request, lambda r: r.tags.get(key), shown)


def _pin(p: ExperimentPass, key: str, kind: str, want: str | None, shown: str | None) -> Part[None]:
    conflict = Conflict("experiment", p.desired.experiment_id, kind, key, want, shown, since_wall_s=p.desk.wall_s)
    yield from p.ledger.save(replace(p.cell(key, shown), pinned=True), conflict)


def _delete(p: ExperimentPass) -> Part[None]:
    if not p.binding.created:
        words = "made by others on the remote: its runs are deleted, the experiment is left"
        cell = p.ledger.cells.get(DELETED)
        if cell is None or not cell.pinned:
            yield from _pin(p, DELETED, "lifecycle", "deleted", words)
        return
    yield from _register(p, DELETED, "1", on_experiment("delete", p.binding.remote_id), _life, "0")


def _restore(p: ExperimentPass, *, deleted: bool) -> Part[None]:
    """Restore the experiment. MLflow restores all its runs with it: counted first, so that they are looked at again."""
    cell = p.ledger.cells.get(DELETED)
    if cell is not None and is_settled(cell, "0"):
        if not deleted:
            return
        yield from p.ledger.save(replace(cell, sure=False, poss=tuple(sorted({*cell.poss, "=1"}))))
    yield from p.ledger.save(replace(p.binding, restores=p.binding.restores + 1))
    yield from _register(p, DELETED, "0", on_experiment("restore", p.binding.remote_id), _life, "1")


def _life(remote: RemoteExperiment) -> str:
    return "1" if remote.deleted else "0"


def _register(
    p: ExperimentPass,
    key: str,
    want: str | None,
    request: Request,
    shown: Callable[[RemoteExperiment], str | None],
    seen: str | None,
) -> Part[None]:
    """Bring one cell to `want`: saved, sent, read back until it is known.

    Args:
        p: the pass.
        key: of the cell.
        want: what it should hold.
        request: that writes it.
        shown: what a look at the experiment says of it.
        seen: what it held at the last look.
    """
    ledger = p.ledger
    for _ in range(TRIES):
        cell = ledger.cells.get(key)
        if is_settled(cell, want):
            return
        if cell is not None and cell.unsettled not in ("", spelled(want)):
            until = ledger.unknown.get(key, p.desk.started) + p.desk.settle_s
            if p.desk.now < until:
                yield Wait(until, "an older change of the experiment may still be executed")
        open_yet = p.suspect() if cell is None else bool(cell.unsettled)
        still = open_yet and p.desk.now < ledger.unknown.get(key, p.desk.started) + p.desk.settle_s
        pending = _pending(p, cell if cell is not None else p.cell(key, seen), want)
        yield from ledger.save(pending)
        try:
            # Servers before 3 and Databricks have no route that removes a tag.
            judged: Judged = yield Ask(request, repeat=True, optional=request.path.endswith("delete-experiment-tag"))
        except Ended:
            yield from _undo(p, cell, pending)
            raise
        done = judged.verdict is Verdict.OK
        if judged.verdict in (Verdict.UNKNOWN, Verdict.MAYBE, Verdict.EXISTS, Verdict.GONE):
            ledger.unknown[key] = p.desk.now
            done = shown((yield from _look(p))) == want
            if not done and judged.verdict is Verdict.UNKNOWN:
                continue
        if done:
            yield from ledger.save(after_write(pending, want, still_unsettled=still))
            return
        rejected = Rejected("experiment", p.desired.experiment_id, "tag", key, want or "", judged.words, p.desk.wall_s)
        yield from _undo(p, cell, pending)
        if judged.verdict in (Verdict.INACTIVE, Verdict.FORBIDDEN):
            raise Ended(Ending.OWED, judged.words)
        yield from ledger.save(rejected)
        return
    raise Ended(Ending.OWED, f"no answer to {request.path.rpartition('/')[2]} of the experiment")


def _pending(p: ExperimentPass, before: Cell, want: str | None) -> Cell:
    """The cell as it is saved before a write is sent."""
    pending = replace(before, unsettled=spelled(want), wrote_wall_s=p.desk.wall_s)
    if before.unsettled in ("", spelled(want)):
        return pending
    # The older write had its time; whether it was executed is not known.
    return replace(pending, sure=False, poss=tuple(sorted({*before.poss, before.unsettled})))


def _undo(p: ExperimentPass, cell: Cell | None, pending: Cell) -> Part[None]:
    """The write was certainly not executed: the cell is what it was."""
    if cell is None:
        yield from p.ledger.save(drops=(pending,))
    else:
        yield from p.ledger.save(cell)
