"""One writer of the catalog at a time, across threads and processes."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from localtrack.errors import StoreError

#: Seconds without any progress of the holder after which a waiter gives up.
PATIENCE_S = 30.0
_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.02


class LateError(Exception):
    """The time that the caller could spend is over. Nothing is wrong, and what was done so far is kept."""


class WriteLock:
    """Lock file beside the catalog, held while importing and checkpointing.

    SQLite 3.7.0 to 3.51.2 can corrupt a WAL database when two connections write and checkpoint at the same moment;
    behind this lock there is only ever one that does either. `flock` ends with its holder, also by SIGKILL.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._threads = threading.Lock()  # flock over NFS is a POSIX lock, which threads of one process share
        self._descriptor: int | None = None

    @contextmanager
    def held(
        self, progress: Callable[[], object], patience_s: float = PATIENCE_S, until: float | None = None
    ) -> Iterator[bool]:
        """Hold the lock; yields whether somebody else held it first.

        Args:
            progress: a value that changes while the holder gets on; waiting goes on as long as it does.
            patience_s: seconds without progress after which to give up.
            until: reading of time.monotonic() after which not to wait any longer, whatever the progress.

        Raises:
            LateError: `until` has passed.
            StoreError: the holder makes no progress.
            OSError: the lock file cannot be made or opened.
        """
        waited = not self._threads.acquire(blocking=False)
        if waited:
            self._wait(lambda pause: self._threads.acquire(timeout=pause), progress, patience_s, until)
        try:
            self._descriptor = descriptor = os.open(
                self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            try:
                if not _try_flock(descriptor):
                    waited = True
                    self._wait(lambda pause: _flock_within(descriptor, pause), progress, patience_s, until)
                yield waited
            finally:
                self._descriptor = None
                # Said aloud, because a child forked meanwhile keeps the same open file and with it the lock.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)
        finally:
            self._threads.release()

    def _wait(
        self,
        attempt: Callable[[float], bool],
        progress: Callable[[], object],
        patience_s: float,
        until: float | None,
    ) -> None:
        seen, since = progress(), time.monotonic()
        pause = _FIRST_PAUSE_S
        while not attempt(pause):
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            if until is not None and time.monotonic() > until:
                raise LateError
            now = progress()
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > patience_s:
                raise StoreError(
                    f"another process holds {self._path} and has made no progress for {patience_s:.0f} s",
                    hint="End or continue the process that holds it: `fuser` or `lsof` on that file names it.",
                )

    def forget(self) -> None:
        """In a forked child: drop the parent's lock file, which stays locked by the parent."""
        self._threads = threading.Lock()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _flock_within(descriptor: int, pause_s: float) -> bool:
    time.sleep(pause_s)
    return _try_flock(descriptor)
