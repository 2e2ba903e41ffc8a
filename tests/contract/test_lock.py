"""The lock of a replay: one holder, with its name, and none that outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack.errors import BusyError, StoreError
from localtrack_sync.store.lock import ReplayLock

HOLDER = {"pid": 4242, "host": "node7", "since": "2026-01-01 10:00:00", "command": "localtrack sync"}
HOLD = """
import sys
from localtrack_sync.store.lock import ReplayLock
with ReplayLock(sys.argv[1], {"pid": 1, "host": "h", "since": "s", "command": "c"}):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    """The message names process, host, time and command of the holder; the hint says what to do."""
    path = str(tmp_path / "x.lock")
    with ReplayLock(path, HOLDER), pytest.raises(BusyError) as busy, ReplayLock(path, {**HOLDER, "pid": 1}):
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
