"""A store, and journals in it with clocks that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack.journal.writer import Journal
from localtrack.store import Store


@dataclass
class Clock:
    """Milliseconds since the epoch, as a clock in nanoseconds."""

    ms: int

    def __call__(self) -> int:
        """Now, in nanoseconds; moves on by one millisecond."""
        self.ms += 1
        return self.ms * 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    found = Store.at(tmp_path / "store")
    found.make()
    return found


@pytest.fixture
def open_journal(store: Store) -> Iterator[Callable[[int], Journal]]:
    """Opens another journal of the store, as another process would, with a clock that starts at a millisecond."""
    opened: list[Journal] = []

    def make(ms: int) -> Journal:
        opened.append(Journal(store, strict=True, clock=Clock(ms)))
        return opened[-1]

    yield make
    for journal in opened:
        journal.close()


@pytest.fixture
def catalog(store: Store) -> Iterator[Catalog]:
    """The catalog of the store."""
    with Catalog(store) as opened:
        yield opened
