"""The deliverer against a real server that goes away and comes back; the clock is moved, nobody sleeps."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack.settings import load
from localtrack_sync.daemon.counts import Counts
from localtrack_sync.daemon.deliverer import Deliverer
from localtrack_sync.daemon.parcel import Parcel, parcel_of
from localtrack_sync.engine.schedule import Gate
from localtrack_sync.protocol.effects import Failure, Outcome, Request
from localtrack_sync.protocol.gate import GateSettings
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.carrier import StoreCarrier
from localtrack_sync.remote.credentials import CredentialSource
from localtrack_sync.remote.local_files import LocalFiles
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import Transport, TransportSettings
from localtrack_sync.remote.wires import Wires
from localtrack_sync.shell.replay import Bench, Stop
from localtrack_sync.shell.selection import Following
from localtrack_sync.store.state import StateDb
from tests.acceptance.harness import compared
from tests.acceptance.worlds import World, world
from tests.servers.mlflow_server import MlflowServer
from tests.servers.reader import MlflowReader

#: Seconds after which it gives up waiting.
PATIENCE_S = 30.0

pytestmark = pytest.mark.server

#: An outage after which the daemon asks anew what the remote is, seconds.
LONG_S = 100.0
RUNS = 12


class Line:
    """The way to the remote, and the clock: both are in the hands of the test.

    Attributes:
        away: every request fails before it is sent.
        passing: how many requests may still pass before they are held; None: all.
        shift: seconds that the clock is ahead.
    """

    def __init__(self) -> None:
        self.away = True
        self.passing: int | None = None
        self.shift = 0.0
        self.go = threading.Event()
        self._turn = threading.Lock()

    def clock(self) -> float:
        return time.monotonic() + self.shift

    def held(self) -> bool:
        """Whether the next request is to wait for `go`."""
        with self._turn:
            if self.passing is None:
                return False
            self.passing -= 1
            return self.passing < 0


class OnLine:
    """A carrier whose requests go by such a line."""

    def __init__(self, line: Line, carrier: StoreCarrier) -> None:
        self._line, self._carrier = line, carrier
        self.abort, self.close = carrier.abort, carrier.close

    def send(self, request: Request) -> Outcome:
        if self._line.away:
            return Failure(sent=False, reason="nobody is there")
        if self._line.held():
            assert self._line.go.wait(PATIENCE_S)
        return self._carrier.send(request)


@contextmanager
def deliverer(made: World, server: MlflowServer, line: Line, inbox: list[Parcel]) -> Iterator[Deliverer]:
    """A deliverer that is told of all of a store."""
    address = parse_remote(server.url, {})
    files = LocalFiles(made.store.artifacts)

    def connect() -> OnLine:
        transport = Transport(address.remote, CredentialSource({}, None).current, TransportSettings(), files=files)
        return OnLine(line, StoreCarrier(transport, files, server.url))

    environ = {"LOCALTRACK_REMOTE": server.url, "HOME": "/nowhere"}
    rng = random.Random(1).random
    gate = Gate(rng, GateSettings(retry_cap_s=5.0, reconnect_splay_s=0.0, ramp_s=0.0))
    with Catalog(made.store) as catalog, StateDb(address.remote.state_path(made.store), address.remote) as state:
        look = Following(catalog, load(environ), environ).look(whole=True)
        assert look is not None
        inbox += [parcel_of(errand, look.experiments) for errand in look.choice.errands]
        wires = Wires(connect, 2)
        bench = Bench(catalog, state, wires, ReplaySettings(settle_s=1.0, patience_s=None), line.clock, time.time, rng)
        try:
            yield Deliverer(bench, state, gate, Counts(), Stop(), 5.0, 5.0, lambda: inbox.pop() if inbox else None)
        finally:
            line.go.set()
            wires.close()


def drive(one: Deliverer, seconds: float) -> bool:
    """Let it work so long at most; whether nothing is left to be delivered."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not one.step():
            if not one.seen().lag_s:
                return True
            one.wait(0.1)
    return False


def test_after_a_long_outage_nothing_is_forgotten(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """The engine that is given up for a new one takes nothing more: what it leaves is delivered by the new one."""
    made = world(tmp_path / "store", f"exp {tmp_path.name}")
    for number in range(RUNS):
        made.run(f"run {number}", 5)
    line, inbox = Line(), list[Parcel]()
    with deliverer(made, mlflow_server, line, inbox) as one:
        assert not drive(one, 0.5), "nobody is there, and yet it is done"
        line.shift += LONG_S
        line.passing = 1  # the answer to this one says that the remote is back; the next are under way for a while
        line.away = False
        assert not drive(one, 1.5)
        line.passing = None
        line.go.set()
        assert drive(one, PATIENCE_S), "it has stopped trying"
    assert compared(made, mlflow_reader, mlflow_server.url) == []
