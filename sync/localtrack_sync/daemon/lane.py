"""One store and one remote, delivered by a thread of its own, through everything that may go wrong with either."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final
from urllib.parse import urlsplit

from localtrack.catalog.catalog import Catalog
from localtrack.errors import BusyError, CredentialError, LocaltrackError, StoreError
from localtrack_sync.daemon.bell import Bell
from localtrack_sync.daemon.counts import Counts
from localtrack_sync.daemon.deliverer import Deliverer, Seen
from localtrack_sync.daemon.facts import RemoteFacts, Standing
from localtrack_sync.daemon.pace import pause_after_failure
from localtrack_sync.daemon.parcel import Parcel
from localtrack_sync.daemon.words import mistake_of, words_of
from localtrack_sync.engine.schedule import Gate
from localtrack_sync.protocol.gate import Condition, GateSettings
from localtrack_sync.protocol.limits import DIALECTS
from localtrack_sync.remote.remotes import Address
from localtrack_sync.shell.replay import Bench, Stop
from localtrack_sync.shell.session import SyncSettings, connect, holder
from localtrack_sync.store.lock import ReplayLock
from localtrack_sync.store.state import StateDb

#: Seconds until another look at a lock that somebody else holds (a `localtrack sync`, which ends soon).
_BUSY_S = 2.0
#: Seconds between two statements of how it stands.
_TELL_S = 0.5
#: Seconds between two looks at whether lock and delivery state are still what is open here.
_THERE_S = 5.0
#: Longest time without a sign of life while nothing is to be done, seconds.
_IDLE_S = 10.0

_STANDINGS = {
    Condition.STARTING: Standing.SPREAD,
    Condition.OFFLINE: Standing.OFFLINE,
    Condition.THROTTLED: Standing.THROTTLED,
    Condition.PAUSED: Standing.PAUSED,
}


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How a lane works.

    Attributes:
        sync: of the replay itself.
        gate: when requests go out.
        retry_cap_s: the longest pause before what could not be delivered is tried again.
        stop_wait_s: how long to wait for open requests at the end.
    """

    sync: SyncSettings
    gate: GateSettings
    retry_cap_s: float
    stop_wait_s: float


