"""One replay per store and remote: a lock that names its holder and cannot outlive it."""

from __future__ import annotations

import fcntl
import json
import os
from types import TracebackType
from typing import final

from localtrack.errors import BusyError, StoreError


@final
class ReplayLock:
    """An exclusive flock on a file in the store; a context manager.

    The kernel drops the lock when its process ends, however it ends: there is no stale lock to clear. The file stays.
    """

    def __init__(self, path: str, holder: dict[str, object]) -> None:
        """Takes nothing yet.

        Args:
            path: the lock file.
            holder: who we are, for the message to a second one: pid, host, since, command.
        """
        self._path = path
        self._holder = holder
        self._handle: int | None = None

    def __enter__(self) -> ReplayLock:
        """Take the lock.

        Raises:
            BusyError: another process has it; the message names it.
            StoreError: the file cannot be made.
        """
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(f"{self._path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = _busy(handle)
            os.close(handle)
            raise BusyError(message, hint="Wait for it, or end it; what it has delivered stays delivered.") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(self._holder).encode(), 0)
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.ftruncate(handle, 0)
            os.close(handle)


def _busy(handle: int) -> str:
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']} ({holder['command']})"
    except (ValueError, KeyError, TypeError):
        who = "another process"  # it has the lock, but has not written its name yet
    return f"This store is being replayed to this remote already, by {who}; nothing was sent."
