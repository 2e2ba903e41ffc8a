"""Looks at the daemon of a store, and at what the daemon needs of this machine."""

from __future__ import annotations

import fcntl
import getpass
import glob
import json
import os
import time
from collections.abc import Mapping

from localtrack.store import Store
from localtrack_sync.checkup.facts import DaemonLook, Holder

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
    lock = os.path.join(store.sync, "daemon.lock")
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
    """Who holds a lock file (None: nobody), and why that cannot be told ("": it can).

    For an instant this holds a shared lock itself: a daemon that starts at that very moment may be refused.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"{path}: {error.strerror}."
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(os.pread(handle, 4096, 0)), ""
    except OSError as error:
        return None, f"{path}: {error.strerror}."
    finally:
        os.close(handle)
    return None, ""


def _holder(text: bytes) -> Holder:
    try:
        told = json.loads(text)
        return Holder(int(told["pid"]), str(told["host"]), str(told["since"]), str(told.get("command", "")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Holder()  # it has the lock, and has not written its name yet


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
