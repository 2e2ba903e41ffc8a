"""The catalog's file: making it, opening it, telling what it is."""

from __future__ import annotations

import os
import sqlite3

from localtrack.errors import StoreError, TooNewError
from localtrack.private_file import make_private

#: "ltca": lets `file` and sqlite3 tell a catalog from other databases.
APPLICATION_ID = 0x6C746361
#: Raised with every change of schema.sql or of a merge rule; an older catalog is built again.
FORMAT = 3
#: Patience with a lock of SQLite's own, which only rollback mode or the recovery after a kill ever takes for long.
BUSY_S = 30.0
MEMORY = ":memory:"
SCHEMA_FILE = os.path.join(os.path.dirname(__file__), "schema.sql")
_SIDES = ("-wal", "-shm", "-journal")


def exists(path: str) -> tuple[int, int] | None:
    """Device and inode of the catalog file, None when there is none: whether a connection is to the file of today."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return (stat.st_dev, stat.st_ino)


def open_to_read(path: str) -> sqlite3.Connection:
    """A connection that can neither write nor checkpoint; closing it never touches the -wal.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = _connect(f"file:{_quoted(path)}?mode=ro")
    connection.execute("PRAGMA query_only=1")
    return connection


def open_to_write(path: str, *, network: bool) -> sqlite3.Connection:
    """A connection for the holder of the write lock; a catalog is made, or made again, when there is no current one.

    Args:
        path: file of the catalog, or MEMORY.
        network: the file is on a network file system, where WAL's shared memory does not work.

    Raises:
        TooNewError: a newer localtrack made the catalog.
        StoreError: the file is something else.
        sqlite3.Error: it cannot be opened.
    """
    if path == MEMORY:
        connection = _connect(MEMORY)
        _create(connection)
        return connection
    if exists(path) is None:
        _remove_sides(path)
    connection = _writer(path, network=network)
    try:
        found = _format_of(connection, path)
        if found is not None and found < FORMAT:
            connection.close()
            discard(path)
            connection = _writer(path, network=network)
            found = None
        if found is None:
            _create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _writer(path: str, *, network: bool) -> sqlite3.Connection:
    make_private(path)
    connection = _connect(f"file:{_quoted(path)}?mode=rw")
    try:
        # Rollback mode on network file systems; else WAL, so that readers and the importer do not wait for each other.
        connection.execute("PRAGMA journal_mode=TRUNCATE" if network else "PRAGMA journal_mode=WAL").fetchone()
        # A power cut may cost the last imports, which are read again from the journals; it never damages the file.
        connection.execute("PRAGMA synchronous=NORMAL")
        # Checkpoints are made under the write lock only (localtrack.catalog.lock says why).
        connection.execute("PRAGMA wal_autocheckpoint=0")
        # 32 MB: pages of a big import stay in memory until its commit; more is not faster.
        connection.execute("PRAGMA cache_size=-32768")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    # A temporary file could not be made on a full or read-only disk; what sorts here is small.
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _format_of(connection: sqlite3.Connection, path: str) -> int | None:
    """The format of the catalog; None: an empty file, as a process leaves it that was killed while making it."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if application == 0 and found == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return None
    if application != APPLICATION_ID:
        raise StoreError(
            f"{path} is not a catalog of localtrack", hint="Move that file away; the catalog is built again."
        )
    if found > FORMAT:
        raise TooNewError(
            f"{path} was made by a newer localtrack (format {found}, this one knows {FORMAT})",
            hint="Upgrade localtrack, or delete the catalog: it is built again from the journals.",
        )
    return int(found)


def is_current(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file is a catalog of this format; False: it is yet to be made or to be built again.

    Raises:
        TooNewError, StoreError: as `open_to_write`.
    """
    return _format_of(connection, path) == FORMAT


def _create(connection: sqlite3.Connection) -> None:
    with open(SCHEMA_FILE, encoding="utf-8") as file:
        schema = file.read()
    # One transaction: a killed process leaves an empty file or a whole catalog.
    connection.executescript(
        f"BEGIN IMMEDIATE;\n{schema}\nPRAGMA application_id={APPLICATION_ID};\nPRAGMA user_version={FORMAT};\nCOMMIT;"
    )


def discard(path: str) -> None:
    """Remove a catalog that is to be built again. The holder of the write lock only."""
    _remove(path)
    _remove_sides(path)


def set_aside(path: str) -> str:
    """Rename a damaged catalog and return its new name. The holder of the write lock only."""
    aside = f"{path}.damaged"
    os.replace(path, aside)
    _remove_sides(path)
    return aside


def _remove_sides(path: str) -> None:
    # A new catalog must not share -shm with processes that still have a removed one open.
    for side in _SIDES:
        _remove(path + side)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
