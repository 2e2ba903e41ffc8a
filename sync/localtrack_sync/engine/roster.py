"""The jobs of an engine: whose turn it is, and who waits for whom. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any

from localtrack_sync.delivery.experiment_job import experiment_job
from localtrack_sync.engine.by_kind import job_of
from localtrack_sync.engine.slot import Key, Slot
from localtrack_sync.protocol.jobs import Job
from localtrack_sync.protocol.steps import Desk, Ended
from localtrack_sync.verification.verify_run import VERIFY_RUN

#: What an experiment waits for that goes on when all runs and models have ended.
_RUNS = "runs"
#: Kinds of jobs that stand in an experiment.
IN_EXPERIMENT = frozenset({"run", "model"})
#: Kinds of jobs that may hold much in memory: only so many may be at work.
_HOLD_POINTS = frozenset({*IN_EXPERIMENT, VERIFY_RUN})
#: How often in a row news may go before what has waited longest. A live run has a request or two, a backlog ten for
#: each turn: so both get about the same.
NEWS_IN_A_ROW = 8
#: Places of jobs that hold points which are kept for news, as soon as there was any.
PLACES_FOR_NEWS = 2


class Roster:
    """The jobs that have not ended, and those that others may still ask for.

    Jobs wait in one line and take turns. Of those that came with news while the engine works, the latest goes first:
    a run that is logged to now does not wait behind thousands that were logged to yesterday. Every ninth job is the one
    that has waited longest, whatever it is.

    Args:
        desk: what all jobs share.
        most_active: jobs that may be at work, and hold points in memory, at once.

    Attributes:
        left: jobs that have not ended.
    """

    def __init__(self, desk: Desk, most_active: int) -> None:
        self.left = 0
        self._desk = desk
        self._most_active = most_active
        self._numbers = 0
        self._slots: dict[int, Slot] = {}
        self._by_key: dict[Key, Slot] = {}
        self._at_work: deque[Slot] = deque()
        self._line: OrderedDict[int, Slot] = OrderedDict()
        self._news: OrderedDict[int, Slot] = OrderedDict()  # those in the line that came with news, the latest last
        self._in_a_row = 0
        self._kept = 0
        self._active = self._runs_left = 0
        self._begun_at = 0.0
        self._ended_at: dict[Key, float] = {}

    def __getitem__(self, number: int) -> Slot:
        """The job of a number; it has not ended."""
        return self._slots[number]

    def get(self, number: int) -> Slot | None:
        """The job of a number, None when it has ended."""
        return self._slots.get(number)

    @property
    def slots(self) -> list[Slot]:
        """Jobs that have not ended, in the order in which they came."""
        return list(self._slots.values())

    def add(self, job: Job, *, news: bool = False) -> None:
        """Let a job run. One that is there and has begun runs once more when it ends: it may have read its run before.

        One that ended begins anew; so whoever needs it waits for the new one.

        Args:
            job: which.
            news: it comes while others are at work.
        """
        slot = self._by_key.get((job.kind, job.id))
        if slot is None or slot.done:
            slot = self.spawn((job.kind, job.id), needed=False)
        elif slot.begun:
            slot.again = True
        if news:
            self._note_news(slot)

    def _note_news(self, slot: Slot) -> None:
        """It goes before those that wait, until it has had its turn."""
        slot.news = True
        self._kept = PLACES_FOR_NEWS
        if slot.number in self._line:
            self._news[slot.number] = slot
            self._news.move_to_end(slot.number)

    def works_on(self, key: Key) -> bool:
        """Whether a job of this key has not ended."""
        slot = self._by_key.get(key)
        return slot is not None and not slot.done

    def begin(self, now: float) -> None:
        """The engine begins: what an earlier one sent has been unknown since now at the latest."""
        self._begun_at = now

    def unknown_since(self, key: Key) -> float:
        """Since when, at the latest, what earlier jobs of this key sent without an answer has been unknown."""
        return self._ended_at.get(key, self._begun_at)

    def bring(self, key: Key) -> None:
        """Let a job run unless it does already, or did."""
        if key not in self._by_key:
            self.spawn(key, needed=False)

    def spawn(self, key: Key, *, needed: bool) -> Slot:
        """A new job; `needed`: see experiment_job."""
        slot = Slot(self._numbers, key, job_of(self._desk, *key, needed=needed), needed=needed)
        self._numbers += 1
        self._slots[slot.number] = self._by_key[key] = slot
        self.left += 1
        self._runs_left += key[0] in IN_EXPERIMENT
        self._line[slot.number] = slot
        return slot

    def finish(self, slot: Slot) -> None:
        """A job has ended. What it was bound to is kept for those who ask later."""
        slot.done = True
        self._ended_at[slot.key] = self._desk.now
        self.left -= 1
        self.release(slot)
        del self._slots[slot.number]
        if slot.again:
            self._note_news(self.spawn(slot.key, needed=False))
        self.tell(slot)

    def forget_runs(self) -> None:
        """Drop what is remembered of runs and models that have ended: the delivery state knows where they are."""
        for key in [k for k, slot in self._by_key.items() if slot.done and k[0] in IN_EXPERIMENT]:
            del self._by_key[key]
        settled = self._desk.now - self._desk.settle_s
        for key in [k for k, at in self._ended_at.items() if at < settled]:
            del self._ended_at[key]

    # --- turns ---

    def ready(self, slot: Slot, answer: Any) -> None:
        """The slot can go on. One that is at work goes first: it holds memory that others wait for."""
        slot.answer = answer
        if slot.active:
            self._at_work.appendleft(slot)
            return
        self._line[slot.number] = slot
        if slot.news:
            self._news[slot.number] = slot

    def turn(self, slot: Slot) -> None:
        """The slot has had its turn, and goes on when it is its turn again."""
        self.release(slot)
        slot.news = False
        self.ready(slot, None)

    def runnable(self) -> Slot | None:
        """The next job that can go on, within the number of jobs that may be at work."""
        if self._at_work:
            return self._at_work.popleft()
        news_first = self._news and self._in_a_row < NEWS_IN_A_ROW
        for news in (True, False) if news_first else (False, True):
            line = self._news if news else self._line
            slot = next(reversed(line.values()) if news else iter(line.values()), None)
            if slot is not None and self._may_begin(slot, news=news):
                self._in_a_row = self._in_a_row + 1 if news else 0
                del self._line[slot.number]
                self._news.pop(slot.number, None)
                slot.active = not isinstance(slot.answer, Ended)
                self._active += slot.active
                return slot
        return None

    def _may_begin(self, slot: Slot, *, news: bool) -> bool:
        """Whether there is a place for a job that waits."""
        if isinstance(slot.answer, Ended) or slot.key[0] not in _HOLD_POINTS:
            return True
        return self._active < self._most_active - (0 if news else self._kept)

    def release(self, slot: Slot) -> None:
        """The job holds no points now."""
        if slot.active:
            slot.active = False
            self._active -= 1

    # --- jobs that need each other ---

    def need(self, slot: Slot, key: Key) -> None:
        """The slot waits until the job `key` is bound, or has ended."""
        other = self._by_key.get(key)
        if other is None and key[0] == "run":
            self.ready(slot, None)
            return
        if other is None or (other.done and other.bound is None and key[0] == "experiment"):
            other = self.spawn(key, needed=True)
        if other.bound is not None or other.done:
            self.ready(slot, other.bound)
            return
        if key[0] == "experiment" and not other.needed:
            self._needed_after_all(other)
        self.release(slot)
        slot.waits_for = key
        other.waiters.append(slot)

    def _needed_after_all(self, other: Slot) -> None:
        """An experiment that was asked for on its own turns out to be needed: its job must bind it."""
        if not other.begun and other.number in self._line:
            other.job = experiment_job(self._desk, other.key[1], needed=True)  # it has not begun: begin as needed
            other.needed = True

    def tell(self, slot: Slot) -> None:
        """Answer those who wait for this job to be bound, or to be over."""
        waiting, slot.waiters = slot.waiters, []
        for waiter in waiting:
            if waiter.waits_for != slot.key:
                continue  # ended by `stop` meanwhile
            waiter.waits_for = None
            if slot.bound is None and slot.key[0] == "experiment" and not slot.needed and slot.done:
                self.need(waiter, slot.key)  # it ended with nothing owed and without looking: ask again, as needed
            else:
                self.ready(waiter, slot.bound)
        if slot.done and slot.key[0] in IN_EXPERIMENT:
            self._runs_left -= 1
            if not self._runs_left:
                self._after_runs()

    def all_runs(self, slot: Slot, experiment_id: str) -> None:
        """Go on when no run or model is left that could still need the experiment."""
        self.release(slot)
        slot.waits_for = (_RUNS, experiment_id)
        if not self._runs_left:
            self._after_runs()

    def _after_runs(self) -> None:
        """The experiments that waited for the runs go on."""
        for slot in self._slots.values():
            if slot.waits_for is not None and slot.waits_for[0] == _RUNS:
                slot.waits_for = None
                self.ready(slot, None)

    def break_circle(self) -> bool:
        """Runs that are each other's parents would wait for ever: let one of them go on without.

        A logged model that waits for one of these is in no circle: nothing waits for it before its run is bound.
        """
        for slot in self._slots.values():
            if slot.key[0] == "run" and slot.waits_for is not None and slot.waits_for[0] == "run":
                self._by_key[slot.waits_for].waiters.remove(slot)
                slot.waits_for = None
                self.ready(slot, None)
                return True
        return False
