"""Ending a daemon from outside: only the process that holds the lock, on this host; and waiting until it is gone."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import suppress

from localtrack.errors import ReplayError
from localtrack.store import Store
from localtrack_sync.daemon.running import running
from localtrack_sync.store.lock import Holder
from localtrack_sync.store.presence import daemon_lock

#: Seconds between two looks at the lock.
_LOOK_S = 0.05


def end(store: Store, holder: Holder, *, now: bool, seconds: float) -> bool:
    """End the daemon of a store.

    Args:
        store: the store.
        holder: its daemon, from `running`.
        now: SIGKILL; otherwise SIGTERM: in good order.
        seconds: how long to wait for it at most.

    Returns:
        Whether it is gone.

    Raises:
        ReplayError: it runs on another host, its name is not known, or it may not be signalled.
    """
    if not holder.pid:
        raise ReplayError("The daemon's lock is held, but no name stands in it.", "Try again in a moment.")
    if holder.host != socket.gethostname():
        raise ReplayError(
            f"The daemon runs on another host: {holder}.", f"Run it there: localtrack daemon stop --store {store.path}"
        )
    _signal(daemon_lock(store), holder, signal.SIGKILL if now else signal.SIGTERM)
    return gone(store, holder, seconds)


def gone(store: Store, holder: Holder, seconds: float) -> bool:
    """Whether this daemon has given its lock back, within so many seconds; another one may have it since."""
    deadline = time.monotonic() + seconds
    while (found := running(store)) is not None and _same(found, holder):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _same(one: Holder, other: Holder) -> bool:
    return (one.pid, one.host, one.since) == (other.pid, other.host, other.since) or not one.pid


def _signal(lock: str, holder: Holder, number: signal.Signals) -> None:
    """Signal the process, once it is certain that it is the one: a process id may have been given to another."""
    try:
        if sys.platform == "linux":
            handle = os.pidfd_open(holder.pid)
            try:
                if not _has_open(holder.pid, lock):
                    raise ReplayError(
                        f"Process {holder.pid} does not hold {lock}: the daemon runs elsewhere, for example in a "
                        "container that is named as this host is.",
                        "End it there.",
                    )
                signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)
        else:
            os.kill(holder.pid, number)
    except ProcessLookupError:
        return  # it has ended in this very moment
    except PermissionError:
        raise ReplayError(f"The daemon belongs to another user: {holder}.", "Ask them to end it.") from None


def _has_open(pid: int, path: str) -> bool:
    """Whether a process has this file open, as /proc tells; True when there is no /proc to ask."""
    there = os.stat(path)
    folder = f"/proc/{pid}/fd"
    try:
        handles = os.listdir(folder)
    except FileNotFoundError:
        return not os.path.isdir("/proc/self/fd")
    for handle in handles:
        with suppress(OSError):
            if os.path.samestat(os.stat(f"{folder}/{handle}"), there):
                return True
    return False
