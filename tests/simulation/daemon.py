"""A daemon's engine in the simulator: it lives long, and is told of news while it works."""

from __future__ import annotations

import random
from collections.abc import Callable

from localtrack_sync.engine.engine import Engine
from localtrack_sync.protocol.jobs import Job
from tests.simulation.simulate import Shell, Simulation

#: Share of the steps after which the journals have grown, and the engine hears of it.
NEWS = 0.05
#: Share of the steps after which results are taken out of the engine.
TAKEN = 0.02


class DaemonSimulation(Simulation):
    """As `Simulation`; the engines of its passes are told of what comes in, again and again."""

    def __init__(self, seed: int, shell: Callable[[Simulation], Shell] = Shell, flavour: str | None = None) -> None:
        super().__init__(seed, shell, flavour)
        self.news = random.Random(seed * 11 + 3)

    def _meanwhile(self, engine: Engine) -> None:
        super()._meanwhile(engine)
        if self.news.random() < NEWS:
            self.world.import_more()
            engine.add(self._some_jobs())
        if self.news.random() < TAKEN:
            engine.take()

    def _some_jobs(self) -> list[Job]:
        """Some of what there is, in any order: what has news, and what only may have."""
        jobs = [Job("run", one) for one in self.world.known_runs()]
        jobs += [Job("model", one) for one in self.world.known_models()]
        jobs += [Job("experiment", one) for one in self.world.experiments]
        return self.news.sample(jobs, self.news.randrange(len(jobs) + 1))
