"""Two files of one journal: a copy, one that lags, or one that was written on. Never guessed: compared and reported."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from localtrack.catalog.changes import CANNOT_KEEP, OPEN_END, Changes
from localtrack.catalog.fold import fold
from localtrack.catalog.source import Source, UnreadableError, items
from localtrack.journal.ops import Damage, Record

_PIECE = 5_000


def check_end(connection: sqlite3.Connection, source: Source, journal: int) -> None:
    """Compare the last imported record with the one in this file. A file that ends before it has nothing new to tell.

    Raises:
        UnreadableError: another record is there: the file was written on from an older state (a restored machine).
    """
    upto, last_stamp = connection.execute("SELECT upto, last_stamp FROM journal WHERE id = ?", (journal,)).fetchone()
    if not last_stamp:
        return
    for item in items(source, upto - 1, 1):
        if isinstance(item, Record) and item.n == upto and item.stamp != last_stamp:
            raise UnreadableError(
                f"record {upto} is not the one that was imported from this journal before: "
                "two machines or snapshots went on writing the same journal; nothing more is taken from this file",
                passing=False,
            )


def check_same(source: Source, other: Source, name: str) -> None:
    """Compare all records that are in both files and can be read in both.

    Args:
        source: the file that was seen later.
        other: the file that was imported before.
        name: what `other` is called.

    Raises:
        UnreadableError: they differ.
    """
    theirs = _records(other)
    their = next(theirs, None)
    for mine in _records(source):
        while their is not None and their.n < mine.n:
            their = next(theirs, None)
        if their is None:
            return
        # As text, because a NaN is not equal to itself.
        if their.n == mine.n and repr(their) != repr(mine):
            raise UnreadableError(
                f"record {mine.n} is not the one in {name}, which is the same journal: "
                "two machines or snapshots went on writing it; nothing is taken from this file",
                passing=False,
            )


def _records(source: Source) -> Iterator[Record]:
    after, more = 0, True
    while more:
        more = False
        for item in items(source, after, _PIECE):
            if isinstance(item, Record):
                yield item
                after, more = item.n, True
            elif item.last_n < OPEN_END:
                after, more = item.last_n, True


def fill_holes(connection: sqlite3.Connection, source: Source, begin: Callable[[], Changes]) -> Iterator[Changes]:
    """What this file holds of records that could not be read in another file of the journal; holes become smaller.

    `begin` makes empty changes for this journal.
    """
    journal = begin().numbers.journal
    for first_n, last_n, reason in connection.execute(
        "SELECT first_n, last_n, reason FROM damage WHERE journal = ? AND last_n < ? AND reason NOT LIKE ?",
        (journal, OPEN_END, f"{CANNOT_KEEP}%"),
    ).fetchall():
        changes, left = begin(), first_n
        holes: list[Damage] = []
        for item in items(source, first_n - 1, last_n - first_n + 1):
            if not isinstance(item, Record) or item.n > last_n:
                continue
            fold(changes, item)
            if item.n > left:
                holes.append(Damage(left, item.n - 1, reason))
            left = item.n + 1
        if left == first_n:
            continue
        if left <= last_n:
            holes.append(Damage(left, last_n, reason))
        connection.execute("DELETE FROM damage WHERE journal = ? AND first_n = ?", (journal, first_n))
        changes.damage += holes
        yield changes
