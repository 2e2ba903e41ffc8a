"""`localtrack daemon status` and `logs`: is one there, and what does it say."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from localtrack.cli import screen
from localtrack.cli.options import json_option
from localtrack.errors import ReplayError
from localtrack.store import Store
from localtrack_sync.commands.daemon_parts import settled, stores_option
from localtrack_sync.daemon.log_file import default_log, followed, last_lines
from localtrack_sync.daemon.running import last_one, running
from localtrack_sync.store.lock import Holder

#: Exit code when no daemon runs, as of init scripts.
NOT_RUNNING = 3


@click.command(short_help="Say whether one runs, since when, for which stores.")
@stores_option
@json_option
def status(stores: tuple[str, ...], *, as_json: bool) -> int:
    """Say whether a daemon runs, since when, and for which stores; `localtrack status` says what it has delivered.

    Ends with 0 when each of the stores has a daemon, with 3 when one has none.
    """
    found = [(store, running(store)) for store in settled(stores)]
    code = 0 if all(holder is not None for _, holder in found) else NOT_RUNNING
    if as_json:
        screen.document(
            {"schema": 1, "exit_code": code, "stores": [_facts(store, holder) for store, holder in found]},
        )
    else:
        _tell(found)
    return code


def _facts(store: Store, holder: Holder | None) -> dict[str, Any]:
    known = holder is not None and holder.pid
    return {
        "store": store.path,
        "running": holder is not None,
        "pid": holder.pid if holder is not None and known else None,
        "host": holder.host if holder is not None and known else None,
        "since_ms": holder.since_ms if holder is not None else None,
        "command": holder.command if holder is not None and known else None,
        "delivers": list(holder.stores) if holder is not None else [],
        "log": (holder.log or None) if holder is not None else None,
    }


def _tell(found: Sequence[tuple[Store, Holder | None]]) -> None:
    told: set[tuple[str, int]] = set()
    for store, holder in found:
        if holder is None:
            click.echo(f"No daemon runs for {store.path}")
            click.echo("  -> localtrack daemon start")
        elif (holder.host, holder.pid) not in told:
            told.add((holder.host, holder.pid))
            click.echo(f"A daemon runs: {holder}")
            for path in holder.stores or (store.path,):
                click.echo(f"  store {path}")
            click.echo(
                f"  log   {holder.log}" if holder.log else "  It logs where it was started; see: localtrack daemon logs"
            )


@click.command(short_help="Show the end of its log.")
@click.option("-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="So many lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@stores_option
def logs(stores: tuple[str, ...], *, lines: int, follow: bool) -> None:
    """Show the end of the daemon's log: of the one that runs, or of the last one.

    A daemon that systemd runs logs to systemd's journal; docs/daemon.md says how to read it.
    """
    store = settled(stores)[0]
    path = _log_of(store)
    for line in last_lines(path, lines):
        _print(line + b"\n")
    if follow:
        for piece in followed(path):
            _print(piece)


def _log_of(store: Store) -> str:
    holder = last_one(store)
    path = holder.log if holder is not None and holder.log else default_log(os.environ, store)
    alive = running(store)
    if alive is not None and not alive.log:
        raise ReplayError(
            f"The daemon keeps no log file, it logs where it was started: {alive}.",
            "If systemd runs it: journalctl --user -u localtrack",
        )
    if not os.path.exists(path):
        raise ReplayError(
            f"There is no log of a daemon of {store.path} here ({path}).",
            "If systemd runs it: journalctl --user -u localtrack. Start one: localtrack daemon start",
        )
    return path


def _print(piece: bytes) -> None:
    sys.stdout.write(piece.decode(errors="replace"))
    sys.stdout.flush()
