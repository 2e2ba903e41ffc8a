"""Status, end time and life of a run on the remote. Pure.

They are barriers: a terminal status goes out when everything that is known of the run has been delivered, a deletion
    after
that. A run that somebody else deleted on the remote is never revived; one that we deleted is restored for late data,
and deleted again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from localtrack_sync.delivery.attach import ENDED, ended_elsewhere
from localtrack_sync.delivery.item_pass import DELETED, STATUS, ItemPass
from localtrack_sync.delivery.run_pass import RunPass, status_text
from localtrack_sync.protocol.cells import after_write, before_write, is_quiet, is_settled, spelled
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.records import Cell, Rejected
from localtrack_sync.protocol.request import on_run, update_run
from localtrack_sync.protocol.snapshot import RemoteRun
from localtrack_sync.protocol.steps import Ask, Ended, Gone, Inactive, Part, Wait
from localtrack_sync.protocol.verdict import Judged, Verdict

#: Tries at one register in one pass; each is an unknown outcome with a read-back.
TRIES = 8
#: Times that the remote may call a run inactive while showing it as active, before the run is parked.
INACTIVES = 4


def open_run(p: RunPass) -> Part[None]:
    """Make sure that the run can be written to: it is live, or we deleted it and restore it now.

    Raises:
        Ended: somebody else deleted it.
    """
    cell = p.ledger.cells.get(DELETED)
    clean = is_settled(cell, "0") and p.ledger.whole_parked() is None
    refused, p.must_look = p.must_look, False
    if (p.new or clean) and not refused:
        return
    remote = yield from p.look()
    if remote.deleted:
        yield from _open_deleted(p, cell, refused=refused)
    elif cell is None:
        yield from p.ledger.save(replace(p.blank(DELETED), base="0"))
    elif cell.base == "1" and p.quiet(cell):
        # Restored by somebody, or along with its experiment; what it should be is seen to in the end.
        yield from p.ledger.save(after_write(cell, "0", still_unsettled=False))
    yield from p.unpark_whole()


def _open_deleted(p: RunPass, cell: Cell | None, *, refused: bool) -> Part[None]:
    """The remote shows the run as deleted: by us, by somebody else, or is that an old picture?"""
    if cell is None and not p.desired.deleted:
        mine = False
    elif cell is None:
        mine = True  # a lost delivery state of ours may have done it
        yield from p.ledger.save(replace(p.blank(DELETED), base="1"))
    else:
        late = "=1" in cell.poss and not refused and not p.quiet(cell)
        mine = late or "=1" in (spelled(cell.base), cell.unsettled)
        if not mine and p.desired.deleted and not p.binding.fresh:
            mine = True  # a lost delivery state of ours may have done it, after what an older look showed us
            yield from p.ledger.save(replace(cell, sure=False, poss=tuple(sorted({*cell.poss, "=1"}))))
    if not mine:
        yield from p.park_whole("deleted on the remote by somebody else; it stays deleted")
    if p.data_owed() or p.status_owed():
        yield from register(p, DELETED, "0", on_run("restore", p.remote_id), shown_life)
    else:
        p.closed = True


def deliver_status(p: RunPass) -> Part[None]:
    """Send status and end time."""
    if not p.status_owed():
        return
    desired = p.desired
    if desired.attached and (yield from ended_elsewhere(p)):
        return
    fields: dict[str, str | int] = {"status": desired.status}
    if desired.end_time is not None:
        fields["end_time"] = desired.end_time
    elif desired.status not in ENDED and (yield from _shows_our_end(p)):
        # A run that we ended for its dead trainer was resumed. SQL stores take the end time 0 for none; the file store
        # and others keep the old one, as all do when MLflow's own client resumes a run.
        fields["end_time"] = 0

    def shown(remote: RemoteRun) -> str:
        return status_text(remote.status, None if desired.end_time is None else remote.end_time)

    yield from register(p, STATUS, p.status(), update_run(p.remote_id, **fields), shown)


def _shows_our_end(p: RunPass) -> Part[bool]:
    """Whether the remote may show an end time that came from here."""
    cell = p.ledger.cells.get(STATUS)
    if cell is not None:
        return any(text is not None and " " in text for text in (cell.base, cell.unsettled, *cell.poss))
    if p.new or p.desired.attached:
        return False
    remote = yield from p.look()  # a lost delivery state may have sent one
    return remote.end_time is not None


def close_run(p: RunPass) -> Part[None]:
    """Delete the run on the remote, or see to it that it stays live."""
    want = "1" if p.desired.deleted else "0"
    verb = "delete" if p.desired.deleted else "restore"
    yield from register(p, DELETED, want, on_run(verb, p.remote_id), shown_life)


def shown_life(remote: RemoteRun) -> str:
    """Text 1 for a deleted run, 0 for a live one."""
    return "1" if remote.deleted else "0"


def too_often_inactive(p: RunPass, words: str) -> Part[None]:
    """The remote refuses writes because the run is not active: look again, but not for ever."""
    p.must_look = True
    p.inactive += 1
    if p.inactive >= INACTIVES:
        yield from p.park_whole(words)


def register(p: ItemPass, key: str, want: str, request: Request, shown: Callable[[Any], str]) -> Part[None]:
    """Bring one register (status, life) to `want`; `shown` reads it from a look."""
    ledger = p.ledger
    for attempt in range(TRIES):
        until = p.may_write_at(key, want)
        if until is not None:
            yield Wait(until, f"an older change of the {p.NOUN} may still be executed")
        cell = ledger.cells.get(key)
        if is_settled(cell, want):
            return
        quiet = cell is not None and is_quiet(cell, p.desk.wall_s, p.desk.settle_s)
        cell = p.settled_cell(cell) if cell is not None else None
        if cell is None or cell.unsettled or attempt:
            value = shown((yield from p.look()))
            if value == want and (cell is None or quiet or spelled(want) not in cell.poss):
                known = p.blank(key) if cell is None or quiet else cell
                still = cell is not None and p.keep_unknown(cell, key)
                yield from ledger.save(after_write(replace(known, base=want), want, still_unsettled=still))
                return
        yield from _write(p, key, want, request, cell)
        if is_settled(ledger.cells.get(key), want) or ("status", key) in ledger.rejected:
            return
    raise Ended(Ending.OWED, f"no answer to a change of the {p.NOUN}")


def _write(p: ItemPass, key: str, want: str, request: Request, cell: Cell | None) -> Part[None]:
    ledger = p.ledger
    original = ledger.cells.get(key)  # with what is unsettled in it: that must not be lost when nothing is written
    still = cell is not None and p.keep_unknown(cell, key)
    pending = before_write(p.blank(key), cell, cell.base if cell is not None else None, want, quiet=False)
    yield from ledger.save(pending)
    try:
        judged: Judged = yield Ask(request, repeat=True, optional=p.OPTIONAL)
    except Ended:
        yield from _undo(p, original, pending)
        raise
    match judged.verdict:
        case Verdict.OK:
            old = (ledger.rejected.get(("status", key)), ledger.conflicts.get(("status", key)))
            done = after_write(pending, want, still_unsettled=still)
            yield from ledger.save(done, drops=[one for one in old if one is not None])
        case Verdict.UNKNOWN | Verdict.MAYBE:
            ledger.unknown[key] = p.desk.now
        case verdict:
            yield from _undo(p, original, pending)
            if verdict is Verdict.GONE:
                raise Gone(judged.words)
            if verdict is Verdict.INACTIVE:
                raise Inactive(judged.words)
            if key != STATUS or verdict in (Verdict.FORBIDDEN, Verdict.MISROUTED):
                raise Ended(Ending.PARKED, judged.words)
            yield from ledger.save(Rejected(ledger.scope, p.uid, "status", key, want, judged.words, p.desk.wall_s))


def _undo(p: ItemPass, cell: Cell | None, pending: Cell) -> Part[None]:
    """The write was certainly not executed: the cell is what it was."""
    if cell is None:
        yield from p.ledger.save(drops=(pending,))
    else:
        yield from p.ledger.save(cell)
