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
FIRST, LEAST = 1 / 20, 1 / 64
#: By how much an answer enlarges the window: from one connection on; below by a share of its size, at most so much.
STEP_ABOVE, GROWTH, STEP_BELOW = 0.05, 0.05, 0.02
#: Weight of the newest answer in the time that answers take; that time while nothing is known, seconds.
ALPHA, TOOK_S = 0.25, 1.0
#: Longest mean pause between two requests because of a small window, seconds.
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
        took_s: how long answers take, on the average of the last few; 0 while none has come.
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
        took = min(now - sent_at, PAUSE_CAP_S)  # what takes longer than that: the machine was asleep
        self.took_s += (took - self.took_s) * (ALPHA if self.took_s else 1.0)
        most = self.most if now >= self.ramp_until else 1
        step = STEP_ABOVE if self.size >= 1.0 else min(STEP_BELOW, self.size * GROWTH)
        self.size = min(self.size + step, max(most, self.size))
        self._pause(now, rng)

    def cut(self, sent_at: float, now: float, rng: Callable[[], float], *, throttled: bool) -> None:
        """The remote has too much to do; or it did not answer in time, which is no reason to go below one request.

        Halved once for all that was open when it was halved. The pause holds for what is refused as well: refusals come
        in bursts, and whoever came back from them after the same few seconds would be the next burst.
        """
        if sent_at > self.cut_at:
            self.cut_at = now
            least = LEAST if throttled else min(self.size, 1.0)
            self.size = max(self.size / 2, least)
        self._pause(now, rng)

    def _pause(self, now: float, rng: Callable[[], float]) -> None:
        """Wait before the next request; anything from nothing to twice the mean, or crowds would move in waves."""
        if self.size < 1.0:
            pause = min((self.took_s or TOOK_S) * (1.0 / self.size - 1.0), PAUSE_CAP_S)
            self.pause_until = now + pause * 2.0 * rng()
