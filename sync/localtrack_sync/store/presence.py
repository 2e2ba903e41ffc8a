"""Whether somebody delivers a store now: asked of the locks that a deliverer holds for as long as it lives."""

from __future__ import annotations

import fcntl
import os

from localtrack.store import Store


def daemon_lock(store: Store) -> str:
    """The file that the daemon of a store holds locked for as long as it lives."""
    return os.path.join(store.sync, "daemon.lock")


def is_held(path: str) -> bool:
    """Whether a process holds this lock now. A file that is missing, or that we may not read, is nobody's.

    Asking takes a shared lock for an instant: who takes the lock has to try again before it gives up.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False
