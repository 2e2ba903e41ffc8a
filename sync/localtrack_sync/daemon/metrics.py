"""Metrics for Prometheus, where they are wanted: an endpoint on this machine, a file, and the books that they need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import final

from localtrack.errors import LocaltrackError
from localtrack.store import Store
from localtrack_sync.daemon.bell import Bell
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.facts import DaemonFacts
from localtrack_sync.daemon.metrics_endpoint import MetricsEndpoint
from localtrack_sync.daemon.metrics_file import write_metrics_file
from localtrack_sync.daemon.prometheus import exposition
from localtrack_sync.daemon.words import words_of
from localtrack_sync.store.accounts import accounts_of

#: Seconds between two counts of what is owed, and between two writes of the file; counting takes this share at most.
EVERY_S, SHARE = 15.0, 0.02


@final
class Metrics:
    """What a daemon tells Prometheus; does nothing unless the settings ask for it.

    Args:
        settings: metrics_port and metrics_file.
        environ: as in `accounts_of`.
        facts: how things stand, by path of the store; called from other threads.
        failed: called with why the file or the books cannot be had.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        environ: Mapping[str, str],
        facts: Callable[[], Mapping[str, DaemonFacts]],
        failed: Callable[[str], None],
    ) -> None:
        self._settings, self._environ, self._facts, self._failed = settings, environ, facts, failed
        self._owed: dict[tuple[str, str, str], int] = {}
        self._bell = Bell()
        self._ends = False
        self._endpoint = MetricsEndpoint(settings.metrics_port, self.text) if settings.metrics_port else None
        wanted = settings.metrics_port or settings.metrics_file
        self._thread = threading.Thread(target=self._work, name="localtrack-metrics", daemon=True) if wanted else None

    def start(self) -> None:
        """Begin. A port that is taken is told, and keeps nothing from being delivered."""
        try:
            if self._endpoint is not None:
                self._endpoint.start()
        except LocaltrackError as error:
            self._endpoint = None
            self._failed(f"{error.message} {error.hint}")
        if self._thread is not None:
            self._thread.start()

    def close(self) -> None:
        """End, within seconds."""
        if self._endpoint is not None:
            self._endpoint.close()
        if self._thread is not None:
            self._ends = True
            self._bell.ring()
            self._thread.join(2.0)

    def text(self) -> str:
        """The metrics as of now; what is owed as of the last count."""
        return exposition({path: self._with_books(path, facts) for path, facts in self._facts().items()})

    def _with_books(self, path: str, facts: DaemonFacts) -> DaemonFacts:
        remotes = tuple(replace(one, owed=self._owed.get((path, one.url, one.workspace))) for one in facts.remotes)
        return replace(facts, remotes=remotes)

    def _work(self) -> None:
        while not self._ends:
            began = time.monotonic()
            try:
                self._count()
                if self._settings.metrics_file:
                    write_metrics_file(self._settings.metrics_file, self.text())
            except Exception as error:  # noqa: BLE001 - a full disk, a store that went away: said, and tried again
                self._failed(words_of(error))
            known = bool(self._facts())  # at the beginning nobody has said anything yet
            self._bell.wait(max(EVERY_S, (time.monotonic() - began) / SHARE) if known else 1.0)

    def _count(self) -> None:
        owed = {}
        for path in list(self._facts()):
            for account in accounts_of(Store(path), self._environ):
                if account.remote is not None:
                    owed[path, account.remote.url, account.remote.workspace] = account.owed
        self._owed = owed
