"""Files that others write: looked for in a thread of its own, on a hint soon, without one seldom."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localtrack.catalog.catalog import Catalog
from localtrack.errors import StoreError
from localtrack.store import Store
from localtrack_sync.daemon.finder import Finder
from localtrack_sync.shell.replay import Stop
from localtrack_sync.store.found_files import Found
from tests.journal.processes import wait_for as until


class Looks:
    """What the looks of a test find, one after the other; then nothing."""

    def __init__(self, *results: Found | Exception) -> None:
        self.results = list(results)
        self.made = 0
        self.told = 0

    def __call__(self, catalog: Catalog) -> Found:
        """One look."""
        del catalog
        self.made += 1
        result = self.results.pop(0) if self.results else Found()
        if isinstance(result, Exception):
            raise result
        return result

    def tell(self) -> None:
        """Something was registered."""
        self.told += 1


@contextmanager
def finder(path: Path, looks: Looks, every_s: float) -> Iterator[Finder]:
    """One at work."""
    stop = Stop()
    with Catalog(Store.at(path / "store")) as catalog:
        one = Finder(catalog, every_s, stop, looks.tell, looks)
        one.start()
        one.start()
        try:
            yield one
        finally:
            stop.request()
            assert one.join(10.0)


def test_it_looks_now_and_then_and_tells_what_is_new(tmp_path: Path) -> None:
    """Only what was registered is worth a word."""
    looks = Looks(Found(), Found(registered=2), Found(waiting=3))
    with finder(tmp_path, looks, 0.05):
        until(lambda: looks.made >= 5)
    assert looks.told == 1


def test_a_hint_comes_before_the_clock(tmp_path: Path) -> None:
    """A file that was written is looked at as soon as it has settled."""
    looks = Looks()
    with finder(tmp_path, looks, 3600.0) as one:
        until(lambda: looks.made == 1)
        one.hint()
        until(lambda: looks.made == 2, 10.0)


def test_trouble_is_told_and_passes(tmp_path: Path) -> None:
    """Whatever goes wrong: it looks again."""
    looks = Looks(StoreError("the disk is gone"), RuntimeError(), Found(trouble="no rights"))
    seen = set()
    with finder(tmp_path, looks, 0.05) as one:
        until(lambda: seen.add(one.trouble) or (looks.made >= 5 and one.trouble == ""))  # type: ignore[func-returns-value]
    assert looks.made >= 5


def test_a_look_that_takes_long_holds_up_nobody(tmp_path: Path) -> None:
    """Whoever waits for its end does not wait for that."""
    begun, release = threading.Event(), threading.Event()

    def look(catalog: Catalog) -> Found:
        del catalog
        begun.set()
        release.wait(30.0)
        return Found()

    stop = Stop()
    with Catalog(Store.at(tmp_path / "store")) as catalog:
        one = Finder(catalog, 1.0, stop, lambda: None, look)
        assert one.join(0.0), "it has not begun"
        one.start()
        assert begun.wait(10.0)
        stop.request()
        assert not one.join(0.05)
        release.set()
        assert one.join(10.0)
