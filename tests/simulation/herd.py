# ruff: noqa: T201 - a command prints
"""A thousand daemons and one server of 50 requests a second: python -m tests.simulation.herd.

Each daemon is the real engine with the real gate and a backlog of its own. The server takes requests one after the
other; as many as fit into its queue wait, it answers 503 to the others. Virtual time, no threads; a seed names one
history.
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
    Scenario("back after 1 h, half as fast", capacity=25.0),
    Scenario("back after 1 h, half as fast, Retry-After 1 s", capacity=25.0, retry_after_s=1.0),
    Scenario("back after 1 h, half as fast, Retry-After 30 s", capacity=25.0, retry_after_s=30.0),
    Scenario("cold start, splay 30 s", outage_s=0.0, splay_s=30.0),
    Scenario("cold start, splay 30 s, Retry-After 1 s", outage_s=0.0, splay_s=30.0, retry_after_s=1.0),
)
#: What must hold in every scenario: load over any 10 s as a multiple of the capacity; seconds until every daemon has
#: delivered something, and everything; fairness.
LOAD, FIRST_S, DRAINED_S, FAIR = 1.5, 900.0, 1800.0, 0.5


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


@dataclass
class Row:
    """The worst of all seeds of one scenario."""

    scenario: Scenario
    load: float = 0.0
    second: float = 0.0
    refused: float = 0.0
    first_s: float = 0.0
    drained_s: float = 0.0
    ideal_s: float = 0.0
    fairness: float = 1.0
    problems: int = 0

    def add(self, herded: Herded) -> None:
        """One more seed."""
        capacity = self.scenario.capacity
        self.load = max(self.load, herded.most(10.0) / capacity)
        self.second = max(self.second, herded.most(1.0) / capacity)
        self.refused = max(self.refused, herded.refused / len(herded.arrivals))
        self.first_s = max(self.first_s, *herded.firsts)
        self.drained_s = max(self.drained_s, *herded.drained)
        self.ideal_s = max(self.ideal_s, herded.ideal_s)
        self.fairness = min(self.fairness, herded.fairness)
        self.problems += bool(problems_of(herded, self.scenario))

    def __str__(self) -> str:
        return (
            f"{self.scenario.name:48} {self.load:5.2f} {self.second:5.2f} {self.refused:7.1%} {self.first_s:6.0f} "
            f"{self.drained_s:7.0f} {self.ideal_s:6.0f} {self.fairness:5.2f} {self.problems:6}"
        )


HEAD = f"{'the worst of all seeds':48} {'10 s':>5} {'1 s':>5} {'503':>7} {'first':>6} {'drained':>7} ideal  fair failed"


def problems_of(herded: Herded, scenario: Scenario) -> list[str]:
    """What is not as it must be."""
    load = herded.most(10.0) / scenario.capacity
    found = [
        (load > LOAD, f"{load:.2f} x capacity were offered over 10 s"),
        (herded.undelivered > 0, f"{herded.undelivered} daemons did not deliver everything"),
        (len(herded.firsts) < scenario.daemons, "some daemons delivered nothing"),
        (max(herded.firsts, default=0.0) > FIRST_S, "a daemon waited too long for its first delivery"),
        (max(herded.drained, default=0.0) > DRAINED_S, "a daemon took too long"),
        (herded.fairness < FAIR, f"fairness is {herded.fairness:.2f}"),
    ]
    return [words for wrong, words in found if wrong]


def main() -> int:
    """Run the seeds of all scenarios and print the worst of each; the exit code is 1 when something was not met."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.herd")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--only", default="", help="scenarios whose names contain this")
    arguments = parser.parse_args()
    print("loads in multiples of the capacity, times in seconds\n" + HEAD)
    failed, begun = 0, time.monotonic()
    for scenario in SCENARIOS:
        if arguments.only not in scenario.name:
            continue
        row = Row(scenario)
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            row.add(Herd(scenario, seed).run())
        print(row, flush=True)
        failed += row.problems
    print(f"{arguments.seeds} seeds of each, {failed} failed, {time.monotonic() - begun:.0f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
