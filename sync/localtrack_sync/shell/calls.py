"""What training code can ask for: deliver now, in this process; or wait until somebody has delivered.

Found by localtrack.replay_side through the entry points `localtrack.calls`. Nothing here touches signals or prints.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from localtrack import attention
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import in_trouble
from localtrack.errors import BusyError, LocaltrackError, ReplayError, StoreError
from localtrack.settings import Settings, load
from localtrack.store import Store
from localtrack.sync_result import RemoteResult, SyncResult
from localtrack_sync.protocol.jobs import Ending, ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.shell.replay import Silent, Stop
from localtrack_sync.shell.selection import Wanted, chosen, transport_settings
from localtrack_sync.shell.session import Ended, SyncSettings, run_errand
from localtrack_sync.store.accounts import errand_accounts
from localtrack_sync.store.backlog import Backlog
from localtrack_sync.store.books import RunAccount, untouched, untouched_model
from localtrack_sync.store.choice import Choice, Errand, Left
from localtrack_sync.store.presence import daemon_lock, is_held

#: The first and the longest pause between two looks, and how much longer each one is than the one before; seconds.
FIRST_PAUSE_S, LONGEST_PAUSE_S, PAUSE_GROWTH = 0.05, 1.0, 1.5
#: Seconds that a look may always spend on importing what was logged: a journal that was folded looks new, and is not.
IMPORT_S = 1.0
#: Seconds of waiting after which it is said that nobody delivers: a daemon that starts needs a moment.
ALONE_S = 3.0


@dataclass(frozen=True, slots=True)
class Time:
    """Where seconds come from, and how they pass."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


REAL = Time()


def wait_until(
    done: Callable[[], bool], timeout: float | None, tell: Callable[[], None] = lambda: None, by: Time = REAL
) -> bool:
    """Look until `done()`, with growing pauses; True when it is, False when the time is over.

    Args:
        done: looked at once at least.
        timeout: seconds; None: for ever.
        tell: called once, after ALONE_S of waiting or at the end of a shorter one.
        by: the clock.
    """
    began = by.clock()
    told = False
    for pause in pauses():
        if done():
            return True
        waited = by.clock() - began
        over = timeout is not None and waited >= timeout
        if not told and (over or waited >= ALONE_S):
            told = True
            tell()
        if over:
            return False
        by.sleep(pause if timeout is None else min(pause, timeout - waited))
    raise AssertionError("the pauses have no end")


def pauses() -> Iterator[float]:
    """How long to pause before each next look, seconds."""
    pause = FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_S)


def wait_for_store(
    store: Store, environ: Mapping[str, str], *, timeout: float | None, run_id: str | None, to: str | None
) -> bool:
    """See `localtrack.wait_for_sync`."""
    began = time.monotonic()
    settings = load(environ)
    wanted = Wanted(None if to is None else parse_remote(to, environ), () if run_id is None else (run_id,), ())
    with Catalog(existing(store)) as catalog:
        if timeout is not None and not catalog.refresh_within(max(timeout, IMPORT_S)):
            return False  # so much was logged that the time is over before all of it is known
        choice = chosen(catalog, wanted, settings, environ)
        backlog = Backlog(catalog, choice)
        left = None if timeout is None else max(0.0, timeout - (time.monotonic() - began))
        return wait_until(backlog.delivered, left, lambda: _say_who_is_missing(store, choice, backlog))


def _say_who_is_missing(store: Store, choice: Choice, backlog: Backlog) -> None:
    """Why waiting may be in vain."""
    for one in choice.left:
        attention.warn_once(
            f"goes nowhere {store.path} {one.remote}", f"Not delivered: {one.reason.rstrip('.')}. {one.hint}"
        )
    remotes = [remote for remote in backlog.remotes if remote is not None]
    locks = [daemon_lock(store), *(remote.lock_path(store) for remote in remotes)]
    if remotes and not any(is_held(lock) for lock in locks):
        attention.warn_once(
            f"nobody delivers {store.path}",
            f"Nobody delivers the store {store.path}: no daemon runs for it on this machine. Start one with "
            "localtrack.autostart() or `localtrack daemon run`, or deliver here: localtrack.sync().",
        )


def sync_store(
    store: Store,
    environ: Mapping[str, str],
    *,
    to: str | None,
    runs: Sequence[str],
    experiments: Sequence[str],
    patience: float,
    dry_run: bool,
) -> SyncResult:
    """See `localtrack.sync`."""
    settings = load(environ)
    wanted = Wanted(None if to is None else parse_remote(to, environ), tuple(runs), tuple(experiments))
    with Catalog(existing(store)) as catalog:
        choice = chosen(catalog, wanted, settings, environ)
        if choice.nowhere:
            raise ReplayError(
                "No remote is known: the runs name none, and neither LOCALTRACK_REMOTE nor MLFLOW_TRACKING_URI is set.",
                hint="Name one, for example: localtrack.sync(to='http://127.0.0.1:5000')",
            )
        if dry_run:
            results = [_planned(errand, errand_accounts(catalog, errand)) for errand in choice.errands]
        else:
            how = _settings(settings, environ, patience)
            delivery = _Delivery(catalog, how, lambda: chosen(catalog, wanted, settings, environ), patience)
            results = delivery.of(choice.errands)
        results += [_left(left) for left in choice.left]
        unreadable = tuple(one.file or one.incarnation or "" for one in catalog.journals() if in_trouble(one))
    return SyncResult(tuple(results), dry_run=dry_run, unreadable=unreadable)


