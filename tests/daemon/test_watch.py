"""Hints of the file system, with real files: heard while the watch is on, never missed silently, never an error."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from localtrack_sync.daemon.watch import MOST_DIRECTORIES, Watch
from tests.journal.processes import wait_for as until


class Ears:
    """Counts what a watch tells."""

    def __init__(self) -> None:
        self.logged = self.filed = 0

    def hear_log(self) -> None:
        """A journal was written to."""
        self.logged += 1

    def hear_file(self) -> None:
        """A file was written."""
        self.filed += 1


@pytest.fixture
def ears() -> Ears:
    """Nothing was heard yet."""
    return Ears()


@pytest.fixture
def watch(tmp_path: Path, ears: Ears) -> Iterator[Watch]:
    """A watch of the directory `journals`, which exists."""
    (tmp_path / "journals").mkdir()
    made = Watch(str(tmp_path / "journals"), ears.hear_log, ears.hear_file)
    yield made
    made.close()
    assert [one.name for one in threading.enumerate() if "watchdog" in type(one).__module__] == []


def append(path: Path) -> None:
    """As a journal grows."""
    with path.open("ab") as file:
        file.write(b"more")


def test_a_write_is_heard_while_armed_only(tmp_path: Path, watch: Watch, ears: Ears) -> None:
    """New files and appended ones; not before, not after, and again when armed again; arming twice is once."""
    file = tmp_path / "journals" / "a.db-wal"
    append(file)
    for _ in range(3):
        before = ears.logged
        assert watch.arm()
        assert watch.arm()
        assert watch.armed
        append(file)
        until(lambda before=before: ears.logged > before)  # type: ignore[misc]
        watch.disarm()
        watch.disarm()
        assert not watch.armed
    quiet = ears.logged
    append(file)
    assert watch.arm()
    append(file.with_name("b.db"))
    until(lambda: ears.logged > quiet)


def test_reading_is_not_heard(tmp_path: Path, watch: Watch, ears: Ears) -> None:
    """Our own looks would wake us for ever."""
    file = tmp_path / "journals" / "a.db"
    append(file)
    watch.arm()
    for _ in range(20):
        file.read_bytes()
    append(file)
    until(lambda: ears.logged)
    assert ears.logged <= 3


def test_a_directory_that_is_not_there_is_told(tmp_path: Path, ears: Ears) -> None:
    """And heard once it is."""
    made = Watch(str(tmp_path / "later"), ears.hear_log, ears.hear_file)
    assert not made.arm()
    assert "later cannot be watched" in made.trouble
    (tmp_path / "later").mkdir()
    assert made.arm()
    assert made.trouble == ""
    append(tmp_path / "later" / "a")
    until(lambda: ears.logged)
    made.close()


def test_a_directory_that_was_replaced_is_not_armed(tmp_path: Path, watch: Watch, ears: Ears) -> None:
    """The watch of the old one would never ring for the new one."""
    watch.arm()
    os.rename(tmp_path / "journals", tmp_path / "old")
    assert not watch.armed
    (tmp_path / "journals").mkdir()
    assert not watch.armed
    assert watch.arm()
    before = ears.logged
    append(tmp_path / "journals" / "a")
    until(lambda: ears.logged > before)


def test_artifact_directories_come_and_go(tmp_path: Path, watch: Watch, ears: Ears) -> None:
    """With all that is in them; those that do not exist are passed over; one that was removed is no trouble."""
    places = [tmp_path / name for name in ("a", "b", "c")]
    for place in places[:2]:
        (place / "deep").mkdir(parents=True)
    watch.directories([str(place) for place in places])
    for place in places[:2]:
        before = ears.filed
        append(place / "deep" / "file")
        until(lambda before=before: ears.filed > before)  # type: ignore[misc]
    (places[0] / "deep" / "file").unlink()
    (places[0] / "deep").rmdir()
    places[0].rmdir()
    watch.directories([str(places[1])])
    before = ears.filed
    append(places[1] / "file")
    until(lambda: ears.filed > before)
    watch.directories([])
    assert ears.logged == 0


def test_only_so_many_directories_are_watched(tmp_path: Path, ears: Ears) -> None:
    """The system's watches are for all programs of a user."""
    counts = Counting()
    made = Watch(str(tmp_path), ears.hear_log, ears.hear_file, lambda: counts)
    places = [tmp_path / str(number) for number in range(MOST_DIRECTORIES + 20)]
    for place in places:
        place.mkdir()
    made.directories([str(place) for place in places])
    assert counts.scheduled == MOST_DIRECTORIES
    made.close()


class Counting(BaseObserver):
    """An observer that watches nothing, and after so many watches says what Linux says at the limit."""

    def __init__(self, limit: int = 10_000, error: Exception | None = None) -> None:
        super().__init__(lambda *_: None)  # type: ignore[arg-type]
        self.scheduled, self.limit = 0, limit
        self.error = error or OSError(28, "inotify watch limit reached")

    def schedule(self, *_: Any, **__: Any) -> Any:
        """Counted."""
        if self.scheduled >= self.limit:
            raise self.error
        self.scheduled += 1
        return object()

    def unschedule(self, watch: Any) -> None:
        """As watchdog, when a directory went away."""
        raise KeyError(watch)


@pytest.mark.parametrize(
    "error", [OSError(28, "inotify watch limit reached"), OSError(24, "inotify instance limit reached"),
              RuntimeError("can't start new thread")], ids=str,
)  # fmt: skip
def test_the_systems_limit_is_told_and_no_error(tmp_path: Path, ears: Ears, error: Exception) -> None:
    """Whoever watches looks by the clock then; as soon as there is room it is watched."""
    observer = Counting(0, error)
    made = Watch(str(tmp_path), ears.hear_log, ears.hear_file, lambda: observer)
    assert not made.arm()
    assert not made.armed
    assert "cannot be watched" in made.trouble
    made.directories([str(tmp_path)])
    assert "limit" in made.trouble or "thread" in made.trouble
    observer.limit = 5
    assert made.arm()
    assert made.trouble == ""
    made.disarm()
    made.close()


def test_an_observer_that_cannot_start_is_told(tmp_path: Path, ears: Ears) -> None:
    """No instance of inotify is left at all."""

    def none() -> BaseObserver:
        raise OSError(24, "inotify instance limit reached")

    made = Watch(str(tmp_path), ears.hear_log, ears.hear_file, none)
    assert not made.arm()
    assert "instance limit" in made.trouble
    made.close()
    assert isinstance(Observer(), BaseObserver)
