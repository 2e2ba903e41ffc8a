"""Tags to the remote: the last writer by logical time wins, and what others wrote is left alone. Pure.

Round by round: look at the run (or logged model), decide cell by cell (`cells`), write what may be written, look again
after anything but a plain success. A tag that somebody else changed is pinned: recorded as a conflict, shown by a tag
on the remote run, and not touched again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from localtrack_sync.delivery.isolate import INDEX
from localtrack_sync.delivery.item_pass import ItemPass
from localtrack_sync.protocol.cells import Sight, after_write, before_write, see, spelled
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.records import Cell, Conflict, Record, Rejected
from localtrack_sync.protocol.request import size_of
from localtrack_sync.protocol.snapshot import RemoteItem
from localtrack_sync.protocol.steps import Ask, Ended, Gone, Inactive, Part, Wait
from localtrack_sync.protocol.verdict import NOT_EXECUTED, Judged, Verdict

#: Looks at one run in one pass; what is left then waits for the next pass.
ROUNDS = 40
#: Unknown outcomes of a key: after these many it travels alone, after twice as many it is parked.
TRIES = 3


@dataclass(slots=True)
class Plan:
    """What one look leads to.

    Attributes:
        known: records to save at once: cells that are as wanted, pins, conflicts.
        writes: key -> (value, cell to save before the write).
        blocked_until: when the first cell may be written that may not be written now.
    """

    known: list[Record] = field(default_factory=list)
    writes: dict[str, tuple[str | None, Cell]] = field(default_factory=dict)
    blocked_until: float | None = None


class Tagger:
    """The tags of one run or logged model in one pass."""

    def __init__(self, p: ItemPass) -> None:
        self.p = p
        self.tries: dict[str, int] = {}
        self.alone = False

    def run(self) -> Part[None]:
        """Bring every tag to an end: delivered, conflict, rejected or parked.

        Raises:
            Gone, Inactive: the run is not there, or deleted.
            Ended: the credentials may not write, or nothing settles.
        """
        for _ in range(ROUNDS):
            owed = self.p.owed_tags()
            if not owed:
                return
            plan = self._plan(owed, (yield from self.p.look()))
            yield from self.p.ledger.save(*plan.known)
            if plan.writes:
                yield from self._write(plan.writes)
            elif plan.blocked_until is not None:
                yield Wait(plan.blocked_until, "an older write to a tag may still be executed")
        if self.p.owed_tags():
            raise Ended(Ending.OWED, "the tags did not settle in this pass")

    def _plan(self, owed: dict[str, str | None], remote: RemoteItem) -> Plan:
        plan = Plan()
        for key, want in owed.items():
            self._decide(plan, key, want, remote)
        return plan

    def _decide(self, plan: Plan, key: str, want: str | None, remote: RemoteItem) -> None:
        p, cell = self.p, self.p.ledger.cells.get(key)
        until = p.may_write_at(key, want)
        if until is not None:
            plan.blocked_until = until if plan.blocked_until is None else min(until, plan.blocked_until)
            return
        quiet = cell is not None and p.quiet(cell)
        if cell is not None:
            cell = p.settled_cell(cell)
        shown = p.shown(remote.tags.get(key))
        sight = see(cell, shown, want, p.ever(key), quiet=quiet)
        if sight is Sight.OUTSIDE and p.is_surely_ours(key, shown):
            sight = Sight.OURS
        blank = p.blank(key)
        if sight is Sight.SAME:
            if cell is None or quiet:
                echo = spelled(want) if cell is None and p.suspect() else ""
                known = replace(blank, base=want, unsettled=echo)
            else:
                known = after_write(cell, want, still_unsettled=p.keep_unknown(cell, key))
            plan.known.append(known)
        elif sight is Sight.OUTSIDE:
            plan.known.append(replace(blank, base=shown, pinned=True))
            plan.known.append(Conflict(p.ledger.scope, p.uid, "tag", key, want, shown, since_wall_s=p.desk.wall_s))
        else:
            plan.writes[key] = (want, before_write(blank, cell, shown, want, quiet=quiet))

    def _write(self, writes: dict[str, tuple[str | None, Cell]]) -> Part[None]:
        """Send requests one after another, until one of them is not plainly applied."""
        for keys, request in self._requests(writes):
            before = {key: self.p.ledger.cells.get(key) for key in keys}
            yield from self.p.ledger.save(*(writes[key][1] for key in keys))
            try:
                judged: Judged = yield Ask(request, optional=self.p.OPTIONAL)
            except Ended:
                yield from self._undo(keys, writes, before)
                raise
            absent = judged.verdict is Verdict.GONE and all(writes[key][0] is None for key in keys)
            if judged.verdict is Verdict.OK or absent:
                yield from self._applied(keys, writes, before)
                continue
            yield from self._not_plain(keys, writes, before, judged)
            return

    def _requests(self, writes: dict[str, tuple[str | None, Cell]]) -> Iterable[tuple[list[str], Request]]:
        limits = self.p.desk.limits
        apart = {key: self.p.send_apart(key, want) for key, (want, _) in writes.items()}
        batch: dict[str, str] = {}
        size, sure = 0, True
        together = [(key, value) for key, (value, _) in writes.items() if value is not None and apart[key] is None]
        for key, value in sorted(together, key=lambda pair: not limits.sure(*pair)):  # stable: else as decided
            more = size_of([(key, value)])
            full = self.alone or len(batch) >= limits.tags or size + more > limits.body_bytes - 1000
            if batch and (full or limits.sure(key, value) != sure):
                yield list(batch), self.p.send_tags(batch)
                batch, size = {}, 0
            sure = limits.sure(key, value)
            batch[key] = value
            size += more
        if batch:
            yield list(batch), self.p.send_tags(batch)
        for key, request in apart.items():
            if request is not None:
                yield [key], request

    def _applied(
        self, keys: list[str], writes: dict[str, tuple[str | None, Cell]], before: dict[str, Cell | None]
    ) -> Part[None]:
        done: list[Record] = []
        for key in keys:
            want, cell = writes[key]
            earlier = before[key]
            still = self.p.suspect() if earlier is None else self.p.keep_unknown(earlier, key)
            done.append(after_write(cell, want, still_unsettled=still))
        stale = [r for key in keys for r in self._obsolete(key)]
        yield from self.p.ledger.save(*done, drops=stale)
        self.p.desk.progress.tags += len(keys)

    def _not_plain(
        self,
        keys: list[str],
        writes: dict[str, tuple[str | None, Cell]],
        before: dict[str, Cell | None],
        judged: Judged,
    ) -> Part[None]:
        if judged.verdict in (Verdict.UNKNOWN, Verdict.MAYBE, Verdict.EXISTS, Verdict.PARAM_CONFLICT):
            for key in keys:
                self.p.ledger.unknown[key] = self.p.desk.now
            yield from self._count(keys, writes, judged)
            return
        yield from self._undo(keys, writes, before)
        if judged.verdict in NOT_EXECUTED:
            return
        if judged.verdict is Verdict.GONE:
            raise Gone(judged.words)
        if judged.verdict is Verdict.INACTIVE:
            raise Inactive(judged.words)
        if judged.verdict in (Verdict.FORBIDDEN, Verdict.MISROUTED):  # not about this tag: it may be sent later
            raise Ended(Ending.PARKED, judged.words)
        yield from self._refused(keys, writes, judged)

    def _undo(
        self, keys: list[str], writes: dict[str, tuple[str | None, Cell]], before: dict[str, Cell | None]
    ) -> Part[None]:
        """Certainly not executed: the cells are what they were."""
        undo = [cell for cell in before.values() if cell is not None]
        yield from self.p.ledger.save(*undo, drops=[writes[key][1] for key in keys if before[key] is None])

    def _count(self, keys: list[str], writes: dict[str, tuple[str | None, Cell]], judged: Judged) -> Part[None]:
        """A batch that always ends unknown is taken apart; a tag that always does is parked."""
        for key in keys:
            self.tries[key] = self.tries.get(key, 0) + 1
        worst = max(self.tries[key] for key in keys)
        self.alone = self.alone or worst >= TRIES
        if len(keys) == 1 and worst >= 2 * TRIES:
            yield from self.p.park("tag", keys[0], writes[keys[0]][0] or "", judged.words)

    def _refused(self, keys: list[str], writes: dict[str, tuple[str | None, Cell]], judged: Judged) -> Part[None]:
        named = INDEX.search(judged.words)
        if len(keys) > 1 and named is not None and int(named[1]) < len(keys):
            keys = [keys[int(named[1])]]
        if len(keys) > 1:
            self.alone = True
            return
        key = keys[0]
        value = writes[key][0] or ""
        record = Rejected(self.p.ledger.scope, self.p.uid, "tag", key, value, judged.words, self.p.desk.wall_s)
        parked = self.p.ledger.parked.get(("tag", key))
        yield from self.p.ledger.save(record, drops=(parked,) if parked is not None else ())

    def _obsolete(self, key: str) -> list[Record]:
        ledger = self.p.ledger
        return [r for r in (ledger.parked.get(("tag", key)), ledger.rejected.get(("tag", key))) if r is not None]
