"""Others who create runs on the remote that the journals are attached to, and who log to them as well."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from localtrack_sync.protocol.values import Identity, identity
from tests.simulation.people import Edit, People
from tests.simulation.remote import Remote, RunState
from tests.simulation.world import CURSED_VALUE, POISON_SIGN, World

#: Name of the experiment that launchers use.
EXPERIMENT = "launched"


@dataclass
class Launched:
    """A run on the remote that journals are attached to, and what others logged to it."""

    run: RunState
    status: str
    end_time: int | None
    params: dict[str, str] = field(default_factory=dict)
    metrics: set[Identity] = field(default_factory=set)


class Launcher:
    """Creates the runs, some late, some never.

    Attributes:
        launched: local run id -> the run on the remote.
    """

    def __init__(self, rng: random.Random, world: World, remote: Remote, people: People, settle_s: float) -> None:
        self.rng = rng
        self.world = world
        self.remote = remote
        self.people = people
        self.settle_s = settle_s
        self.launched: dict[str, Launched] = {}
        self.waiting = [plan.run_id for plan in world.plans.values() if plan.attached]
        self.never = {run_id for run_id in self.waiting if rng.random() < 0.1}
        self.count = 0

    def act(self, now: float) -> str:
        """Somebody creates a run, or logs to one; what."""
        if self.waiting and (not self.launched or self.rng.random() < 0.5):
            run_id = self.waiting.pop()
            if run_id in self.never:
                return "nothing"
            self._launch(run_id, now)
            return f"launch {run_id} as {self.launched[run_id].run.run_id}"
        live = [one for one in self.launched.values() if not one.run.deleted]
        if not live:
            return "nothing"
        one = self.rng.choice(live)
        self.count += 1
        self.remote.remember(one.run.run_id, now)
        kind = self.rng.choice(["param", "tag", "metric"])
        if kind == "param":
            self._param(one, f"q{self.count}", "theirs")
        elif kind == "tag":
            self._tag(one, f"u{self.count}", "theirs", now)
        else:
            self._metric(one, (f"o{self.rng.randrange(2)}", self.count, 1, 1.0))
        return f"log a {kind} to {one.run.run_id}"

    def finish(self, now: float) -> None:
        """What is to be launched is launched."""
        while self.waiting:
            self.act(now)

    def _launch(self, run_id: str, now: float) -> None:
        rng, remote, world = self.rng, self.remote, self.world
        if all(e["name"] != EXPERIMENT for e in remote.experiments.values()):
            remote.experiments_create({"name": EXPERIMENT})
        [experiment_id] = [i for i, e in remote.experiments.items() if e["name"] == EXPERIMENT]
        elsewhere = rng.random() < 0.4  # another store made it: our id is its uid
        remote.ids += 1
        remote_id = f"r{remote.ids}" if elsewhere else run_id
        remote.remember(remote_id, now + rng.uniform(0.0, self.settle_s / 2))
        run = RunState(remote_id, experiment_id, "by-launcher", "them", 1, born=now)
        if elsewhere:
            run.tags["localtrack.uid"] = run_id
        remote.runs[remote_id] = run
        if rng.random() < 0.3:
            run.status = rng.choice(["FINISHED", "FAILED"])
            run.end_time = 1_700_000_000_000 + rng.randrange(world.times + 50)
        one = self.launched[run_id] = Launched(run, run.status, run.end_time)
        run.tags["mlflow.runName"] = run.name
        self.people.edits[remote_id, "mlflow.runName"] = Edit(run.name, now, near_write=True)
        for key in ("t0", "t1", "t2", "t3"):
            if rng.random() < 0.3:
                self._tag(one, key, f"launched-{key}", now)
        for key in ("p0", "p1", "p2"):
            if rng.random() < 0.3:
                self._param(one, key, f"x{rng.randrange(4)}")
        # None that belongs to a model either: what others logged without the model is not sent again with it.
        own = [p for p in world.every_point(run_id) if p.model_id is None]
        fine = [p for p in own if POISON_SIGN not in p.key and p.value != CURSED_VALUE]
        points = [identity(p) for p in fine if rng.random() < 0.2]
        for point in dict.fromkeys([*points, ("o0", 0, 1, 1.0)]):
            self._metric(one, point)

    def _tag(self, one: Launched, key: str, value: str, now: float) -> None:
        one.run.tags[key] = value
        self.people.edits[one.run.run_id, key] = Edit(value, now, near_write=True)

    def _param(self, one: Launched, key: str, value: str) -> None:
        one.run.params[key] = one.params[key] = value

    def _metric(self, one: Launched, point: Identity) -> None:
        one.run.metrics.append(point)
        one.metrics.add(point)

    def stands(self, run_id: str, ours: int) -> bool:
        """Whether others ended the run later than we did."""
        one = self.launched[run_id]
        return one.end_time is not None and one.end_time > ours
