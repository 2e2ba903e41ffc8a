"""No storms in the log: what was said within the last minute is counted, and said again when the minute is over. Pure.

What is held back comes out with the number of times and the time of the last one, in the order of these times: so the
last line about something says how it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW_S = 60.0
#: Different lines that are remembered; the oldest are forgotten first.
KEYS = 1000
#: A number that stands alone: not part of a name, an address or a path.
_NUMBER = re.compile(r"(?<![\w./:@-])[-+]?\d+(?:[.,]\d+)?(?![.,]?[\w/:@-])")


@dataclass(frozen=True, slots=True)
class Line:
    """Something to say. `at` is in seconds since the epoch."""

    level: str
    event: str
    at: float
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class _Said:
    until: float  # monotonic
    held: int = 0
    last: Line | None = None


class Repeats:
    """Which lines to say, and when."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window = window_s
        self._said: dict[tuple[object, ...], _Said] = {}

    def offer(self, line: Line, now: float) -> bool:
        """Whether to say this line now; otherwise it is counted. `now` is monotonic, seconds."""
        key = _key(line)
        said = self._said.get(key)
        if said is not None and now < said.until:
            said.held += 1
            said.last = line
            return False
        self._said.pop(key, None)  # to the end: the oldest stand first
        self._said[key] = _Said(now + self._window)
        if len(self._said) > KEYS:
            self._said.pop(next(iter(self._said)))
        return True

    def due(self, now: float) -> list[tuple[Line, int]]:
        """Lines that were held back and whose minute is over, with the number of times; the last one last."""
        over = [key for key, said in self._said.items() if now >= said.until]
        found = []
        for key in over:
            said = self._said.pop(key)
            if said.last is not None:
                found.append((said.last, said.held))
                self._said[key] = _Said(now + self._window)
        return sorted(found, key=lambda one: one[0].at)

    def rest(self) -> list[tuple[Line, int]]:
        """All lines that are still held back, as `due`; for the end."""
        found = [(said.last, said.held) for said in self._said.values() if said.last is not None]
        self._said.clear()
        return sorted(found, key=lambda one: one[0].at)


def _key(line: Line) -> tuple[object, ...]:
    """The event and its facts, without numbers: `away for 3 s` and `away for 4 s` say the same."""
    facts = (
        (name, _NUMBER.sub("#", str(value)))
        for name, value in sorted(line.facts.items())
        if not isinstance(value, (int, float)) or isinstance(value, bool)
    )
    return (line.level, line.event, *facts)
