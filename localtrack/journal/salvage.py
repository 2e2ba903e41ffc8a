"""Reading around damage: SQLite refuses what touches a damaged page, so a range is halved until the rest is read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

#: Runs a query, in one short read transaction, and returns its rows.
Query: TypeAlias = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
Row: TypeAlias = tuple[int, Any]

#: Records that are looked at together. A window in which nothing can be read is given up after _PROBES probes.
WINDOW = 4_096
_PROBES = 256
#: A record takes at least this much of its page, so a file has at most size / this records.
_LEAST_BYTES = 16

# The limit stops SQLite at the last row of the range: else it would step on to the next page, perhaps a damaged one.
_RANGE = "SELECT n, body FROM record WHERE n BETWEEN ? AND ? ORDER BY n LIMIT ?"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is damaged, as opposed to locked, unreadable just now, or closed."""
    return type(error) is sqlite3.DatabaseError


def rows(query: Query, after: int) -> Iterator[Row]:
    """Every row with n > after that can be read, in order."""
    last = _last(query)
    low = after + 1
    while low <= last:
        high = min(low + WINDOW - 1, last)
        yield from _window(query, low, high)
        low = high + 1


def end_is_readable(query: Query) -> bool:
    """Whether the last record can be found; otherwise nobody can say how many records there were."""
    return _try(query, "SELECT max(n), 0 FROM record", ()) is not None


def _last(query: Query) -> int:
    """Greatest n, or an upper bound of it."""
    if (found := _try(query, "SELECT max(n), 0 FROM record", ())) is not None:
        return found[0][0] or 0
    pages, size = query("PRAGMA page_count", ())[0][0], query("PRAGMA page_size", ())[0][0]
    return int(pages * size // _LEAST_BYTES)


def _window(query: Query, low: int, high: int) -> Iterator[Row]:
    found = _try(query, _RANGE, (low, high, high - low + 1))
    if found is not None:
        yield from found
        return
    step = max(1, (high - low) // _PROBES)
    if all(_try(query, _RANGE, (n, n, 1)) is None for n in range(low, high + 1, step)):
        return
    waiting = [(low, high)]
    while waiting:
        low, high = waiting.pop()
        found = _try(query, _RANGE, (low, high, high - low + 1))
        if found is not None:
            yield from found
        elif low < high:
            middle = (low + high) // 2
            waiting += [(middle + 1, high), (low, middle)]


def _try(query: Query, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]] | None:
    """Rows, or None when a damaged page is in the way."""
    try:
        return query(sql, parameters)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            return None
        raise
