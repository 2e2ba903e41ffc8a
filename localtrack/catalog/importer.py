"""From journals into the catalog: reads what is new, merges it, commits content and position together."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Protocol

from localtrack.catalog import merge, writing
from localtrack.catalog.files import Signature
from localtrack.catalog.merge import Changes, Numbers
from localtrack.errors import StoreError
from localtrack.journal.connect import HeldJournal
from localtrack.journal.ops import Damage, JournalInfo, Record

#: Points in memory before they are written, and in one transaction before it is committed: bounds the memory of an import
#: (about 250 bytes a point) and what a kill costs; larger ones are not faster.
POINTS_PER_WRITE = 50_000
POINTS_PER_COMMIT = 200_000
#: Records in memory before they are written, for journals without metrics.
RECORDS_PER_WRITE = 20_000


class UnreadableError(StoreError):
    """A journal file cannot be read (further); `passing`: it is worth trying again although the file did not change."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class Source(Protocol):
    """One readable journal (localtrack.journal.reader.JournalReader)."""

    info: JournalInfo

    def read(self, after: int, limit: int = ...) -> Iterator[Record | Damage]:
        """Records and damage with n > after, in order."""

    def close(self) -> None:
        """Let go of the file."""


def _nothing() -> None:
    """Nothing to do between two transactions."""


class Importer:
    """Brings the catalog on one connection up to date. The holder of the write lock only.

    Args:
        connection: opened by `database.open_to_write`, in no transaction.
        directory: `<store>/journals`.
        open_source: path -> Source; raises StoreError or sqlite3.Error or OSError when it cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection, directory: str, open_source: Callable[[str], Source]) -> None:
        self._connection = connection
        self._directory = directory
        self._open = open_source
        self._run = writing.NumberOf(connection, "run", "run_id")
        self._key = writing.NumberOf(connection, "metric_key", "key")
        self._extra = writing.ExtraNumberOf(connection, "metric_extra", "text")
        self._uncommitted = 0
        self._committed: Callable[[], None] = _nothing

    def bring(self, files: Mapping[str, Signature], committed: Callable[[], None] = _nothing) -> None:
        """Import what is new in `files`. A file that cannot be read is noted with its reason and stops nothing.

        Args:
            files: file name -> signature taken before this call.
            committed: called after each commit of a long import, in no transaction.
        """
        known = dict(self._connection.execute("SELECT name, signature FROM file"))
        changed = [name for name in sorted(files) if known.get(name) != files[name].text]
        if not changed:
            return
        self._committed = committed
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for name in changed:
                self._bring_file(name, files[name])
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for numbers in (self._run, self._key, self._extra):
                numbers.clear()
            raise
        self._uncommitted = 0

    def _bring_file(self, name: str, signature: Signature) -> None:
        journal: int | None = None
        seen, error = signature.text if signature.settled else "", ""
        try:
            with _unreadable():
                source = self._open(os.path.join(self._directory, name))
            with closing(source):
                journal = self._journal_number(source.info)
                for changes in self._passes(source, journal):
                    writing.write(self._connection, changes)
                    self._uncommitted += len(changes.metrics)
                    if self._uncommitted >= POINTS_PER_COMMIT:
                        self._commit_and_go_on()
        except UnreadableError as trouble:
            error = str(trouble)
            if trouble.passing:
                seen = ""
        self._connection.execute(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)", (name, journal, seen, signature.size, error or None)
        )

    def _journal_number(self, info: JournalInfo) -> int:
        self._connection.execute(
            "INSERT OR IGNORE INTO journal (incarnation, host, pid, user, created_ms, format) VALUES (?, ?, ?, ?, ?, ?)",
            (info.incarnation, info.host, info.pid, info.user, info.created_ms, info.format),
        )
        row = self._connection.execute("SELECT id FROM journal WHERE incarnation = ?", (info.incarnation,)).fetchone()
        return int(row[0])

    def _passes(self, source: Source, journal: int) -> Iterator[Changes]:
        """What is new in a journal, in pieces that fit into memory."""
        (after,) = self._connection.execute("SELECT upto FROM journal WHERE id = ?", (journal,)).fetchone()
        more = True
        while more:
            changes = Changes(source.info.incarnation, Numbers(journal, self._run, self._key, self._extra))
            more = False
            try:
                for item in _items(source, after):
                    more = True
                    if isinstance(item, Damage):
                        changes.damage.append(item)
                        after = changes.upto = max(changes.upto, item.last_n)
                    else:
                        merge.fold(changes, item)
                        after = item.n
                    if len(changes.metrics) >= POINTS_PER_WRITE:
                        break
            except UnreadableError:
                yield changes  # what could be read before is not held back
                raise
            if more:
                yield changes

    def _commit_and_go_on(self) -> None:
        self._connection.execute("COMMIT")
        self._uncommitted = 0
        self._committed()
        self._connection.execute("BEGIN IMMEDIATE")


@contextmanager
def _unreadable() -> Iterator[None]:
    """Tell trouble with a journal from trouble with the catalog, which raises the same classes."""
    try:
        yield
    except (HeldJournal, sqlite3.Error, OSError) as error:
        raise UnreadableError(str(error), passing=True) from error
    except StoreError as error:
        raise UnreadableError(str(error), passing=False) from error


def _items(source: Source, after: int) -> Iterator[Record | Damage]:
    with _unreadable():
        yield from source.read(after, RECORDS_PER_WRITE)