@final
class Lane:
    """Delivers one store to one remote until it is told to stop.

    Args:
        catalog: of the store; used by several threads.
        address: the remote, and the credentials that stood in its URL.
        settings: how.
        stop: looked at all the time.
        changed: called, from this thread, when its standing may have changed.

    Attributes:
        beat: monotonic time of its last sign of life.
    """

    def __init__(
        self, catalog: Catalog, address: Address, settings: LaneSettings, stop: Stop, changed: Callable[[], None]
    ) -> None:
        self.address = address
        self.beat = time.monotonic()
        self._catalog, self._settings, self._stop, self._changed = catalog, settings, stop, changed
        self._rng = random.SystemRandom().random
        self._gate = Gate(self._rng, settings.gate, pace=DIALECTS[address.remote.dialect].pace)
        self._counts = Counts()
        self._bell = Bell()
        self._lock = threading.Lock()
        self._all = Parcel()
        self._inbox: Parcel | None = None
        self._wake: Callable[[], None] = self._bell.ring
        self._told_at = 0.0
        self._behind_since: float | None = None
        self._facts = RemoteFacts(address.remote.url, address.remote.workspace, Standing.IDLE, time.time())
        self._thread = threading.Thread(target=self._work, name="localtrack-lane", daemon=True)

    @property
    def facts(self) -> RemoteFacts:
        """How it stands. While nothing can be delivered at all, what waits grows older all the same."""
        facts, behind = self._facts, self._behind_since
        if facts.standing is not Standing.FAILED or behind is None:
            return facts
        return replace(facts, lag_s=round(time.monotonic() - behind, 1))

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for its end; whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def post(self, parcel: Parcel) -> None:
        """Tell it of news; from any thread."""
        with self._lock:
            if self._inbox is None:
                self._inbox = Parcel()
            self._inbox.join(parcel)
            if self._behind_since is None and self._facts.standing is Standing.FAILED:
                self._behind_since = time.monotonic()
        self._wake()

    # --- the thread ---

    def _work(self) -> None:
        pause_s = 0.0
        while not self._stop.wanted:
            began, busy = time.monotonic(), False
            try:
                self._deliver()
                return
            except BusyError as error:
                self._stand(Standing.BUSY, error.message)
                busy = True
            except CredentialError as error:
                self._stand(Standing.PAUSED, error.message)
            except (LocaltrackError, OSError, sqlite3.Error) as error:
                self._stand(Standing.FAILED, words_of(error))
            except Exception as error:  # noqa: BLE001 - an invariant broke: this lane stops, the others and the training go on
                self._stand(Standing.FAILED, mistake_of(error), final=True)
                return
            pause_s = _BUSY_S if busy else pause_after_failure(pause_s, time.monotonic() - began)
            self._rest(pause_s * (0.5 + self._rng()))

    def _rest(self, seconds: float) -> None:
        """Wait before another attempt; news waits too."""
        self._facts = replace(self._facts, next_attempt=time.time() + seconds)
        self._changed()
        until = time.monotonic() + seconds
        with self._stop.waking(self._bell.ring):
            while not self._stop.wanted and (left := until - time.monotonic()) > 0:
                self.beat = time.monotonic()
                self._bell.wait(min(left, _IDLE_S))

    def _deliver(self) -> None:
        """From lock to end: until somebody wants it to stop, or something goes wrong that no engine can handle."""
        store, remote, how = self._catalog.store, self.address.remote, self._settings.sync
        with (
            ReplayLock(remote.lock_path(store), holder(how.command)) as lock,
            StateDb(remote.state_path(store), remote) as state,
        ):
            wires = connect(store, self.address, how)
            try:
                settings = replace(how.replay, dialect=remote.dialect, netloc=urlsplit(remote.url).netloc)
                bench = Bench(self._catalog, state, wires, settings, how.clock, how.wall, self._rng)
                with self._stop.waking(wires.wake):
                    self._begin_again(wires.wake)
                    self._drive(self._deliverer(bench, state), lambda: lock.is_there and state.is_there)
            finally:
                self._wake = self._bell.ring
                wires.close(0.5)

    def _deliverer(self, bench: Bench, state: StateDb) -> Deliverer:
        s = self._settings
        return Deliverer(bench, state, self._gate, self._counts, self._stop, s.retry_cap_s, s.stop_wait_s, self._take)

    def _begin_again(self, wake: Callable[[], None]) -> None:
        """All that is known is news to a new deliverer."""
        with self._lock:
            everything = Parcel()
            everything.join(self._all)
            if self._inbox is not None:
                everything.join(self._inbox)
            self._inbox = everything if everything.contents else None
            self._wake = wake

    def _take(self) -> Parcel | None:
        with self._lock:
            parcel, self._inbox = self._inbox, None
        if parcel is not None:
            self._all.join(parcel)
        return parcel

    def _drive(self, deliverer: Deliverer, is_there: Callable[[], bool]) -> None:
        looked_at = 0.0
        while True:
            self.beat = time.monotonic()
            if self.beat >= looked_at + _THERE_S:
                looked_at = self.beat
                if not is_there():
                    raise StoreError(f"The delivery state of {self.address.remote} was removed while it was in use.")
            busy = deliverer.step()
            self._tell(deliverer, now=busy is False)
            if busy:
                continue
            if self._stop.wanted:
                deliverer.close()
                return
            deliverer.wait(_IDLE_S)

    # --- how it stands ---

    def _stand(self, standing: Standing, trouble: str, *, final: bool = False) -> None:
        if self._facts.standing is not Standing.FAILED:
            waits = self._facts.lag_s or (0.0 if self._inbox is not None else None)
            self._behind_since = None if waits is None else time.monotonic() - waits
        since = self._facts.since if self._facts.standing is standing else time.time()
        self._facts = replace(self._facts, standing=standing, since=since, trouble=trouble, next_attempt=None)
        if final:
            self._changed()

    def _tell(self, deliverer: Deliverer, *, now: bool) -> None:
        clock = self._settings.sync.clock()
        if clock < self._told_at + _TELL_S and not now:
            return
        self._told_at = clock
        facts = self._described(deliverer.seen(), clock)
        if facts != self._facts:
            self._facts = facts
            self._changed()

    def _described(self, seen: Seen, clock: float) -> RemoteFacts:
        wall, gate = self._settings.sync.wall(), self._gate.standing(clock)
        calm = Standing.WORKING if seen.jobs else Standing.IDLE
        standing = _STANDINGS.get(gate.what, calm) if seen.jobs else calm
        old = self._facts
        return RemoteFacts(
            self.address.remote.url,
            self.address.remote.workspace,
            standing,
            old.since if old.standing is standing else wall,
            gate.trouble or (seen.waiting if standing is Standing.WORKING else ""),
            None if gate.next_attempt is None or not seen.jobs else wall + max(0.0, gate.next_attempt - clock),
            wall if seen.answered else old.last_success,
            self._counts.total,
            round(self._counts.rate(clock), 2),
            round(seen.lag_s, 1),
            gate.connections,
            seen.jobs,
        )
