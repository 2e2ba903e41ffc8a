"""A catalog that lives in one process only: where its file cannot be written, or there is no store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from localtrack.catalog import database, files, forking
from localtrack.catalog.importer import Importer
from localtrack.catalog.source import Source


class InMemory:
    """The connection to it, one for all threads, behind a lock.

    Args:
        journals: directory of the journals.
        open_source: opens a journal file.

    Attributes:
        lock: to be held around everything; it may be taken again by who holds it.
        made: how many there were so far: each numbers its journals anew.
    """

    def __init__(self, journals: str, open_source: Callable[[str], Source]) -> None:
        self.lock = threading.RLock()
        self.made = 0
        self._journals = journals
        self._open_source = open_source
        self._connection: sqlite3.Connection | None = None
        self._fork_holds = False
        forking.register(self)

    def bring(self) -> None:
        """Import what is new in all journals."""
        Importer(self.connection(), self._journals, self._open_source).bring(files.scan(self._journals))

    def connection(self) -> sqlite3.Connection:
        """The connection; an empty catalog is made when there is none."""
        if self._connection is None:
            self._connection = database.open_to_write(database.MEMORY, network=False)
            self.made += 1
        return self._connection

    def drop(self) -> None:
        """Forget it all."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def before_fork(self) -> None:
        """See `forking.Forkable`."""
        self._fork_holds = self.lock.acquire(timeout=forking.PATIENCE_S)

    def after_fork_in_parent(self) -> None:
        """See `forking.Forkable`."""
        if self._fork_holds:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """See `forking.Forkable`."""
        self.lock = threading.RLock()
        if self._connection is not None:
            forking.abandon(self._connection)
            self._connection = None
