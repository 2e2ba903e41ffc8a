"""Whether what a process holds stays flat: samples over its life, and what they say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

#: A life that is shorter, seconds, says nothing: a process fills its caches first.
SHORTEST_S = 45.0
#: By how much the median of the last third of a life may be above that of the second. A run that is known costs some
#: kilobytes, and hundreds come while a soak runs; the allocator keeps what a burst after an outage took. A leak with
#: each request, retry or look costs more: there are thousands of each.
MEMORY_MARGIN = 12 << 20
MEMORY_SHARE = 0.10
#: Connections come and go with the number that is adapted to the remote (4 for each store), and SQLite opens two or
#: three files for each thread's connection to a database.
HANDLES_MARGIN = 12
THREADS_MARGIN = 6


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a process: seconds since the soak began, resident bytes, open file handles, threads."""

    at: float
    memory: int
    handles: int
    threads: int


@dataclass(slots=True)
class Life:
    """One process from start to end, as sampled.

    Attributes:
        end: how it ended: kill, stop, or "" while it lives.
    """

    pid: int
    began: float
    samples: list[Sample] = field(default_factory=list)
    end: str = ""

    @property
    def seconds(self) -> float:
        """How long it was looked at."""
        return self.samples[-1].at - self.samples[0].at if self.samples else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """Medians of the second and of the last third of a life."""

    seconds: float
    memory: tuple[float, float]
    handles: tuple[float, float]
    threads: tuple[float, float]


def longest(lives: Sequence[Life]) -> Trend | None:
    """How the longest life went; None: none was long enough to say."""
    life = max(lives, key=lambda one: one.seconds, default=None)
    if life is None or life.seconds < SHORTEST_S:
        return None
    first, last = life.samples[0].at, life.samples[-1].at
    third = (last - first) / 3
    middle = [s for s in life.samples if first + third <= s.at < last - third]
    final = [s for s in life.samples if s.at >= last - third]
    if not middle:
        return None

    def medians(name: str) -> tuple[float, float]:
        return median(getattr(s, name) for s in middle), median(getattr(s, name) for s in final)

    return Trend(life.seconds, medians("memory"), medians("handles"), medians("threads"))


def rises(trend: Trend) -> list[str]:
    """What is not flat, one line each."""
    found = []
    bounds = (
        ("memory", trend.memory, MEMORY_MARGIN + MEMORY_SHARE * trend.memory[0]),
        ("handles", trend.handles, HANDLES_MARGIN),
        ("threads", trend.threads, THREADS_MARGIN),
    )
    for name, (middle, final), margin in bounds:
        if final > middle + margin:
            found.append(f"{name} of the daemon rose from {middle:,.0f} to {final:,.0f} within {trend.seconds:.0f} s")
    return found
