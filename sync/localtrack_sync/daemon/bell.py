"""A bell that may be rung from any thread, and from a signal handler."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import final


@final
class Bell:
    """Wakes one thread; made of a SimpleQueue, because an Event's lock must not be taken in a signal handler."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake whoever waits, or the next one who would."""
        if self._rings.empty():  # else a ring waits already: whoever takes it looks after that
            self._rings.put(None)

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for a ring, and take all that there are; False after `timeout_s` (None: for ever) without one."""
        try:
            self._rings.get(timeout=None if timeout_s is None else max(timeout_s, 0.0))
        except Empty:
            return False
        with suppress(Empty):
            while True:
                self._rings.get_nowait()
        return True
