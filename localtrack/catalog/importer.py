"""From journals into the catalog: reads what is new, merges it, commits content and position together."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing

from localtrack.catalog import copies, writing
from localtrack.catalog.changes import CANNOT_KEEP, OPEN_END, Changes, Numbers, fold_points
from localtrack.catalog.files import Signature
from localtrack.catalog.fold import fold
from localtrack.catalog.source import Source, UnreadableError, bulk, guarded, items
from localtrack.errors import StoreError
from localtrack.journal.ops import Damage, JournalInfo
from localtrack.journal.reader import Points

#: Points in memory before they are written, and in one transaction before it is committed: bounds the memory of an
#: import (about 250 bytes a point) and what a kill costs; larger ones are not faster.
POINTS_PER_WRITE = 25_000
POINTS_PER_COMMIT = 100_000
#: As how many points a journal file counts towards a commit: thousands of small ones take long too.
POINTS_PER_FILE = 500
#: Records in memory before they are written, for journals without metrics.
RECORDS_PER_WRITE = 20_000


#: What a record raises that SQLite cannot hold (a lone surrogate, more than 64 bits) or that is not what its kind says.
_UNKEEPABLE = (
    *(ValueError, TypeError, OverflowError, AssertionError),
    *(sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.IntegrityError, sqlite3.DataError),
)


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
        self._model = writing.NumberOf(connection, "model", "model_id")
        self._uncommitted = 0
        self._committed: Callable[[], None] = _nothing

    def bring(self, files: Mapping[str, Signature], committed: Callable[[], None] = _nothing) -> None:
        """Import what is new in `files`. A file that cannot be read is noted with its reason and stops nothing.

        Args:
            files: file name -> signature taken before this call.
            committed: called after each commit of a long import, in no transaction.
        """
        known = dict(self._connection.execute("SELECT name, signature FROM file"))
        changed = [name for name in files if known.get(name) != files[name].text]
        # Those that were imported before have only grown: what is logged now does not wait for a backlog beside it.
        changed.sort(key=lambda name: (name not in known, name))
        if not changed:
            return
        self._committed = committed
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for name in changed:
                self._bring_file(name, files[name])
                self._uncommitted += POINTS_PER_FILE
                if self._uncommitted >= POINTS_PER_COMMIT:
                    self._commit_and_go_on()
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._forget_numbers()
            raise
        finally:
            self._uncommitted = 0

    def _bring_file(self, name: str, signature: Signature) -> None:
        journal: int | None = None
        seen, error = signature.text if signature.settled else "", ""
        try:
            with guarded():
                source = self._open(os.path.join(self._directory, name))
            with closing(source):
                journal = self._journal_number(source.info)
                copies.check_end(self._connection, source, journal)
                self._meet(source, journal, name)
                self._connection.execute("DELETE FROM damage WHERE journal = ? AND last_n >= ?", (journal, OPEN_END))
                self._bring_records(source, journal)
        except UnreadableError as trouble:
            error = str(trouble)
            if trouble.passing:
                seen = ""
        except _UNKEEPABLE as trouble:
            error = f"its header {CANNOT_KEEP}: {trouble}"
        self._connection.execute(
            "INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)", (name, journal, seen, signature.size, error or None)
        )

    def _journal_number(self, info: JournalInfo) -> int:
        self._connection.execute(
            "INSERT OR IGNORE INTO journal (incarnation, host, pid, user, created_ms, format) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (info.incarnation, info.host, info.pid, info.user, info.created_ms, info.format),
        )
        row = self._connection.execute("SELECT id FROM journal WHERE incarnation = ?", (info.incarnation,)).fetchone()
        return int(row[0])

    def _meet(self, source: Source, journal: int, own_name: str) -> None:
        """A file seen for the first time: compare it with another of its journal, heal what is damaged there."""
        others = [
            name
            for (name,) in self._connection.execute(
                "SELECT name FROM file WHERE journal = ? AND error IS NULL", (journal,)
            )
        ]
        if own_name in others:
            return
        for name in others[:1]:
            try:
                other = self._open(os.path.join(self._directory, name))
            except (StoreError, sqlite3.Error, OSError):
                continue  # gone or unreadable: there is nothing to compare with
            with closing(other):
                copies.check_same(source, other, name)
        self._connection.execute("SAVEPOINT heal")
        try:
            for changes in copies.fill_holes(self._connection, source, self._changes(source, journal)):
                writing.write(self._connection, changes)
        except _UNKEEPABLE:  # then it stays damaged
            self._connection.execute("ROLLBACK TO heal")
            self._forget_numbers()
        self._connection.execute("RELEASE heal")

    def _changes(self, source: Source, journal: int) -> Callable[[], Changes]:
        return lambda: Changes(
            source.info.incarnation, Numbers(journal, self._run, self._key, self._extra, self._model)
        )

    def _bring_records(self, source: Source, journal: int) -> None:
        """Import what is new in a journal, in pieces that fit into memory."""
        (after,) = self._connection.execute("SELECT upto FROM journal WHERE id = ?", (journal,)).fetchone()
        one_by_one_until = 0
        reached = None
        while reached != after:
            limit = RECORDS_PER_WRITE if after >= one_by_one_until else 1
            reached = after
            try:
                after = self._bring_piece(source, journal, after, limit)
            except _UNKEEPABLE as trouble:
                if limit > 1:  # find the record that it is about
                    one_by_one_until = after + RECORDS_PER_WRITE
                    reached = None
                else:
                    after = self._pass_over(source, journal, after, trouble)

    def _bring_piece(self, source: Source, journal: int, after: int, limit: int) -> int:
        """Import at most `limit` records beyond `after`, wholly or not at all; returns how far it came."""
        changes = self._changes(source, journal)()
        trouble: UnreadableError | None = None
        self._connection.execute("SAVEPOINT piece")
        try:
            try:
                for item in bulk(source, after, limit):
                    if isinstance(item, Points):
                        fold_points(changes, item)
                    else:
                        fold(changes, item)
                    if len(changes.metrics) >= POINTS_PER_WRITE:
                        break
            except UnreadableError as error:
                trouble = error  # what could be read before it is not held back
            writing.write(self._connection, changes)
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO piece")
            self._forget_numbers()
            raise
        self._connection.execute("RELEASE piece")
        self._uncommitted += len(changes.metrics)
        if self._uncommitted >= POINTS_PER_COMMIT:
            self._commit_and_go_on()
        if trouble is not None:
            raise trouble
        return max(after, changes.upto)

    def _pass_over(self, source: Source, journal: int, after: int, trouble: Exception) -> int:
        """Note a record that this catalog cannot hold (checked values never are), so that it stops nothing else."""
        for item in items(source, after, 1):
            last = item.last_n if isinstance(item, Damage) else item.n
            changes = self._changes(source, journal)()
            fold(changes, Damage(after + 1, last, f"{CANNOT_KEEP}: {type(trouble).__name__}: {trouble}"))
            writing.write(self._connection, changes)
            return last
        return after

    def _forget_numbers(self) -> None:
        for numbers in (self._run, self._key, self._extra, self._model):
            numbers.clear()

    def _commit_and_go_on(self) -> None:
        self._connection.execute("COMMIT")
        self._uncommitted = 0
        self._committed()
        self._connection.execute("BEGIN IMMEDIATE")
