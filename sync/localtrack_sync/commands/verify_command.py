"""`localtrack verify`: read the remote back, say in what it differs from the store, end with the right code."""

from __future__ import annotations

import os
from collections.abc import Mapping

import click

from localtrack.catalog.catalog import Catalog
from localtrack.cli import wording
from localtrack.cli.options import existing, json_option, store_option
from localtrack.cli.table import visible
from localtrack.settings import DIALECTS, load
from localtrack.store import Store
from localtrack_sync.commands import verify_report
from localtrack_sync.commands.errands import one_by_one
from localtrack_sync.commands.options import connections_option, experiment_option, patience_option, run_option
from localtrack_sync.commands.progress import compared
from localtrack_sync.commands.sync_command import no_remote
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.shell.replay import Stop
from localtrack_sync.shell.selection import Wanted, chosen, transport_settings
from localtrack_sync.shell.session import SyncSettings
from localtrack_sync.shell.verify_session import Verification, run_verification
from localtrack_sync.store.choice import Errand


@click.command(short_help="Prove that a server has what the store has.")
@click.option("--to", metavar="URL", help="Compare with this server, whatever the runs name.")
@click.option(
    "--dialect",
    type=click.Choice(DIALECTS),
    help="How to talk to a server that is named by an address; as for `localtrack sync`.",
)
@run_option
@experiment_option
@connections_option
@patience_option
@store_option
@json_option
def verify(
    store: Store,
    *,
    to: str | None,
    dialect: str | None,
    runs: tuple[str, ...],
    experiments: tuple[str, ...],
    connections: int | None,
    patience: float,
    as_json: bool,
) -> int:
    """Read the remote back, whole, and compare it with this store, run by run; nothing is changed anywhere.

    Without --to each run is compared with the server that `localtrack sync` would deliver it to.

    Ends with 0: equal. 4: equal but for conflicts, rejected and parked records. 5: different. 3: not everything could
    be compared. 1: an error. 2: usage.
    """
    environ: Mapping[str, str] = os.environ if dialect is None else {**os.environ, "LOCALTRACK_DIALECT": dialect}
    settings = load(environ)
    wanted = Wanted(parse_remote(to, environ) if to is not None else None, runs, experiments)
    with Catalog(existing(store)) as catalog:
        choice = chosen(catalog, wanted, settings, environ)
        if choice.nowhere:
            raise click.UsageError(no_remote(store, "verify"))
        how = SyncSettings(
            ReplaySettings(
                connections=connections or settings.connections,
                patience_s=patience,
                folder=settings.databricks_folder,
            ),
            transport_settings(environ),
            environ,
        )
        done, failures = one_by_one(
            choice.errands, lambda errand, stop: _compare(catalog, errand, how, stop, quiet=as_json)
        )
    code = verify_report.told(store, choice, done, as_json=as_json) if done or not failures else 1
    if failures:
        raise failures[0]  # the others have been told
    return code


def _compare(catalog: Catalog, errand: Errand, how: SyncSettings, stop: Stop, *, quiet: bool) -> Verification:
    if not quiet:
        said = f"Comparing {wording.count(len(errand.runs), 'run')} with {errand.address.remote}"
        click.echo(visible(said), err=True)
    return compared(lambda watcher: run_verification(catalog, errand, how, watcher, stop), quiet=quiet)
