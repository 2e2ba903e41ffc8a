"""Reading connections to the catalog of one process: pooled between calls, never carried across a fork."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from localtrack.catalog import database, forking


class Readers:
    """Pool of read-only connections to one catalog file.

    Before a fork the idle ones are closed (localtrack.catalog.forking says why).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[tuple[tuple[int, int] | None, sqlite3.Connection]] = []
        self._busy: set[sqlite3.Connection] = set()
        self._forking = False
        self._change = threading.Condition()
        forking.register(self)

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """A connection in a read transaction: everything read inside is one state of the catalog.

        Raises:
            sqlite3.Error: the catalog cannot be opened or read.
        """
        file, connection = self._take()
        try:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except BaseException:
            self._give_back(None, connection)
            raise
        self._give_back(file, connection)

    def _take(self) -> tuple[tuple[int, int] | None, sqlite3.Connection]:
        file = database.exists(self._path)
        with self._change:
            self._change.wait_for(lambda: not self._forking, 2 * forking.PATIENCE_S)
            while self._idle:
                known, connection = self._idle.pop()
                if known == file:
                    break
                connection.close()  # the catalog was deleted or built again since
            else:
                connection = database.open_to_read(self._path)
            self._busy.add(connection)
        return file, connection

    def _give_back(self, file: tuple[int, int] | None, connection: sqlite3.Connection) -> None:
        with self._change:
            if connection not in self._busy:
                return  # this is a forked child, which has abandoned it
            self._busy.remove(connection)
            if file is None:
                connection.close()
            else:
                self._idle.append((file, connection))
            self._change.notify_all()

    def close(self) -> None:
        """Close the idle connections."""
        with self._change:
            while self._idle:
                self._idle.pop()[1].close()

    def before_fork(self) -> None:
        """Wait for reads to end (not for ever), close what is idle, and let nothing begin until the fork is done."""
        self._change.acquire()
        self._forking = True
        self._change.wait_for(lambda: not self._busy, forking.PATIENCE_S)
        while self._idle:
            self._idle.pop()[1].close()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._forking = False
        self._change.notify_all()
        self._change.release()

    def after_fork_in_child(self) -> None:
        """Begin anew."""
        for connection in self._busy:
            forking.abandon(connection)
        self._busy = set()
        self._forking = False
        self._change = threading.Condition()
