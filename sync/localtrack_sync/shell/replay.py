"""Drives the engine: performs what it asks for, feeds back what came of it. Clock and randomness come in here."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from localtrack.catalog.catalog import Catalog
from localtrack_sync.engine.engine import Engine
from localtrack_sync.protocol.effects import (
    Done,
    Idle,
    Load,
    Local,
    Perform,
    Save,
    Start,
    Step,
)
from localtrack_sync.protocol.jobs import Ending, Job, JobResult, Progress, ReplaySettings
from localtrack_sync.protocol.records import Record
from localtrack_sync.remote.wires import Answer, Wires
from localtrack_sync.store.reads import read

#: Times that a replay looks for records that came in while it ran, before it leaves the rest to the next one.
MAX_PASSES = 5
#: Seconds that a stopped replay waits for the open requests, before it cuts them.
STOP_WAIT_S = 10.0
STOPPED = "the replay was stopped"
#: Seconds for what is left to do after the cut: saving that their outcome is unknown.
STOP_SAVE_S = 3.0
#: Seconds between two looks at the clock while waiting.
_TICK_S = 0.25
#: Seconds between two reports of progress.
_SHOW_S = 0.1


class Watcher(Protocol):
    """Who is told how the replay gets on, about ten times a second."""

    def tick(self, progress: Progress, waiting: str) -> None:
        """Progress of the whole replay so far; `waiting` says what for, "" while it works."""


class Silent:
    """Shows nothing; a `replay.Watcher`."""

    def tick(self, progress: Progress, waiting: str) -> None:
        """Nothing."""


class State(Protocol):
    """A delivery state, as the engine's steps need it."""

    def load(self, load: Load) -> tuple[Record, ...]:
        """Answer a `Load`."""

    def save(self, save: Save) -> None:
        """Perform a `Save`."""

    def flush(self) -> None:
        """Bring all saves to the disk."""


class Stop:
    """A wish to stop, from a signal handler or another thread."""

    def __init__(self) -> None:
        self.wanted = False
        self._wakes: tuple[Callable[[], None], ...] = ()
        self._change = threading.Lock()  # never taken by `request`: that one may run in a signal handler

    def request(self) -> None:
        """Stop soon: nothing new is started, what is open is waited for within bounds."""
        self.wanted = True
        for wake in self._wakes:
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Within: `wake` is called when the wish comes; it must be safe in a signal handler."""
        with self._change:
            self._wakes = (*self._wakes, wake)
        try:
            yield
        finally:
            with self._change:
                self._wakes = tuple(one for one in self._wakes if one is not wake)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a replay works with.

    Attributes:
        clock: monotonic seconds; wall: seconds since the epoch; rng: uniform in [0, 1).
    """

    catalog: Catalog
    state: State
    wires: Wires
    settings: ReplaySettings
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    rng: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)


@dataclass(slots=True)
class Report:
    """How a replay ended.

    Attributes:
        results: the last result of each job.
        progress: sums over all passes.
        passes: how many.
        stopped: why it was given up, "" when it was not.
        interrupted: somebody asked it to stop.
        still_coming: new records arrived until the end; they are left to the next replay.
    """

    results: dict[Job, JobResult] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)
    passes: int = 0
    stopped: str = ""
    interrupted: bool = False
    still_coming: bool = False

    @property
    def complete(self) -> bool:
        """Whether every job is delivered (conflicts and rejected records may exist)."""
        return not self.stopped and all(result.ending is Ending.DELIVERED for result in self.results.values())


def replay(
    bench: Bench, first: Sequence[Job], news: Callable[[], Sequence[Job]], watcher: Watcher, stop: Stop
) -> Report:
    """Bring all jobs to the remote, then what came in meanwhile, at most MAX_PASSES times.

    Args:
        bench: catalog, delivery state, connections, settings.
        first: the jobs of the first pass.
        news: jobs with records that came in since it was asked last (or since `first` was made).
        watcher: told how it gets on.
        stop: looked at all the time.

    Raises:
        CredentialError: the credentials cannot be read.
        StoreError: the catalog or the delivery state cannot be used.
    """
    report = Report()
    jobs = first
    with stop.waking(bench.wires.wake):
        while jobs and not stop.wanted and not report.stopped:
            if report.passes == MAX_PASSES:
                report.still_coming = True
                break
            _one_pass(bench, jobs, report, watcher, stop)
            jobs = news()
    report.interrupted = stop.wanted
    return report


