"""The network of a soak: what becomes of each request, by what the network does at that moment."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias, final

from tests.servers.faults import (
    UNAVAILABLE,
    Answer,
    CutBefore,
    CutHalf,
    Drip,
    DropReply,
    Fault,
    Later,
    Pass,
    Slow,
    Truncate,
    portal,
    too_many,
)
from tests.servers.proxy import Seen

#: The longest time for which a request is held back and then executed all the same, seconds.
LATEST_S = 3.0


def _busy(*, committed: bool) -> Answer:
    return Answer(503, UNAVAILABLE, committed, "application/json", ("Retry-After: 2",))


#: Faults with their shares of the requests; the rest passes.
_Mix: TypeAlias = Sequence[tuple[float, Fault]]
_MIXES: Mapping[str, _Mix] = {
    "clear": (),
    "refused": (),  # nobody listens then: no request comes
    "resets": ((0.4, CutBefore()), (0.2, CutHalf())),
    "lost": ((0.4, DropReply()), (0.1, Truncate())),
    "slow": ((0.3, Drip(0.004)), (0.3, Slow(1.5))),
    "unavailable": ((0.4, _busy(committed=False)), (0.3, _busy(committed=True))),
    "throttled": ((0.6, too_many("2")),),
    "portal": ((0.9, portal()), (0.1, portal(committed=True))),
    "late": ((0.2, Later(1.0)), (0.2, Later(LATEST_S))),
}


@final
class Weather:
    """A rule of the fault proxy (`proxy.Rule`) that changes with time.

    Attributes:
        sky: one of `timetable.SKIES`, or clear.
        done: kind of fault -> how often.
    """

    def __init__(self, seed: int) -> None:
        self.sky = "clear"
        self.done: Counter[str] = Counter()
        self._rng = random.Random(f"{seed} weather")

    def __call__(self, seen: Seen) -> Fault:
        """What becomes of a request."""
        del seen
        chance = self._rng.random()
        for share, fault in _MIXES[self.sky]:
            if chance < share:
                self.done[f"{self.sky}: {_name(fault)}"] += 1
                return fault
            chance -= share
        return Pass()


def _name(fault: Fault) -> str:
    return f"{fault.status}{' after commit' * fault.forward}" if isinstance(fault, Answer) else type(fault).__name__
