"""One seed: a world, a remote, a network, people; passes of the real engine with kills; then peace, and the oracle."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from localtrack_sync.engine.engine import Engine
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.protocol.effects import (
    Done,
    Effect,
    Failure,
    Idle,
    Load,
    Outcome,
    Perform,
    ReadContent,
    ReadExperiment,
    ReadFiles,
    ReadHistory,
    ReadKeys,
    ReadModel,
    ReadModelMetrics,
    ReadPoints,
    ReadRun,
    Request,
    Save,
    Start,
)
from localtrack_sync.protocol.findings import Finding, Standing
from localtrack_sync.protocol.jobs import Ending, Job, JobResult, ReplaySettings
from localtrack_sync.protocol.records import Cell, Parked
from localtrack_sync.verification.verify_experiment import VERIFY_EXPERIMENT
from localtrack_sync.verification.verify_model import VERIFY_MODEL
from localtrack_sync.verification.verify_run import VERIFY_RUN
from tests.simulation.launcher import Launcher
from tests.simulation.network import Network
from tests.simulation.oracle import Oracle
from tests.simulation.people import People
from tests.simulation.remote import Remote
from tests.simulation.world import World

SETTLE_S = 120.0
#: Seconds since the epoch when the simulation begins.
WALL_S = 1e9
#: Steps of one pass after which it counts as endless.
STEPS = 20_000
#: Requests of a pass in which only an upgrade of the server is waited for: what it is, and each experiment.
RESTING = 4
#: Passes in peace after which everything must have been delivered.
PEACE = 8


class Killed(Exception):  # noqa: N818
    """SIGKILL."""


@dataclass
class Outline:
    """What came of a seed."""

    seed: int
    problems: list[str] = field(default_factory=list)
    requests: int = 0
    kills: int = 0
    passes: int = 0
    log: list[str] = field(default_factory=list)


class Shell:
    """Performs the engine's steps; the seam at which a broken protocol is built, to test the simulator itself."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    def engine(self, settings: ReplaySettings, jobs: Sequence[Job], rng: Callable[[], float]) -> Engine:
        """Make the engine."""
        return Engine(settings, jobs, rng)

    def perform(self, effect: Effect) -> Any:  # noqa: C901 - one case for each effect
        """Answer an effect that is no request."""
        state, world = self.simulation.state, self.simulation.world
        answer: Any = None
        match effect:
            case Save():
                state.save(effect)
            case Load():
                answer = state.load(effect)
            case ReadRun(run_id):
                answer = world.desired_run(run_id)
            case ReadModel(model_id):
                answer = world.desired_model(model_id)
            case ReadExperiment(experiment_id):
                answer = world.desired_experiment(experiment_id)
            case ReadPoints():
                answer = world.points(effect)
            case ReadFiles(owner):
                answer = world.files(owner)
            case ReadContent(upload):
                answer = world.content(upload)
            case ReadKeys(run_id):
                answer = world.keys(run_id)
            case ReadHistory(run_id, key):
                answer = world.history(run_id, key)
            case ReadModelMetrics(model_id):
                answer = world.model_metrics(model_id)
            case _:
                raise AssertionError(effect)
        return answer

    def sending(self, job: int, request: Request) -> None:
        """A request is about to go out."""

    def outcome(self, request: Request, outcome: Outcome) -> Outcome:
        """What the engine is told."""
        del request
        return outcome


