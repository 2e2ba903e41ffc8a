"""Locks that name their holder and cannot outlive it: one replay per store and remote, one daemon per store."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from types import TracebackType
from typing import final

from localtrack.errors import BusyError, StoreError

#: How a daemon is named to those who find one of its locks held.
DAEMON = "localtrack daemon"
#: A name is read up to this size; it is one line of JSON.
_NAME_BYTES = 65_536
_SINCE = "%Y-%m-%d %H:%M:%S %z"
#: How often a lock is tried again that nobody has, but somebody looks at; and the seconds between.
_TRIES, _PAUSE_S = 100, 0.002


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock.

    Attributes:
        pid: process id on `host`; 0: not known, it has not written its name yet.
        since: when it took the lock, with the offset of its clock's zone.
        command: how it was started, without arguments that nobody else should see.
        stores: absolute paths of all stores that it holds such a lock of (daemons), else empty.
        log: the file that it logs to, or "".
    """

    pid: int
    host: str
    since: str
    command: str
    stores: tuple[str, ...] = ()
    log: str = ""

    @classmethod
    def here(cls, command: str, stores: tuple[str, ...] = (), log: str = "") -> Holder:
        """This process, now."""
        return cls(os.getpid(), socket.gethostname(), time.strftime(_SINCE), command, stores, log)

    @property
    def since_ms(self) -> int | None:
        """`since` in milliseconds since the epoch; None when it cannot be read."""
        try:
            return round(datetime.strptime(self.since, _SINCE).astimezone().timestamp() * 1000)
        except ValueError:
            return None

    def __str__(self) -> str:
        if not self.pid:
            return "another process"
        return f"process {self.pid} on {self.host} since {self.since} ({self.command})"


#: It holds the lock and has not written its name yet.
NAMELESS = Holder(0, "", "", "")


class NamedLock:
    """An exclusive flock on a file in the store; a context manager.

    The kernel drops the lock when its process ends, however it ends: there is no stale lock to clear. The file stays,
    and so does the name in it, which counts for nothing while nobody holds the lock.
    """

    def __init__(self, path: str, holder: Holder, refused: Callable[[Holder], BusyError]) -> None:
        """Takes nothing yet.

        Args:
            path: the lock file.
            holder: who we are, for the message to a second one.
            refused: makes the error when somebody else has it.
        """
        self._path = path
        self._holder = holder
        self._refused = refused
        self._handle: int | None = None

    def take(self) -> None:
        """Take the lock.

        Raises:
            BusyError: another process has it.
            StoreError: the file cannot be made, or cannot be locked.
        """
        while (handle := self._taken()) is None:
            pass  # somebody removed the file before it was locked: ours would keep nobody out
        self._handle = handle
        self.rename(self._holder)

    def _taken(self) -> int | None:
        handle = _opened(self._path, os.O_RDWR | os.O_CREAT)
        with ExitStack() as undo:
            undo.callback(os.close, handle)
            if not _locked(handle, self._path):
                raise self._refused(_name(handle) or NAMELESS)
            if not _is_at(handle, self._path):
                return None
            undo.pop_all()
        return handle

    def rename(self, holder: Holder) -> None:
        """Write another name into the lock that is held. A full disk takes the name, not the lock."""
        assert self._handle is not None, "the lock is not held"
        self._holder = holder
        with suppress(OSError):
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps(asdict(holder)).encode(), 0)

    @property
    def is_there(self) -> bool:
        """Whether the lock that is held is still the file at its path: one that was removed keeps nobody out."""
        return self._handle is not None and _is_at(self._handle, self._path)

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def __enter__(self) -> NamedLock:  # noqa: PYI034 - Self is not in Python 3.10
        """As `take`."""
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """As `release`."""
        self.release()


@final
class ReplayLock(NamedLock):
    """The lock of one store and remote: whoever holds it may send."""

    def __init__(self, path: str, holder: Holder) -> None:
        """Takes nothing yet; arguments as for NamedLock."""
        super().__init__(path, holder, _replayed)


def holder_of(path: str) -> Holder | None:
    """Who holds the lock file now; None: nobody, or there is no such file.

    It looks by asking for a shared lock, which it gives back at once: two that look do not see each other, and one
    that takes the lock tries again (see `NamedLock.take`).

    Raises:
        StoreError: the file cannot be opened, or cannot be locked.
    """
    for _ in range(_TRIES):
        try:
            handle = _opened(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            if _flock(handle, fcntl.LOCK_SH, path):
                return None
            name = _name(handle)
        finally:
            os.close(handle)
        if name is not None:
            return name
        time.sleep(_PAUSE_S)  # it took the lock an instant ago, and is about to write its name
    return NAMELESS


def last_holder(path: str) -> Holder | None:
    """Whose name stands in the lock file: of who holds it, or of who held it last; None: there is no name."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return _name(handle)
    finally:
        os.close(handle)


def _opened(path: str, how: int) -> int:
    try:
        return os.open(path, how | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:
        if how & os.O_CREAT:
            raise StoreError(f"{path} cannot be opened: its directory is not there") from None
        raise
    except OSError as error:
        raise StoreError(f"{path} cannot be opened: {error.strerror}") from error


def _locked(handle: int, path: str) -> bool:
    """Take the exclusive lock; whoever only looks (a shared lock, for an instant) is waited for."""
    for _ in range(_TRIES):
        if _flock(handle, fcntl.LOCK_EX, path):
            return True
        if not _flock(handle, fcntl.LOCK_SH, path):
            return False
        fcntl.flock(handle, fcntl.LOCK_UN)
        time.sleep(_PAUSE_S)
    return False


def _flock(handle: int, kind: int, path: str) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreError(
            f"{path} cannot be locked: {error.strerror}",
            "The file system must know flock. (Lustre: mount with -o flock. NFS: its lock service must run.)",
        ) from error
    return True


def _is_at(handle: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:  # removed, or its directory is
        return False


def _name(handle: int) -> Holder | None:
    try:
        found = json.loads(os.pread(handle, _NAME_BYTES, 0))
        texts = [str(found[key]) for key in ("host", "since", "command")]
        stores = tuple(str(one) for one in found.get("stores", ()))
        return Holder(int(found["pid"]), texts[0], texts[1], texts[2], stores, str(found.get("log", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _replayed(holder: Holder) -> BusyError:
    hint = "Wait for it, or end it; what it has delivered stays delivered."
    if holder.command == DAEMON:
        hint = "The daemon delivers by itself: localtrack status shows how far it is. (localtrack daemon stop ends it.)"
    return BusyError(f"This store is being replayed to this remote already, by {holder}; nothing was sent.", hint)
