"""How many requests may be open at once: more while all goes well, half when the remote has too much to do. Pure.

The additive increase and multiplicative decrease of TCP (Chiu and Jain, 1989), which makes strangers share fairly what
none of them can measure. As with TCP the window may be smaller than one: a window of 1/10 means that one request is
open a tenth of the time. So the pause between two requests grows with the time that the remote takes to answer: who
meets a quick server notices nothing, and a thousand clients that meet a slow one wait for each other without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: The window of somebody who does not know the remote yet, and the smallest there is.
FIRST, LEAST = 1 / 10, 1 / 64
#: By how much an answer enlarges the window, below and above one connection.
STEP_BELOW, STEP_ABOVE = 0.02, 0.05
GROWTH = 0.05
MEMORY = 0.75
TOOK_S = 1.0
JITTER = 0.0
#: Longest pause between two requests because of a small window, seconds.
PAUSE_CAP_S = 60.0


@dataclass(slots=True)
class Window:
    """The requests that may be open at once.

    Attributes:
        most: see `GateSettings.connections_max`.
        size: requests; below 1 the share of time that one is open.
        ramp_until: not above 1 before.
        pause_until: nothing starts before.
        cut_at: when it was made smaller; what had gone out before says nothing new.
        took_s: how long the last good answer took.
    """

    most: int
    size: float
    ramp_until: float = 0.0
    pause_until: float = 0.0
    cut_at: float = -1.0
    took_s: float = 0.0

    @property
    def connections(self) -> int:
        """Requests that may be open at once."""
        return max(1, int(self.size))

    def restart(self, size: float, ramp_until: float) -> None:
        """Begin as somebody who does not know the remote."""
        self.size = min(self.size, size)
        self.ramp_until = ramp_until
        self.pause_until = 0.0

    def grow(self, sent_at: float, now: float, rng: Callable[[], float]) -> None:
        """An answer came to what was sent at `sent_at`."""
        self.took_s = max(now - sent_at, MEMORY * self.took_s)
        most = self.most if now >= self.ramp_until else 1
        step = STEP_ABOVE if self.size >= 1.0 else min(STEP_BELOW, self.size * GROWTH)
        self.size = min(self.size + step, max(most, self.size))
        self._pause(now, rng)

    def cut(self, sent_at: float, now: float, rng: Callable[[], float], *, throttled: bool) -> None:
        """The remote has too much to do; or it did not answer in time, which is no reason to go below one request."""
        if sent_at > self.cut_at:
            self.cut_at = now
            least = LEAST if throttled else min(self.size, 1.0)
            self.size = max(self.size / 2, least)
        self._pause(now, rng)

    def _pause(self, now: float, rng: Callable[[], float]) -> None:
        if self.size < 1.0:
            pause = (self.took_s or TOOK_S) * (1.0 / self.size - 1.0) * (JITTER + (2-2*JITTER) * rng())
            self.pause_until = now + min(pause, PAUSE_CAP_S)
