"""Who of a store's trainers lives: looked at from time to time; the runs of those that died are ended."""

from __future__ import annotations

import time
from typing import final

from localtrack.catalog.catalog import Catalog
from localtrack.journal.writer import journal_of
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.dead_trainers import DeadTrainers

#: Seconds between two looks; it costs a lock per journal that holds an open run.
EVERY_S = 60.0


@final
class Lives:
    """The lives of one store, looked at by one thread.

    Args:
        catalog: of the store.
        settings: dead_run_grace_seconds and idle_exit_seconds.

    Attributes:
        next_at: clock reading of the next look.
        busy: processes that log to open runs live, or may be replaced by a requeued job still.
    """

    def __init__(self, catalog: Catalog, settings: DaemonSettings) -> None:
        self.next_at = 0.0
        self.busy = False
        self._catalog = catalog
        self._grace_ms = round(settings.dead_run_grace_seconds * 1000)
        # Whoever is to end soon after the last trainer has to notice its end soon.
        idle_s = settings.idle_exit_seconds
        self._every_s = min(EVERY_S, max(1.0, idle_s / 4)) if idle_s else EVERY_S
        self._trainers: DeadTrainers | None = None
        self._ended: list[str] = []

    def look(self, now: float) -> None:
        """End the runs of trainers that have been dead for the grace period, if it is time to look.

        Raises:
            StoreError, OSError: the catalog or the journal cannot be used.
        """
        if now < self.next_at:
            return
        self.next_at = now + self._every_s
        if self._trainers is None:
            self._trainers = DeadTrainers(self._catalog, journal_of(self._catalog.store))
        self._ended += self._trainers.end(time.time_ns() // 1_000_000, self._grace_ms, refresh=False)
        self.busy = self._trainers.living > 0 or self._trainers.waiting > 0

    def take_ended(self) -> list[str]:
        """Ids of the runs that were ended since this was asked last; from any thread."""
        ended, self._ended = self._ended, []
        return ended