def inspect(bench: Bench, jobs: Sequence[Job], watcher: Watcher, stop: Stop) -> Report:
    """Let jobs that only read (verify_run, verify_experiment) run once. Arguments and errors as for `replay`."""
    return replay(bench, jobs, lambda: (), watcher, stop)


def _one_pass(bench: Bench, jobs: Sequence[Job], report: Report, watcher: Watcher, stop: Stop) -> None:
    settings = replace(bench.settings, wall_offset_s=bench.wall() - bench.clock())
    engine = Engine(settings, jobs, bench.rng)
    before = report.progress
    for job in jobs:
        report.results[job] = JobResult(job.kind, job.id, Ending.OWED, "not reached")
    try:
        drive = Drive(bench, engine, stop, lambda now, why: watcher.tick(_sum(before, now), why))
        while drive.step():
            pass
        bench.state.flush()
    finally:
        report.passes += 1
        report.progress = _sum(before, engine.progress)
        report.stopped = engine.results.stopped
        for result in engine.results.jobs:
            report.results[Job(result.kind, result.id)] = result


class Drive:
    """One engine from its first step to its last.

    Args:
        bench: what it works with.
        engine: what is driven.
        stop: looked at in every step.
        tell: called about ten times a second with the engine's progress and what is waited for ("": nothing).
        stop_wait_s: how long a stopped replay waits for the open requests, before it cuts them.
    """

    def __init__(
        self,
        bench: Bench,
        engine: Engine,
        stop: Stop,
        tell: Callable[[Progress, str], None],
        stop_wait_s: float = STOP_WAIT_S,
    ) -> None:
        self._bench = bench
        self._engine = engine
        self._stop = stop
        self._tell_progress = tell
        self._stop_wait_s = stop_wait_s
        self._cut_at: float | None = None
        self._next_tick = 0.0

    def step(self) -> bool:
        """Do what the engine says next; waits at most a quarter of a second. False: it is done, or had to be left."""
        step = self._engine.next(self._bench.clock())
        if isinstance(step, Done) or (self._stop.wanted and self._give_in()):
            return False
        self._act(step)
        while (answer := self._bench.wires.answer(0)) is not None:
            self._feed(answer)
        self._tell(step)
        return True

    def _act(self, step: Step) -> None:
        if isinstance(step, Perform):
            self._engine.feed(step.job, _perform(self._bench, step.effect), self._bench.clock())
        elif isinstance(step, Start):
            self._bench.state.flush()  # an intent is on the disk before its request leaves
            self._bench.wires.start(step.job, step.send)
        elif isinstance(step, Idle):
            self._bench.state.flush()  # there is time, and what was answered is better kept
            answer = self._bench.wires.answer(self._pause(step))
            if answer is not None:
                self._feed(answer)

    def _pause(self, idle: Idle) -> float:
        assert idle.until is not None or self._bench.wires.open, "the engine waits for an answer that nobody will give"
        if idle.until is None:
            return _TICK_S
        return min(max(idle.until - self._bench.clock(), 0.0), _TICK_S)

    def _feed(self, answer: Answer) -> None:
        job, outcome = answer
        if isinstance(outcome, BaseException):
            raise outcome
        self._engine.feed(job, outcome, self._bench.clock())

    def _tell(self, step: Step) -> None:
        now = self._bench.clock()
        if now >= self._next_tick:
            self._next_tick = now + _SHOW_S
            self._tell_progress(self._engine.progress, step.why if isinstance(step, Idle) else "")

    def _give_in(self) -> bool:
        """Somebody wants the replay to stop: start nothing more, cut what takes too long; True: leave at once."""
        now = self._bench.clock()
        if self._cut_at is None:
            self._cut_at = now + self._stop_wait_s
            self._engine.stop(STOPPED)
        if self._bench.wires.open and now >= self._cut_at:
            self._bench.wires.abort()
        return now >= self._cut_at + STOP_SAVE_S


def _perform(bench: Bench, effect: Local) -> Any:
    if isinstance(effect, Save):
        return bench.state.save(effect)
    return bench.state.load(effect) if isinstance(effect, Load) else read(bench.catalog, effect)


def _sum(before: Progress, now: Progress) -> Progress:
    """Counts added up; what describes a moment is taken from `now`."""
    counts = {
        item.name: getattr(before, item.name) + getattr(now, item.name)
        for item in fields(Progress)
        if item.type == "int"
    }
    return replace(now, **counts)
