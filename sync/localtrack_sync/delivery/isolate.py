"""Sending records of one kind in batches, so that one bad record never holds up the others. Pure.

A refused batch is taken apart: by the index in the server's message ("metrics[3].name"), else by halves, until the
    record
that is meant stands alone; it is listed as rejected with the server's words. A batch whose outcome stays unknown
although the remote answers otherwise is taken apart the same way; what is left is parked, because nobody has refused
it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.steps import Ask, Desk, Ended, Gone, Inactive, Part
from localtrack_sync.protocol.values import INFINITY
from localtrack_sync.protocol.verdict import Judged, Verdict

P = TypeVar("P")
#: Unknown outcomes of one batch, each followed by a read-back that works, before it is taken apart.
TRIES = 3
INDEX = re.compile(r"\b(?:metrics|params|tags)\[(\d+)\]")


class Courier(Protocol[P]):
    """What a kind of record knows about itself; P is a parcel: what goes into one request.

    Attributes:
        index: finds the number of the refused record in the server's words; None: they never name it.
        optional: the route may be missing on this server.
    """

    @property
    def index(self) -> re.Pattern[str] | None:
        """See above."""

    @property
    def optional(self) -> bool:
        """See above."""

    def request(self, parcel: P) -> Request:
        """The request that delivers a parcel."""

    def size(self, parcel: P) -> int:
        """Records in it."""

    def pick(self, parcel: P, indexes: Sequence[int]) -> P:
        """The parcel with only the records at these indexes, in this order."""

    def delivered(self, parcel: P) -> Part[None]:
        """All of it is on the remote."""

    def recheck(self, parcel: P, since: float, judged: Judged) -> Part[P]:
        """Read back what became of a parcel whose outcome has been unknown since then; what may be sent again."""

    def reject(self, parcel: P, words: str) -> Part[None]:
        """The remote refuses this one record."""

    def park(self, parcel: P, words: str) -> Part[None]:
        """This one record cannot be delivered now."""


class Line(Generic[P]):
    """Parcels in line, each with the number of tries that ended unknown.

    Args:
        tries: of each parcel until now. One that was parked before gets a single try in a pass.
    """

    def __init__(self, desk: Desk, courier: Courier[P], parcels: Sequence[P], tries: int = 0) -> None:
        self.desk = desk
        self.courier = courier
        self.stack = [(parcel, tries) for parcel in reversed(parcels)]
        self.full = False  # a record that stood alone met a quota: nothing else will fit

    def run(self) -> Part[None]:
        """Deliver, reject or park every record in line.

        Raises:
            Gone, Inactive: the run is not there, or deleted.
            Ended: the credentials may not write.
        """
        while self.stack:
            parcel, tries = self.stack.pop()
            if self.courier.size(parcel):
                yield from self._send(parcel, tries)

    def _send(self, parcel: P, tries: int) -> Part[None]:
        courier = self.courier
        judged: Judged = yield Ask(courier.request(parcel), repeat=True, optional=courier.optional)
        match judged.verdict:
            case Verdict.OK:
                yield from courier.delivered(parcel)
            case Verdict.GONE:
                raise Gone(judged.words)
            case Verdict.INACTIVE:
                raise Inactive(judged.words)
            case Verdict.FORBIDDEN:
                raise Ended(Ending.PARKED, judged.words)
            case Verdict.REFUSED | Verdict.TOO_LARGE | Verdict.FULL:
                yield from self._refused(parcel, judged)
            case _:
                yield from self._unknown(parcel, tries + 1, judged)

    def _refused(self, parcel: P, judged: Judged) -> Part[None]:
        size = self.courier.size(parcel)
        if size == 1 or (self.full and judged.verdict is Verdict.FULL):
            self.full = self.full or judged.verdict is Verdict.FULL
            for each in range(size):
                yield from self.courier.reject(self.courier.pick(parcel, [each]), judged.words)
            return
        index = self.courier.index
        named = index.search(judged.words) if index is not None and judged.verdict is Verdict.REFUSED else None
        if named is not None and int(named[1]) < size:
            meant = int(named[1])
            yield from self.courier.reject(self.courier.pick(parcel, [meant]), judged.words)
            self.stack.append((self.courier.pick(parcel, [i for i in range(size) if i != meant]), 0))
            return
        if self.desk.limits.partial_refusals:
            # The refusal is an answer: what it wrote is there by now. No settle time for each half.
            parcel = yield from self.courier.recheck(parcel, -INFINITY, judged)
        if self.courier.size(parcel):
            self._halve(parcel)

    def _unknown(self, parcel: P, tries: int, judged: Judged) -> Part[None]:
        rest = yield from self.courier.recheck(parcel, self.desk.now, judged)
        size = self.courier.size(rest)
        if size == 0:
            return
        if tries < TRIES:
            self.stack.append((rest, tries))
        elif size > 1:
            self._halve(rest)
        else:
            yield from self.courier.park(rest, judged.words)

    def _halve(self, parcel: P) -> None:
        size = self.courier.size(parcel)
        middle = size // 2
        self.stack.append((self.courier.pick(parcel, range(middle, size)), 0))
        self.stack.append((self.courier.pick(parcel, range(middle)), 0))
