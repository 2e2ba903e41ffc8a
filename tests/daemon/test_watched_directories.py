"""Which artifact directories the daemon watches, and that it hears of what is written there."""

from __future__ import annotations

import threading
from pathlib import Path

from localtrack_sync.daemon.watch import MOST_DIRECTORIES, Watch, chosen
from tests.journal.processes import wait_for as until

MANY = [f"d{number}" for number in range(3 * MOST_DIRECTORIES)]


def test_the_first_of_many_are_watched() -> None:
    """Of more than may be watched the most important are; those that do not exist take no place."""
    assert chosen(MANY, (), lambda _: True) == set(MANY[:MOST_DIRECTORIES])
    assert chosen(MANY, (), lambda path: path != "d0") == set(MANY[1 : MOST_DIRECTORIES + 1])
    assert chosen(MANY[:2], (), lambda path: path != "d0") == {"d1"}


def test_what_is_watched_stays_so_while_it_is_wanted() -> None:
    """Runs that log overtake each other all the time: that moves no watch; one that is not wanted makes room."""
    first = chosen(MANY, (), lambda _: True)
    assert chosen(MANY[::-1], first, lambda _: True) == first
    fewer = [path for path in MANY if path != "d0"]
    assert chosen(fewer, first, lambda _: True) == {*first - {"d0"}, MANY[MOST_DIRECTORIES]}
    assert chosen([], first, lambda _: True) == set()


def test_threads_do_not_grow_with_directories(tmp_path: Path) -> None:
    """However many runs there are, only so many threads listen; a file deep in a watched one rings."""
    filed: list[str] = []
    watch = Watch(str(tmp_path), lambda: None, lambda: filed.append("rang"))
    paths = [tmp_path / name for name in MANY]
    for path in paths:
        (path / "deep").mkdir(parents=True)
    before = threading.active_count()
    try:
        watch.directories([str(path) for path in paths])
        assert threading.active_count() - before <= 3 * MOST_DIRECTORIES
        (paths[0] / "deep" / "file").write_text("x")
        until(lambda: filed)
    finally:
        watch.close()
