"""Looks at the daemon of a store, and at what the daemon needs of this machine."""

from __future__ import annotations

import getpass
import glob
import os
import time
from collections.abc import Mapping

from localtrack.errors import StoreError
from localtrack.store import Store
from localtrack_sync.checkup.facts import DaemonLook
from localtrack_sync.store.lock import Holder, holder_of
from localtrack_sync.store.presence import daemon_lock

_INOTIFY = "/proc/sys/fs/inotify"
_SYSTEMD = "/run/systemd/system"
_LINGER = "/var/lib/systemd/linger"
#: Counting directories ends here; that many are enough to say that a limit is too low.
_MOST_DIRECTORIES = 200_000
_COUNT_S = 1.0


def look_at_daemon(store: Store, environ: Mapping[str, str], *, events: bool, system: str = "/") -> DaemonLook:
    """What there is to see.

    Args:
        store: whose daemon.
        environ: for HOME and XDG_CONFIG_HOME, where unit files of the user lie.
        events: the store's file system has events.
        system: root of the system's own files (for tests).
    """
    lock = daemon_lock(store)
    holder, trouble = held_by(lock)

    def there(path: str) -> str:
        return os.path.join(system, path.lstrip("/"))

    return DaemonLook(
        lock,
        holder,
        trouble,
        events,
        _directories(store) if events else 0,
        _number(there(f"{_INOTIFY}/max_user_watches")),
        _number(there(f"{_INOTIFY}/max_user_instances")),
        os.path.isdir(there(_SYSTEMD)),
        os.path.exists(os.path.join(there(_LINGER), _user())),
        _has_service(environ),
    )


def held_by(path: str) -> tuple[Holder | None, str]:
    """Who holds a lock file (None: nobody), and why that cannot be told ("": it can)."""
    try:
        return holder_of(path), ""
    except StoreError as error:
        return None, f"{error.message}."


def _number(path: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _directories(store: Store) -> int:
    """Directories that would be watched; at least as many when there are very many."""
    until = time.monotonic() + _COUNT_S
    count = 1  # of the journals
    for _ in os.walk(store.artifacts):
        count += 1
        if count >= _MOST_DIRECTORIES or time.monotonic() > until:
            break
    return count


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return str(os.geteuid())


def _has_service(environ: Mapping[str, str]) -> bool:
    home = environ.get("HOME") or os.path.expanduser("~")
    config = environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    return bool(glob.glob(os.path.join(glob.escape(config), "systemd", "user", "localtrack*.service")))
