"""The lock of a replay: one holder, with its name, and none that outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.errors import BusyError, StoreError
from localtrack_sync.store.lock import NAMELESS, Holder, ReplayLock, holder_of, last_holder

HOLDER = Holder(4242, "node7", "2026-01-01 10:00:00 +0000", "localtrack sync")
HOLD = """
import sys
from localtrack_sync.store.lock import Holder, ReplayLock
with ReplayLock(sys.argv[1], Holder(1, "h", "s", "c")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    """The message names process, host, time and command of the holder; the hint says what to do."""
    path = str(tmp_path / "x.lock")
    with ReplayLock(path, HOLDER), pytest.raises(BusyError) as busy, ReplayLock(path, replace(HOLDER, pid=1)):
        pass
    for word in ("4242", "node7", "2026-01-01 10:00:00", "localtrack sync"):
        assert word in busy.value.message
    assert busy.value.exit_code == 1
    assert busy.value.hint


def test_it_is_free_again_afterwards(tmp_path: Path) -> None:
    """After the first one has ended, and after a refusal, it can be taken."""
    path = str(tmp_path / "x.lock")
    for _ in range(2):
        with ReplayLock(path, HOLDER):
            pass
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    """After SIGKILL of the holder the lock is free, although its name still stands in the file."""
    path = str(tmp_path / "x.lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BusyError), ReplayLock(path, HOLDER):
        pass
    holder.kill()
    holder.wait(10)
    holder.stdin.close()
    holder.stdout.close()
    assert Path(path).read_text()
    with ReplayLock(path, HOLDER):
        pass


def test_a_holder_without_a_name_is_still_a_holder(tmp_path: Path) -> None:
    """Between taking the lock and writing the name, the message has no name but the answer is the same."""
    path = str(tmp_path / "x.lock")
    with ReplayLock(path, HOLDER):
        Path(path).write_text("")
        with pytest.raises(BusyError, match="another process"), ReplayLock(path, HOLDER):
            pass


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A directory that is not there is no free lock."""
    with pytest.raises(StoreError), ReplayLock(str(tmp_path / "none" / "x.lock"), HOLDER):
        pass


def test_who_holds_it_can_be_asked(tmp_path: Path) -> None:
    """Nobody before and after, the whole name while it is held; asking leaves it free, and free to take."""
    path = str(tmp_path / "x.lock")
    name = replace(HOLDER, stores=("/a", "/b"), log="/l")
    assert holder_of(path) is None
    assert last_holder(path) is None
    with ReplayLock(path, name):
        assert holder_of(path) == name
    assert holder_of(path) is None
    assert last_holder(path) == name
    assert name.since_ms == 1767261600000
    assert replace(name, since="?").since_ms is None


def test_a_killed_holder_is_named_by_nobody(tmp_path: Path) -> None:
    """Its name stands in the file, and the answer is: nobody."""
    path = str(tmp_path / "x.lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        found = holder_of(path)
        assert found is not None
        assert found.pid == 1
        holder.kill()
    assert holder_of(path) is None


def test_a_held_lock_without_a_name_is_held(tmp_path: Path) -> None:
    """Whoever holds it without a name is somebody, whose name is not known."""
    path = str(tmp_path / "x.lock")
    with ReplayLock(path, HOLDER):
        Path(path).write_text("")
        assert holder_of(path) == NAMELESS
        Path(path).write_text("[]")
        assert holder_of(path) == NAMELESS


def test_those_who_look_disturb_nobody(tmp_path: Path) -> None:
    """While two threads ask all the time, a free lock is never called held, and can always be taken."""
    path, over = str(tmp_path / "x.lock"), threading.Event()
    Path(path).touch()
    seen: list[Holder] = []

    def look() -> None:
        while not over.is_set():
            found = holder_of(path)
            if found is not None:
                seen.append(found)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        assert holder_of(path) is None
        with ReplayLock(path, HOLDER):
            pass
    over.set()
    for thread in threads:
        thread.join()
    assert set(seen) <= {HOLDER, NAMELESS}


def test_a_lock_whose_file_was_removed_is_made_again(tmp_path: Path) -> None:
    """A lock on a file that is not there any more would keep nobody out."""
    path = str(tmp_path / "x.lock")
    with ReplayLock(path, HOLDER):
        os.unlink(path)
        with ReplayLock(path, replace(HOLDER, pid=7)):
            found = holder_of(path)
            assert found is not None
            assert found.pid == 7
