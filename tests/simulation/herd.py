# ruff: noqa: T201 - a command prints
"""A thousand daemons and one server of 50 requests a second: python -m tests.simulation.herd.

Each daemon is the real engine with the real gate and a backlog of its own. The server takes requests one after the
other; as many as fit into its queue wait, it answers 503 to the others. Virtual time, no threads; a seed names one history.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from localtrack_sync.protocol.effects import Failure, Outcome, Reply, Request
from localtrack_sync.protocol.gate import GateSettings
from tests.simulation.herd_daemon import Daemon

#: Seconds that a request or an answer travels.
TRAVEL_S = 0.005
#: When the server goes away, where it does; until then the daemons deliver.
WARM_S = 100.0
#: Seconds after which a herd that is not done never will be.
NEVER_S = 12 * 3600.0
REFUSED = Failure(sent=False, reason="connection refused")


@dataclass(frozen=True)
class Scenario:
    """What a herd meets.

    Attributes:
        daemons: how many.
        capacity: requests that the server serves in a second, one after the other.
        queue: requests that may wait; more are answered 503 at once.
        retry_after_s: what such a 503 asks for, None: nothing.
        outage_s: how long the server refuses connections; 0: there is none, all daemons are started at once.
        splay_s: see `GateSettings`.
        runs: the backlog of each daemon.
    """

    name: str
    daemons: int = 1000
    capacity: float = 50.0
    queue: int = 100
    retry_after_s: float | None = None
    outage_s: float = 3600.0
    splay_s: float = 0.0
    runs: int = 3


SCENARIOS = (
    Scenario("back after 1 h"),
    Scenario("back after 1 h, Retry-After 1 s", retry_after_s=1.0),
    Scenario("back after 1 h, Retry-After 30 s", retry_after_s=30.0),
    Scenario("back at half capacity", capacity=25.0),
    Scenario("back at half capacity, Retry-After 1 s", capacity=25.0, retry_after_s=1.0),
    Scenario("cold start, splay 30 s", outage_s=0.0, splay_s=30.0),
    Scenario("cold start, splay 30 s, Retry-After 1 s", outage_s=0.0, splay_s=30.0, retry_after_s=1.0),
)


@dataclass
class Herded:
    """What came of one seed. Seconds count from the moment when the server was there.

    Attributes:
        arrivals: when each request came, probes and those that were refused too.
        refused: how many were answered 503.
        firsts: when each daemon had delivered something for the first time; one that never did is missing.
        drained: when nothing of a daemon was owed any more; likewise.
        undelivered: daemons that did not deliver everything.
        fairness: Jain's index of the requests served to each daemon when half of all were: 1 when all had as many,
            1/n when one had all.
        ideal_s: requests served divided by the capacity.
    """

    arrivals: list[float] = field(default_factory=list)
    refused: int = 0
    firsts: list[float] = field(default_factory=list)
    drained: list[float] = field(default_factory=list)
    undelivered: int = 0
    fairness: float = 0.0
    ideal_s: float = 0.0

    def most(self, window_s: float) -> float:
        """Requests per second in the worst window of that length."""
        worst = first = 0
        for last, at in enumerate(self.arrivals):
            while self.arrivals[first] <= at - window_s:
                first += 1
            worst = max(worst, last - first + 1)
        return worst / window_s


class Herd:
    """All daemons, the server's queue, and the clock."""

    def __init__(self, scenario: Scenario, seed: int, settings: GateSettings | None = None) -> None:
        rng = random.Random(seed)
        self.scenario = scenario
        self.herded = Herded()
        self.now = WARM_S if scenario.outage_s else 0.0
        self.up_at = self.now + scenario.outage_s
        self.free_at = 0.0
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._order: list[Daemon] = []  # whose request was served
        gate = settings or GateSettings(splay_s=scenario.splay_s)
        self.daemons = [
            Daemon(gate, scenario.runs, random.Random(rng.random()), self._send, self._at)
            for _ in range(scenario.daemons)
        ]

    def run(self) -> Herded:
        """To the end: all backlogs are drained."""
        for daemon in self.daemons:
            if self.scenario.outage_s:
                daemon.know(self.now - 1.0)
            self._at(self.now, daemon.go_on)
        while self._events and self._events[0][0] < NEVER_S:
            self.now, _, what = heapq.heappop(self._events)
            what(self.now)
        herded, daemons = self.herded, self.daemons
        herded.firsts = [d.first - self.up_at for d in daemons if d.first >= 0.0]
        herded.drained = [d.drained - self.up_at for d in daemons if d.drained >= 0.0]
        herded.undelivered = sum(not daemon.delivered for daemon in daemons)
        herded.ideal_s = len(self._order) / self.scenario.capacity
        herded.fairness = self._fairness()
        return herded

    def _fairness(self) -> float:
        served = dict.fromkeys(self.daemons, 0)
        for daemon in self._order[: len(self._order) // 2]:
            served[daemon] += 1
        squares = sum(x * x for x in served.values())
        return sum(served.values()) ** 2 / (len(served) * squares) if squares else 0.0

    # --- the server ---

    def _at(self, when: float, what: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, what))

    def _send(self, daemon: Daemon, job: int, request: Request) -> None:
        self._at(self.now + TRAVEL_S, lambda now: self._arrive(daemon, job, request, now))

    def _arrive(self, daemon: Daemon, job: int, request: Request, now: float) -> None:
        scenario = self.scenario
        if now < self.up_at:
            self._answer(daemon, job, REFUSED, now)
            return
        self.herded.arrivals.append(now)
        if (self.free_at - now) * scenario.capacity >= scenario.queue:
            self.herded.refused += 1
            full = Reply(503, None, "Service Unavailable", scenario.retry_after_s)
            self._answer(daemon, job, full, now)
            return
        self.free_at = max(self.free_at, now) + 1.0 / scenario.capacity
        self._at(self.free_at, lambda then: self._serve(daemon, job, request, then))

    def _serve(self, daemon: Daemon, job: int, request: Request, now: float) -> None:
        self._order.append(daemon)
        daemon.remote.now = now
        reply = daemon.remote.handle(request)
        if daemon.first < 0.0 and reply.status < 300 and request.path.endswith("/create"):
            daemon.first = now
        self._answer(daemon, job, reply, now)

    def _answer(self, daemon: Daemon, job: int, outcome: Outcome, now: float) -> None:
        self._at(now + TRAVEL_S, lambda then: daemon.hear(job, outcome, then))


def main() -> int:
    """Run seeds of all scenarios, print the worst of each; the exit code is 1 when the load was above 1.5 x capacity."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.herd")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--daemons", type=int, default=1000, help="how many daemons")
    parser.add_argument("--only", type=str, default="", help="first seed")
    arguments = parser.parse_args()
    for scenario in SCENARIOS:
        if arguments.only not in scenario.name:
            continue
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            begun = time.monotonic()
            h = Herd(scenario, seed).run()
            print(
                f"{scenario.name:45} {seed:2} {h.most(10) / scenario.capacity:5.2f} {h.most(1) / scenario.capacity:5.2f} ref {h.refused / len(h.arrivals):.1%} first {max(h.firsts):.0f} med {sorted(h.firsts)[len(h.firsts) // 2]:.0f} drained {max(h.drained):.0f} ideal {h.ideal_s:.0f} fair {h.fairness:.2f} und {h.undelivered} {len(h.firsts)} took {time.monotonic() - begun:.1f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
