"""Delivery state on disk: `<store>/sync/<remote>.db`, written only by the process that holds the remote's lock.

It stores the records of `localtrack_sync.protocol.records` without knowing what they mean: one table per class, one
column per field. Losing this file costs a re-verification by reading the remote, never a duplicate.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import TypeVar, cast, final
from urllib.parse import quote

from localtrack.errors import StoreError, TooNewError
from localtrack.journal.mounts import on_network
from localtrack.private_file import make_private
from localtrack_sync.protocol.effects import Load, Save
from localtrack_sync.protocol.records import CLASSES, Record
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.books import RunAccount
from localtrack_sync.store.migrations import MIGRATIONS
from localtrack_sync.store.tables import table_of

R = TypeVar("R")

#: Version of the tables (SQLite's user_version). A change of a record class needs a new number and a migration to it.
FORMAT = 2
#: "LTsy": tells a delivery state from any other SQLite file.
APPLICATION_ID = 0x4C547379
#: Seconds to wait for a reader (`localtrack status`) to get out of the way.
_BUSY_S = 30.0


class EmptyStateError(StoreError):
    """A delivery state that holds nothing yet, not even whose it is."""


@final
class StateDb:
    """The delivery state of one remote, open for the one process that replays to it; a context manager.

    One connection, one thread. What was saved is on the disk after a `flush`.
    """

    def __init__(self, path: str, remote: Remote) -> None:
        """Open the file, make it when it is missing, bring it to this version when it is older.

        Raises:
            TooNewError: a newer localtrack wrote it; it is left as it is.
            StoreError: it cannot be opened, or is no delivery state of this remote.
        """
        self._path = path
        with _explained(path):
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            make_private(path)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self.remote = remote
            self._file = os.stat(path)
            try:
                _prepare(self._db, path, remote)
            except BaseException:
                self._db.close()
                raise

    @property
    def is_there(self) -> bool:
        """Whether the open file is still the one at its path: what is written to one that was removed is lost."""
        try:
            return os.path.samestat(self._file, os.stat(self._path))
        except OSError:
            return False

    def save(self, save: Save) -> None:
        """Perform a `Save`: seen by every later `load` at once, on the disk after the next `flush`.

        Saves up to a flush become one transaction: a kill leaves all of them or none. Nothing may leave this process
        between a save and its flush; that is what makes an intent an intent.

        Raises:
            StoreError: the disk refuses (full, read-only, ...); nothing since the last flush was stored.
        """
        with _explained(self._path):
            try:
                if not self._db.in_transaction:
                    self._db.execute("BEGIN IMMEDIATE")
                for record in save.drops:
                    self._db.execute(*table_of(type(record)).delete(record))
                for record in save.puts:
                    self._db.execute(*table_of(type(record)).put(record))
            except BaseException:
                self._roll_back()
                raise

    def flush(self) -> None:
        """Bring all saves to the disk.

        Raises:
            StoreError: the disk refuses; nothing since the last flush was stored.
        """
        with _explained(self._path):
            try:
                if self._db.in_transaction:
                    self._db.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def load(self, load: Load) -> tuple[Record, ...]:
        """Answer a `Load`."""
        with _explained(self._path):
            return _load(self._db, load)

    def all(self) -> tuple[Record, ...]:
        """Every record, in order of table and key."""
        with _explained(self._path):
            return tuple(record for kind in CLASSES for record in _select(self._db, kind, "", ()))

    def asked(self) -> set[str]:
        """Ids of the runs and models that were noted by `ask`."""
        with _explained(self._path):
            return {run_id for (run_id,) in self._db.execute("SELECT run_id FROM asked")}

    def ask(self, run_ids: Sequence[str]) -> None:
        """Note that these runs and models are to be delivered here now: owed to this remote, and not settled."""
        rows = [(run_id,) for run_id in run_ids]
        self.flush()
        with _explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR IGNORE INTO asked VALUES (?)", rows)
            self._db.executemany("DELETE FROM settled WHERE run_id = ?", rows)
            self._db.execute("COMMIT")

    def settle(self, accounts: Iterable[tuple[str, RunAccount]]) -> None:
        """Note runs and models of which nothing is owed, with what their content was (`RunEntry.content`)."""
        rows = [(one.run_id, content, json.dumps(asdict(one))) for content, one in accounts]
        self.flush()
        with _explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT OR REPLACE INTO settled VALUES (?, ?, ?)", rows)
            self._db.execute("COMMIT")

    def settled(self) -> dict[str, tuple[str, RunAccount]]:
        """Id -> content and account of the runs and models that were noted by `settle` and not asked for since."""
        with _explained(self._path):
            return _settled(self._db)

    def unswept(self, among: Collection[str] | None = None) -> set[str]:
        """Runs and models for which a later pass has to look for a twin on the remote; `among`: of these ids."""
        sql = "SELECT scope_id FROM run_binding WHERE sweep_wall_s > 0"
        with _explained(self._path):
            if among is None:
                return {run_id for (run_id,) in self._db.execute(sql)}
            one = f"{sql} AND scope IN ('run', 'model') AND scope_id = ?"
            return {run_id for local_id in among for (run_id,) in self._db.execute(one, (local_id,))}

    def close(self) -> None:
        """Close the file without a flush; its write-ahead log is folded into it."""
        self._db.close()

    def __enter__(self) -> StateDb:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@final
class StateReader:
    """A delivery state opened read-only, beside a replay that is writing it; a context manager.

    Attributes:
        remote: whose state it is.
        version: of its tables, at most FORMAT.
    """

    def __init__(self, path: str) -> None:
        """Open an existing file.

        Raises:
            EmptyStateError: it is being made at this moment, or whoever made it was killed then: nothing is known.
            TooNewError: a newer localtrack wrote it.
            StoreError: it is missing, cannot be read, or is no delivery state.
        """
        self._path = path
        with _explained(path):
            self._db = sqlite3.connect(
                f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True, timeout=_BUSY_S, isolation_level=None
            )
            try:
                _check_begun(self._db, path)
                self.version = _check(self._db, path)
                self._db.execute("BEGIN")  # all reads see one moment
                self.remote = _remote_of(self._db)
            except BaseException:
                self._db.close()
                raise

    def records(self, kind: type[R]) -> Iterator[R]:
        """The records of one class."""
        with _explained(self._path):
            yield from cast("Iterator[R]", _select(self._db, cast("type[Record]", kind), "", ()))

    def load(self, load: Load) -> tuple[Record, ...]:
        """The records of one scope."""
        with _explained(self._path):
            return _load(self._db, load)

    def settled(self) -> dict[str, tuple[str, RunAccount]]:
        """Run id -> content and account of the runs of which nothing was owed (see `StateDb.settle`)."""
        with _explained(self._path):
            return _settled(self._db)

    def asked(self) -> set[str]:
        """Ids of the runs that somebody asked to be delivered here."""
        with _explained(self._path):
            return {run_id for (run_id,) in self._db.execute("SELECT run_id FROM asked")}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> StateReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def exists(path: str) -> bool:
    """Whether there is a delivery state: a file that somebody is just making, or died while making, is none yet."""
    if not os.path.exists(path):
        return False
    try:
        with closing(sqlite3.connect(f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True, timeout=_BUSY_S)) as db:
            return not _is_empty(db)
    except sqlite3.Error:
        return True  # whoever reads it says what is wrong


def schema() -> list[str]:
    """The CREATE TABLE statements of this version."""
    about = "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
    asked = "CREATE TABLE asked (run_id TEXT PRIMARY KEY) WITHOUT ROWID"
    settled = (
        "CREATE TABLE settled (run_id TEXT PRIMARY KEY, content TEXT NOT NULL, account TEXT NOT NULL) WITHOUT ROWID"
    )
    return [about, asked, settled, *(table_of(kind).create() for kind in CLASSES)]


def _settled(db: sqlite3.Connection) -> dict[str, tuple[str, RunAccount]]:
    rows = db.execute("SELECT run_id, content, account FROM settled")
    return {run_id: (content, RunAccount.of(json.loads(account))) for run_id, content, account in rows}


def _load(db: sqlite3.Connection, load: Load) -> tuple[Record, ...]:
    where, names = "WHERE scope = ? AND scope_id = ?", (load.scope, load.scope_id)
    return tuple(record for kind in CLASSES for record in _select(db, kind, where, names))


def _select(db: sqlite3.Connection, kind: type[Record], where: str, names: tuple[str, ...]) -> Iterator[Record]:
    table = table_of(kind)
    sql = f"SELECT {', '.join(table.columns)} FROM {kind.TABLE} {where} ORDER BY {', '.join(kind.KEY)}"
    for row in db.execute(sql, names):
        yield table.made(row)


def _prepare(db: sqlite3.Connection, path: str, remote: Remote) -> None:
    # FULL: an intent must be on the disk before its request leaves; NORMAL in WAL mode would lose it with the power.
    db.execute("PRAGMA synchronous = FULL")
    new = _is_empty(db)
    version = FORMAT if new else _check(db, path)
    # WAL: one fsync per transaction, and `localtrack status` reads while we write; its shared memory does not work on
    # network file systems.
    db.execute("PRAGMA journal_mode = TRUNCATE" if on_network(path) else "PRAGMA journal_mode = WAL").fetchone()
    if new:
        _make(db, remote)
    migrate(db, version, FORMAT, MIGRATIONS)
    found = _remote_of(db)
    if found != remote:
        raise StoreError(f"{path} is the delivery state of {found}, not of {remote}.")
    if found.dialect != remote.dialect:  # somebody knows better by now
        db.execute("INSERT OR REPLACE INTO about VALUES ('dialect', ?)", (remote.dialect,))


def _is_empty(db: sqlite3.Connection) -> bool:
    """A new file, or one whose maker was killed before its first transaction was whole."""
    version, tables = db.execute(
        "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
    ).fetchone()
    return bool(version == 0 and tables == 0)


def _remote_of(db: sqlite3.Connection) -> Remote:
    about = dict(db.execute("SELECT name, value FROM about"))
    return Remote(about["url"], about["workspace"], about.get("dialect", "mlflow"))


def _make(db: sqlite3.Connection, remote: Remote) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in schema():
        db.execute(statement)
    facts = [("url", remote.url), ("workspace", remote.workspace), ("dialect", remote.dialect)]
    db.executemany("INSERT INTO about VALUES (?, ?)", facts)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    db.execute("COMMIT")


def _check_begun(db: sqlite3.Connection, path: str) -> None:
    if _is_empty(db):
        raise EmptyStateError(f"The delivery state {path} is empty.", hint="Look again in a moment.")


def _check(db: sqlite3.Connection, path: str) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID or version < 1:
        raise StoreError(f"{path} is no delivery state of localtrack.", hint="Move it out of the way and run again.")
    if version > FORMAT:
        raise TooNewError(
            f"{path} was written by a newer localtrack (format {version}; this one knows up to {FORMAT}).",
            hint="Upgrade localtrack on this machine. Nothing was changed.",
        )
    return version


def migrate(
    db: sqlite3.Connection, version: int, target: int, steps: Mapping[int, Callable[[sqlite3.Connection], None]]
) -> None:
    """Bring an open file from `version` to `target`, a transaction per step: a kill leaves one version or the next."""
    for step in range(version, target):
        db.execute("BEGIN IMMEDIATE")
        steps[step](db)
        db.execute(f"PRAGMA user_version = {step + 1}")
        db.execute("COMMIT")


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Trouble with the file, as an error that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "malformed" in text or "not a database" in text:
            hint = "Move it out of the way and run again: what the remote has is read back, nothing is sent twice."
        else:
            hint = "Look at the disk (space, rights), then run again."
        raise StoreError(f"The delivery state {path} cannot be used: {text}.", hint) from error
    except OSError as error:
        raise StoreError(f"The delivery state {path} cannot be used: {error.strerror}.") from error
