"""Forks of this process: SQLite's state about a file must not be carried into a child.

A child that inherited an open connection would believe that it holds locks that only the parent holds, also for
connections that it opens itself; and a mutex of SQLite that another thread holds at that moment stays locked in the
child for ever. So whoever has connections lets nobody into SQLite during a fork and closes them before it.
What is still busy when patience ends is abandoned in the child, never closed.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol

#: Seconds that a fork waits for reads and imports of other threads to end.
PATIENCE_S = 5.0
_abandoned: list[object] = []


class Forkable(Protocol):
    """What has to know of forks."""

    def before_fork(self) -> None:
        """Wait (not for ever) for what is going on, close connections, let nothing begin."""

    def after_fork_in_parent(self) -> None:
        """Go on."""

    def after_fork_in_child(self) -> None:
        """Begin anew."""


_members: weakref.WeakSet[Forkable] = weakref.WeakSet()
_one_fork = threading.Lock()
_waiting: list[Forkable] = []


def register(member: Forkable) -> None:
    """Tell `member` of every fork of this process from now on, as long as it lives."""
    _members.add(member)


def abandon(connection: object) -> None:
    """In a child: keep a connection of the parent from ever being closed, also at the end of the interpreter."""
    _abandoned.append(connection)
    try:
        from ctypes import py_object, pythonapi
    except ImportError:
        return  # closed when this interpreter ends: the best that can be done without ctypes
    pythonapi.Py_IncRef(py_object(connection))


def _before() -> None:
    _one_fork.acquire()
    _waiting.extend(_members)
    for member in _waiting:
        member.before_fork()


def _in_parent() -> None:
    while _waiting:
        _waiting.pop().after_fork_in_parent()
    _one_fork.release()


def _in_child() -> None:
    while _waiting:
        _waiting.pop().after_fork_in_child()
    _one_fork.release()


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
