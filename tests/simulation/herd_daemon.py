"""One daemon of a herd: the real engine and the real gate, a backlog, a delivery state in memory."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from localtrack.catalog.desired import DesiredExperiment, DesiredRun, Point
from localtrack_sync.engine.engine import Engine
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.engine.schedule import Gate
from localtrack_sync.protocol.effects import (
    Done,
    Effect,
    Idle,
    Load,
    Outcome,
    Perform,
    ReadExperiment,
    ReadFiles,
    ReadPoints,
    ReadRun,
    Request,
    Save,
    Start,
)
from localtrack_sync.protocol.gate import GateSettings
from localtrack_sync.protocol.jobs import Ending, Job, ReplaySettings
from localtrack_sync.protocol.verdict import Judged, Verdict
from tests.simulation.remote import Remote

#: Answers that a daemon had got before, when it knows its server.
KNOWN = 200
PARAMS, POINTS = {"lr": "0.1", "seed": "7"}, [Point("j", 4096 + i, "loss", i / 8, 1000 + i, i) for i in range(8)]


class Daemon:
    """One daemon.

    Attributes:
        remote: what the server holds of it: daemons meet in the server's queue only.
        served: requests that the server executed for it.
        first: when one of them wrote something.
        drained: when nothing was owed any more.
    """

    def __init__(
        self,
        settings: GateSettings,
        runs: int,
        rng: random.Random,
        send: Callable[[Daemon, int, Request], None],
        at: Callable[[float, Callable[[float], None]], None],
    ) -> None:
        self.remote = Remote(random.Random(rng.random()), "sql")
        self.served, self.first, self.drained = 0, -1.0, -1.0
        self._state = MemoryState()
        self._gate = Gate(rng.random, settings)
        replay = ReplaySettings(connections=settings.connections_max, patience_s=None)
        jobs = [Job("run", f"run-{i}") for i in range(runs)]
        self._engine = Engine(replay, jobs, rng.random, gate=self._gate)
        self._send, self._at = send, at
        self._alarm = 0

    def know(self, until: float) -> None:
        """It has delivered for long when the simulation begins."""
        for i in range(KNOWN + 1):
            now = until * i / KNOWN
            if self._gate.is_open(now):
                self._gate.note(Judged(Verdict.OK, {}, "", 200), now, now - 0.02)

    def go_on(self, now: float) -> None:
        """Do what the engine says until it waits."""
        while True:
            step = self._engine.next(now)
            match step:
                case Done():
                    self.drained = now
                    return
                case Perform(job, effect):
                    self._engine.feed(job, self._perform(effect), now)
                case Start(job, send):
                    self._send(self, job, send.request)
                case Idle(until):
                    self._alarm += 1
                    if until is not None:
                        self._at(max(until, now + 1e-6), self._wake(self._alarm))
                    return

    def hear(self, job: int, outcome: Outcome, now: float) -> None:
        """An answer has come."""
        self._engine.feed(job, outcome, now)
        self.go_on(now)

    @property
    def delivered(self) -> bool:
        """Whether the engine ended with everything delivered."""
        ended = self._engine.results.jobs
        return self.drained >= 0.0 and all(result.ending is Ending.DELIVERED for result in ended)

    def _wake(self, alarm: int) -> Callable[[float], None]:
        def wake(now: float) -> None:
            if alarm == self._alarm:
                self.go_on(now)

        return wake

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Save():
                return self._state.save(effect)
            case Load():
                return self._state.load(effect)
            case ReadRun(run_id):
                head = {"j": POINTS[-1].pos}
                return DesiredRun(
                    run_id, "e", run_id, "me", "FINISHED", 1, 2, deleted=False, params=dict(PARAMS), head=head
                )
            case ReadFiles():
                return ()
            case ReadExperiment(experiment_id):
                return DesiredExperiment(experiment_id, f"experiment-{experiment_id}", None, deleted=False)
            case ReadPoints(after=after, limit=limit):
                beyond = dict(after).get("j", 0)
                return tuple(p for p in POINTS if p.pos > beyond)[:limit]
        raise AssertionError(effect)
