"""`localtrack sync`: deliver what is owed, say what came of it, end with the right code."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from localtrack.catalog.catalog import Catalog
from localtrack.cli.options import existing, json_option, store_option
from localtrack.settings import DIALECTS, load
from localtrack.store import Store
from localtrack_sync.commands import summary
from localtrack_sync.commands.errands import deliver
from localtrack_sync.commands.options import connections_option, experiment_option, patience_option, run_option
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.shell.selection import Wanted, chosen, transport_settings
from localtrack_sync.shell.session import SyncSettings
from localtrack_sync.store.accounts import errand_accounts, state_paths
from localtrack_sync.store.state import StateReader


@click.command(short_help="Deliver what is owed to an MLflow server or to Databricks.")
@click.option(
    "--to",
    metavar="URL",
    help="Deliver to this server, whatever the runs name: http(s)://HOST[:PORT][/PATH], databricks or "
    "databricks://PROFILE.",
)
@click.option(
    "--dialect",
    type=click.Choice(DIALECTS),
    help="How to talk to a server that is named by an address. Default: the setting dialect, else auto: databricks for "
    "hosts of Databricks, mlflow for all others.",
)
@run_option
@experiment_option
@click.option("--dry-run", is_flag=True, help="Say what would be sent, per run; contact nobody.")
@click.option(
    "--repair",
    is_flag=True,
    help="Believe nothing of what was delivered: look at everything on the server, send what is missing there.",
)
@click.option(
    "--settle",
    type=click.FloatRange(0, 86_400),
    metavar="SECONDS",
    help="How long a request whose reply was lost may still be executed. Default: the setting "
    "settle_seconds, else 120, for Databricks 300.",
)
@connections_option
@patience_option
@store_option
@json_option
def sync(
    store: Store,
    *,
    to: str | None,
    dialect: str | None,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    dry_run: bool,
    repair: bool,
    settle: float | None,
    connections: int | None,
    patience: float,
    as_json: bool,
) -> int:
    """Deliver what is owed to an MLflow server or to Databricks, once, however often it is started.

    Without --to each run goes to the server that was named when it was logged (set_tracking_uri, MLFLOW_TRACKING_URI),
    else to the setting remote (LOCALTRACK_REMOTE) or MLFLOW_TRACKING_URI. It may be stopped at any moment and started
    again.

    Ends with 0: all delivered. 3: something is still owed. 4: conflicts or rejected records need a look. 1: an error.
    2: usage.
    """
    if repair and dry_run:
        raise click.UsageError("--repair finds out by looking at the server; `localtrack verify` only looks.")
    environ: Mapping[str, str] = os.environ if dialect is None else {**os.environ, "LOCALTRACK_DIALECT": dialect}
    settings = load(environ)
    wanted = Wanted(parse_remote(to, environ) if to is not None else None, runs, experiments)
    with Catalog(existing(store)) as catalog:
        choice = chosen(catalog, wanted, settings, environ)
        if choice.nowhere:
            raise click.UsageError(no_remote(store, "sync"))
        if dry_run:
            return summary.dry_run(
                store,
                choice,
                [(errand, errand_accounts(catalog, errand)) for errand in choice.errands],
                as_json=as_json,
            )
        how = SyncSettings(
            ReplaySettings(
                settle_s=settings.settle_seconds if settle is None else settle,
                connections=connections or settings.connections,
                patience_s=patience,
                repair=repair,
                folder=settings.databricks_folder,
            ),
            transport_settings(environ),
            environ,
            " ".join(["localtrack", "sync", *(["--to", wanted.to.remote.url] if wanted.to is not None else [])]),
        )
        ended, failures = deliver(
            catalog, choice, lambda: chosen(catalog, wanted, settings, environ), how, quiet=as_json
        )
        code = summary.told(store, choice, ended, catalog.journals(), as_json=as_json) if ended or not failures else 1
        if failures:
            raise failures[0]  # the others have been told by `deliver`
        return code


def no_remote(store: Store, command: str) -> str:
    """Usage error: where to? With the server that was used last, if there is one."""
    known = []
    for path in state_paths(store):
        with StateReader(path) as state:
            known.append(state.remote.url)
    example = known[0] if known else "http://127.0.0.1:5000"
    return (
        "No remote is known: the runs name none, neither LOCALTRACK_REMOTE nor MLFLOW_TRACKING_URI is set, and the "
        "settings file names none. "
        f"Name one, for example: localtrack {command} --to {example}"
    )
