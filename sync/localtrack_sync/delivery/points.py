"""Metric points as parcels: sent in batches, read back by the histories of their metrics. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from localtrack.catalog.desired import Point
from localtrack_sync.delivery.isolate import INDEX
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.limits import HISTORY_PAGES
from localtrack_sync.protocol.plan import Batch
from localtrack_sync.protocol.records import Rejected
from localtrack_sync.protocol.request import API, get_history
from localtrack_sync.protocol.steps import Ended, Gone, Part, read, settled
from localtrack_sync.protocol.values import Identity, identity, remote_identity
from localtrack_sync.protocol.verdict import Judged, Verdict


def name_of(point: Point) -> str:
    """Name of a point in the delivery state."""
    return f"{point.incarnation}:{point.pos}"


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
        self.p.last_unknown = max(since, self.p.last_unknown)
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
        for _ in range(HISTORY_PAGES):
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
        raise Ended(Ending.PARKED, f"the history of metric {key} does not end on the remote")

    def reject(self, parcel: Batch, words: str) -> Part[None]:
        """See isolate.Courier."""
        (point,), (row,) = parcel.points, parcel.rows
        wall_s = self.p.desk.wall_s
        record = Rejected("run", self.p.desired.run_id, "metric", name_of(point), row, words, wall_s)
        old = self.p.ledger.parked.get(("metric", name_of(point)))
        yield from self.p.ledger.save(record, drops=(old,) if old is not None else ())

    def park(self, parcel: Batch, words: str) -> Part[None]:
        """See isolate.Courier."""
        (point,), (row,) = parcel.points, parcel.rows
        yield from self.p.park("metric", name_of(point), row, words)
