"""Keeping the catalog file up to date: one importing connection, behind the write lock."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping

from localtrack.catalog import database, files, forking
from localtrack.catalog.files import Signature
from localtrack.catalog.importer import Importer
from localtrack.catalog.lock import LateError, WriteLock
from localtrack.catalog.source import Source
from localtrack.store import Store

#: Size of the -wal from which a checkpoint is made after an import: small ones are left for later.
CHECKPOINT_BYTES = 4 << 20


class Upkeep:
    """Imports into `<store>/catalog.db`. Thread-safe; any number of processes.

    Args:
        store: whose journals.
        open_source: opens a journal file.
        network: the store is on a network file system.
    """

    def __init__(self, store: Store, open_source: Callable[[str], Source], *, network: bool) -> None:
        self._path = store.catalog
        self._journals = store.journals
        self._open_source = open_source
        self._network = network
        self._lock = WriteLock(f"{os.path.splitext(store.catalog)[0]}.lock")
        self._using = threading.Lock()
        self._fork_holds = False
        self._file: tuple[int, int] | None = None
        self._connection: sqlite3.Connection | None = None
        self._importer: Importer | None = None
        forking.register(self)

    def bring(self, seen: Mapping[str, Signature], skip: frozenset[str], until: float | None = None) -> None:
        """Import what is new in the journal files `seen`.

        Args:
            seen: signatures taken before this call.
            skip: names that need not be looked at, when it is necessary to look again.
            until: reading of time.monotonic() after which to stop at the next commit: 100,000 points or 200 files.

        Raises:
            LateError: `until` has passed; what was committed before stays.
            TooNewError, StoreError: the catalog is not ours to write, or its lock is held by something that hangs.
            OSError, sqlite3.Error: the catalog cannot be written.
        """
        with self._lock.held(self._progress, until=until) as waited, self._using:
            if waited:  # what another process imported meanwhile need not be read again
                seen = files.scan(self._journals, skip)
            try:
                self._current().bring(seen, lambda: self._committed(until))
            except sqlite3.DatabaseError as error:
                self._close()
                if not is_damage(error):
                    raise
                database.set_aside(self._path)
                self._current().bring(files.scan(self._journals), lambda: self._committed(until))
            self._checkpoint()

    def heal(self) -> None:
        """Put a damaged catalog aside, so that the next import builds it again."""
        with self._lock.held(self._progress), self._using:
            self._close()
            if database.exists(self._path) is not None:
                database.set_aside(self._path)

    def close(self) -> None:
        """Close the importing connection."""
        with self._using:
            self._close()

    def _current(self) -> Importer:
        if self._importer is None or database.exists(self._path) != self._file:
            self._close()
            self._connection = database.open_to_write(self._path, network=self._network)
            self._file = database.exists(self._path)
            self._importer = Importer(self._connection, self._journals, self._open_source)
        return self._importer

    def _close(self) -> None:
        connection, self._connection, self._importer, self._file = self._connection, None, None, None
        if connection is not None:
            connection.close()

    def _committed(self, until: float | None) -> None:
        self._checkpoint()
        if until is not None and time.monotonic() > until:
            raise LateError

    def _checkpoint(self) -> None:
        """Move the -wal into the file, as far as readers allow without waiting for them."""
        assert self._connection is not None, "a checkpoint is made between imports"
        if _size(self._path + "-wal") >= CHECKPOINT_BYTES:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _progress(self) -> tuple[int, int]:
        return (_changed(self._path), _changed(self._path + "-wal"))

    def before_fork(self) -> None:
        """See `forking.Forkable`. Held until after the fork: nobody may be inside SQLite when the process is copied."""
        self._fork_holds = self._using.acquire(timeout=forking.PATIENCE_S)
        if self._fork_holds:
            self._close()

    def after_fork_in_parent(self) -> None:
        """See `forking.Forkable`."""
        if self._fork_holds:
            self._using.release()

    def after_fork_in_child(self) -> None:
        """See `forking.Forkable`."""
        if self._connection is not None:
            forking.abandon(self._connection)
        self._connection = self._importer = self._file = None
        self._using = threading.Lock()
        self._lock.forget()


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the catalog file itself is damaged, which is cured by building it again."""
    text = str(error)
    return "malformed" in text or "not a database" in text


def is_unwritable(error: Exception) -> bool:
    """Whether the catalog cannot be written here (read-only medium, no permission, disk full)."""
    if isinstance(error, sqlite3.OperationalError):
        text = str(error)
        return any(word in text for word in ("readonly", "unable to open", "full", "disk I/O"))
    return isinstance(error, OSError)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0
