"""Signals of the daemon: SIGTERM and SIGINT end it, first in good order, then at once; SIGHUP reads its settings."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import final

from localtrack_sync.shell.replay import Stop

#: Seconds that are granted beyond the stop that was asked for: saving what became of the last requests.
GRACE_S = 5.0
_ENDING = (signal.SIGTERM, signal.SIGINT)


@final
class Signals:
    """What signals ask for; a context manager that takes them over, in the main thread only.

    The handlers themselves only take a note and hand it to a thread: whoever they interrupt may hold any lock (of the
    log, of an event that a loop waits for), and would wait for itself.

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
        self._notes: SimpleQueue[tuple[str, Stop] | None] = SimpleQueue()  # its put() may interrupt itself
        self._spoken = threading.Event()
        self._over = threading.Event()
        self._before: dict[signal.Signals, object] = {}
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Signals:
        """Take the signals over."""
        threading.Thread(target=self._act, name="localtrack-signals", daemon=True).start()
        for number in _ENDING:
            self._before[number] = signal.signal(number, self._end)
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back."""
        self._over.set()
        self._notes.put(None)
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
        self._notes.put((signal.Signals(number).name, self._stop))

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        if not self._terminal or sys.stderr.isatty():
            self.again = True
            self._notes.put(("", self._stop))
        elif not self.ending:
            self._end(number, frame)  # the terminal that it ran in was closed

    def _act(self) -> None:
        while (note := self._notes.get()) is not None:
            name, stop = note
            stop.request()  # this round's: one that has begun since knows better
            if name:
                self._told(name)
                self._spoken.set()
                if not self._over.wait(self._bound_s):
                    self._late()
                    os._exit(1)
