"""Two histories of one metric, compared as multisets in the memory of a page, whatever their order and length. Pure.

Each point goes into one of `BUCKETS` sums of hashes. Sums that are equal prove equal contents (up to the collision of
128-bit hashes); where they are not, only the points of those buckets are looked at one by one, in a second reading.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from localtrack_sync.protocol.values import Identity

BUCKETS = 1024
#: Points that a second reading may hold: about 20 MB.
HELD = 50_000
_MASK = (1 << 128) - 1
_PACK = struct.Struct("<qqd").pack
_NAN = float("nan")


def _hash(point: Identity) -> int:
    _, step, ts, value = point
    packed = _PACK(step, ts, _NAN if isinstance(value, str) else value)
    return int.from_bytes(hashlib.blake2b(packed, digest_size=16).digest(), "little")


class Tally:
    """A multiset of points of one metric, as sums."""

    def __init__(self) -> None:
        self.sums = [0] * BUCKETS
        self.counts = [0] * BUCKETS

    def add(self, points: Iterable[Identity]) -> None:
        """Count these points."""
        sums, counts = self.sums, self.counts
        for point in points:
            number = _hash(point)
            bucket = number % BUCKETS
            sums[bucket] = (sums[bucket] + number) & _MASK
            counts[bucket] += 1

    @property
    def total(self) -> int:
        """How many points."""
        return sum(self.counts)


def suspects(ours: Tally, theirs: Tally) -> list[int]:
    """The buckets whose contents differ."""
    return [
        i
        for i in range(BUCKETS)
        if ours.counts[i] != theirs.counts[i] or ours.sums[i] != theirs.sums[i]
    ]  # fmt: skip


def within(ours: Tally, theirs: Tally, buckets: Iterable[int]) -> frozenset[int]:
    """As many of these buckets as a second reading may hold, at least one."""
    chosen: set[int] = set()
    held = 0
    for bucket in buckets:
        held += ours.counts[bucket] + theirs.counts[bucket]
        if chosen and held > HELD:
            break
        chosen.add(bucket)
    return frozenset(chosen)


@dataclass(slots=True)
class Sample:
    """The points of some buckets, one by one.

    Attributes:
        buckets: which.
        ours: distinct identities of ours -> how many spellings of the value were logged (inf, and the largest double,
            are one identity; a remote may keep both).
        theirs: identities on the remote -> how often they are there.
    """

    buckets: frozenset[int]
    ours: Counter[Identity] = field(default_factory=Counter)
    theirs: Counter[Identity] = field(default_factory=Counter)

    def take(self, points: Iterable[Identity], side: Counter[Identity]) -> None:
        """Count those of these points that lie in the buckets."""
        for point in points:
            if _hash(point) % BUCKETS in self.buckets:
                side[point] += 1


@dataclass(frozen=True, slots=True)
class Unlike:
    """How the contents differ: how many points, and examples in order of step and time.

    Attributes:
        missing, extra, twice: (at least how many, examples).
    """

    missing: tuple[int, tuple[Identity, ...]]
    extra: tuple[int, tuple[Identity, ...]]
    twice: tuple[int, tuple[Identity, ...]]


def unlike(ours: Tally, theirs: Tally, sample: Sample, differing: Collection[int], examples: int) -> Unlike:
    """What differs: exact in the buckets of the sample, at least so much in the others."""
    missing = [point for point in sample.ours if point not in sample.theirs]
    extra = [point for point in sample.theirs if point not in sample.ours]
    twice = [point for point, times in sample.theirs.items() if times > max(1, sample.ours[point])]
    rest = [bucket for bucket in differing if bucket not in sample.buckets]
    fewer = sum(max(0, ours.counts[i] - theirs.counts[i]) for i in rest)
    more = sum(max(0, theirs.counts[i] - ours.counts[i]) for i in rest)
    return Unlike(
        (len(missing) + fewer, _first(missing, examples)),
        (len(extra) + more, _first(extra, examples)),
        (len(twice), _first(twice, examples)),
    )


def _first(points: Iterable[Identity], examples: int) -> tuple[Identity, ...]:
    return tuple(sorted(points, key=lambda point: (point[1], point[2], str(point[3])))[:examples])
