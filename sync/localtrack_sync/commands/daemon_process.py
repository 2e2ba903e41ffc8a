"""`localtrack daemon run`, `start`, `stop`, `restart`: the process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

import click

from localtrack import settings_file
from localtrack.cli import failures
from localtrack.errors import ReplayError
from localtrack.store import Store
from localtrack_sync.commands.daemon_parts import named, parts, settled, stores_option
from localtrack_sync.daemon import detached
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.ending import end
from localtrack_sync.daemon.foreground import Daemon
from localtrack_sync.daemon.foreground import run as run_daemon
from localtrack_sync.daemon.log import DaemonLog, to_stderr
from localtrack_sync.daemon.log_file import LogFile
from localtrack_sync.daemon.notify import Notifier
from localtrack_sync.daemon.running import DaemonLocks, running
from localtrack_sync.daemon.settings_file import load_daemon_settings
from localtrack_sync.daemon.signals import GRACE_S
from localtrack_sync.store.lock import Holder

#: Seconds to wait for a process that was killed: the kernel needs an instant, a disk that hangs may need more.
KILL_S = 10.0
#: Seconds beyond what a daemon grants itself.
MARGIN_S = 5.0

log_option = click.option(
    "--log-file",
    metavar="PATH",
    default="",
    callback=lambda _context, _parameter, given: given and os.path.abspath(os.path.expanduser(given)),
    help="Log to this file, bounded in size; `start` has one by default, `run` logs to standard error.",
)


@click.command(short_help="Run it here, in the foreground: for systemd, tmux, containers.")
@log_option
@click.option("--detached", "behind", is_flag=True, hidden=True, help="Left behind by `localtrack daemon start`.")
@stores_option
def run(stores: tuple[str, ...], *, log_file: str, behind: bool) -> int:
    """Run the daemon in the foreground: for systemd, tmux, containers.

    The first Ctrl-C or SIGTERM ends it in good order, the second at once; neither loses anything. SIGHUP: it reads its
    settings again. Ends with 0 when it was told to end; with 1 when it failed, or when another daemon delivers one of
    the stores.
    """
    how = parts()
    if behind:
        detached.detach()
    file = LogFile(log_file) if log_file else None
    return run_daemon(
        Daemon(
            lambda: _load_anew(stores),
            os.environ,
            DaemonLog(file.write if file is not None else to_stderr),
            Notifier(os.environ),
            DaemonLocks(detached.COMMAND if behind else "localtrack daemon run", log_file),
            how.serve,
        ),
        detached.say_ready if behind else lambda: None,
    )


@click.command(short_help="Start it in the background.")
@log_option
@stores_option
def start(stores: tuple[str, ...], *, log_file: str) -> None:
    """Start the daemon in the background, and wait until it is there.

    It outlives this terminal and what started it. It gets the environment that it is started in: credentials too. Ends
    with 0 when it runs, also when it did before.
    """
    wanted = settled(stores)
    found = {store.path: running(store) for store in wanted}
    holders = _different(found.values())
    if len(holders) == 1 and None not in found.values():
        click.echo(f"A daemon runs already: {holders[0]}.")
        return
    _started(wanted, stores, log_file)


def _started(wanted: Sequence[Store], given: Sequence[str], log_file: str) -> None:
    holder = detached.start([store.path for store in wanted], given, os.environ, log_file, parts().program)
    click.echo(f"The daemon runs: process {holder.pid}." if holder.pid else "The daemon runs; its lock has no name.")
    for path in holder.stores:
        empty = "" if os.listdir(Store(path).journals) else "  (nothing has been logged to it yet)"
        click.echo(f"  store {path}{empty}")
    click.echo(f"  log   {holder.log}")


@click.command(short_help="End it.")
@click.option("--now", is_flag=True, help="End it at once (SIGKILL); nothing is lost by it.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, 86_400),
    metavar="SECONDS",
    help="How long to wait for its end. Default: what it grants itself, and 10 more.",
)
@stores_option
def stop(stores: tuple[str, ...], *, now: bool, timeout: float | None) -> int:
    """End the daemon in good order, and wait until it is gone.

    It finishes the requests that are open, within bounds. Ends with 0 when no daemon is left, also when there was none;
    with 1 when it is still there.
    """
    wanted = settled(stores)
    if not _different(running(store) for store in wanted):
        click.echo("No daemon runs for " + ", ".join(store.path for store in wanted) + ".")
        return 0
    return failures.EXIT_ERROR if None in _ended(wanted, now=now, timeout=timeout) else 0


def _ended(wanted: Sequence[Store], *, now: bool, timeout: float | None) -> list[Holder | None]:
    """End the daemons of these stores; those that are gone, and None for each one that is not."""
    seconds = timeout if timeout is not None else KILL_S if now else _patience()
    done: list[Holder | None] = []
    seen: set[tuple[str, int]] = set()
    for store in wanted:
        holder = running(store)
        if holder is None or (holder.host, holder.pid) in seen:
            continue
        seen.add((holder.host, holder.pid))
        began = time.monotonic()
        if end(store, holder, now=now, seconds=seconds):
            _tell_end(store, holder, time.monotonic() - began, wanted, now=now)
            done.append(holder)
        else:
            failures.say(
                f"{named(holder)} has not ended within {seconds:g} s.",
                "Wait for it, or end it at once: localtrack daemon stop --now",
            )
            done.append(None)
    return done


def _patience() -> float:
    return load_daemon_settings(os.environ).stop_seconds + GRACE_S + MARGIN_S


def _tell_end(store: Store, holder: Holder, seconds: float, wanted: Sequence[Store], *, now: bool) -> None:
    click.echo(f"{named(holder)} {'was ended' if now else 'has ended'}, after {seconds:.1f} s.")
    asked = {os.path.realpath(one.path) for one in wanted}
    others = [path for path in holder.stores if path not in asked]
    if others:
        click.echo("It delivered these stores too: " + ", ".join(others))
    if (new := running(store)) is not None:
        click.echo(f"Something has started another one: {new}. If systemd did: systemctl --user stop localtrack")


@click.command(short_help="End it and start it again, in the background.")
@log_option
@stores_option
def restart(stores: tuple[str, ...], *, log_file: str) -> int:
    """End the daemon and start it again, in the background; none of its stores is left out.

    Only a daemon that `localtrack daemon start` has started: one that runs under systemd is restarted by systemd.
    """
    wanted = settled(stores)
    holders = _different(running(store) for store in wanted)
    for holder in holders:
        if holder.command != detached.COMMAND:
            raise ReplayError(
                f"{named(holder)} was not started by `{detached.COMMAND}`.",
                "Restart it where it was started (systemctl --user restart localtrack). To have it read its settings "
                f"again: kill -HUP {holder.pid}",
            )
    if None in _ended(wanted, now=False, timeout=None):
        return failures.EXIT_ERROR
    everything = sorted({os.path.realpath(store.path) for store in wanted}.union(*(one.stores for one in holders)))
    usual = sorted({os.path.realpath(store.path) for store in settled(())})
    _started([Store(path) for path in everything], () if everything == usual else everything, log_file)
    return 0


def _different(found: Iterable[Holder | None]) -> list[Holder]:
    """Each daemon once, however many of the stores it has."""
    return list({(one.host, one.pid): one for one in found if one is not None}.values())


def _load_anew(stores: Sequence[str]) -> DaemonSettings:
    """The settings as they stand in the file now: SIGHUP asks for that."""
    settings_file.forget()
    return load_daemon_settings(os.environ, stores)
