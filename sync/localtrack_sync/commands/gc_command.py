"""`localtrack gc`: remove files that are old, delivered and read back from their server; a dry run by default."""

from __future__ import annotations

import os
from collections.abc import Callable

import click

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import RunEntry
from localtrack.cli.options import existing, json_option, store_option
from localtrack.settings import load
from localtrack.settings_table import bytes_of, seconds_of
from localtrack.store import Store
from localtrack_sync.commands import gc_report
from localtrack_sync.commands.errands import stopping
from localtrack_sync.commands.options import connections_option, experiment_option, patience_option, run_option
from localtrack_sync.commands.progress import compared
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.shell.gc_facts import addresses
from localtrack_sync.shell.gc_session import GcSettings, collect
from localtrack_sync.shell.replay import Stop
from localtrack_sync.shell.selection import transport_settings
from localtrack_sync.shell.session import SyncSettings
from localtrack_sync.store.choice import Item, select


def _by(parse: Callable[[str], float]) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    def callback(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
        if given is None:
            return None
        try:
            return parse(given)
        except ValueError as error:
            raise click.BadParameter(f"{given!r} {error}") from None

    return callback


@click.command(short_help="Remove old files that a server provably has.")
@click.option("--delete", is_flag=True, help="Remove them. Without it, nothing is touched.")
@click.option(
    "--older-than",
    "older_than_s",
    metavar="AGE",
    callback=_by(seconds_of),
    help="Leave what was logged to more recently: 12h, 7d, 4w, or 0. Default: LOCALTRACK_GC_OLDER_THAN, else 30d.",
)
@click.option(
    "--max-bytes",
    metavar="SIZE",
    callback=_by(bytes_of),
    help="Remove the oldest first, and only until the files of the store are not more: 500MB, 20GB. Default: "
    "LOCALTRACK_GC_MAX_BYTES, else whatever may go.",
)
@click.option(
    "--to",
    multiple=True,
    metavar="URL",
    help="A server that may be asked, beside those that runs or settings of yours name. Repeatable.",
)
@run_option
@experiment_option
@connections_option
@patience_option
@store_option
@json_option
def gc(
    store: Store,
    *,
    delete: bool,
    older_than_s: float | None,
    max_bytes: int | None,
    to: tuple[str, ...],
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    connections: int | None,
    patience: float,
    as_json: bool,
) -> int:
    """Remove files of ended runs and logged models that every server they belong to has; a dry run without --delete.

    With --delete each file is first read back from the server, whole, and compared byte by byte; the run around it as
    `localtrack verify` does. What is owed, parked, rejected or in conflict stays, and so does everything that could not
    be compared. Records and journals stay. What was removed is listed as before, with the server that has it.

    Ends with 0: all looked at. 3: a server was away, so some could not be. 1: an error, or a journal or the
    catalog is not in order, so nothing is removed. 2: usage.
    """
    environ = os.environ
    settings = load(environ)
    with Catalog(existing(store)) as catalog:
        named = [parse_remote(one, environ) for one in to]
        wish = GcSettings(
            delete,
            settings.gc_older_than if older_than_s is None else older_than_s,
            settings.gc_max_bytes if max_bytes is None else max_bytes,
            addresses(catalog, named, settings, environ),
            _wanted(catalog, runs, experiments),
        )
        how = SyncSettings(
            ReplaySettings(
                connections=connections or settings.connections, patience_s=patience, folder=settings.databricks_folder
            ),
            transport_settings(environ),
            environ,
            "localtrack gc --delete",
        )
        stop = Stop()
        with stopping(stop):
            done = compared(lambda watcher: collect(catalog, wish, how, watcher, stop), quiet=as_json)
    return gc_report.told(store, done, wish, as_json=as_json)


def _wanted(catalog: Catalog, runs: tuple[str, ...], experiments: tuple[str, ...]) -> Callable[[Item], bool]:
    """Which are asked for: the runs, and the logged models that came out of them.

    Raises:
        SelectionError: something that was named does not exist, or is ambiguous.
    """
    if not runs and not experiments:
        return lambda _item: True
    ids = {run.run_id for run in select(catalog.run_index(), runs, experiments)}
    return lambda item: (item.run_id if isinstance(item, RunEntry) else item.source_run_id) in ids
