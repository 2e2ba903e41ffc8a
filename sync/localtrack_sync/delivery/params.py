"""Params to the remote: compared first, sent apart, never changed. Pure.

MLflow refuses to change a param. So what differs is recorded, on our side and in a tag on the remote run, and never
tried again. Sending the same value twice is harmless on every server, so a param needs no settle time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from localtrack_sync.delivery.isolate import INDEX, Line
from localtrack_sync.delivery.item_pass import ItemPass
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.records import Conflict, ParamDelivered, Record, Rejected
from localtrack_sync.protocol.request import size_of
from localtrack_sync.protocol.snapshot import RemoteItem
from localtrack_sync.protocol.steps import Part, settled
from localtrack_sync.protocol.verdict import Judged, Verdict

Pairs = tuple[tuple[str, str], ...]


def deliver_params(p: ItemPass) -> Part[None]:
    """Bring every param to an end: delivered, conflict, rejected or parked."""
    if isinstance(p, RunPass):
        yield from _record_disagreements(p)
    yield from _settle_known(p)
    owed = p.owed_params()
    if not owed:
        return
    courier = ParamCourier(p)
    sure = p.desk.limits.sure
    rest = tuple(sorted(owed.items(), key=lambda pair: (not sure(*pair), pair)))
    if not p.binding.fresh or p.must_look:
        rest = yield from courier.compare(rest, (yield from p.look()))
    yield from Line(p.desk, courier, list(courier.parcels(rest))).run()


def _record_disagreements(p: RunPass) -> Part[None]:
    """Journals that disagree: recorded whatever the remote holds."""
    new: list[Record] = []
    for conflict in p.desired.param_conflicts:
        others = json.dumps(sorted(conflict.others), ensure_ascii=False)
        old = p.ledger.conflicts.get(("journals", conflict.key))
        if old is None or (old.ours, old.theirs) != (conflict.winner, others):
            since = old.since_wall_s if old is not None else p.desk.wall_s
            new.append(
                Conflict("run", p.desired.run_id, "journals", conflict.key, conflict.winner, others, since_wall_s=since)
            )
    yield from p.ledger.save(*new)


def _settle_known(p: ItemPass) -> Part[None]:
    """What follows without asking: the winner changed after another value had been delivered, or changed back."""
    puts: list[Record] = []
    drops: list[Record] = []
    for key, value in p.owed_params().items():
        delivered, conflict = p.ledger.params.get(key), p.ledger.conflicts.get(("param", key))
        held = delivered.value if delivered is not None else conflict.theirs if conflict is not None else None
        if held is None:
            continue
        if held == value:
            puts.append(ParamDelivered(p.ledger.scope, p.uid, key, value))
            drops += [conflict] if conflict is not None else []
        else:
            puts.append(Conflict(p.ledger.scope, p.uid, "param", key, value, held, since_wall_s=p.desk.wall_s))
            drops += [delivered] if delivered is not None else []
    yield from p.ledger.save(*puts, drops=drops)


class ParamCourier:
    """Params as parcels of (key, value) pairs."""

    index = INDEX
    optional = False

    def __init__(self, p: ItemPass) -> None:
        self.p = p
        self.optional = p.OPTIONAL

    def parcels(self, owed: Pairs) -> list[Pairs]:
        """Cut to the limits."""
        limits, parcels, size = self.p.desk.limits, [], 0
        parcel: list[tuple[str, str]] = []
        for pair in owed:
            more = size_of([pair])
            full = len(parcel) >= limits.params or size + more > limits.body_bytes - 1000
            if parcel and (full or limits.sure(*pair) != limits.sure(*parcel[-1])):
                parcels.append(tuple(parcel))
                parcel, size = [], 0
            parcel.append(pair)
            size += more
        return [*parcels, tuple(parcel)]

    def request(self, parcel: Pairs) -> Request:
        """See isolate.Courier."""
        return self.p.send_params(dict(parcel))

    def size(self, parcel: Pairs) -> int:
        """See isolate.Courier."""
        return len(parcel)

    def pick(self, parcel: Pairs, indexes: Sequence[int]) -> Pairs:
        """See isolate.Courier."""
        return tuple(parcel[i] for i in indexes)

    def delivered(self, parcel: Pairs) -> Part[None]:
        """See isolate.Courier."""
        ledger = self.p.ledger
        done = [ParamDelivered(ledger.scope, self.p.uid, key, value) for key, value in parcel]
        yield from ledger.save(*done, drops=self._obsolete(parcel))
        self.p.desk.progress.params += len(parcel)

    def recheck(self, parcel: Pairs, since: float, judged: Judged) -> Part[Pairs]:
        """See isolate.Courier. A refusal that the read-back does not explain may come from a late read: look later."""
        rest = yield from self.compare(parcel, (yield from self.p.look()))
        if judged.verdict is not Verdict.PARAM_CONFLICT or len(rest) < len(parcel):
            return rest
        yield from settled(self.p.desk, since)
        rest = yield from self.compare(parcel, (yield from self.p.look()))
        if len(parcel) == 1 and rest:
            yield from self._conflict(rest[0], None)
            return ()
        return rest

    def compare(self, pairs: Pairs, remote: RemoteItem) -> Part[Pairs]:
        """Settle what the remote shows; what it does not have."""
        most = self.p.desk.limits.param_value
        same = tuple((k, v) for k, v in pairs if k in remote.params and remote.params[k][:most] == v)
        if same:
            yield from self.delivered(same)
        for key, value in pairs:
            if key in remote.params and remote.params[key][:most] != value:
                yield from self._conflict((key, value), remote.params[key])
        return tuple((k, v) for k, v in pairs if k not in remote.params)

    def reject(self, parcel: Pairs, words: str) -> Part[None]:
        """See isolate.Courier."""
        ((key, value),) = parcel
        record = Rejected(self.p.ledger.scope, self.p.uid, "param", key, value, words, self.p.desk.wall_s)
        yield from self.p.ledger.save(record, drops=self._obsolete(parcel))

    def park(self, parcel: Pairs, words: str) -> Part[None]:
        """See isolate.Courier."""
        ((key, value),) = parcel
        yield from self.p.park("param", key, value, words)

    def _conflict(self, pair: tuple[str, str], theirs: str | None) -> Part[None]:
        key, value = pair
        scope, since = self.p.ledger.scope, self.p.desk.wall_s
        record = Conflict(scope, self.p.uid, "param", key, value, theirs, since_wall_s=since)
        old = self.p.ledger.conflicts.get(("param", key))
        record = replace(record, since_wall_s=old.since_wall_s) if old is not None else record
        yield from self.p.ledger.save(record, drops=self._obsolete((pair,)))

    def _obsolete(self, parcel: Pairs) -> list[Record]:
        """Records that said something else about these params."""
        ledger, gone = self.p.ledger, list[Record]()
        for key, _ in parcel:
            gone += [r for r in (ledger.parked.get(("param", key)), ledger.rejected.get(("param", key))) if r]
        return gone
