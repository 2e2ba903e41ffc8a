"""Lock and delivery state that are taken away, or not made yet."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from localtrack.store import Store
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.shell.session import holder
from localtrack_sync.store.accounts import accounts_of
from localtrack_sync.store.lock import ReplayLock
from localtrack_sync.store.state import StateDb, exists
from tests.acceptance.worlds import world

REMOTE = Remote("http://a")


def test_a_state_knows_when_its_file_is_gone_or_another_one(tmp_path: Path) -> None:
    """What is written to a file that was removed is lost: whoever holds one open can find out."""
    path = str(tmp_path / "a.db")
    with StateDb(path, REMOTE) as state:
        assert state.is_there
        os.rename(path, tmp_path / "b.db")
        after = [state.is_there]
        Path(path).write_bytes(b"")
        after.append(state.is_there)
        assert after == [False, False]


def test_a_lock_knows_when_its_file_is_gone(tmp_path: Path) -> None:
    """Another process would take a new one and send too."""
    path = tmp_path / "store" / "a.lock"
    path.parent.mkdir()
    lock = ReplayLock(str(path), holder("test"))
    assert not lock.is_there
    with lock:
        before = lock.is_there
        path.unlink()
        after = [lock.is_there]
        path.parent.rmdir()
        after.append(lock.is_there)
        assert (before, after) == (True, [False, False])


def test_a_state_that_is_just_being_made_is_none_yet(tmp_path: Path) -> None:
    """`localtrack status` in the instant in which a daemon makes its first state: no error, nothing is known yet."""
    made = world(tmp_path / "store", "exp")
    made.run("one", 3)
    path = REMOTE.state_path(made.store)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    assert not exists(path)
    Path(path).touch()
    assert not exists(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL").fetchone()
    db.close()
    assert not exists(path)
    assert [account.remote for account in accounts_of(made.store, {})] == [None]
    with StateDb(path, REMOTE):
        assert exists(path)
        assert [account.remote for account in accounts_of(made.store, {})] == [REMOTE, None]


def test_what_is_no_state_at_all_is_still_told(tmp_path: Path) -> None:
    """A file that is something else is not passed over."""
    store = Store.at(tmp_path / "store")
    store.make()
    path = Path(store.sync, "x.db")
    path.write_bytes(b"not a database, but long enough to look like something that somebody wrote there" * 20)
    assert exists(str(path))
