"""What tests see of a store: the ops in its journals, and what another process would see; error codes."""

from __future__ import annotations

import glob
import os

import pytest

from localtrack.errors import JournalError, TrackingError
from localtrack.journal.ops import LogBatch, Op, Record
from localtrack.journal.reader import EmptyJournal, JournalReader
from localtrack.service import Service


def ops_in(store_path: str) -> list[Op]:
    """All ops of all journals, file by file, in order.

    Raises:
        AssertionError: a record is damaged.
    """
    return [record.op for path in journals_in(store_path) for record in records_in(path)]


def journals_in(store_path: str) -> list[str]:
    """The files of a store's journals."""
    return sorted(glob.glob(os.path.join(store_path, "journals", "*.db")))


def records_in(path: str) -> list[Record]:
    """The records of a journal; none of one that is just made, or removed again: two threads may make one each.

    Raises:
        AssertionError: a record is damaged.
    """
    found: list[Record] = []
    try:
        with JournalReader(path) as reader:
            for record in reader.read(0, 1_000_000):
                assert isinstance(record, Record), f"damaged: {record}"
                found.append(record)
    except EmptyJournal:
        return []
    except JournalError:
        if os.path.exists(path):
            raise
    return found


def logged(store_path: str) -> list[LogBatch]:
    """What was logged to runs, in order."""
    return [op for op in ops_in(store_path) if isinstance(op, LogBatch)]


def another(service: Service) -> Service:
    """The same store as another process sees it: nothing is known but what the catalog says."""
    fresh = Service(service.store, service.settings)
    fresh.known = type(fresh.known)()
    return fresh


def code(caught: pytest.ExceptionInfo[TrackingError]) -> str:
    """The error code that was raised."""
    return caught.value.error_code
