"""What the scan knows of files from earlier scans: `<store>/artifacts/.scan.db`.

Only a memory: deleting it costs that the files are hashed again.
A file whose size, times and inode are the ones that were seen has the content that was hashed.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import NamedTuple

from localtrack.private_file import make_private

FILE = ".scan.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file (
  owner TEXT NOT NULL,
  path TEXT NOT NULL,
  size INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  ctime_ns INTEGER NOT NULL,
  inode INTEGER NOT NULL,
  settled INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL,
  PRIMARY KEY (owner, path)
) WITHOUT ROWID
"""
_BUSY_SECONDS = 1.0


class Looks(NamedTuple):
    """What a file looks like from outside; times in nanoseconds since the epoch.

    ctime is there because nobody can set it back, as a copy with the times of its original sets mtime back.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, info: os.stat_result) -> Looks:
        """From what stat says."""
        return cls(info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino)


class Seen(NamedTuple):
    """A file as a scan saw it first with these looks, at `seen_ms`; settled: its content is registered."""

    looks: Looks
    settled: bool
    seen_ms: int


class KnownFiles:
    """The memory. What is wrong with its file costs time, never an error: then everything is new.

    Args:
        directory: `<store>/artifacts`.
    """

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, FILE)
        self._db = self._opened(self._path) or self._opened(":memory:")

    def _opened(self, path: str) -> sqlite3.Connection | None:
        for attempt in range(2):
            try:
                if path == self._path:
                    make_private(path)
                db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            except (OSError, sqlite3.Error):
                return None
            try:
                # A lost memory is no harm, so nothing waits for the disk.
                db.execute("PRAGMA synchronous = OFF")
                db.execute(_SCHEMA)
                db.execute("BEGIN")
            except sqlite3.Error as error:
                db.close()
                if attempt or isinstance(error, sqlite3.OperationalError):
                    return None  # held by another scan, or not writable
                with suppress(OSError):
                    os.remove(path)  # no database at all
                continue
            return db
        return None

    def get(self, owner: str, path: str) -> Seen | None:
        """What is known of a file."""
        if self._db is None:
            return None
        try:
            row = self._db.execute(
                "SELECT size, mtime_ns, ctime_ns, inode, settled, seen_ms FROM file WHERE owner = ? AND path = ?",
                (owner, path),
            ).fetchone()
        except sqlite3.Error:
            self._give_up()
            return None
        return None if row is None else Seen(Looks(*row[:4]), bool(row[4]), row[5])

    def put(self, owner: str, path: str, seen: Seen) -> None:
        """Remember a file."""
        if self._db is None:
            return
        try:
            self._db.execute(
                "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (owner, path, *seen.looks, seen.settled, seen.seen_ms),
            )
        except sqlite3.Error:
            self._give_up()

    def drop(self, owner: str, path: str) -> None:
        """Forget a file that is gone."""
        if self._db is None:
            return
        try:
            self._db.execute("DELETE FROM file WHERE owner = ? AND path = ?", (owner, path))
        except sqlite3.Error:
            self._give_up()

    def keep(self) -> None:
        """Make what was put since the last call stay."""
        self._end("COMMIT")

    def forget(self) -> None:
        """Undo what was put since the last call of `keep`."""
        self._end("ROLLBACK")

    def _end(self, how: str) -> None:
        if self._db is None:
            return
        try:
            self._db.execute(how)
            self._db.execute("BEGIN")
        except sqlite3.Error:
            self._give_up()

    def _give_up(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def close(self) -> None:
        """Close; what was put and not kept is forgotten."""
        self._give_up()
