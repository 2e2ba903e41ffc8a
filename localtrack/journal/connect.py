"""Where journal files are opened: every PRAGMA with its reason. The only module of the journal that calls sqlite3.connect."""

from __future__ import annotations

import os
import sqlite3
import time
from dataclasses import dataclass

from localtrack.errors import JournalError, TooNewError

#: SQLite application_id: "ltrk".
APPLICATION_ID = 0x6C74726B
#: SQLite user_version: the format that this version writes, and the greatest that it reads.
FORMAT = 1
#: Bytes. A commit of one metric writes one page to the log: 1 KiB instead of 4 is 3 µs less and a quarter of the log.
PAGE_SIZE = 1024
#: How long a stranger's lock on our file is waited for, seconds. Nobody has a reason to hold one; a logging call must not hang.
BUSY_SECONDS = 0.5

#: File systems on which the shared memory of WAL does not work, or not between hosts. `fuse` covers fuse.sshfs and the like.
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.", "lustre", "gpfs", "beegfs", "ceph")

SCHEMA_FILE = os.path.join(os.path.dirname(__file__), "schema.sql")


class EmptyJournal(JournalError):  # noqa: N818 - a state of a file that readers branch on, not a failure
    """The process that made this file died before anything was logged into it; there is nothing to read."""


class HeldJournal(JournalError):  # noqa: N818 - as above
    """Its process holds this journal exclusively (network file system): readable when that process has closed it."""


@dataclass(frozen=True)
class Identity:
    """Who writes a journal, as `meta` keeps it.

    Attributes:
        incarnation: 32 hex digits, random.
        created_ms: milliseconds since the epoch.
    """

    incarnation: str
    created_ms: int
    host: str
    pid: int
    boot_id: str
    user: str

    @classmethod
    def here(cls, now_ms: int, random: bytes) -> Identity:
        """This process now; `random` is 16 bytes."""
        return cls(random.hex(), now_ms, os.uname().nodename, os.getpid(), _boot_id(), _user())

    @property
    def file_name(self) -> str:
        """`<time>-<host>-<pid>-<rand>.db`: sorts by time, readable by people."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.created_ms / 1000))
        host = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "_" for c in self.host)[:40]
        return f"{stamp}-{host}-{self.pid}-{self.incarnation[:8]}.db"


def _boot_id() -> str:
    """Id of this boot of the machine: a pid means something only together with it. Empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _user() -> str:
    """Login name, as getpass would find it, without importing it; the uid where there is no name."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if name := os.environ.get(variable):
            return name
    return str(os.getuid())


def on_network(path: str, mountinfo: str = "/proc/self/mountinfo") -> bool:
    """Whether `path` lies on a network file system; False where the system does not tell (no /proc)."""
    real = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return False
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:  # noqa: PLR2004 - field 5 is the mount point, see proc(5)
            continue
        point = _unescaped(fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind.startswith(NETWORK_FILE_SYSTEMS) or kind == "fuse"


def _unescaped(text: str) -> str:
    """A path of mountinfo: blanks and the like are written as \\040."""
    for code in ("040", "011", "012", "134"):
        text = text.replace("\\" + code, chr(int(code, 8)))
    return text


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


def create(path: str, identity: Identity, version: str, *, exclusive: bool) -> sqlite3.Connection:
    """Make a journal file and open it for appending, ready for the first record.

    Args:
        path: file to make; its directory exists.
        identity: who writes.
        version: of localtrack.
        exclusive: for network file systems: nobody else can read until it is closed.

    Raises:
        OSError, sqlite3.Error: the file could not be made; what was made of it is removed again.
    """
    # Made by us and not by SQLite: mode 0600 whatever the umask (-wal and -shm take the mode of the database), never over a file.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _set_up(connection, identity, version, exclusive=exclusive)
            fsync_directory(os.path.dirname(path))
        except BaseException:
            connection.close()
            raise
    except BaseException:
        remove(path)
        raise
    return connection


def _set_up(connection: sqlite3.Connection, identity: Identity, version: str, *, exclusive: bool) -> None:
    run = connection.execute
    run(f"PRAGMA page_size={PAGE_SIZE}")
    # Without EXTRA, a power cut between the end of a rollback transaction and the unlink of its journal can take the
    # whole new file along (190 of 300 simulated cuts).
    run("PRAGMA synchronous=EXTRA")
    if exclusive:
        # Before WAL is entered: the index of the log then lives in our memory and no -shm file is made.
        run("PRAGMA locking_mode=EXCLUSIVE")
    meta = {
        **identity.__dict__,
        "version": version,
        "locking": "exclusive" if exclusive else "normal",
        "checkpoints": 0,
    }
    with open(SCHEMA_FILE, encoding="ascii") as file:
        schema = file.read()
    run("BEGIN")
    for statement in schema.split(";")[:-1]:
        run(statement)
    for key, value in meta.items():
        run("INSERT INTO meta VALUES (?, ?)", (key, str(value)))
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
    """Write something, so that a new or finished log begins anew with a durable header (one fsync) outside a logging call."""
    connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'checkpoints'")


def remove(path: str) -> None:
    """Remove a journal file that never held a record, and what SQLite made beside it. Never raises."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        try:
            os.unlink(path + suffix)
        except OSError:
            continue


def open_for_reading(path: str) -> sqlite3.Connection:
    """Open a journal `mode=ro`: such a connection cannot checkpoint, and closing it leaves the log alone.

    Raises:
        JournalError: there is no such file, or it cannot be opened.
    """
    if not os.path.isfile(path):
        raise JournalError(f"there is no journal {path}")
    uri = "file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    mode = "?mode=ro"
    if not os.access(os.path.dirname(path), os.W_OK) and not os.path.exists(path + "-wal"):
        # Read-only medium: WAL would want to make its -shm file there. Nobody can be writing.
        mode += "&immutable=1"
    try:
        return sqlite3.connect(
            uri + mode, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise JournalError(f"cannot open journal {path}: {error}") from error


def check_header(connection: sqlite3.Connection, path: str) -> int:
    """The format of an open journal file.

    Raises:
        TooNewError: written by a newer localtrack.
        EmptyJournal: nothing was ever logged into it.
        HeldJournal: its process holds it exclusively.
        JournalError: not a journal, or its first page is damaged.
    """
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise _unreadable(path, error) from error
    if application != APPLICATION_ID:
        if os.path.getsize(path) == 0:
            raise EmptyJournal(f"journal {path} is empty: its process died before it logged anything")
        raise JournalError(f"{path} is not a localtrack journal", hint="move it out of the directory `journals`")
    if version > FORMAT:
        raise TooNewError(
            f"journal {path} has format {version}; this version of localtrack reads up to {FORMAT}",
            hint="install a newer localtrack (pip install -U localtrack); the file was not changed",
        )
    return version


def _unreadable(path: str, error: sqlite3.Error) -> JournalError:
    text = str(error)
    if "locked" in text:
        return HeldJournal(
            f"journal {path} is held by the process that writes it",
            hint="on a network file system others can read a journal when its process has ended",
        )
    if os.path.exists(path + "-journal"):
        return EmptyJournal(f"journal {path} is empty: its process died while it made the file")
    return JournalError(
        f"journal {path} cannot be read: {text}",
        hint="the file is damaged or no journal; restore it from a copy, or move it out of the directory `journals`",
    )
