"""Reads of metrics: the history of one, the latest point of each."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from localtrack.catalog import paging
from localtrack.entities import Metric, PagedList

NAN = float("nan")
_HISTORY = """
SELECT DISTINCT ts, step, value, nan, extra FROM metric INDEXED BY metric_history
WHERE run = ? AND key = ? {beyond} ORDER BY ts, step, value, nan, extra LIMIT ?
"""
_BEYOND = "AND (ts, step, value, nan, extra) > (?, ?, ?, ?, ?)"
#: Whether a metric has a NaN, or a point with a model or dataset.
_SPECIAL = "SELECT 1 FROM metric INDEXED BY metric_history WHERE run = ? AND key = ? AND (nan OR extra) LIMIT 1"
_PLAIN = """
SELECT ts, step, value FROM metric INDEXED BY metric_history WHERE run = ? AND key = ? ORDER BY ts, step, value
"""


def metric_history(
    connection: sqlite3.Connection, run_id: str, key: str, max_results: int | None, page_token: str | None
) -> PagedList[Metric]:
    """The distinct points of one metric by (timestamp, step, value); empty for an unknown run or key, as MLflow's.

    `max_results` None is all of them.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE for a bad max_results or page_token.
    """
    if max_results is not None:
        paging.check_max_results(max_results)
    query = ("history", run_id, key)
    start = paging.start_of(query, page_token, (int, int, float, int, int))
    found = connection.execute(
        "SELECT run.id, metric_key.id FROM run, metric_key WHERE run_id = ? AND key = ?", (run_id, key)
    ).fetchone()
    if found is None:
        return PagedList([])
    with no_collection():
        if max_results is None and start is None and not connection.execute(_SPECIAL, found).fetchone():
            return PagedList(_plain(connection, run_id, key, found))
        values: list[Any] = [*found, *(start or ()), -1 if max_results is None else max_results + 1]
        rows = connection.execute(_HISTORY.format(beyond=_BEYOND if start else ""), values).fetchall()
        token = None
        if max_results is not None and len(rows) > max_results:
            rows = rows[:max_results]
            token = paging.token_after(query, rows[-1])
        return PagedList(_metrics(connection, run_id, key, rows), token)


def latest(connection: sqlite3.Connection, run_id: str) -> list[Metric]:
    """The last point of each metric of a run, by key: greatest step, then timestamp, then value."""
    rows = connection.execute(
        "SELECT k.key, l.value, l.nan, l.ts, l.step FROM run r JOIN metric_latest l ON l.run = r.id"
        " JOIN metric_key k ON k.id = l.key WHERE r.run_id = ? ORDER BY k.key",
        (run_id,),
    )
    return [Metric(key, NAN if nan else value, ts, step, run_id=run_id) for key, value, nan, ts, step in rows]


def _plain(connection: sqlite3.Connection, run_id: str, key: str, found: tuple[int, int]) -> list[Metric]:
    """A whole history of numbers only: fewer columns, and equal neighbours told apart here, take half the time."""
    rows = connection.execute(_PLAIN, found).fetchall()
    # Metric(...) passes through a Python function; for a million of them that is an eighth of the time.
    new = tuple.__new__
    return [
        new(Metric, (key, row[2], row[0], row[1], None, None, None, run_id))
        for row, before in zip(rows, chain((None,), rows), strict=False)
        if row != before
    ]


def extras_of(connection: sqlite3.Connection, numbers: set[int]) -> dict[int, tuple[Any, Any, Any]]:
    """Model id, dataset name and dataset digest by number; number 0 is none of them."""
    extras: dict[int, tuple[Any, Any, Any]] = {0: (None, None, None)}
    for number in numbers - {0}:
        extras[number] = connection.execute(
            "SELECT model_id, dataset_name, dataset_digest FROM metric_extra WHERE id = ?", (number,)
        ).fetchone()
    return extras


def _metrics(connection: sqlite3.Connection, run_id: str, key: str, rows: Sequence[tuple[Any, ...]]) -> list[Metric]:
    extras = extras_of(connection, {row[4] for row in rows})
    if len(extras) == 1:
        return [
            Metric(key, NAN if nan else value, ts, step, None, None, None, run_id) for ts, step, value, nan, _ in rows
        ]
    return [
        Metric(key, NAN if nan else value, ts, step, *extras[extra], run_id) for ts, step, value, nan, extra in rows
    ]


@contextmanager
def no_collection() -> Iterator[None]:
    """Make many small values without the cycle collector looking through them again and again (half of the time)."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
