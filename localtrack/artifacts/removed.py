"""What `localtrack gc` took out of the store, and where it is: `<store>/removed.db`.

The journals still name such a file; this note is why it is not here. It is written before the file goes, and counts
only while the file is absent and registered with the same content.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from types import TracebackType
from typing import NamedTuple, final
from urllib.parse import quote

from localtrack.artifacts.place import Owner, Place
from localtrack.errors import RemovedError, StoreError, TooNewError, TrackingError
from localtrack.private_file import make_private
from localtrack.store import Store

FILE = "removed.db"
#: Version of the tables (SQLite's user_version).
FORMAT = 1
#: "LTrm": tells the notes from any other SQLite file.
APPLICATION_ID = 0x4C54726D
_BUSY_S = 30.0
_SCHEMA = """
CREATE TABLE removed (
  owner TEXT NOT NULL,
  path TEXT NOT NULL,
  experiment_id TEXT NOT NULL,
  model INTEGER NOT NULL,
  size INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  copies TEXT NOT NULL,
  removed_ms INTEGER NOT NULL,
  aside TEXT NOT NULL,
  PRIMARY KEY (owner, path)
) WITHOUT ROWID
"""
_COLUMNS = "path, size, sha256, copies, removed_ms, aside"


class Copy(NamedTuple):
    """A remote that had the file when it was removed: its address, and the id of the run or logged model there."""

    remote: str
    remote_id: str


class Note(NamedTuple):
    """One file that was, or was about to be, removed.

    Attributes:
        path: below the artifact directory of its owner.
        size, sha256: bytes and SHA-256 (64 hex digits), as registered.
        copies: where it was read back, byte by byte, before it was removed.
        removed_ms: milliseconds since the epoch.
        aside: name that it may still have in its directory, if the process died in between; "" when it is gone.
    """

    path: str
    size: int
    sha256: str
    copies: tuple[Copy, ...]
    removed_ms: int
    aside: str = ""

    @property
    def remote(self) -> str:
        """Address of a remote that had it."""
        return self.copies[0].remote if self.copies else "a remote"


def path_of(store: Store) -> str:
    """File of the notes; it need not exist."""
    return os.path.join(store.path, FILE)


def notes_of(store: Store, owner: str) -> dict[str, Note]:
    """Path -> note, for a run or logged model (by id); without a file there are none.

    Raises:
        TooNewError: a newer localtrack wrote the file.
        StoreError: it cannot be read.
    """
    path = path_of(store)
    if not os.path.exists(path):
        return {}
    with _explained(path), closing(_opened(path, "rw")) as db:
        if _version(db, path) == 0:
            return {}
        rows = db.execute(f"SELECT {_COLUMNS} FROM removed WHERE owner = ? ORDER BY path", (owner,)).fetchall()
    return {row[0]: _note(row) for row in rows}


def absent(place: Place, notes: Iterable[Note], where: str) -> list[Note]:
    """The notes at or below the path `where` ("": all) whose file does not lie in its place."""
    below = f"{where}/" if where else ""
    found = []
    for note in notes:
        if note.path != where and not note.path.startswith(below):
            continue
        try:
            os.close(place.open_file(note.path))
        except FileNotFoundError:
            found.append(note)
        except (OSError, TrackingError):
            continue  # something lies there: whoever asks for it is told what
    return found


def error_for(notes: Sequence[Note], what: str, *, model: bool) -> RemovedError:
    """The error for files that are wanted and not here.

    Args:
        notes: at least one.
        what: path that was asked for.
        model: of a logged model, not of a run.
    """
    first = notes[0]
    day = datetime.fromtimestamp(first.removed_ms / 1000, tz=timezone.utc).strftime("%Y-%m-%d")
    more = f" and {len(notes) - 1} more below it" if len(notes) > 1 else ""
    kind = "logged model" if model else "run"
    where = " and ".join(f"{one.remote} ({kind} {one.remote_id})" for one in first.copies) or "its remote"
    named = f"'{what}'" if what == first.path else f"'{first.path}'{more}"
    message = f"Artifact {named} was removed from this store on {day} by `localtrack gc`, when {where} had it"
    if not first.copies:
        return RemovedError(message)
    source = f"-u models:/{first.copies[0].remote_id}/{what}" if model else f"-r {first.copies[0].remote_id}"
    path = "" if model or not what else f" -a {what}"
    command = f"MLFLOW_TRACKING_URI={first.copies[0].remote} mlflow artifacts download {source}{path}"
    return RemovedError(f"{message}.", f"Get it from there: {command}")


@final
class RemovedFiles:
    """The notes, open for the one process that removes files; a context manager.

    What a method was called with is on the disk when it returns.
    """

    def __init__(self, store: Store) -> None:
        """Open the file; make it when it is missing.

        Raises:
            TooNewError, StoreError: as `notes_of`.
        """
        self._path = path_of(store)
        with _explained(self._path):
            make_private(self._path)
            self._db = _opened(self._path, "rw")
            try:
                # A note must not be lost with the power when the removal that follows it is not.
                self._db.execute("PRAGMA synchronous = EXTRA")
                if _version(self._db, self._path) == 0:
                    self._db.executescript(
                        f"BEGIN IMMEDIATE;{_SCHEMA};PRAGMA application_id = {APPLICATION_ID};"
                        f"PRAGMA user_version = {FORMAT};COMMIT;"
                    )
            except BaseException:
                self._db.close()
                raise

    def put(self, owner: Owner, notes: Iterable[Note]) -> None:
        """Note files of `owner`; its experiment is where they lie."""
        rows = [
            (owner.id, one.path, owner.experiment_id, owner.model, one.size, one.sha256, json.dumps(one.copies),
             one.removed_ms, one.aside)
            for one in notes
        ]  # fmt: skip
        self._write("INSERT OR REPLACE INTO removed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def settle(self, owner: str, paths: Sequence[str]) -> None:
        """These files are gone: nothing of them is aside any more."""
        self._write("UPDATE removed SET aside = '' WHERE owner = ? AND path = ?", [(owner, path) for path in paths])

    def drop(self, owner: str, paths: Sequence[str]) -> None:
        """These files are in their place."""
        self._write("DELETE FROM removed WHERE owner = ? AND path = ?", [(owner, path) for path in paths])

    def unfinished(self) -> list[tuple[Owner, Note]]:
        """Files that were about to be removed when a process died."""
        with _explained(self._path):
            rows = self._db.execute(
                f"SELECT owner, experiment_id, model, {_COLUMNS} FROM removed WHERE aside <> '' ORDER BY owner, path"
            ).fetchall()
        return [(Owner(row[0], row[1], bool(row[2])), _note(row[3:])) for row in rows]

    def _write(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        with _explained(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(sql, rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def __enter__(self) -> RemovedFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()


def _opened(path: str, mode: str) -> sqlite3.Connection:
    # Also for reading: only who may write can take back what a killed process left half done.
    return sqlite3.connect(f"file:{quote(path)}?mode={mode}", uri=True, timeout=_BUSY_S, isolation_level=None)


def _version(db: sqlite3.Connection, path: str) -> int:
    """Version of the tables; 0: a new file, or one whose maker was killed before its first transaction was whole."""
    version, tables = db.execute(
        "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
    ).fetchone()
    if version == 0 and tables == 0:
        return 0
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(f"{path} does not hold notes of localtrack.", hint="Move it out of the way and run again.")
    if version > FORMAT:
        raise TooNewError(
            f"{path} was written by a newer localtrack (format {version}; this one knows up to {FORMAT}).",
            hint="Upgrade localtrack on this machine. Nothing was changed.",
        )
    return int(version)


def _note(row: Sequence[object]) -> Note:
    path, size, sha256, copies, removed_ms, aside = row
    known = tuple(Copy(*one) for one in json.loads(str(copies)))
    return Note(str(path), int(str(size)), str(sha256), known, int(str(removed_ms)), str(aside))


@contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StoreError(
            f"The notes of removed files, {path}, cannot be used: {error}.",
            "Look at the disk (space, rights). If the file is damaged, move it out of the way: then files that gc "
            "removed are only missing here, and nobody says where they are.",
        ) from error
