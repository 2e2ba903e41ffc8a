"""`localtrack doctor`: look at everything that can be wrong here and with the remotes, and say what to do."""

from __future__ import annotations

import os
import time

import click

from localtrack.cli import screen
from localtrack.cli.options import json_option, store_option
from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.checkup.daemon_checks import daemon_findings
from localtrack_sync.checkup.finding import Finding, exit_code, hide
from localtrack_sync.checkup.look_daemon import look_at_daemon
from localtrack_sync.checkup.look_machine import look_at_machine
from localtrack_sync.checkup.look_remote import Looking, look_at_remotes, secrets_in
from localtrack_sync.checkup.look_store import look_at_store
from localtrack_sync.checkup.machine_checks import machine_findings
from localtrack_sync.checkup.remote_checks import nothing_named, remote_findings
from localtrack_sync.checkup.store_checks import store_findings
from localtrack_sync.checkup.targets import targets_of
from localtrack_sync.commands import doctor_report
from localtrack_sync.remote.remotes import Address, parse_remote
from localtrack_sync.shell.selection import transport_settings


@click.command(short_help="Look for what is wrong here and with the servers; say what to do.")
@click.option("--to", metavar="URL", help="Look at this server too, as `localtrack sync --to` would deliver to it.")
@click.option("--offline", is_flag=True, help="Contact nobody.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long each server may take in all.",
)
@store_option
@json_option
def doctor(store: Store, *, to: str | None, offline: bool, timeout: float, as_json: bool) -> int:
    """Look at everything that can be wrong on this machine, in the store and with the servers it delivers to.

    Each finding says what, why it matters, and what to do. Nothing that was logged is changed, and servers are only
    read from. A server that `localtrack sync` would not contact is not contacted here either.

    Ends with 0: nothing needs attention. 4: something does. 1: it could not look. 2: usage.
    """
    address = parse_remote(to, os.environ) if to is not None else None
    findings = _findings(store, address, timeout, offline=offline)
    if as_json:
        doctor_report.document(store, findings, offline=offline)
    else:
        doctor_report.report(findings, screen.width())
    return exit_code(findings)


def _findings(store: Store, to: Address | None, timeout: float, *, offline: bool) -> list[Finding]:
    environ = os.environ
    settings = load(environ)
    how = Looking(environ, transport_settings(environ), timeout, offline)
    look = look_at_store(store, environ)
    targets = targets_of(store, to, settings, environ)
    remotes = [*look_at_remotes(targets.addresses, how), *targets.others]
    found = [
        *machine_findings(look_at_machine(settings.identity_key)),
        *store_findings(look, time.time_ns() // 1_000_000),
        *daemon_findings(look_at_daemon(store, environ, events=not look.network)),
        *([nothing_named()] if targets.empty or targets.homeless else []),
        *(finding for remote in remotes for finding in remote_findings(remote)),
    ]
    return hide(found, [*secrets_in(environ), *(secret for remote in remotes for secret in remote.secrets)])
