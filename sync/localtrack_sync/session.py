"""One errand from lock to report: opens what a replay works with, drives it, closes it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import RunEntry
from localtrack.store import Store
from localtrack_sync.accounts import run_account
from localtrack_sync.books import RunAccount
from localtrack_sync.carrier import StoreCarrier
from localtrack_sync.choice import Errand
from localtrack_sync.credentials import CredentialSource
from localtrack_sync.jobs import Ending, Job, ReplaySettings
from localtrack_sync.local_files import LocalFiles
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
    now: Callable[[], Errand],
    settings: SyncSettings,
    watcher: Watcher,
    stop: Stop,
) -> Ended:
    """Deliver an errand to its remote.

    Args:
        catalog: of the store.
        address: the remote, and the credentials that stood in its URL.
        now: what belongs to the errand as of now; asked again after each pass.
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
        wires = _connect(store, address, settings)
        try:
            named = replace(settings.replay, netloc=urlsplit(remote.url).netloc)
            bench = Bench(catalog, state, wires, named, settings.clock, settings.wall)
            news = News(catalog, now, state)
            report = replay(bench, news(), news, watcher, stop)
        finally:
            wires.close()
        accounts = _close_books(catalog, state, news.entries, report)
    return Ended(address, report, accounts, time.monotonic() - began)


class News:
    """Jobs for the runs that have changed since it was asked last; at first, since they were settled."""

    def __init__(self, catalog: Catalog, now: Callable[[], Errand], state: StateDb) -> None:
        self._catalog = catalog
        self._now = now
        self._state = state
        self._known = {run_id: content for run_id, (content, _) in state.settled().items()}
        self._experiments: set[str] = set()
        self.entries: Sequence[RunEntry] = ()

    def __call__(self) -> list[Job]:
        """The jobs of runs, in the order of their creation, and of experiments: these may have changed alone."""
        self._catalog.refresh()
        errand = self._now()
        self.entries = errand.runs
        changed = [entry for entry in self.entries if self._known.get(entry.run_id) != entry.content]
        self._state.ask([entry.run_id for entry in changed])
        self._known = {entry.run_id: entry.content for entry in self.entries}
        new = [one for one in errand.experiments if one not in self._experiments]
        self._experiments.update(new)
        return [*(Job("run", entry.run_id) for entry in changed), *(Job("experiment", one) for one in new)]


def _close_books(
    catalog: Catalog, state: StateDb, entries: Sequence[RunEntry], report: Report
) -> tuple[RunAccount, ...]:
    """The accounts of the runs; those of which nothing is owed are settled, and passed over until they change."""
    settled = state.settled()
    accounts = tuple(run_account(catalog, state, entry, settled) for entry in entries)
    delivered = {job.id for job, result in report.results.items() if result.ending is Ending.DELIVERED}
    done = delivered - state.unswept()
    state.settle(
        (entry.content, account)
        for entry, account in zip(entries, accounts, strict=True)
        if entry.run_id in done and not account.owed and not account.parked
    )
    return accounts


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


def _connect(store: Store, address: Address, settings: SyncSettings) -> Wires:
    tls = tls_from(settings.environ)
    source = CredentialSource(settings.environ, address.userinfo)
    source.current()  # what cannot be used is said before anything is sent
    files = LocalFiles(store.artifacts)

    def connect() -> StoreCarrier:
        transport = Transport(address.remote, source.current, settings.transport, tls, files)
        return StoreCarrier(transport, files, address.remote.url)

    return Wires(connect, settings.replay.connections)
