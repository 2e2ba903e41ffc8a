"""Asking a search: one page of rows, and the page token behind them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from localtrack.catalog import linked_queries, model_queries, paging, queries
from localtrack.catalog.history import no_collection
from localtrack.catalog.search.run_sql import CONTEXT_FUNCTION, HISTORY_FUNCTION
from localtrack.catalog.search.sql import Search, statement
from localtrack.entities import Experiment, LoggedModel, PagedList, Run
from localtrack.store import Store

T = TypeVar("T")

_CONTEXT_TAG = "mlflow.data.context"


def runs(
    connection: sqlite3.Connection, store: Store, search: Search, max_results: int, page_token: str | None
) -> PagedList[Run]:
    """A page of runs.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE for a bad max_results or page_token, or too many values in the search.
    """
    _provide(connection)
    return _page(connection, search, max_results, page_token, lambda rows: queries.runs(connection, store, rows))


def experiments(
    connection: sqlite3.Connection, store: Store, search: Search, max_results: int, page_token: str | None
) -> PagedList[Experiment]:
    """A page of experiments; raises as `runs`."""
    return _page(connection, search, max_results, page_token, lambda rows: queries.experiments(connection, store, rows))


def models(
    connection: sqlite3.Connection, store: Store, search: Search, max_results: int, page_token: str | None
) -> PagedList[LoggedModel]:
    """A page of logged models; raises as `runs`."""
    return _page(
        connection, search, max_results, page_token, lambda rows: model_queries.models(connection, store, rows)
    )


def _page(
    connection: sqlite3.Connection,
    search: Search,
    max_results: int,
    page_token: str | None,
    entities: Callable[[Sequence[tuple[Any, ...]]], list[T]],
) -> PagedList[T]:
    paging.check_max_results(max_results)
    start = paging.start_of(search.question, page_token, [term.kind for term in search.terms])
    text, values = statement(search, start, max_results + 1)
    rows = connection.execute(text, values).fetchall()
    token = None
    if len(rows) > max_results:
        rows = rows[:max_results]
        token = paging.token_after(search.question, rows[-1][-len(search.terms) :])
    with no_collection():
        return PagedList(entities([row[: -len(search.terms)] for row in rows]), token)


def _provide(connection: sqlite3.Connection) -> None:
    """The functions that searches of runs call: what they read is JSON, which not every SQLite can."""
    connection.create_function(HISTORY_FUNCTION, 2, _history_tag, deterministic=True)
    connection.create_function(CONTEXT_FUNCTION, 1, _context, deterministic=True)


def _history_tag(tag: str | None, entries: str | None) -> str | None:
    """The tag with the entries of the deprecated log_model (`_ENTRIES` separates them)."""
    return tag if entries is None else linked_queries.history_tag(tag, entries.split("\x1e"))


def _context(tags: str) -> str | None:
    """What a dataset was used for, from the tags of the input; None: not said."""
    found: dict[str, str] = dict(json.loads(tags))
    return found.get(_CONTEXT_TAG)
