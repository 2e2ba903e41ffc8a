"""Where journal files are opened: every PRAGMA with its reason. Nothing else here calls sqlite3.connect."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from stat import S_ISREG

from localtrack.errors import JournalError, TooNewError
from localtrack.journal import snapshot
from localtrack.journal.identity import Identity, Place

#: SQLite application_id: "ltrk".
APPLICATION_ID = 0x6C74726B
#: SQLite user_version: the format that this version writes, and the greatest that it reads.
FORMAT = 1
#: Bytes. A commit of one metric writes one page to the log: 1 KiB instead of 4 is 3 µs less and a quarter of the log.
PAGE_SIZE = 1024
#: How long a stranger's lock on our file is waited for, seconds. Nobody has a reason for one; a logging call must not
#: hang.
BUSY_SECONDS = 0.5

SCHEMA_FILE = os.path.join(os.path.dirname(__file__), "schema.sql")


class EmptyJournal(JournalError):  # noqa: N818 - a state of a file that readers branch on, not a failure
    """The process that made this file died before anything was logged into it; there is nothing to read."""


class HeldJournal(JournalError):  # noqa: N818 - as above
    """Its process holds this journal exclusively (network file system): readable when that process has closed it."""


def fsync_directory(path: str) -> None:
    """Make the names in a directory survive power loss.

    Raises:
        OSError: the file system refuses.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create(path: str, identity: Identity, version: str, *, exclusive: bool, process: str = "") -> sqlite3.Connection:
    """Make a journal file and open it for appending, ready for the first record.

    Args:
        path: file to make; its directory exists.
        identity: who writes.
        version: of localtrack.
        exclusive: for network file systems: nobody else can read until it is closed.
        process: incarnation of the first journal that this process made in this store; "": this one.

    Raises:
        OSError, sqlite3.Error: the file could not be made; what was made of it is removed again.
    """
    # Made by us and not by SQLite: 0600 whatever the umask (-wal and -shm take the database's mode), never over a file.
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    stat = os.fstat(fd)
    os.close(fd)
    place = Place(process or identity.incarnation, stat.st_dev, stat.st_ino, "", "exclusive" if exclusive else "normal")
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _set_up(connection, identity, version, place)
            fsync_directory(os.path.dirname(path))
        except BaseException:
            connection.close()
            raise
    except BaseException:
        remove(path)
        raise
    return connection


def _set_up(connection: sqlite3.Connection, identity: Identity, version: str, place: Place) -> None:
    run = connection.execute
    run(f"PRAGMA page_size={PAGE_SIZE}")
    # Without EXTRA, a power cut between the end of a rollback transaction and the unlink of its journal can take the
    # whole new file along (190 of 300 simulated cuts).
    run("PRAGMA synchronous=EXTRA")
    if place.locking == "exclusive":
        # Before WAL is entered: the index of the log then lives in our memory and no -shm file is made.
        run("PRAGMA locking_mode=EXCLUSIVE")
    meta = {**identity.__dict__, **place._asdict(), "version": version, "checkpoints": 0}
    with open(SCHEMA_FILE, encoding="ascii") as file:
        schema = file.read()
    run("BEGIN")
    for statement in schema.split(";")[:-1]:
        run(statement)
    for key, value in meta.items():
        run("INSERT INTO meta VALUES (?, ?)", (key, str(value)))
    # A second copy, on another page: without the incarnation no checksum could be checked.
    run("INSERT INTO name VALUES (0, ?, ?)", identity.second_copy())
    run(f"PRAGMA application_id={APPLICATION_ID}")
    run(f"PRAGMA user_version={FORMAT}")
    run("COMMIT")
    mode = run("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.OperationalError(
            f"the file system does not support write-ahead logging (journal mode stays {mode})"
        )
    # A commit appends to the log without fsync; fences (file.py) fsync the log at most a second later.
    run("PRAGMA synchronous=NORMAL")
    # Checkpoints are made in the background, never inside a logging call.
    run("PRAGMA wal_autocheckpoint=0")
    # The first write to a log fsyncs its header: here, so that the first record does not pay for it.
    restart_log(connection)


