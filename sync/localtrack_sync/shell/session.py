"""One errand from lock to report: opens what a replay works with, drives it, closes it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from localtrack import attention
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import RunEntry
from localtrack.store import Store
from localtrack_sync.delivery.repair import doubt
from localtrack_sync.protocol.effects import Load, Outcome
from localtrack_sync.protocol.jobs import Ending, Job, ReplaySettings
from localtrack_sync.remote.carrier import StoreCarrier
from localtrack_sync.remote.credentials import CredentialSource, Login
from localtrack_sync.remote.databricks_config import NOTHING, again
from localtrack_sync.remote.databricks_login import DatabricksLogin, databricks_sdk
from localtrack_sync.remote.guard import is_loopback
from localtrack_sync.remote.local_files import LocalFiles, removed_by_gc
from localtrack_sync.remote.remotes import Address
from localtrack_sync.remote.tls import tls_from
from localtrack_sync.remote.transport import Transport, TransportSettings, post_form
from localtrack_sync.remote.wires import Wires
from localtrack_sync.shell.replay import Bench, Report, Stop, Watcher, replay
from localtrack_sync.store.accounts import id_of, item_account
from localtrack_sync.store.books import RunAccount
from localtrack_sync.store.choice import Errand, Item
from localtrack_sync.store.found_files import Found, find_files
from localtrack_sync.store.lock import Holder, ReplayLock
from localtrack_sync.store.state import StateDb


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
        accounts, models: the books of its runs and of its logged models, as they stand now.
        seconds: how long it took.
        found: what the last look for new files left open.
    """

    address: Address
    report: Report
    accounts: tuple[RunAccount, ...]
    seconds: float
    models: tuple[RunAccount, ...] = ()
    found: Found = field(default_factory=Found)


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
    store.make()
    with ReplayLock(remote.lock_path(store), holder(settings.command)), _open_state(store, address) as state:
        wires = connect(store, address, settings)
        try:
            how = replace(settings.replay, dialect=remote.dialect, netloc=urlsplit(remote.url).netloc)
            bench = Bench(catalog, state, wires, how, settings.clock, settings.wall)
            news = News(catalog, now, state)
            if settings.replay.repair:
                _doubt(state, now())
                news = News(catalog, now, state)
            report = replay(bench, news(), news, watcher, stop)
        finally:
            wires.close()
        accounts = _close_books(catalog, state, news.errand, report)
    models = tuple(one for one in accounts if one.kind == "model")
    runs = tuple(one for one in accounts if one.kind == "run")
    return Ended(address, report, runs, time.monotonic() - began, models, news.found)


class News:
    """Jobs for the runs and models that have changed since it was asked last; at first, since they were settled."""

    def __init__(self, catalog: Catalog, now: Callable[[], Errand], state: StateDb) -> None:
        self._catalog = catalog
        self._now = now
        self._state = state
        self._known = {run_id: content for run_id, (content, _) in state.settled().items()}
        self._experiments: set[str] = set()
        self.errand: Errand | None = None
        self.found = Found()

    def __call__(self) -> list[Job]:
        """Jobs of runs and of models, in the order of their creation, and of experiments: these may change alone."""
        self.found = find_files(self._catalog)
        self._catalog.refresh()
        self.errand = errand = self._now()
        entries: list[Item] = [*errand.runs, *errand.models]
        changed = [entry for entry in entries if self._known.get(id_of(entry)) != entry.content]
        self._state.ask([id_of(entry) for entry in changed])
        self._known = {id_of(entry): entry.content for entry in entries}
        new = [one for one in errand.experiments if one not in self._experiments]
        self._experiments.update(new)
        jobs = [Job("run" if isinstance(entry, RunEntry) else "model", id_of(entry)) for entry in changed]
        return [*jobs, *(Job("experiment", one) for one in new)]


def _doubt(state: StateDb, errand: Errand) -> None:
    """Nothing that is known of these runs and models is believed until the remote has been looked at.

    They are owed before their bindings are doubted, so that a later replay finds them, wherever this one dies.
    """
    scopes = [("run", one.run_id) for one in errand.runs] + [("model", one.model_id) for one in errand.models]
    state.ask([local_id for _, local_id in scopes])
    for scope, local_id in scopes:
        state.save(doubt(state.load(Load(scope, local_id))))
    state.flush()


def _close_books(catalog: Catalog, state: StateDb, errand: Errand | None, report: Report) -> tuple[RunAccount, ...]:
    """The accounts; what owes nothing is settled, and passed over until it changes."""
    if errand is None:
        return ()
    settled = state.settled()
    names = {entry.experiment_id: entry.experiment_name for entry in errand.runs}
    entries: list[Item] = [*errand.runs, *errand.models]
    accounts = tuple(item_account(catalog, state, entry, settled, names) for entry in entries)
    delivered = {job.id for job, result in report.results.items() if result.ending is Ending.DELIVERED}
    done = delivered - state.unswept()
    state.settle(
        (entry.content, account)
        for entry, account in zip(entries, accounts, strict=True)
        if id_of(entry) in done and not account.owed and not account.parked
    )
    return accounts


def holder(command: str) -> Holder:
    """Who we are, for the lock file."""
    return Holder.here(command)


def _open_state(store: Store, address: Address) -> StateDb:
    return StateDb(address.remote.state_path(store), address.remote)


def connect(store: Store, address: Address, settings: SyncSettings) -> Wires:
    """Connections to a remote, none of them open yet.

    Raises:
        ReplayError: the settings of TLS, proxy or credentials cannot be used.
    """
    tls = tls_from(settings.environ)
    transport = replace(settings.transport, workspace=mlflow_workspace(address))
    login = login_of(address, settings.environ, transport, tls)
    login.check()  # what cannot be used is said before anything is sent
    if goes_unencrypted(address, login):
        attention.warn_once(
            f"http {address.remote.url}",
            f"The credentials for {address.remote.url} go over the network without encryption: whoever carries them "
            "can read them. Use https:// if the server has it.",
        )
    files = LocalFiles(store.artifacts, lambda upload: removed_by_gc(store, upload))

    def connect() -> StoreCarrier:
        return StoreCarrier(Transport(address.remote, login.current, transport, tls, files), files, address.remote.url)

    return Wires(connect, settings.replay.connections)


def goes_unencrypted(address: Address, login: Login) -> bool:
    """Whether credentials are sent where others on the way can read them: by http, to another machine."""
    url = address.remote.url
    if not url.startswith("http://") or is_loopback(url):
        return False
    return not isinstance(login, CredentialSource) or login.current().header is not None


def mlflow_workspace(address: Address) -> str:
    """Value of the header X-MLFLOW-WORKSPACE; Databricks has headers of its own for its workspaces."""
    return "" if address.databricks is not None else address.remote.workspace


def login_of(
    address: Address, environ: Mapping[str, str], transport: TransportSettings, tls: ssl.SSLContext | bool
) -> Login:
    """Where the credentials for an address come from; contacts nobody."""
    config = address.databricks
    generic = any(environ.get(f"MLFLOW_TRACKING_{name}", "").strip() for name in ("TOKEN", "USERNAME"))
    if config is None or address.userinfo is not None or (config.source == NOTHING and generic):
        return CredentialSource(environ, address.userinfo)

    def post(url: str, form: Mapping[str, str], login: tuple[str, str]) -> Outcome:
        return post_form(url, form, login, transport, tls)

    return DatabricksLogin(config.host, lambda: again(config, environ), post, time.monotonic, databricks_sdk)
