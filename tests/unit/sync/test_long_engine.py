"""An engine that lives long: what is handed to it while it works ends, whenever it is stopped."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from localtrack.catalog.desired import DesiredExperiment, DesiredRun
from localtrack_sync.engine.engine import Engine
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.protocol.effects import Done, Load, Perform, ReadExperiment, ReadRun, Save, Start
from localtrack_sync.protocol.jobs import Ending, Job, JobResult, ReplaySettings
from tests.simulation.remote import Remote

RUN = Job("run", "a")


class Shell:
    """Drives an engine over one run whose tag is its version; answers each request at once."""

    def __init__(self) -> None:
        self.engine = Engine(ReplaySettings(), [RUN], lambda: 0.5)
        self.remote = Remote(random.Random(0), "sql")
        self.state = MemoryState()
        self.version = 1
        self.now = 0.0
        self.results: list[JobResult] = []

    def step(self) -> bool:
        """One step; False at the end."""
        self.now += 0.01
        step = self.engine.next(self.now)
        if isinstance(step, Done):
            return False
        if isinstance(step, Perform):
            self.engine.feed(step.job, self.perform(step.effect), self.now)
        if isinstance(step, Start):
            self.engine.feed(step.job, self.remote.handle(step.send.request), self.now)
        return True

    def finish(self) -> None:
        """To the end; what the engine says of its jobs."""
        while self.step():
            pass
        self.results += self.engine.take()

    def perform(self, effect: Any) -> Any:
        """Answer what is no request."""
        match effect:
            case Save():
                return self.state.save(effect)
            case Load():
                return self.state.load(effect)
            case ReadRun(run_id):
                plain = DesiredRun(run_id, "e", "name", "me", "FINISHED", 1, 2, deleted=False)
                return replace(plain, tags={"version": str(self.version)})
            case ReadExperiment(experiment_id):
                return DesiredExperiment(experiment_id, "experiment", None, deleted=False)
        return ()

    @property
    def there(self) -> str:
        """The version that the remote has, "" for none."""
        return next((run.tags["version"] for run in self.remote.runs.values()), "")

    @property
    def last(self) -> JobResult:
        """The last word about the run."""
        return [one for one in self.results if one.kind == "run"][-1]


def steps_of_a_run() -> int:
    """How many steps one run takes, undisturbed."""
    shell, steps = Shell(), 0
    while shell.step():
        steps += 1
    assert shell.there == "1"
    return steps


@pytest.mark.parametrize("at", range(steps_of_a_run()))
def test_news_while_a_run_is_at_work_is_delivered(at: int) -> None:
    """At whatever step the news comes: the run ends with it on the remote."""
    shell = Shell()
    for _ in range(at):
        shell.step()
    shell.version = 2
    shell.engine.add([RUN])
    shell.finish()
    assert shell.last.ending is Ending.DELIVERED
    assert shell.there == "2"


@pytest.mark.parametrize("at", range(steps_of_a_run()))
@pytest.mark.parametrize("later", [0, 1, 2, 3])
def test_a_stop_does_not_make_a_success_of_news_that_was_not_read(at: int, later: int) -> None:
    """News at some step, a stop some steps later: a run that counts as delivered has the news on the remote."""
    shell = Shell()
    for _ in range(at):
        shell.step()
    shell.version = 2
    shell.engine.add([RUN])
    for _ in range(later):
        shell.step()
    shell.engine.stop("for a new one")
    shell.finish()
    assert shell.last.ending is Ending.OWED or shell.there == "2"
    assert not shell.engine.works_on(RUN)


def test_a_stopped_engine_says_that_it_takes_no_more() -> None:
    """Whoever hands jobs to it has to look at `results.stopped`: they do not run, and nothing is said of them."""
    shell = Shell()
    shell.engine.stop("for a new one")
    shell.finish()
    shell.engine.add([Job("run", "b")])
    assert not shell.engine.works_on(Job("run", "b"))
    assert shell.engine.results.stopped == "for a new one"
