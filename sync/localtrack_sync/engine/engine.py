"""The replay engine: one state machine for one remote, without I/O. Pure.

Jobs are generators (`run_job`, `model_job`, `experiment_job`, `remote_job`); the engine lets them take turns, keeps the
number of open requests within bounds, waits when the remote is away, and repeats what may be repeated without asking.
See `effects` for the loop that drives it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from heapq import heappop, heappush
from typing import Any

from localtrack_sync.engine.roster import Roster
from localtrack_sync.engine.schedule import Gate
from localtrack_sync.engine.slot import Slot, understand
from localtrack_sync.protocol.effects import (
    Done,
    Idle,
    Local,
    Outcome,
    Perform,
    Send,
    Start,
    Step,
)
from localtrack_sync.protocol.gate import one_shot
from localtrack_sync.protocol.jobs import Ending, Job, JobResult, Progress, ReplaySettings, Results
from localtrack_sync.protocol.request import PROBE
from localtrack_sync.protocol.steps import AllRuns, Ask, Bound, Bring, Desk, Ended, Need, Turn, Wait, Wish
from localtrack_sync.protocol.verdict import NOT_EXECUTED, TRANSIENT, Judge, Judged, Verdict, judge

#: Failures of one request while others are answered, after which its job ends for this pass.
STUCK = 12
#: Job number of the probe that tries a remote that is away.
PROBE_JOB = -1


class Engine:
    """Multiplexes jobs over one remote.

    Args:
        settings: how to replay.
        jobs: what to bring to the remote.
        rng: uniform random numbers in [0, 1), for jitter and attempt names.
        verdicts: what outcomes mean; `verdict.judge` unless a test wants to know what happens without it.
        gate: one that outlives the engine, with settings of its own; None: that of a replay that people wait for.

    Attributes:
        results: grows as jobs end.
        progress: grows as records are settled.
    """

    def __init__(
        self,
        settings: ReplaySettings,
        jobs: Sequence[Job],
        rng: Callable[[], float],
        verdicts: Judge = judge,
        gate: Gate | None = None,
    ) -> None:
        assert settings.connections >= 1, "nothing can be sent without a connection"
        self.settings = settings
        self.results = Results()
        self.progress = Progress()
        self._desk = Desk(settings, rng, self.progress)
        once = one_shot(settings.connections, settings.patience_s)
        self._gate = gate or Gate(rng, once, self._desk.limits.pace)
        self._judge = verdicts
        self._roster = Roster(self._desk, 2 * settings.connections + 1)
        self._asking: deque[Slot] = deque()
        self._open: set[int] = set()
        self._performing: Slot | None = None
        self._begun = False
        self._sleeping: list[tuple[float, int]] = []
        self._ended: list[JobResult] = []
        for job in dict.fromkeys(jobs):
            self._roster.add(job)

    # --- the shell's side ---

    def add(self, jobs: Iterable[Job]) -> None:
        """There is news of these: let them run, once more when they are at work. A stopped engine takes no more."""
        if not self.results.stopped:
            for job in jobs:
                self._roster.add(job, news=True)

    def take(self) -> list[JobResult]:
        """Results since this was asked last, in the order of ending; a job that ran twice has two.

        What was remembered of runs and models that ended is dropped with it: for whoever drives an engine for long.
        """
        ended, self._ended = self._ended, []
        for result in ended:
            self.results.by_job.pop((result.kind, result.id), None)
        self._roster.forget_runs()
        return ended

    def works_on(self, job: Job) -> bool:
        """Whether such a job has not ended."""
        return self._roster.works_on((job.kind, job.id))

    @property
    def jobs_left(self) -> int:
        """Jobs that have not ended."""
        return self._roster.left

    def set_wall(self, offset_s: float) -> None:
        """The system's clock was set: seconds since the epoch minus the clock of `next` are now `offset_s`."""
        self.settings = self._desk.settings = replace(self.settings, wall_offset_s=offset_s)

    def next(self, now: float) -> Step:
        """What to do at `now` (seconds of a clock that never goes back)."""
        assert self._performing is None, "the answer to the last Perform is missing"
        assert not self._begun or now >= self._desk.now, "the clock went back"
        if not self._begun:
            self._begun = True
            self._roster.begin(now)
        self._desk.now = now
        reason = self._gate.give_up(now)
        if reason:
            self.stop(reason)
        self._wake(now)
        while True:
            slot = self._roster.runnable()
            if slot is not None:
                step = self._resume(slot)
                if step is not None:
                    return step
                continue
            start = self._start(now)
            if start is not None:
                return start
            if not self._roster.left and not self._open:
                return Done()
            if not self._break_circle():
                return self._idle()

    def feed(self, job: int, answer: Any, now: float) -> None:
        """Tell what came of the `Perform` or `Start` of a job."""
        self._desk.now = max(now, self._desk.now)
        if self._performing is not None:
            slot = self._performing
            assert slot.number == job, "an answer for another job"
            self._performing = None
            self._roster.ready(slot, answer)
            return
        assert job in self._open, "an answer that nobody asked for"
        self._open.discard(job)
        self._hear(job, answer)

    def stop(self, reason: str) -> None:
        """End every job as soon as its open request is answered; what is left stays owed.

        So does a job of which there was news while it worked: it may not have read it, and does not run once more.
        """
        if self.results.stopped:
            return
        self.results.stopped = reason
        for slot in self._roster.slots:
            if slot.number in self._open or slot is self._performing:
                continue
            end = Ended(Ending.OWED, reason)
            if not slot.begun:
                slot.answer = end
            elif slot.ask is not None or slot.until is not None or slot.waits_for is not None:
                slot.ask, slot.until, slot.waits_for = None, None, None
                self._roster.ready(slot, end)
            # One that has an answer it has not read yet reads it first: it may say that a write was executed.
        self._asking.clear()

    # --- jobs ---

    def _resume(self, slot: Slot) -> Step | None:
        """Let a job take its next step; a step of the shell's comes back, None when it was the engine's own."""
        answer, slot.answer = slot.answer, None
        if not slot.begun:
            slot.begun, slot.started = True, self._roster.unknown_since(slot.key)
        self._desk.started = slot.started
        try:
            wish = slot.job.throw(answer) if isinstance(answer, Ended) else slot.job.send(answer)
        except StopIteration as stop:
            self._finish(slot, stop.value)
            return None
        except Ended as ended:  # thrown into a job that had not begun
            self._finish(slot, JobResult(*slot.key, ended.ending, ended.reason))
            return None
        return self._grant(slot, wish)

    def _grant(self, slot: Slot, wish: Wish) -> Step | None:
        if self.results.stopped and isinstance(wish, Ask | Wait | Need | AllRuns | Turn):
            self._roster.ready(slot, Ended(Ending.OWED, self.results.stopped))
            return None
        match wish:
            case Ask():
                slot.ask, slot.tries, slot.answers_then = wish, 0, self._gate.answers
                self._asking.append(slot)
            case Wait(until, why):
                self._roster.release(slot)
                slot.until, slot.why = until, why
                heappush(self._sleeping, (until, slot.number))
            case Turn():
                self._roster.turn(slot)
            case Bound():
                slot.bound = wish
                self._roster.tell(slot)
                self._roster.ready(slot, None)
            case Need(kind, job_id):
                self._roster.need(slot, (kind, job_id))
            case Bring(kind, job_id):
                self._roster.bring((kind, job_id))
                self._roster.ready(slot, None)
            case AllRuns(experiment_id):
                self._roster.all_runs(slot, experiment_id)
            case _:
                return self._perform(slot, wish)
        return None

    def _perform(self, slot: Slot, effect: Local) -> Perform:
        self._performing = slot
        return Perform(slot.number, effect)

    def _finish(self, slot: Slot, result: JobResult) -> None:
        if slot.key[0] != "remote":
            ended = replace(result, kind=slot.key[0], id=slot.key[1])
            if self.results.stopped and slot.again:
                slot.again = False
                ended = replace(ended, ending=Ending.OWED, reason=self.results.stopped)
            self.results.put(ended)
            self._ended.append(ended)
            self.progress.jobs_done += 1
        self._roster.finish(slot)

    def _break_circle(self) -> bool:
        """Let one of the runs go on that wait for each other."""
        if self._open or self._asking or self._sleeping:
            return False
        if self._roster.break_circle():
            return True
        raise AssertionError("jobs are left and nothing can happen")

    # --- requests ---

    def _start(self, now: float) -> Start | None:
        if not self._asking or not self._gate.is_open(now) or not self._has_room():
            return None
        if self._gate.probing(now):
            self._open.add(PROBE_JOB)
            self.progress.requests += 1
            return Start(PROBE_JOB, Send(PROBE))
        slot = self._gate.take(self._asking, now)
        if slot is None or slot.ask is None:
            return None
        self._open.add(slot.number)
        slot.sent_at = now
        self.progress.requests += 1
        self.progress.bytes_sent += slot.ask.request.bytes_sent
        return Start(slot.number, Send(slot.ask.request))

    def _has_room(self) -> bool:
        """Whether one more request may be open; a probe travels alone."""
        return not self._open if self._gate.probing(self._desk.now) else len(self._open) < self._gate.connections

    def _hear(self, job: int, outcome: Outcome) -> None:
        now = self._desk.now
        if job == PROBE_JOB:
            self._note(self._gate.meaning(self._judge(outcome)), now, probe=True)
            return
        slot = self._roster[job]
        ask = slot.ask
        assert ask is not None, "it was asked"
        judged = understand(self._judge, ask, outcome)
        if not ask.optional:
            judged = self._gate.meaning(judged)
        if not ask.request.elsewhere and judged.verdict is not Verdict.UNREADABLE:
            # How long a file takes says nothing about how busy the remote is.
            self._note(judged, slot.sent_at if ask.request.upload is None else now)
        if judged.verdict is Verdict.MISROUTED and not ask.optional:
            slot.ask = None
            self.stop(f"this does not look like an MLflow server: {judged.words}")
            self._roster.ready(slot, Ended(Ending.OWED, self.results.stopped))
            return
        again = TRANSIENT if ask.safe else NOT_EXECUTED if ask.repeat else frozenset()
        if judged.verdict in again:
            if self._gate.waits_for(judged) and not ask.request.elsewhere:
                slot.tries -= 1  # it is not this request that is refused
            self._again(slot, judged)
            return
        slot.ask = None
        self._roster.ready(slot, judged)

    def _again(self, slot: Slot, judged: Judged) -> None:
        """The same request once more, unless it alone fails while the remote answers others."""
        slot.tries += 1
        stopped = self.results.stopped
        if stopped or (slot.tries >= STUCK and self._gate.answers > slot.answers_then):
            slot.ask = None
            self._roster.ready(slot, Ended(Ending.OWED, stopped or f"the remote does not answer this: {judged.words}"))
        else:
            self._asking.appendleft(slot)

    def _note(self, judged: Judged, sent_at: float, *, probe: bool = False) -> None:
        self._gate.note(judged, self._desk.now, sent_at, probe=probe)
        self.progress.away_since = self._gate.away_since
        self.progress.trouble = self._gate.trouble

    # --- time ---

    def _wake(self, now: float) -> None:
        while self._sleeping and (self._sleeping[0][0] <= now or self._up(self._sleeping[0])):
            alarm = heappop(self._sleeping)
            if not self._up(alarm):
                slot = self._roster[alarm[1]]
                slot.until = None
                self._roster.ready(slot, None)

    def _up(self, alarm: tuple[float, int]) -> bool:
        """Whether that job is not asleep any more: it was ended by `stop`."""
        slot = self._roster.get(alarm[1])
        return slot is None or slot.until != alarm[0]

    def _idle(self) -> Idle:
        times = [(until, self._roster[number].why) for until, number in self._sleeping[:1]]
        why = f"the remote is away: {self._gate.trouble}"
        if self._asking and self._has_room():
            times.append(self._gate.opens(self._asking, self._desk.now))
        gives_up = self._gate.gives_up_at()
        if gives_up is not None and not self.results.stopped:
            times.append((gives_up, why))
        if not times:
            assert self._open, "idle with nothing to wait for"
            return Idle(None, "")
        until, why = min(times)
        return Idle(max(until, self._desk.now), why)
