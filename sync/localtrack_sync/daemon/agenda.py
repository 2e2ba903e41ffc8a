"""What is handed to the engine of one remote, and when: news at once, what could not be delivered again later. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from localtrack_sync.protocol.jobs import Ending, Job, JobResult

#: Seconds until what is still owed is tried again; doubles with each time, up to the cap.
OWED_BASE_S = 5.0
#: Seconds until what waits for a change from outside is looked at again; doubles up to PARKED_CAP_S.
PARKED_BASE_S = 600.0
PARKED_CAP_S = 3600.0
#: Seconds between two tries of a job that did not succeed, when there is news of it: more often would change nothing.
NEWS_PAUSE_S = 10.0
#: When a job that was handed out is to be tried again: not known before it ends.
_AT_WORK = float("inf")


@dataclass(slots=True)
class _Retry:
    at: float
    ended_at: float
    times: int


@dataclass(slots=True)
class Agenda:
    """What of one remote is to be tried.

    Attributes:
        rng: uniform random numbers in [0, 1), for jitter.
        cap_s: the longest pause before what is owed is tried again.
        settle_s: how long after a delivery a twin may still appear, see `RunBinding.sweep_wall_s`.
        tried: job -> content with which it was handed out last, or found to owe nothing.
        owing: job -> clock reading since when it has had something that is not delivered and could be.
        delivered: run or model -> content with which nothing was owed, and since when; to be noted on the disk.
    """

    rng: Callable[[], float]
    cap_s: float
    settle_s: float
    tried: dict[Job, str] = field(default_factory=dict)
    owing: dict[Job, float] = field(default_factory=dict)
    delivered: dict[Job, tuple[str, float]] = field(default_factory=dict)
    _retries: dict[Job, _Retry] = field(default_factory=dict)
    _newer: dict[Job, float] = field(default_factory=dict)

    def news(self, contents: Mapping[Job, str], now: float) -> list[Job]:
        """Jobs to hand out now: those whose content is not the one that was handed out last.

        One that did not succeed lately is only moved forward. One that is at work is handed out again: it may have
        read its run before.
        """
        at_once = []
        for job, content in contents.items():
            if self.tried.get(job) == content:
                continue
            self.tried[job] = content
            self.delivered.pop(job, None)
            self.owing.setdefault(job, now)
            retry = self._retries.get(job)
            if retry is not None and retry.at != _AT_WORK and now < retry.ended_at + NEWS_PAUSE_S:
                retry.at = min(retry.at, retry.ended_at + NEWS_PAUSE_S)
            else:
                at_once.append(job)
        return at_once

    def again(self, job: Job, now: float) -> None:
        """A job that is at work was handed out once more: it may not have read what is new."""
        self._newer.setdefault(job, now)

    def goes_on(self, result: JobResult, now: float) -> None:
        """A job has ended and begins once more: what was there when it began has been waiting no longer."""
        job = Job(result.kind, result.id)
        if result.ending is Ending.DELIVERED and job in self.owing:
            self.owing[job] = self._newer.pop(job, now)

    def ended(self, result: JobResult, now: float, *, swept: bool, again: bool) -> None:
        """A job has ended, and none of its kind and id is at work.

        Args:
            result: how.
            now: clock reading.
            swept: no twin has to be looked for later.
            again: the engine was stopped for a new one: what is left is tried at once.
        """
        job = Job(result.kind, result.id)
        self._newer.pop(job, None)
        if result.ending is Ending.DELIVERED:
            self._retries.pop(job, None)
            self.owing.pop(job, None)
            if not swept:
                self._retries[job] = _Retry(now + self.settle_s + 1.0, -NEWS_PAUSE_S, 0)
            elif job in self.tried and job.kind != "experiment":
                self.delivered[job] = (self.tried[job], now)
            return
        before = self._retries.get(job)
        times = 1 if before is None else before.times + 1
        if again:
            pause, times = 0.0, 0
        elif result.ending is Ending.PARKED:
            self.owing.pop(job, None)
            pause = min(PARKED_BASE_S * 2.0 ** min(times - 1, 10), PARKED_CAP_S)
        else:
            pause = min(OWED_BASE_S * 2.0 ** min(times - 1, 10), self.cap_s)
        self._retries[job] = _Retry(now + pause * (1.0 + 0.2 * self.rng()), now, times)

    def doubt(self, job: Job, now: float) -> None:
        """The books say that something of a delivered job is left: it is tried again after a while."""
        self.owing.setdefault(job, now)
        self._retries.setdefault(job, _Retry(now + PARKED_BASE_S, now, 1))

    def due(self, now: float) -> list[Job]:
        """Jobs whose time to be tried again has come."""
        due = [job for job, retry in self._retries.items() if retry.at <= now]
        for job in due:
            self._retries[job].at = _AT_WORK  # `ended` says when next
        return due

    def next_due(self) -> float | None:
        """When the next job is to be tried again; None: never."""
        return min((retry.at for retry in self._retries.values() if retry.at != _AT_WORK), default=None)

    def lag(self, now: float) -> float:
        """Seconds for which the oldest of what could be delivered has been waiting."""
        return now - min(self.owing.values()) if self.owing else 0.0

    def take_delivered(self, now: float, quiet_s: float, most: int) -> list[tuple[Job, str]]:
        """Some of what was delivered so long ago, with its content; they are not given again."""
        old = (job for job, (_, since) in self.delivered.items() if since <= now - quiet_s)
        return [(job, self.delivered.pop(job)[0]) for job in list(islice(old, most))]
