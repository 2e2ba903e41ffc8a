"""The locks of a daemon: all of its stores or none, and who has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localtrack.errors import BusyError, StoreError
from localtrack.store import Store
from localtrack_sync.daemon.running import DaemonLocks, last_one, running


def pid_of(path: Path) -> int | None:
    """The process id that the lock of a store names, if it is held."""
    found = running(Store(str(path)))
    return None if found is None else found.pid


def test_all_or_none(tmp_path: Path) -> None:
    """One of three stores has a daemon: the other two stay free, and the message names store and process."""
    a, b, c = (str(tmp_path / name) for name in "abc")
    with DaemonLocks("one") as first, DaemonLocks("two") as second:
        first.hold([b])
        with pytest.raises(BusyError, match=f"process {os.getpid()} ") as told:
            second.hold([a, b, c])
        assert b in told.value.message
        assert "localtrack daemon stop" in told.value.hint
        assert [pid_of(tmp_path / name) for name in "abc"] == [None, os.getpid(), None]
        assert second.stores == ()


def test_the_stores_may_change(tmp_path: Path) -> None:
    """After a change the new ones are held, those that went are free, and every lock names what is held now."""
    a, b, c = (str(tmp_path / name) for name in "abc")
    with DaemonLocks("one", "/log") as locks:
        assert locks.hold([a, b]) == (a, b)
        assert locks.hold([c, b]) == (c,)
        assert (pid_of(tmp_path / "a"), pid_of(tmp_path / "b"), pid_of(tmp_path / "c")) == (
            None,
            os.getpid(),
            os.getpid(),
        )
        found = running(Store(b))
        assert found is not None
        assert found == running(Store(c))
        assert (found.stores, found.log, found.command) == ((b, c), "/log", "one")
    assert pid_of(tmp_path / "b") is None
    assert last_one(Store(b)) == found


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    """A new store has a daemon already: what was held is held, under the same name."""
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    with DaemonLocks("one") as first, DaemonLocks("two") as second:
        first.hold([a])
        second.hold([b])
        with pytest.raises(BusyError):
            second.hold([a])
        found = running(Store(b))
        assert found is not None
        assert found.stores == second.stores == (b,)


def test_a_store_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A path below a file is told with what to do, and nothing is held."""
    (tmp_path / "file").touch()
    with DaemonLocks("one") as locks, pytest.raises(StoreError, match="cannot be used"):
        locks.hold([str(tmp_path / "a"), str(tmp_path / "file" / "b")])
    assert pid_of(tmp_path / "a") is None


def test_a_store_without_a_daemon(tmp_path: Path) -> None:
    """A store that is not there, or never had a daemon, has none; asking makes nothing."""
    assert running(Store(str(tmp_path / "none"))) is None
    assert last_one(Store(str(tmp_path / "none"))) is None
    assert list(tmp_path.iterdir()) == []
