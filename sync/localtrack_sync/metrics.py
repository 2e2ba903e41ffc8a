"""Metric points to the remote, each once. Pure.

Points travel in windows: a stretch of the run's journals from the watermarks on. Before the first point of a window is
sent, an intent with the window's end is saved; when every point is settled, one transaction drops the intent and
moves the watermarks. A window that is found open at a start is read back before anything of it is sent, and on a
remote that does not remove duplicates absence is believed only when the settle time has passed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from localtrack.catalog.desired import Point
from localtrack_sync.effects import ReadPoints, Request
from localtrack_sync.isolate import INDEX, TRIES, Line
from localtrack_sync.jobs import Ending
from localtrack_sync.plan import Batch, cut
from localtrack_sync.records import Intent, Parked, Record, Rejected, Watermark
from localtrack_sync.request import API, get_history
from localtrack_sync.run_pass import RunPass
from localtrack_sync.steps import Ended, Gone, Part, Turn, read, settled
from localtrack_sync.values import INFINITY, Identity, identity, remote_identity
from localtrack_sync.verdict import Judged, Verdict

#: A window that is found open is read whole, however large it was when it was opened.
ALL = 1 << 40


def deliver_metrics(p: RunPass) -> Part[None]:
    """Bring every point that is known now to an end: delivered, rejected or parked."""
    yield from _retry_parked(p)
    yield from _mark_suspects(p)
    while "metrics" in p.ledger.intents or p.owed_heads():
        yield from _window(p)
        yield Turn()


def _mark_suspects(p: RunPass) -> Part[None]:
    """In a run that this delivery state did not make, everything may be there already: verify up to the head."""
    if p.binding.fresh:
        return
    new = [
        Watermark("run", p.desired.run_id, inc, verify_upto=head)
        for inc, head in sorted(p.desired.head.items())
        if inc not in p.ledger.watermarks
    ]
    yield from p.ledger.save(*new)


def _window(p: RunPass) -> Part[None]:
    desk, ledger = p.desk, p.ledger
    intent = ledger.intents.get("metrics")
    upto = _marks_of(intent) if intent is not None else p.desired.head
    after = {inc: mark.upto for inc, mark in ledger.watermarks.items()}
    limit = ALL if intent is not None else desk.settings.window
    points: tuple[Point, ...] = yield ReadPoints(
        p.desired.run_id,
        tuple(sorted(after.items())),
        limit,
        upto=tuple(sorted(upto.items())),
        distinct=not desk.dedupes,
    )
    end = _end_of(upto, points, limit)
    if not points:
        yield from _close(p, end, points)
        return
    # While any stretch may be there already, every point may: its twin may lie in that stretch.
    suspect = intent is not None or any(mark.upto < mark.verify_upto for mark in ledger.watermarks.values())
    # Others log to a run that was created elsewhere; what they have in flight at this moment nobody can know.
    verify = suspect or (p.desired.attached and not desk.dedupes)
    if intent is None:
        covers = tuple(f"{inc}={pos}" for inc, pos in sorted(end.items()))
        yield from ledger.save(Intent("run", p.desired.run_id, "metrics", covers))
    courier = PointCourier(p, top_ts=max((m.top_ts for m in ledger.watermarks.values()), default=-1))
    todo: Sequence[Point] = points
    if verify:
        todo = [q for q in points if not ledger.is_stuck("metric", _name(q))]
        todo = yield from courier.missing(todo, p.unknown_since() if suspect else -INFINITY)
    courier.provable = not verify and not p.desired.attached
    yield from Line(desk, courier, cut(todo, desk.limits, nan_apart=not desk.nan_safe)).run()
    yield from _close(p, end, points)


def _close(p: RunPass, end: dict[str, int], points: Sequence[Point]) -> Part[None]:
    """All points up to `end` are settled."""
    marks: list[Record] = []
    for inc, pos in sorted(end.items()):
        old = p.ledger.watermarks.get(inc) or Watermark("run", p.desired.run_id, inc)
        top = max((q.ts for q in points if q.incarnation == inc), default=-1)
        if pos > old.upto:
            marks.append(Watermark("run", p.desired.run_id, inc, pos, old.verify_upto, max(old.top_ts, top)))
    yield from p.ledger.save(*marks, drops=_intents(p))


def _intents(p: RunPass) -> list[Record]:
    return [intent for kind, intent in p.ledger.intents.items() if kind == "metrics"]


def _end_of(upto: dict[str, int], points: Sequence[Point], limit: int) -> dict[str, int]:
    """How far a read got: to the end, or to the last point that fitted."""
    if len(points) < limit:
        return dict(upto)
    last = points[-1]
    end = {inc: pos for inc, pos in upto.items() if inc < last.incarnation}
    end[last.incarnation] = last.pos
    return end


def _marks_of(intent: Intent) -> dict[str, int]:
    pairs = (cover.rpartition("=") for cover in intent.covers)
    return {inc: int(pos) for inc, _, pos in pairs}


def _name(point: Point) -> str:
    return f"{point.incarnation}:{point.pos}"


def _retry_parked(p: RunPass) -> Part[None]:
    """Points that were parked: verified, then tried again."""
    parked = {key: r for (kind, key), r in sorted(p.ledger.parked.items()) if kind == "metric"}
    parked = {key: r for key, r in parked.items() if not p.rests("metric", key)}
    if not parked:
        return
    courier = PointCourier(p, top_ts=0)
    courier.provable = False
    points = yield from courier.missing([_point_of(r) for r in parked.values()], p.unknown_since())
    alone = [half for batch in cut(points, p.desk.limits, nan_apart=True) for half in _singles(batch)]
    yield from Line(p.desk, courier, alone, tries=TRIES - 1).run()
    done = [r for key, r in parked.items() if ("metric", key) not in p.put_off]
    yield from p.ledger.save(drops=done)


def _singles(batch: Batch) -> list[Batch]:
    return [Batch([point], [row]) for point, row in zip(batch.points, batch.rows, strict=True)]


def _point_of(parked: Parked) -> Point:
    inc, _, pos = parked.key.rpartition(":")
    row = json.loads(parked.value)
    return Point(inc, int(pos), row["key"], float(row["value"]), row["timestamp"], row["step"])


class PointCourier:
    """Points as parcels that are batches.

    Attributes:
        top_ts: greatest timestamp of any point that was ever sent for this run, before this window.
        provable: no point of the window was ever sent before, by us or others, so that a fence that is newer than
            everything sent proves its batch.
    """

    index = INDEX
    optional = False

    def __init__(self, p: RunPass, top_ts: int) -> None:
        self.p = p
        self.top_ts = top_ts
        self.provable = True
        self.sent: dict[str, int] = {}

    def request(self, parcel: Batch) -> Request:
        """See isolate.Courier."""
        fence = parcel.fence
        if fence is not None and not (self.provable and fence.ts > max(self.top_ts, self.sent.get(fence.key, -1))):
            parcel.fence = None
        for point in parcel.points:
            if point.ts > self.sent.get(point.key, -1):
                self.sent[point.key] = point.ts
        return Request("POST", f"{API}/runs/log-batch", parcel.body(self.p.remote_id))

    def size(self, parcel: Batch) -> int:
        """See isolate.Courier."""
        return len(parcel.points)

    def pick(self, parcel: Batch, indexes: Sequence[int]) -> Batch:
        """See isolate.Courier."""
        return Batch([parcel.points[i] for i in indexes], [parcel.rows[i] for i in indexes])

    def delivered(self, parcel: Batch) -> Part[None]:
        """See isolate.Courier. The window's watermark says it; nothing is saved for a single batch."""
        self.p.desk.progress.metrics += len(parcel.points)
        yield from ()

    def recheck(self, parcel: Batch, since: float, judged: Judged) -> Part[Batch]:
        """See isolate.Courier."""
        del judged
        self.p.last_unknown = since
        if parcel.fence is not None:
            remote = yield from self.p.look()
            if remote.latest.get(parcel.fence.key) == identity(parcel.fence):
                yield from self.delivered(parcel)
                return Batch()
        missing = yield from self.missing(parcel.points, since)
        left = set(map(id, missing))
        return self.pick(parcel, [i for i, point in enumerate(parcel.points) if id(point) in left])

    def missing(self, points: Sequence[Point], since: float) -> Part[list[Point]]:
        """Which of these points the remote does not have; one of each, if some are identical.

        Args:
            points: that may have been sent.
            since: since when that has been unknown: on a remote without deduplication absence is believed only a settle
                time later.
        """
        wanted: dict[Identity, Point] = {}
        for point in points:
            wanted.setdefault(identity(point), point)
        begun = self.p.desk.now  # what was executed while we read need not be in what we read
        absent = yield from self._absent(set(wanted))
        if absent and not self.p.desk.dedupes and begun < since + self.p.desk.settle_s:
            yield from settled(self.p.desk, since)
            absent = yield from self._absent(absent)
        self.p.desk.progress.metrics += len(points) - len(absent)
        return [point for point in wanted.values() if identity(point) in absent]

    def _absent(self, wanted: set[Identity]) -> Part[set[Identity]]:
        """Read the histories of the keys that the remote knows."""
        if not wanted:
            return set()
        remote = yield from self.p.look()
        absent = set(wanted)
        for key in sorted({one[0] for one in wanted} & set(remote.latest)):
            absent -= yield from self._stored(key, {one for one in wanted if one[0] == key})
        return absent

    def _stored(self, key: str, wanted: set[Identity]) -> Part[set[Identity]]:
        """Which of these points of one key the remote has."""
        stored: set[Identity] = set()
        token = ""
        while True:
            page = get_history(self.p.remote_id, key, self.p.desk.limits.history_page, token)
            judged = yield from read(page)
            if judged.verdict is Verdict.GONE:
                raise Gone(judged.words)
            if judged.verdict is not Verdict.OK:
                raise Ended(Ending.PARKED, f"the history of metric {key} cannot be read: {judged.words}")
            stored |= wanted & {remote_identity(m) for m in judged.body.get("metrics") or ()}
            before, token = token, str(judged.body.get("next_page_token") or "")
            if not token or token == before or len(stored) == len(wanted):
                return stored

    def reject(self, parcel: Batch, words: str) -> Part[None]:
        """See isolate.Courier."""
        (point,), (row,) = parcel.points, parcel.rows
        wall_s = self.p.desk.wall_s
        record = Rejected("run", self.p.desired.run_id, "metric", _name(point), row, words, wall_s)
        old = self.p.ledger.parked.get(("metric", _name(point)))
        yield from self.p.ledger.save(record, drops=(old,) if old is not None else ())

    def park(self, parcel: Batch, words: str) -> Part[None]:
        """See isolate.Courier."""
        (point,), (row,) = parcel.points, parcel.rows
        yield from self.p.park("metric", _name(point), row, words)