class Simulation:
    """Everything of one seed."""

    #: Passes that look for second runs.
    SWEEPS = 1

    def __init__(self, seed: int, shell: Callable[[Simulation], Shell] = Shell, flavour: str | None = None) -> None:
        self.rng = random.Random(seed)
        rng = self.rng
        self.outline = Outline(seed)
        self.world = World(random.Random(rng.random()))
        remote_rng, chosen = random.Random(rng.random()), rng.choice(["sql", "sql", "file", "file", "old"])
        self.remote = Remote(remote_rng, flavour or chosen)
        faults = rng.choice([0.0, 0.1, 0.25, 0.25, 0.4])
        self.network = Network(random.Random(rng.random()), self.remote, SETTLE_S, faults)
        self.people = People(random.Random(rng.random()), self.remote, SETTLE_S)
        self.network.after_write = self.people.on_write
        self.people.knows = self._knows
        self.people.wanted_absent = self._wanted_absent
        self.people.deleted_here = self._deleted_here
        self.network.after_look = self.people.on_look
        self.launcher = Launcher(random.Random(seed * 7 + 1), self.world, self.remote, self.people, SETTLE_S)
        self.people.shared = lambda run_id: run_id in self.world.plans and self.world.plans[run_id].attached
        self.state = MemoryState()
        self.kill_share = rng.choice([0.0, 0.0, 0.003, 0.01, 0.03])
        self.edit_share = rng.choice([0.0, 0.0, 0.002, 0.01])
        self.lose_share = rng.choice([0.0, 0.0, 0.3])
        # Databricks' dialect: no promise about anything that is sent twice, and a tag that we may not set.
        self.dialect = "databricks" if self.remote.flavour == "file" and rng.random() < 0.4 else "mlflow"
        self.remote.keeps_twins = self.dialect == "databricks"
        self.remote.folder = "/Shared/sim" if self.dialect == "databricks" else ""
        self.peace = False
        self.repair = False
        self.shell = shell(self)
        self.generation = 0
        for name in self.world.experiments:
            renamed = any(kind == "name" for _, kind, _ in self.world.experiment_ops[name])
            if rng.random() < 0.5 and not (renamed and self.lose_share):
                # (Not this too: an experiment of others that is renamed here, and then the delivery state is lost:
                # nobody can know that it was this one. docs/replay.md names the limit.)
                self.remote.experiments_create({"name": name})

    def run(self) -> Outline:
        """Passes with faults, then passes in peace, then the oracle."""
        for _ in range(self.rng.randrange(1, 6)):
            self.world.import_more()
            self._launch(0.4)
            self._pass_with_kills()
            self.network.run_until(self.network.now + self.rng.choice([0.0, 1.0, 30.0, 200.0]))
            if self.rng.random() < self.edit_share * 30:
                self._edit()
            self.between()
        self.peace = True
        self.network.faults = self.network.stale = 0.0
        self.world.import_all()
        self.launcher.finish(self.network.now)
        self.network.run_until(self.network.now + 2 * SETTLE_S)
        self.at_peace()
        for _ in range(PEACE):
            results = self._pass()
            self.network.run_until(self.network.now + 2 * SETTLE_S)
            if all(r.ending is Ending.DELIVERED or self._waits_for_upgrade(r) for r in results):
                break
        for _ in range(self.SWEEPS):
            self._pass()  # searches for second runs whose time has come
            self.network.run_until(self.network.now + 2 * SETTLE_S)
        requests = self.network.requests
        results = self._pass()
        stuck = [r for r in results if r.ending is not Ending.DELIVERED and not self._waits_for_upgrade(r)]
        resting = self.network.requests - requests
        outline = self.outline
        outline.problems += Oracle(self.world, self.remote, self.people, self.state, self.launcher).check()
        if not outline.problems:
            outline.problems += self._verified()
        # A record that is parked is tried again in every pass, and that begins with asking what the server is.
        waits = any(r.ending is Ending.PARKED for r in results)
        if resting > (RESTING if waits else 0) and not stuck:
            outline.problems.append(f"{resting} requests although everything is delivered")
        outline.requests = self.network.requests
        outline.log = self.network.log
        return outline

    def _verified(self) -> list[str]:
        """Where verification and oracle disagree: what it calls a difference, though all is as it must be."""
        settings = ReplaySettings(
            settle_s=SETTLE_S, window=3, wall_offset_s=WALL_S, dialect=self.dialect, folder=self.remote.folder
        )
        jobs = [Job(VERIFY_RUN, run_id) for run_id in self.world.known_runs()]
        jobs += [Job(VERIFY_MODEL, model_id) for model_id in self.world.known_models()]
        jobs += [Job(VERIFY_EXPERIMENT, one) for one in self.world.experiments]
        self.generation += 1
        results = self.drive(Engine(settings, jobs, self.rng.random), self.generation)
        problems = [f"not verified: {r}" for r in results if r.ending is not Ending.DELIVERED]
        for result in results:
            found = [one for one in result.findings if one.standing is Standing.DIFFERENT]
            problems += [
                f"{result.id}: verified as different: {one}" for one in found if not self._excused(result, one)
            ]
        return problems

    def _excused(self, result: JobResult, found: Finding) -> bool:
        """Whether people did this, in a way that the delivery state cannot know."""
        run = self.remote.runs.get(result.remote_id)
        if run is None:
            return found.kind == "source run" and found.theirs in self.remote.lost
        touched = run.run_id in self.people.deleted or run.run_id in self.people.perhaps
        edited = (run.run_id, found.key) in self.people.edits
        lost = self.people.lost_state_at >= 0.0
        unknown = lost and self.world.ever_deleted(result.id)
        # A link to a second model, which a lost delivery state had made, and which was removed: links cannot be.
        twin = lost and found.kind in ("model_input", "model_output") and found.what == "extra"
        return (run.deleted and (touched or unknown)) or (found.kind == "tag" and edited) or twin

    def between(self) -> None:
        """What happens between two passes; for simulations with more in them."""

    def at_peace(self) -> None:
        """What happens when the faults have ended, before the last passes."""

    def _waits_for_upgrade(self, result: JobResult) -> bool:
        """Whether what is left of a job waits for a server with logged models."""
        if self.remote.flavour != "old" or result.ending is not Ending.PARKED:
            return False
        parked = [r for r in self.state.all() if isinstance(r, Parked) and r.scope_id == result.id]
        return all("has no logged models" in record.reason for record in parked)

    def _pass_with_kills(self) -> None:
        for _ in range(6):
            try:
                self._pass()
            except Killed:
                self.outline.kills += 1
                self.generation += 1  # nobody hears the answers to what is under way
                if self.rng.random() < self.lose_share:
                    self.state = MemoryState()
                    self.people.lost_state_at = self.network.now
                    self.network.log.append(f"{self.network.now:9.2f} delivery state lost")
                self.network.run_until(self.network.now + self.rng.choice([0.0, 0.1, 10.0]))
                continue
            return

    def _pass(self) -> list[JobResult]:
        """One replay, from the making of an engine to its end."""
        self.generation += 1
        generation = self.generation
        self.outline.passes += 1
        rng, network = self.rng, self.network
        patience = rng.choice([5.0, 60.0, 1000.0])
        settings = ReplaySettings(
            settle_s=SETTLE_S,
            connections=rng.choice([1, 2, 3]),
            patience_s=patience,
            window=rng.choice([2, 5, 100]),
            wall_offset_s=WALL_S,
            repair=self.repair,
            dialect=self.dialect,
            folder=self.remote.folder,
        )
        jobs = [Job("run", run_id) for run_id in self.world.known_runs()]
        jobs += [Job("model", model_id) for model_id in self.world.known_models()]
        jobs += [Job("experiment", e) for e in self.world.experiments if self.peace or rng.random() < 0.3]
        rng.shuffle(jobs)
        told = f"pass {self.outline.passes}, {self.remote.flavour}{', repair' if self.repair else ''}"
        network.log.append(f"{network.now:9.2f} --- {told}")
        return self.drive(self.shell.engine(settings, jobs, rng.random), generation)

    def drive(self, engine: Engine, generation: int) -> list[JobResult]:
        """Do what an engine says, to its end."""
        network = self.network
        for _ in range(STEPS):
            step = engine.next(network.now)
            if not self.peace:
                self._meanwhile(engine)
            match step:
                case Done():
                    return engine.results.jobs
                case Perform(job, effect):
                    answer = self.shell.perform(effect)
                    engine.feed(job, answer, network.now)
                    network.run_until(network.now + 0.001)
                case Start(job, send):
                    self._start(engine, generation, job, send.request)
                case Idle(until):
                    event = network.next_event()
                    assert until is not None or event is not None, "idle for ever"
                    assert until is None or until > network.now or event is not None, "idle without end"
                    times = [t for t in (until, event) if t is not None]
                    network.run_until(max(min(times), network.now + 1e-6))
        raise AssertionError("the engine does not come to an end")

    def _start(self, engine: Engine, generation: int, job: int, request: Request) -> None:
        self.shell.sending(job, request)

        def answer(outcome: Outcome) -> None:
            if generation == self.generation:
                engine.feed(job, self.shell.outcome(request, outcome), self.network.now)

        if request.upload is not None:
            content = self.world.content(request.upload)
            if content is None:  # written again since the engine read of it
                answer(Failure(sent=False, reason="the file has changed", local=True))
                return
            request = replace(request, upload=None, body=content)
        self.network.send(request, answer)

    def _knows(self, run_id: str, key: str) -> bool:
        """Whether the delivery state knows for sure, and since a settle time, that there is something in a cell."""
        old = self.network.now + WALL_S - SETTLE_S
        cells = (r for r in self.state.all() if isinstance(r, Cell) and (r.scope_id, r.key) == (run_id, key))
        return any(c.base is not None and c.sure and not c.unsettled and c.wrote_wall_s <= old for c in cells)

    def _wanted_absent(self, run_id: str, key: str) -> bool:
        cells = (r for r in self.state.all() if isinstance(r, Cell) and (r.scope_id, r.key) == (run_id, key))
        return all(cell.base is None for cell in cells)

    def _deleted_here(self, run_id: str) -> bool:
        return run_id in self.world.plans and self.world.ever_deleted(run_id)

    def _edit(self) -> None:
        done = self.people.act(self.network.now)
        self.network.log.append(f"{self.network.now:9.2f} PEOPLE {done}")

    def _launch(self, share: float) -> None:
        """Others make runs that we are attached to, and log to them."""
        if self.launcher.rng.random() < share:
            done = self.launcher.act(self.network.now)
            self.network.log.append(f"{self.network.now:9.2f} LAUNCHER {done}")

    def _meanwhile(self, engine: Engine) -> None:
        """A kill, an edit, a journal that grows: between any two steps."""
        rng = self.rng
        if rng.random() < self.kill_share:
            self.network.log.append(f"{self.network.now:9.2f} KILL")
            raise Killed
        if rng.random() < self.edit_share:
            self._edit()
        if rng.random() < self.kill_share / 3:
            engine.stop("somebody pressed Ctrl-C")
        if rng.random() < 0.02:
            self.world.import_more()
        self._launch(0.005)


def simulate(seed: int, shell: Callable[[Simulation], Shell] = Shell, kind: type[Simulation] = Simulation) -> Outline:
    """Run one seed."""
    return guarded(kind(seed, shell))


def guarded(simulation: Simulation) -> Outline:
    """Run a simulation; a broken invariant is a problem like others."""
    try:
        return simulation.run()
    except AssertionError as error:
        simulation.outline.problems.append(f"assertion: {error}")
        simulation.outline.log = simulation.network.log
        return simulation.outline
