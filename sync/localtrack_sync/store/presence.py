"""Whether somebody delivers a store now: asked of the locks that a deliverer holds for as long as it lives."""

from __future__ import annotations

import os

from localtrack.errors import StoreError
from localtrack.store import Store
from localtrack_sync.store.lock import holder_of


def daemon_lock(store: Store) -> str:
    """The file that the daemon of a store holds locked for as long as it lives."""
    return os.path.join(store.sync, "daemon.lock")


def is_held(path: str) -> bool:
    """Whether a process holds this lock now. A file that is missing, or that we may not read, is nobody's."""
    try:
        return holder_of(path) is not None
    except StoreError:  # also of a file system without locks
        return False