def existing(store: Store) -> Store:
    """The same store.

    Raises:
        StoreError: nothing was ever logged to it; "all delivered" about a mistyped path would be a lie.
    """
    if not os.path.isdir(store.journals):
        raise StoreError(
            f"There is no store at {store.path}", hint="The first logging call makes one; set_tracking_uri names one."
        )
    return store


def _settings(settings: Settings, environ: Mapping[str, str], patience: float) -> SyncSettings:
    replay = ReplaySettings(
        settle_s=settings.settle_seconds,
        connections=settings.connections,
        patience_s=patience,
        folder=settings.databricks_folder,
    )
    return SyncSettings(replay, transport_settings(environ), environ, "localtrack.sync()")


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One call of sync.

    Attributes:
        now: what goes where, as of now: training may go on meanwhile.
        patience: seconds that another process which delivers already is waited for.
    """

    catalog: Catalog
    how: SyncSettings
    now: Callable[[], Choice]
    patience: float
    by: Time = REAL

    def of(self, errands: Sequence[Errand]) -> list[RemoteResult]:
        """Deliver one errand after the other; one that cannot be delivered at all is raised after the others."""
        results: list[RemoteResult] = []
        failed: list[LocaltrackError] = []
        for errand in errands:
            try:
                results.append(self._one(errand))
            except LocaltrackError as error:  # noqa: PERF203 - one for each remote
                failed.append(error)
        if failed:
            raise failed[0]
        return results

    def _one(self, errand: Errand) -> RemoteResult:
        """Deliver it here; while another process does, wait for that one, and take over when it has ended."""
        began = self.by.clock()
        backlog: Backlog | None = None
        for pause in pauses():
            try:
                ended = run_errand(
                    self.catalog, errand.address, lambda: self.now().to(errand.address), self.how, Silent(), Stop()
                )
            except BusyError as error:
                busy = error
            else:
                return _ended(ended, self.by.clock() - began)
            backlog = backlog or Backlog(self.catalog, Choice((errand,)))
            done, waited = backlog.delivered(), self.by.clock() - began
            if done or waited >= self.patience:
                return self._waited(errand, busy, waited, done=done)
            self.by.sleep(min(pause, self.patience - waited))
        raise AssertionError("the pauses have no end")

    def _waited(self, errand: Errand, busy: BusyError, waited: float, *, done: bool) -> RemoteResult:
        sums = _sums(errand_accounts(self.catalog, self.now().to(errand.address)))
        stopped = "" if done else f"{busy.message} It was waited for {waited:.0f} s."
        return _result(
            str(errand.address.remote), sums, waited, stopped, "another process", complete=done and not sums["parked"]
        )


COLUMNS = ("delivered", "owed", "conflicts", "rejected", "parked")


def _sums(accounts: Sequence[RunAccount]) -> Counter[str]:
    return Counter({column: sum(getattr(account, column) for account in accounts) for column in COLUMNS})


def _result(
    remote: str | None, sums: Mapping[str, int], seconds: float, stopped: str, by: str, *, complete: bool
) -> RemoteResult:
    return RemoteResult(
        remote, sums["delivered"], sums["owed"], sums["conflicts"], sums["rejected"], sums["parked"], seconds, stopped,
        by, complete,
    )  # fmt: skip


def _ended(ended: Ended, seconds: float) -> RemoteResult:
    sums = _sums((*ended.accounts, *ended.models))
    report, found = ended.report, ended.found
    complete = report.complete and not (sums["owed"] or sums["parked"] or found.waiting or found.trouble)
    reasons = [one.reason for one in report.results.values() if one.ending is not Ending.DELIVERED and one.reason]
    stopped = report.stopped
    if not complete and not stopped:
        coming = "new records kept coming in" if report.still_coming or sums["owed"] else ""
        files = f"{found.waiting} files are still being written, or cannot be read" if found.waiting else ""
        stopped = next((why for why in (*reasons, found.trouble, files, coming) if why), "")
    return _result(str(ended.address.remote), sums, seconds, stopped, "this process", complete=complete)


def _planned(errand: Errand, accounts: Sequence[RunAccount]) -> RemoteResult:
    sums = _sums(accounts)
    complete = not sums["owed"] and not sums["parked"]
    return _result(str(errand.address.remote), sums, 0.0, "", "nobody", complete=complete)


def _left(left: Left) -> RemoteResult:
    accounts = [*(untouched(run) for run in left.runs), *(untouched_model(model, "") for model in left.models)]
    return _result(
        left.remote, _sums(accounts), 0.0, f"{left.reason.rstrip('.')}. {left.hint}", "nobody", complete=False
    )
