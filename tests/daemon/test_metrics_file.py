"""The file for the textfile collector: always whole, open to those whom its owner wants."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from localtrack_sync.daemon.metrics_file import write_metrics_file


def mode(path: Path) -> int:
    """Permission bits."""
    return path.lstat().st_mode & 0o7777


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_file_is_for_owner_and_group(tmp_path: Path, umask: int) -> None:
    """Whatever the umask: mode 0640, the text as it is, and no draft beside it."""
    before = os.umask(umask)
    try:
        write_metrics_file(str(tmp_path / "m.prom"), "a 1\n")
    finally:
        os.umask(before)
    assert mode(tmp_path / "m.prom") == 0o640
    assert (tmp_path / "m.prom").read_text() == "a 1\n"
    assert os.listdir(tmp_path) == ["m.prom"]


@pytest.mark.parametrize(("given", "kept"), [(0o600, 0o600), (0o644, 0o644), (0o666, 0o644), (0o4755, 0o644)])
def test_an_existing_file_keeps_its_mode(tmp_path: Path, given: int, kept: int) -> None:
    """Opened once to the collector it stays open; others are never let write it."""
    path = tmp_path / "m.prom"
    write_metrics_file(str(path), "a 1\n")
    path.chmod(given)
    write_metrics_file(str(path), "a 2\n")
    assert (mode(path), path.read_text()) == (kept, "a 2\n")


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """Whoever can write to the directory cannot direct the text to another file."""
    aim = tmp_path / "aim"
    aim.write_text("untouched")
    (tmp_path / "m.prom").symlink_to(aim)
    write_metrics_file(str(tmp_path / "m.prom"), "a 1\n")
    assert aim.read_text() == "untouched"
    assert not (tmp_path / "m.prom").is_symlink()
    assert mode(tmp_path / "m.prom") == 0o640


def test_trouble_leaves_what_was_there(tmp_path: Path) -> None:
    """When the file cannot be put in its place, the error says so, and no draft stays."""
    (tmp_path / "m.prom").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_metrics_file(str(tmp_path / "m.prom"), "a 1\n")
    assert os.listdir(tmp_path) == ["m.prom"]
    with pytest.raises(FileNotFoundError):
        write_metrics_file(str(tmp_path / "gone" / "m.prom"), "a 1\n")


def test_readers_see_whole_texts_only(tmp_path: Path) -> None:
    """A reader that looks all the time gets one of the texts, never a part of one, and no other *.prom file."""
    path = tmp_path / "m.prom"
    texts = {f"{letter * 50_000}\n" for letter in "abc"}
    write_metrics_file(str(path), min(texts))
    ended = threading.Event()

    def write() -> None:
        for _ in range(60):
            for text in texts:
                write_metrics_file(str(path), text)
        ended.set()

    writing = threading.Thread(target=write)
    writing.start()
    seen, names = set(), set()
    while not ended.is_set():
        seen.add(path.read_text())
        names |= {one.name for one in tmp_path.glob("*.prom")}
    writing.join()
    assert seen <= texts
    assert names == {"m.prom"}
