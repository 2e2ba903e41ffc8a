"""A journal as the importer reads it, and trouble with it told apart from trouble with the catalog."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from localtrack.errors import StoreError
from localtrack.journal.ops import Damage, JournalInfo, Record
from localtrack.journal.reader import HeldJournal, Points


class UnreadableError(StoreError):
    """A journal file cannot be read (further); `passing`: it is worth trying again although the file did not change."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class Source(Protocol):
    """One readable journal (localtrack.journal.reader.JournalReader)."""

    info: JournalInfo

    def read(self, after: int, limit: int = ...) -> Iterator[Record | Damage]:
        """Records and damage with n > after, in order."""

    def read_bulk(self, after: int, limit: int = ...) -> Iterator[Record | Damage | Points]:
        """The same, with metrics together."""

    def close(self) -> None:
        """Let go of the file."""


@contextmanager
def guarded() -> Iterator[None]:
    """Tell trouble with a journal from trouble with the catalog, which raises the same classes."""
    try:
        yield
    except (HeldJournal, sqlite3.Error, OSError) as error:
        raise UnreadableError(str(error), passing=True) from error
    except StoreError as error:
        raise UnreadableError(str(error), passing=False) from error


def bulk(source: Source, after: int, limit: int) -> Iterator[Record | Damage | Points]:
    """source.read_bulk, raising UnreadableError."""
    with guarded():
        yield from source.read_bulk(after, limit)


def items(source: Source, after: int, limit: int) -> Iterator[Record | Damage]:
    """source.read, raising UnreadableError."""
    with guarded():
        yield from source.read(after, limit)
