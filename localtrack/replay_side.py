"""The replay side, found by entry point: what of it the functions of the training side use, loaded when asked for.

This package never imports localtrack_sync (tests/test_imports.py, `make lint`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from localtrack import attention
from localtrack.errors import ReplayError
from localtrack.store import Store

GROUP = "localtrack.calls"
#: How long a daemon that nobody asked for by name stays after everything is delivered, seconds.
LINGER_S = 300.0
#: Paths of stores that this process, or one that it was forked from, has started a daemon for.
_started: set[str] = set()


def call(name: str) -> Callable[..., Any]:
    """The function of the replay side that is registered under `name`.

    Raises:
        ReplayError: it is not installed, or cannot be loaded.
    """
    from importlib.metadata import entry_points

    point = next(iter(entry_points(group=GROUP, name=name)), None)
    if point is None:
        raise _missing("the replay side, localtrack_sync, is not installed")
    try:
        found: Callable[..., Any] = point.load()
    except (ImportError, AttributeError) as error:
        raise _missing(f"the replay side cannot be loaded: {error}") from error
    return found


def _missing(why: str) -> ReplayError:
    return ReplayError(
        f"Nothing can be delivered from here: {why}.",
        hint=f"Install localtrack whole: {sys.executable} -m pip install --force-reinstall localtrack. "
        "Logging does not depend on it.",
    )


def want_daemon(store: Store, linger: float, *, stop_with_process_group: bool = False) -> None:
    """Have a daemon deliver this store; trouble with that is told once, never raised: training goes on."""
    _started.add(store.path)
    try:
        call("autostart")(store, os.environ, linger=linger, new_session=not stop_with_process_group)
    except Exception as error:  # noqa: BLE001 - whatever fails there, the training is not about that
        hint = getattr(error, "hint", "") or "Run `localtrack sync` or `localtrack daemon run` where you can."
        attention.warn_once(f"autostart {store.path}", f"No daemon was started for {store.path}: {error} ({hint})")


def want_daemon_once(store: Store) -> None:
    """The same, for LOCALTRACK_AUTOSTART: at the first run of a process, and not again in processes forked from it."""
    if store.path not in _started:
        want_daemon(store, LINGER_S)
