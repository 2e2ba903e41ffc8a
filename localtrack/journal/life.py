"""Whether the process that writes a journal lives: told by the lock that it holds, not by its pid.

A writer holds `flock(LOCK_SH)` on a descriptor of its journal's `-wal` file, which the kernel takes away when the
process ends, however it ends. Whoever asks tries `flock(LOCK_EX | LOCK_NB)` on a descriptor of its own: refused, the
writer lives (also when it is stopped, or the machine was asleep). SQLite never locks the log, and only the log is
opened here: closing a descriptor of the database or of `-shm` would drop the locks that SQLite holds in this process.
On network file systems the writer holds the database itself (locking mode exclusive), and nothing else is locked.

A free lock proves nothing of a journal that was copied here, or that a machine writes whose locks are not seen here.
So the journal says which file it was made as, on which boot of which host (docs/journal-format.md §6).
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from enum import Enum

from localtrack.errors import StoreError
from localtrack.journal import connect, mounts
from localtrack.journal.connect import HeldJournal
from localtrack.journal.identity import Identity, Place, boot_id, read_identity, read_place

#: Names that many machines have: they do not say that two boots are boots of one machine.
_ANYBODY = frozenset({"", "localhost", "localhost.localdomain"})


class Life(Enum):
    """What is known of the process that wrote a journal which is not sealed."""

    LIVING = "it holds its lock"
    GONE = "its lock is free, or its machine was started again since"
    UNKNOWN = "it cannot be told from here"


@dataclass(frozen=True, slots=True)
class Here:
    """Where we look from.

    Attributes:
        host, boot_id: as in a journal's header; the boot id is "" where the system has none.
        shared_locks: locks that other hosts hold on this file system are seen here.
    """

    host: str
    boot_id: str
    shared_locks: bool = False

    @classmethod
    def at(cls, path: str) -> Here:
        """This machine, looking at files at `path`."""
        return cls(os.uname().nodename, boot_id(), mounts.locks_reach_other_hosts(path))


@dataclass(frozen=True, slots=True)
class Origin:
    """What a journal says of its making, and the file that it is now.

    Attributes:
        device, inode: of the file as it is found; 0 when it is gone.
    """

    identity: Identity
    place: Place
    device: int
    inode: int


def judge(origin: Origin, here: Here, *, held: bool | None) -> Life:
    """Whether the writer of an unsealed journal lives. Pure.

    Args:
        origin: what the journal says.
        here: where its lock was looked at.
        held: whether somebody holds the lock; None: there is no lock to look at.
    """
    if held:
        return Life.LIVING
    made, boot = origin.place, origin.identity.boot_id
    if not made.inode or made.inode != origin.inode:
        return Life.UNKNOWN  # made by an older version, or a copy of the file that it was
    free = held is False
    same_host = origin.identity.host == here.host and here.host not in _ANYBODY
    if boot == here.boot_id and (boot or same_host):
        # One kernel, so its locks are all there are; another device is a snapshot of the file system, mounted beside.
        return Life.GONE if free and made.device == origin.device else Life.UNKNOWN
    if same_host and boot and here.boot_id:
        return Life.GONE  # started again since
    return Life.GONE if free and here.shared_locks else Life.UNKNOWN


def show(log_fd: int) -> bool:
    """Show with a lock on the log that this process lives; False when the file system has no such locks. Never waits.

    Nobody asks for the lock of a journal before it holds a record, so it is free.
    """
    import fcntl  # here, as everything that `import localtrack` can do without

    try:
        fcntl.flock(log_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def log_is_held(path: str) -> bool | None:
    """Whether somebody holds the lock on the log of the journal at `path`; None: there is no log, or we may not ask.

    An empty log is none: a reader made it, in the place of one that SQLite had removed, and nobody ever locked it.
    """
    import fcntl

    try:
        fd = os.open(path + "-wal", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False if os.fstat(fd).st_size else None
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(fd)  # and with it the lock


def read_origin(path: str) -> Origin | None:
    """What the journal at `path` says of its making; None when it cannot be read.

    Raises:
        HeldJournal: its process holds it exclusively, so it lives.
    """
    try:
        connection = connect.open_for_reading(path)
        try:
            connect.check_header(connection, path)
            stat = os.stat(path)
            return Origin(read_identity(connection), read_place(connection), stat.st_dev, stat.st_ino)
        finally:
            connection.close()
    except HeldJournal:
        raise
    except (StoreError, sqlite3.Error, OSError, ValueError):
        return None


class Watch:
    """Looks at the lives of journals again and again; what does not change is read once.

    Args:
        here: where we look from.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self._origins: dict[str, Origin] = {}

    def origin(self, path: str) -> Origin | None:
        """What a journal says of its making; None when it cannot be read.

        Raises:
            HeldJournal: its process holds it exclusively, so it lives.
        """
        try:
            stat = os.stat(path)
        except OSError:
            return None
        known = self._origins.get(path)
        if known is None or (known.device, known.inode) != (stat.st_dev, stat.st_ino):
            known = read_origin(path)
            if known is not None:
                self._origins[path] = known
        return known

    def life(self, path: str) -> Life:
        """Whether the writer of the unsealed journal at `path` lives."""
        try:
            origin = self.origin(path)
            if origin is not None and origin.place.locking == "exclusive":
                # The database is its own lock: whoever can read it knows that nobody holds it.
                origin = read_origin(path)
        except HeldJournal:
            return Life.LIVING
        if origin is None:
            return Life.UNKNOWN
        held = False if origin.place.locking == "exclusive" else None
        if origin.place.lock:
            held = log_is_held(path)
        return judge(origin, self._here, held=held)

    def forget_others(self, paths: set[str]) -> None:
        """Forget what is not asked for any more."""
        for path in self._origins.keys() - paths:
            del self._origins[path]
