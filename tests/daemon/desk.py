"""A deliverer with a real catalog and delivery state, a modelled remote, and a clock that only waiting moves."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from localtrack.catalog.catalog import Catalog
from localtrack.settings import load
from localtrack_sync.daemon.counts import Counts
from localtrack_sync.daemon.deliverer import Deliverer
from localtrack_sync.daemon.parcel import Parcel, parcel_of
from localtrack_sync.engine.schedule import Gate
from localtrack_sync.protocol.effects import Failure, Send
from localtrack_sync.protocol.gate import GateSettings
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.wires import Answer, Wires
from localtrack_sync.shell.replay import Bench, Stop
from localtrack_sync.shell.selection import Following
from localtrack_sync.store.state import StateDb
from tests.acceptance.worlds import World, world
from tests.simulation.remote import Remote, RunState

URL = "http://remote.invalid"
CAP_S = 10.0
#: Seconds that a request takes, and a step of the program.
REQUEST_S, STEP_S = 0.02, 0.001


class Network(Wires):
    """The way to a modelled remote: no threads, and time passes when somebody waits.

    Attributes:
        up: whether the remote can be reached.
        now: seconds.
        requests: how many were sent.
    """

    def __init__(self) -> None:
        super().__init__(lambda: (_ for _ in ()).throw(AssertionError("nothing is connected")), 0)
        self.remote = Remote(random.Random(0), "sql")
        self.up = True
        self.now = 1000.0
        self.requests = 0
        self._waiting: deque[tuple[int, Send]] = deque()

    def start(self, job: int, send: Send) -> None:
        """Send a request; its answer comes when it is waited for."""
        self.open += 1
        self.requests += 1
        self._waiting.append((job, send))

    def answer(self, timeout_s: float | None) -> Answer | None:
        """The next answer; without one the time passes."""
        if not self._waiting or timeout_s == 0:
            self.now += timeout_s or 0.0
            return None
        self.now += REQUEST_S
        self.open -= 1
        job, send = self._waiting.popleft()
        if self.up:
            return job, self.remote.handle(send.request)
        return job, Failure(sent=False, reason="connection refused")

    def run(self, name: str) -> RunState:
        """A run by its name."""
        [found] = [run for run in self.remote.runs.values() if run.name == name]
        return found


class Desk:
    """One deliverer at its desk."""

    def __init__(self, made: World, network: Network, state: StateDb) -> None:
        environ = {"LOCALTRACK_REMOTE": URL}
        self.made, self.network = made, network
        self.catalog = Catalog(made.store)
        self.following = Following(self.catalog, load(environ), environ)
        self.stop = Stop()
        self._inbox: Parcel | None = None
        bench = Bench(
            self.catalog,
            state,
            network,
            ReplaySettings(settle_s=1.0, patience_s=None),
            lambda: network.now,
            lambda: 1_700_000_000.0 + network.now,
            random.Random(1).random,
        )
        gate = Gate(random.Random(2).random, GateSettings(retry_cap_s=CAP_S, reconnect_splay_s=0.0, ramp_s=0.0))
        self.deliverer = Deliverer(bench, state, gate, Counts(), self.stop, CAP_S, 1.0, self._take)

    def post(self) -> None:
        """Tell it what is new in the store."""
        self.catalog.refresh()
        look = self.following.look()
        if look is None:
            return
        for errand in look.choice.errands:
            self._inbox = self._inbox or Parcel()
            self._inbox.join(parcel_of(errand, look.experiments))

    def _take(self) -> Parcel | None:
        parcel, self._inbox = self._inbox, None
        return parcel

    def step(self, most_s: float = 0.1) -> bool:
        """As a lane drives it: a step, or waiting when there is nothing to do."""
        busy = self.deliverer.step()
        if not busy:
            self.deliverer.wait(most_s)
        self.network.now += STEP_S
        return busy

    def work(self, seconds: float) -> None:
        """Go on for so many seconds of its clock."""
        until = self.network.now + seconds
        while self.network.now < until:
            self.step(until - self.network.now)


@contextmanager
def desk(made: World, network: Network) -> Iterator[Desk]:
    """A deliverer of a store, with the delivery state on the disk."""
    remote = parse_remote(URL).remote
    with StateDb(remote.state_path(made.store), remote) as state:
        one = Desk(made, network, state)
        yield one
        one.catalog.close()


@contextmanager
def new_desk(path: Path) -> Iterator[Desk]:
    """A deliverer of an empty store with one experiment."""
    with desk(world(path / "store", "experiment"), Network()) as one:
        yield one
