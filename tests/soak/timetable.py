"""What goes wrong, and when: a function of seed, length and number of trainers alone. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

#: What the network does, see weather.py.
SKIES = ("refused", "resets", "lost", "slow", "unavailable", "throttled", "portal", "late")
#: How programs end: at once, or when they are asked to.
ENDS = ("kill", "stop")
#: How a trainer's life ends: killed and its run resumed, killed and its run left as it is, asked to end.
LIVES = ("kill and resume", "kill", "stop")
#: From this length on, seconds, everything takes its time, and the remote is once away for long.
LONG_S = 600.0
#: In a long form all times are this much longer.
STRETCH = 2.5
#: Longer than what the daemon takes for an outage after which it asks anew what the remote is (60 s).
LONG_OUTAGE_S = (75.0, 100.0)
#: The daemon dies in this first part only: how its memory goes shows in one that lives for long.
DAEMON_DIES = 0.45

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Span:
    """Something that is wrong for a while.

    Attributes:
        begin, end: seconds since the soak began.
        what: one of SKIES, ENDS or LIVES.
    """

    begin: float
    end: float
    what: str


@dataclass(frozen=True, slots=True)
class Timetable:
    """All that goes wrong, by whom it befalls; spans of one do not overlap.

    Attributes:
        seconds: length.
        trainers: of each.
    """

    seconds: float
    network: tuple[Span, ...]
    server: tuple[Span, ...]
    daemon: tuple[Span, ...]
    trainers: tuple[tuple[Span, ...], ...]


def timetable(seed: int, seconds: float, trainers: int) -> Timetable:
    """What goes wrong in a soak.

    Args:
        seed: equal ones give equal timetables.
        seconds: how long things go wrong.
        trainers: how many there are at a time.
    """
    slow = STRETCH if seconds >= LONG_S else 1.0

    def spans(
        name: str, kinds: Sequence[str], calm: tuple[float, float], wrong: tuple[float, float], until: float
    ) -> tuple[Span, ...]:
        rng = random.Random(f"{seed} {name}")
        return tuple(_spans(rng, kinds, _times(rng, calm, slow), _times(rng, wrong, slow), until))

    network = spans("network", SKIES, (4, 14), (3, 9), seconds)
    if seconds >= LONG_S:
        network = _with_long_outage(random.Random(f"{seed} outage"), network, seconds)
    return Timetable(
        seconds,
        network,
        spans("server", ENDS, (25, 50), (1, 8), seconds),
        spans("daemon", (*ENDS, "kill"), (8, 24), (0.2, 4), seconds * DAEMON_DIES),
        tuple(spans(f"trainer {i}", LIVES, (12, 40), (0.2, 3), seconds) for i in range(trainers)),
    )


def _times(rng: random.Random, bounds: tuple[float, float], slow: float) -> Callable[[], float]:
    return lambda: rng.uniform(*bounds) * slow


def _spans(
    rng: random.Random, kinds: Sequence[str], calm: Callable[[], float], wrong: Callable[[], float], until: float
) -> Iterator[Span]:
    at = 0.0
    for kind in _bag(rng, kinds):
        begin = at + calm()
        at = begin + wrong()
        if at > until:
            return
        yield Span(begin, at, kind)


def _bag(rng: random.Random, kinds: Sequence[_T]) -> Iterator[_T]:
    """All of them in a random order, and again: none is left out for long."""
    while True:
        yield from rng.sample(kinds, len(kinds))


def _with_long_outage(rng: random.Random, network: tuple[Span, ...], seconds: float) -> tuple[Span, ...]:
    """The remote is once away for long, after the last death of the daemon."""
    begin = rng.uniform(0.5, 0.7) * seconds
    outage = Span(begin, begin + rng.uniform(*LONG_OUTAGE_S), "refused")
    others = [span for span in network if span.end < outage.begin or span.begin > outage.end]
    return tuple(sorted([*others, outage], key=lambda span: span.begin))
