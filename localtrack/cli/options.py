"""Options that all commands share."""

from __future__ import annotations

import os
from typing import Any

import click

from localtrack.errors import StoreError
from localtrack.store import Store


def _store(context: click.Context, _parameter: click.Parameter, given: str | None) -> Store:
    """The store named after the command, else before it, else where training code would log in this environment."""
    from localtrack import settings, tracking_uri

    named = given or context.find_root().params.get("store")
    if not named:
        here = settings.load(os.environ)
        named = tracking_uri.parse(here.tracking_uri).store or here.store
    return Store.at(named)


def store_option(command: Any) -> Any:
    """`--store PATH`; the command gets a `Store`, which may not exist yet."""
    return click.option(
        "--store",
        metavar="PATH",
        callback=_store,
        help="Store directory. Default: the one that training code here would log to.",
    )(command)


def json_option(command: Any) -> Any:
    """`--json`: the same as one JSON document with a documented, stable schema."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document (docs/cli.md).")(command)


def existing(store: Store) -> Store:
    """The same store.

    Raises:
        StoreError: it does not exist; saying "nothing is owed" about a mistyped path would be a lie.
    """
    if not os.path.isdir(store.journals):
        raise StoreError(
            f"There is no store at {store.path}",
            "The first logging call makes one. If yours is elsewhere: --store PATH, or set LOCALTRACK_STORE.",
        )
    return store
