"""Looks for files that others wrote straight into artifact directories, without holding up what is logged meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import final

from localtrack.catalog.catalog import Catalog
from localtrack_sync.daemon.bell import Bell
from localtrack_sync.daemon.pace import SHARE, Pace
from localtrack_sync.daemon.words import words_of
from localtrack_sync.shell.replay import Stop
from localtrack_sync.store.found_files import Found, find_files

#: Seconds until a file that was just written has settled and is looked at (`artifacts.scan.register` waits 2).
SETTLES_S = 2.5


@final
class Finder:
    """Looks through the artifact directories of one store now and then, in a thread of its own.

    The content of a new file is read to know it: a large one takes minutes.

    Args:
        catalog: of the store.
        every_s: seconds between two looks, if nothing hints at a new file.
        stop: looked at between two looks; one that is under way is left to the end of the process.
        found: called, from this thread, when something was registered.
        look: looks once.

    Attributes:
        trouble: why the directories cannot be looked through, "" while they can.
    """

    def __init__(
        self,
        catalog: Catalog,
        every_s: float,
        stop: Stop,
        found: Callable[[], None],
        look: Callable[[Catalog], Found] = find_files,
    ) -> None:
        self.trouble = ""
        self._catalog, self._every_s, self._stop, self._found, self._look = catalog, every_s, stop, found, look
        self._bell = Bell()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; one that has begun goes on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="localtrack-find", daemon=True)
            self._thread.start()

    def hint(self) -> None:
        """Something was written to an artifact directory; from any thread."""
        self._bell.ring()

    def join(self, timeout_s: float) -> bool:
        """Wait for its end; whether it came."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        with self._stop.waking(self._bell.ring):
            while not self._stop.wanted:
                began = time.monotonic()
                self._once()
                self._rest(began, time.monotonic())

    def _once(self) -> None:
        try:
            result = self._look(self._catalog)
        except Exception as error:  # noqa: BLE001 - what is registered can be delivered all the same; tried again
            self.trouble = words_of(error)
            return
        self.trouble = result.trouble
        if result.registered:
            self._found()

    def _rest(self, began: float, ended: float) -> None:
        """Wait for a hint, or for the slow look; a file that is always written to is not looked at all the time."""
        took = ended - began
        until = ended + Pace.next_scan(took, self._every_s)
        while not self._stop.wanted and (left := until - time.monotonic()) > 0:
            if self._bell.wait(left):
                until = min(until, max(time.monotonic() + SETTLES_S, ended + took / SHARE))
