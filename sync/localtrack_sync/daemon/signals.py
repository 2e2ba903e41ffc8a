"""Signals of the daemon: SIGTERM and SIGINT end it, first in good order, then at once; SIGHUP reads its settings."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import final

from localtrack_sync.shell.replay import Stop

#: Seconds that are granted beyond the stop that was asked for: saving what became of the last requests.
GRACE_S = 5.0
_ENDING = (signal.SIGTERM, signal.SIGINT)


@final
class Signals:
    """What signals ask for; a context manager that takes them over, in the main thread only.

    Attributes:
        ending: it is to end.
        again: the settings are to be read again.
    """

    def __init__(self, told: Callable[[str], None], late: Callable[[], None]) -> None:
        """Takes nothing over yet.

        Args:
            told: called in a thread of its own when the end was asked for, with the name of the signal.
            late: the same when the daemon has not ended in time, just before it is ended at once with 1.
        """
        self.ending = False
        self.again = False
        self._stop = Stop()
        self._told = told
        self._late = late
        self._bound_s = GRACE_S
        self._over = threading.Event()
        self._spoken = threading.Event()
        self._before: dict[signal.Signals, object] = {}
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Signals:
        """Take the signals over."""
        for number in _ENDING:
            self._before[number] = signal.signal(number, self._end)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        self._over.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def round(self, stop_seconds: float) -> Stop:
        """A new wish to stop, for the next round of the loop; it is there already when the end was asked for.

        Args:
            stop_seconds: how long an end in good order may take; GRACE_S more, and it ends at once.
        """
        self._bound_s = stop_seconds + GRACE_S
        stop = self._stop = Stop()
        self.again = False
        if self.ending:
            stop.request()
        return stop

    def wait_told(self) -> None:
        """If the end was asked for, wait until that has been told (a second at most): a loop may be quicker."""
        if self.ending:
            self._spoken.wait(1.0)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        if self.ending:
            os._exit(128 + number)  # nothing is lost: what is on the disk is whole at any moment
        self.ending = True
        # Whoever is interrupted here may hold the lock of the log: another thread speaks.
        name = signal.Signals(number).name
        threading.Thread(target=self._watch, args=(name,), name="localtrack-stop", daemon=True).start()
        self._stop.request()

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        if self._terminal and not sys.stderr.isatty():
            self._end(number, frame)  # the terminal that it ran in was closed
            return
        self.again = True
        self._stop.request()

    def _watch(self, name: str) -> None:
        self._told(name)
        self._spoken.set()
        if not self._over.wait(self._bound_s):
            self._late()
            os._exit(1)
