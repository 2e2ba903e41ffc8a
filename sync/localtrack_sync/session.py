"""One errand from lock to report: opens what a replay works with, drives it, closes it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import RunEntry
from localtrack.store import Store
from localtrack_sync.accounts import run_account
from localtrack_sync.books import RunAccount
from localtrack_sync.credentials import CredentialSource
from localtrack_sync.jobs import Job, ReplaySettings
from localtrack_sync.lock import ReplayLock
from localtrack_sync.remotes import Address
from localtrack_sync.replay import Bench, Report, Stop, Watcher, replay
from localtrack_sync.state import StateDb
from localtrack_sync.tls import tls_from
from localtrack_sync.transport import Transport, TransportSettings
from localtrack_sync.wires import Wires


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How to replay, from options and environment.

    Attributes:
        environ: for credentials, TLS and proxies.
        command: how this process is named to a second one that finds the lock held.
        clock: monotonic seconds.
        wall: seconds since the epoch.
    """

    replay: ReplaySettings
    transport: TransportSettings
    environ: Mapping[str, str] = field(repr=False)
    command: str = "localtrack sync"
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Ended:
    """How an errand ended.

    Attributes:
        accounts: the books of its runs, as they stand now.
        seconds: how long it took.
    """

    address: Address
    report: Report
    accounts: tuple[RunAccount, ...]
    seconds: float


def run_errand(
    catalog: Catalog,
    address: Address,
    runs: Callable[[], Sequence[RunEntry]],
    settings: SyncSettings,
    watcher: Watcher,
    stop: Stop,
) -> Ended:
    """Deliver the runs to one remote.

    Args:
        catalog: of the store.
        address: the remote, and the credentials that stood in its URL.
        runs: the runs that belong to this errand now; asked again after each pass.
        settings: how.
        watcher: told how it gets on.
        stop: ends it early, in good order.

    Raises:
        BusyError: another process replays this store to this remote.
        ReplayError: the settings of TLS, proxy or credentials cannot be used.
        StoreError: the catalog or the delivery state cannot be used.
    """
    began = time.monotonic()
    store, remote = catalog.store, address.remote
    os.makedirs(store.sync, mode=0o700, exist_ok=True)
    with ReplayLock(remote.lock_path(store), holder(settings.command)), _open_state(store, address) as state:
        wires = _connect(address, settings)
        try:
            bench = Bench(catalog, state, wires, settings.replay, settings.clock, settings.wall)
            news = News(catalog, runs, state)
            report = replay(bench, news(), news, watcher, stop)
        finally:
            wires.close()
        accounts = tuple(run_account(catalog, state, entry) for entry in news.entries)
    return Ended(address, report, accounts, time.monotonic() - began)


class News:
    """Jobs for the runs that have changed since it was asked last."""

    def __init__(self, catalog: Catalog, runs: Callable[[], Sequence[RunEntry]], state: StateDb) -> None:
        self._catalog = catalog
        self._runs = runs
        self._state = state
        self.entries: Sequence[RunEntry] = ()

    def __call__(self) -> list[Job]:
        """The jobs, in the order of the runs' creation."""
        self._catalog.refresh()
        known = {entry.run_id: entry for entry in self.entries}
        self.entries = self._runs()
        changed = [entry.run_id for entry in self.entries if known.get(entry.run_id) != entry]
        self._state.ask(changed)
        return [Job("run", run_id) for run_id in changed]


def holder(command: str) -> dict[str, object]:
    """Who we are, for the lock file."""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": command,
    }


def _open_state(store: Store, address: Address) -> StateDb:
    return StateDb(address.remote.state_path(store), address.remote)


def _connect(address: Address, settings: SyncSettings) -> Wires:
    tls = tls_from(settings.environ)
    source = CredentialSource(settings.environ, address.userinfo)
    source.current()  # what cannot be used is said before anything is sent
    return Wires(
        lambda: Transport(address.remote, source.current, settings.transport, tls), settings.replay.connections
    )
