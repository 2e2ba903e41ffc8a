"""The background thread of a journal: sleeps until it is rung, waits a little, tends to the file, sleeps again.

No polling: an idle journal wakes nobody. A raw thread and a raw lock as the bell, because `threading.Event` and
`threading.Thread` take locks that are not reentrant, and a signal handler may ring in the middle of a ring.
"""

from __future__ import annotations

import _thread
from contextlib import suppress
from typing import Protocol

from localtrack.journal.trouble import tell

_AFTER_ERROR_SECONDS = 5.0


class Tend(Protocol):
    """One round of work."""

    def __call__(self, *, rung: bool) -> float | None:
        """Returns after how many seconds the next round comes unrung; None: only when rung."""


class Keeper:
    """One background thread.

    Args:
        tend: a round of work; told whether it was rung for.
        delay: seconds between the ring and the round, so that one round serves many rings.
    """

    def __init__(self, tend: Tend, delay: float) -> None:
        self._tend = tend
        self._delay = delay
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._hurry = False
        self._stopped = False
        self._told = False
        self._ended = _thread.allocate_lock()
        self._ended.acquire()

    def start(self) -> bool:
        """Start the thread; False when the interpreter is on its way out and starts no more threads."""
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:
            return False
        return True

    def ring(self, *, hurry: bool = False) -> None:
        """Ask for a round, without waiting for it; `hurry`: at once."""
        if hurry:
            self._hurry = True
        with suppress(RuntimeError):  # rung already
            self._bell.release()

    def stop(self, timeout: float) -> None:
        """Ask the thread to end and wait up to `timeout` seconds for it."""
        self._stopped = True
        self.ring(hurry=True)
        self._ended.acquire(timeout=timeout)

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            tell(f"the background thread of the journal met {type(error).__name__}: {error}; it goes on")

    def _run(self) -> None:
        wait: float | None = None
        try:
            while True:
                rung = self._bell.acquire(timeout=-1 if wait is None else wait)
                if rung and not self._hurry:
                    self._bell.acquire(timeout=self._delay)  # a second ring only makes the round come sooner
                self._hurry = False
                if self._stopped:
                    return
                try:
                    wait = self._tend(rung=rung)
                except Exception as error:  # noqa: BLE001 - the thread must go on fencing whatever one round met
                    wait = _AFTER_ERROR_SECONDS
                    self._tell(error)
        finally:
            self._ended.release()
