"""What a fork and the end of the process mean for the journals of this process.

A forked child must neither use nor close nor finalise its parent's SQLite handles: closing them could fold the
parent's log under its feet; so the child drops them for good, with one reference too many. It gets a journal of its
own at its first append.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from localtrack.journal.trouble import tell

#: Seconds that a fork waits for a background thread that is inside SQLite. Longer: something hangs, fork anyway.
_GATE_SECONDS = 5.0


class Forkable(Protocol):
    """What this module asks of a journal."""

    def before_fork(self, timeout: float) -> None:
        """Hold still, so that the process can be copied; wait at most `timeout` seconds for background work."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def abandon(self) -> list[object]:
        """In the child: forget the parent's file untouched; returns what must never be finalised."""

    def close(self) -> None:
        """The process ends."""


#: id -> journal; a dict because copying its values is one step, whatever other threads do.
_journals: dict[int, weakref.ref[Forkable]] = {}
#: One fork at a time; reentrant: a signal handler may fork in the middle of a fork.
_one_fork = threading.RLock()
_held: list[list[Forkable]] = []
#: Where objects that must never be finalised go without ctypes: finalised only when the child's interpreter ends.
_leaked: list[object] = []
_leak: Callable[[object], object] | None = None


def watch(journal: Forkable) -> None:
    """Have this journal follow forks, and closed at the end of the process."""
    key = id(journal)
    _journals[key] = weakref.ref(journal, lambda _: _journals.pop(key, None))


def _alive() -> list[Forkable]:
    return [journal for ref in list(_journals.values()) if (journal := ref()) is not None]


def _find_leak() -> Callable[[object], object]:
    """The way to lose an object for good: one reference too many."""
    try:
        from ctypes import py_object, pythonapi
    except ImportError:
        return _leaked.append
    increase = pythonapi.Py_IncRef
    return lambda thing: increase(py_object(thing))


def _before() -> None:
    global _leak
    # In the parent: a child of a process with threads should not import.
    _leak = _leak or _find_leak()
    _one_fork.acquire()
    # Nobody may be inside SQLite when the process is copied: its mutexes would stay locked in the child for ever.
    journals = _alive()
    for journal in journals:
        journal.before_fork(_GATE_SECONDS)
    _held.append(journals)


def _after_in_parent() -> None:
    for journal in _held.pop():
        journal.after_fork_in_parent()
    _one_fork.release()


def _after_in_child() -> None:
    global _one_fork
    assert _leak is not None
    for journal in _held.pop():
        for thing in journal.abandon():
            _leak(thing)
    _one_fork = threading.RLock()


def _at_exit() -> None:
    for journal in _alive():
        try:
            journal.close()
        except Exception as error:  # noqa: BLE001, PERF203 - the other journals are closed whatever happens to this one
            tell(f"a journal could not be closed: {type(error).__name__}: {error}")


def close_when_worker_ends(close: Callable[[], object]) -> None:
    """A worker of multiprocessing ends without atexit handlers: have it seal its journal through its own."""
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, close, exitpriority=-100)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
# At import, so that the end-of-run handlers that the API registers later run earlier.
atexit.register(_at_exit)