def restart_log(connection: sqlite3.Connection) -> None:
    """Write something, so that a log begins anew, with a durable header (one fsync), outside a logging call."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'checkpoints'")


def note_lock(connection: sqlite3.Connection) -> None:
    """Say in the journal that its process holds the lock on the log."""
    connection.execute("UPDATE meta SET value = 'wal' WHERE key = 'lock'")


def remove(path: str) -> None:
    """Remove a journal file that never held a record, and what SQLite made beside it. Never raises."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):
            os.unlink(path + suffix)


def open_for_reading(path: str) -> sqlite3.Connection:
    """Open a journal `mode=ro`: such a connection cannot checkpoint, and closing it leaves the log alone.

    Raises:
        JournalError: there is no such file, or it cannot be opened.
    """
    try:
        stat = os.stat(path)
    except OSError as error:
        raise JournalError(f"there is no journal {path}") from error
    if not S_ISREG(stat.st_mode):  # opening a pipe would wait for somebody to write
        raise JournalError(f"{path} is not a file", hint="move it out of the directory `journals`")
    try:
        if (stat.st_dev, stat.st_ino) in _inherited or os.path.exists(path + "-journal"):
            return snapshot.opened(path)
        uri = "file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23") + "?mode=ro"
        if not os.access(os.path.dirname(path), os.W_OK) and not os.path.exists(path + "-wal"):
            # Read-only medium: WAL would want to make its -shm file there. Nobody can be writing.
            uri += "&immutable=1"
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as error:
        raise JournalError(f"cannot open journal {path}: {error}") from error


#: (device, inode) of journals that this process inherited open from its parent.
_inherited: set[tuple[int, int]] = set()


def never_open(device: int, inode: int) -> None:
    """This file was open for writing when our process was forked: from now on it is read through a snapshot.

    SQLite keeps the locks of a process in memory, by inode. In the child that memory says that locks are held which
    only the parent holds, so a reader there would take none; the parent could then fold and remove its log while the
    child reads it.
    """
    _inherited.add((device, inode))


def check_header(connection: sqlite3.Connection, path: str) -> int:
    """The format of an open journal file.

    Raises:
        TooNewError: written by a newer localtrack.
        EmptyJournal: nothing was ever logged into it.
        HeldJournal: its process holds it exclusively.
        JournalError: not a journal, or its first page is damaged.
    """
    try:
        # A journal may come from anywhere: nothing that stands in its schema may call a function with effects.
        connection.execute("PRAGMA trusted_schema=0")
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    if application != APPLICATION_ID:
        if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
            raise EmptyJournal(f"journal {path} is empty: its process died before it logged anything")
        raise JournalError(f"{path} is not a localtrack journal", hint="move it out of the directory `journals`")
    if version > FORMAT:
        raise TooNewError(
            f"journal {path} has format {version}; this version of localtrack reads up to {FORMAT}",
            hint="install a newer localtrack (pip install -U localtrack); the file was not changed",
        )
    _check_schema(connection, path)
    return version


def _check_schema(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a file whose tables are not those that localtrack makes: views and other kinds of columns, made by hand.

    Raises:
        JournalError: they are not.
    """
    try:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    except sqlite3.Error as error:
        raise unreadable(path, error) from error
    if {str(name): str(sql) for name, sql in found} != _tables():
        raise JournalError(
            f"{path} is not a journal as localtrack makes them: its tables differ",
            hint="move it out of the directory `journals`",
        )


def _tables() -> dict[str, str]:
    """Name -> statement of the tables of this format."""
    if not _tables_of_format:
        with open(SCHEMA_FILE, encoding="ascii") as file:
            lines = [line for line in file.read().splitlines() if not line.startswith("--")]
        for statement in " ".join(lines).split(";")[:-1]:
            _tables_of_format[statement.split()[2]] = statement.strip()
    return _tables_of_format


_tables_of_format: dict[str, str] = {}


def unreadable(path: str, error: Exception) -> JournalError:
    """The error that says why a journal file cannot be read, and what to do."""
    text = str(error)
    if "locked" in text:
        return HeldJournal(
            f"journal {path} is held by the process that writes it",
            hint="on a network file system others can read a journal when its process has ended",
        )
    return JournalError(
        f"journal {path} cannot be read: {text}",
        hint="the file is damaged or no journal; restore it from a copy, or move it out of the directory `journals`",
    )
