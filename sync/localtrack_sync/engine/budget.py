"""How many requests may be repeated: a small share of what goes out for the first time, and a few. Pure.

After "Handling Overload" in Google's SRE book and the retry budgets of Finagle: when a part of all requests fails, a
client that repeats each of them doubles the load of a server that cannot bear the first half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class RetryBudget:
    """Counts of requests that fade with time: one that is `window_s` old counts 1/e.

    In the long run repeats stay below `ratio` of first tries plus `floor` in `window_s`; nothing can be saved up for
    longer than that.

    Attributes:
        ratio, window_s, floor: see `GateSettings`.
        first, repeated: requests, faded to `at`.
    """

    ratio: float
    window_s: float
    floor: float
    first: float = 0.0
    repeated: float = 0.0
    at: float = 0.0

    def count(self, now: float, *, repeat: bool) -> None:
        """A request goes out."""
        self._fade(now)
        if repeat:
            self.repeated += 1.0
        else:
            self.first += 1.0

    def opens_at(self, now: float) -> float:
        """When the next repeat is within the budget, `now` at the earliest."""
        self._fade(now)
        excess = self.repeated - self.ratio * self.first
        allowed = self.floor - 1.0
        return now if excess <= allowed else now + self.window_s * math.log(excess / allowed)

    def _fade(self, now: float) -> None:
        if now > self.at:
            share = math.exp(-(now - self.at) / self.window_s)
            self.first, self.repeated, self.at = self.first * share, self.repeated * share, now
