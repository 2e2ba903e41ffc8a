"""`localtrack query`: SQL over the catalog, read only, for questions that no other command answers."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any
from urllib.parse import quote

import click

from localtrack.catalog.catalog import Catalog
from localtrack.cli import screen
from localtrack.cli.options import existing, json_option, store_option
from localtrack.cli.table import Column
from localtrack.errors import LocaltrackError, StoreError
from localtrack.store import Store


@click.command(short_help="Ask the catalog in SQL, read only.")
@click.argument("sql")
@store_option
@json_option
def query(store: Store, sql: str, *, as_json: bool) -> None:
    """Bring the catalog up to date and ask it one question in SQL; nothing can be changed by it.

    Its tables are described in docs/catalog.md. Example: localtrack query "SELECT name, status FROM run"
    """
    with Catalog(existing(store)) as catalog:
        catalog.refresh()
    rows = answer(store, sql)
    if as_json:
        screen.document({"schema": 1, "store": store.path, "rows": [{k: plain(v) for k, v in r.items()} for r in rows]})
    elif rows:
        numbers = {k for k in rows[0] if all(isinstance(row[k], int | float | None) for row in rows)}
        columns = [Column(name, right=name in numbers) for name in rows[0]]
        screen.table(columns, [["" if v is None else str(plain(v)) for v in row.values()] for row in rows])


def answer(store: Store, sql: str) -> list[dict[str, Any]]:
    """The rows of one SELECT.

    Raises:
        StoreError: there is no catalog file (a store on a read-only medium).
        LocaltrackError: SQLite does not understand the question, or it would change something.
    """
    import sqlite_utils  # a fifth of a second: not for the other commands

    if not os.path.exists(store.catalog):
        raise StoreError(
            f"There is no file {store.catalog}, and it cannot be made",
            "Copy the store to a place where you may write, and name that one with --store.",
        )
    connection = sqlite3.connect(f"file:{quote(store.catalog)}?mode=ro", uri=True)
    with closing(connection):
        connection.execute("PRAGMA query_only=1")
        try:
            return list(sqlite_utils.Database(connection).query(sql))
        except (sqlite3.Error, sqlite3.Warning, ValueError, AttributeError, TypeError) as error:
            raise LocaltrackError(
                f"SQLite does not answer this: {error}", "The tables and their columns: docs/catalog.md"
            ) from error


def plain(value: Any) -> Any:
    """A value as JSON can hold it: bytes become hex digits."""
    return value.hex() if isinstance(value, bytes) else value
