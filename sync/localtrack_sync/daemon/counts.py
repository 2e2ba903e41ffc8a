"""How fast a lane delivers: records in all, and a second over the last minute. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

#: Seconds over which the rate is taken.
OVER_S = 60.0


@dataclass(slots=True)
class Counts:
    """Records delivered.

    Attributes:
        total: since the daemon began.
    """

    total: int = 0
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, records: int, now: float) -> None:
        """So many more were delivered by `now`, a clock reading."""
        self.total += records
        if records:
            self._samples.append((now, records))
        self._drop(now)

    def rate(self, now: float) -> float:
        """Records a second over the last minute."""
        self._drop(now)
        return sum(records for _, records in self._samples) / OVER_S

    def _drop(self, now: float) -> None:
        while self._samples and self._samples[0][0] < now - OVER_S:
            self._samples.popleft()
