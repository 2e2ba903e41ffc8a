"""The log file: bounded in size, its owner's only, and readable from its end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from localtrack.errors import StoreError
from localtrack.store import Store
from localtrack_sync.daemon.log_file import LogFile, default_log, followed, last_lines


def test_it_is_bounded(tmp_path: Path) -> None:
    """However much is written: one file up to its size and so many put aside, all 0600, the newest lines in order."""
    path = tmp_path / "logs" / "x.log"
    file = LogFile(str(path), max_bytes=1000, kept=3)
    for number in range(1000):
        file.write(b"line %06d\n" % number)
    file.close()
    files = sorted(path.parent.iterdir())
    assert [one.name for one in files] == ["x.log", "x.log.1", "x.log.2", "x.log.3"]
    assert all(one.stat().st_size <= 1000 and one.stat().st_mode & 0o777 == 0o600 for one in files)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert last_lines(str(path), 100) == [b"line %06d" % number for number in range(900, 1000)]


def test_a_line_longer_than_the_file_is_written_whole(tmp_path: Path) -> None:
    """The bound moves files aside, it cuts no line."""
    path = tmp_path / "x.log"
    file = LogFile(str(path), max_bytes=10)
    file.write(b"x" * 50 + b"\n")
    file.write(b"y\n")
    file.close()
    assert (tmp_path / "x.log.1").read_bytes() == b"x" * 50 + b"\n"
    assert path.read_bytes() == b"y\n"


def test_a_file_that_others_moved_is_made_again(tmp_path: Path) -> None:
    """Others may take it away: the next line is in a new file."""
    path = tmp_path / "x.log"
    file = LogFile(str(path))
    file.write(b"one\n")
    path.rename(tmp_path / "away")
    file.write(b"two\n")
    path.unlink()
    file.write(b"three\n")
    file.close()
    assert path.read_bytes() == b"three\n"


def test_a_directory_that_cannot_be_written_does_not_lose_lines(tmp_path: Path) -> None:
    """Where nothing can be put aside the file grows."""
    path = tmp_path / "x.log"
    file = LogFile(str(path), max_bytes=10)
    for number in (1, 2, 3):
        (tmp_path / f"x.log.{number}" / "in").mkdir(parents=True)
    for number in range(5):
        file.write(b"line %d\n" % number)
    file.close()
    assert len(path.read_bytes().splitlines()) == 5


def test_a_torn_line_is_followed_by_a_new_one(tmp_path: Path) -> None:
    """A disk that fills up within a line: the writer is told, and the next line begins on a line of its own."""
    path = tmp_path / "x.log"
    script = (
        "import resource, signal, sys\n"
        "from localtrack_sync.daemon.log_file import LogFile\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "file = LogFile(sys.argv[1])\n"
        "file.write(b'one\\n')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6, resource.RLIM_INFINITY))\n"
        "for _ in range(2):\n"
        "    try:\n"
        "        file.write(b'too long\\n')\n"
        "    except OSError:\n"
        "        print('told')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "file.write(b'three\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"told\ntold\n"
    assert path.read_bytes() == b"one\nto\nthree\n"


def test_a_log_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    """A path below a file is told with what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="log file") as told:
        LogFile(str(tmp_path / "file" / "x.log"))
    assert "--log-file" in told.value.hint


def test_its_default_place() -> None:
    """In the user's state directory, with another name for each host and each store."""
    store = Store("/data/my store")
    at = default_log({"HOME": "/home/ada"}, store, "node1")
    assert at.startswith("/home/ada/.local/state/localtrack/daemon-my store-")
    assert default_log({"HOME": "/h", "XDG_STATE_HOME": "/state"}, store, "node1").startswith("/state/localtrack/")
    assert at != default_log({"HOME": "/home/ada"}, store, "node2")
    assert at != default_log({"HOME": "/home/ada"}, Store("/other/my store"), "node1")


def test_last_lines_of_large_and_small_files(tmp_path: Path) -> None:
    """Fewer lines than asked, none asked, an empty file, and blocks that end within a line."""
    path = tmp_path / "x.log"
    path.write_bytes(b"")
    assert last_lines(str(path), 5) == []
    path.write_bytes(b"".join(b"%d " % number + b"x" * 999 + b"\n" for number in range(300)))
    assert last_lines(str(path), 0) == []
    assert [line[:4] for line in last_lines(str(path), 200)] == [b"%d " % n for n in range(100, 300)]
    with pytest.raises(FileNotFoundError):
        last_lines(str(tmp_path / "none"), 5)


def test_following_survives_rotation(tmp_path: Path) -> None:
    """Every line that is written after the beginning is seen once, in order, over several files."""
    path = tmp_path / "x.log"
    file = LogFile(str(path), max_bytes=40, kept=2)
    file.write(b"before\n")
    seen = b""
    written = iter(range(20))

    def pause(_seconds: float) -> None:
        for number in islice(written, 2):
            file.write(b"line %04d\n" % number)

    idle = 0
    for piece in followed(str(path), pause):
        seen += piece
        idle = 0 if piece else idle + 1
        if idle > 2:
            break
    file.close()
    assert seen.splitlines() == [b"line %04d" % number for number in range(20)]


def test_following_waits_for_a_file_and_notices_an_empty_one(tmp_path: Path) -> None:
    """A log that does not exist yet is waited for; one that somebody emptied is read from its beginning."""
    path = tmp_path / "x.log"
    acts: list[Callable[[], object]] = [
        lambda: path.write_bytes(b"first\n"),
        lambda: os.truncate(path, 0),
        lambda: path.write_bytes(b"new\n"),
    ]

    def pause(_seconds: float) -> None:
        if acts:
            acts.pop(0)()

    seen = b""
    for piece in followed(str(path), pause):
        seen += piece
        if seen.endswith(b"new\n"):
            break
    assert seen == b"first\nnew\n"
