"""What is handed to the engine of one remote, and when; as tables, and against an engine that does anything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack_sync.daemon import agenda as module
from localtrack_sync.daemon.agenda import Agenda
from localtrack_sync.protocol.jobs import Ending, Job, JobResult

CAP_S = 60.0
SETTLE_S = 20.0
RUN, OTHER, EXPERIMENT = Job("run", "a"), Job("run", "b"), Job("experiment", "1")


def agenda(rng: float = 0.0) -> Agenda:
    """An empty one, whose jitter is always the same."""
    return Agenda(lambda: rng, CAP_S, SETTLE_S)


def end(one: Agenda, job: Job, ending: Ending, now: float, *, swept: bool = True, again: bool = False) -> None:
    """A job ends."""
    one.ended(JobResult(job.kind, job.id, ending), now, swept=swept, again=again)


def test_news_is_handed_out_once() -> None:
    """The same content twice is one job."""
    one = agenda()
    assert one.news({RUN: "1"}, 100.0) == [RUN]
    assert one.news({RUN: "1"}, 101.0) == []
    assert one.news({RUN: "2"}, 102.0) == [RUN]


@pytest.mark.parametrize(
    ("ending", "pauses"),
    [
        (Ending.OWED, [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]),
        (Ending.PARKED, [600.0, 1200.0, 2400.0, 3600.0, 3600.0]),
    ],
)
def test_what_was_not_delivered_comes_again_less_and_less_often(ending: Ending, pauses: list[float]) -> None:
    """Pauses double up to a cap: seconds for what is owed, up to an hour for what waits for somebody."""
    one, now = agenda(), 100.0
    assert one.news({RUN: "1"}, now) == [RUN]
    for pause in pauses:
        end(one, RUN, ending, now)
        assert one.next_due() == now + pause
        assert one.due(now + pause - 0.01) == []
        now += pause
        assert one.due(now) == [RUN]
        assert one.due(now) == []
        assert one.next_due() is None


def test_news_of_a_job_that_failed_lately_moves_it_forward() -> None:
    """Every value that is logged must not be a try of a run that fails: at most one in ten seconds."""
    one = agenda()
    one.news({RUN: "1"}, 100.0)
    end(one, RUN, Ending.PARKED, 101.0)
    assert one.news({RUN: "2"}, 102.0) == []
    assert one.next_due() == 101.0 + module.NEWS_PAUSE_S
    assert one.due(111.0) == [RUN]


def test_news_of_a_job_that_is_tried_again_right_now_is_handed_out() -> None:
    """It may have read its run before: forgotten when it ends with success, the news would stay here for ever."""
    one = agenda()
    one.news({RUN: "1"}, 100.0)
    end(one, RUN, Ending.OWED, 100.0)
    assert one.due(105.0) == [RUN]
    assert one.news({RUN: "2"}, 105.5) == [RUN]


def test_a_new_engine_tries_at_once_what_the_old_one_left() -> None:
    """The pause does not grow with it either."""
    one = agenda()
    one.news({RUN: "1"}, 100.0)
    for _ in range(5):
        end(one, RUN, Ending.OWED, 101.0, again=True)
        assert one.due(101.0) == [RUN]
    end(one, RUN, Ending.OWED, 102.0)
    assert one.next_due() == 107.0


def test_a_twin_is_looked_for_when_it_could_have_appeared() -> None:
    """A delivered run that may have a twin is tried once more after the settle time, and counts as delivered then."""
    one = agenda()
    one.news({RUN: "1"}, 100.0)
    end(one, RUN, Ending.DELIVERED, 101.0, swept=False)
    assert one.lag(110.0) == 0.0
    assert one.delivered == {}
    assert one.next_due() == 101.0 + SETTLE_S + 1.0
    assert one.due(122.0) == [RUN]
    end(one, RUN, Ending.DELIVERED, 123.0)
    assert one.delivered == {RUN: ("1", 123.0)}
    assert one.next_due() is None


def test_news_of_a_run_whose_twin_is_waited_for_goes_out_at_once() -> None:
    """It was delivered: nothing has failed."""
    one = agenda()
    one.news({RUN: "1"}, 1.0)
    end(one, RUN, Ending.DELIVERED, 2.0, swept=False)
    assert one.news({RUN: "2"}, 2.5) == [RUN]


def test_what_is_delivered_is_given_once_and_not_when_it_has_changed() -> None:
    """Oldest first, only what stayed as it is, so many at a time; experiments have no books."""
    one = agenda()
    one.news({RUN: "1", OTHER: "1", EXPERIMENT: "x"}, 0.0)
    for job in (RUN, OTHER, EXPERIMENT):
        end(one, job, Ending.DELIVERED, 1.0)
    assert one.take_delivered(10.0, 10.0, 5) == []
    assert one.take_delivered(11.0, 10.0, 1) == [(RUN, "1")]
    assert one.news({OTHER: "2"}, 11.0) == [OTHER]
    assert one.take_delivered(30.0, 10.0, 5) == []


def test_what_the_books_doubt_is_tried_again() -> None:
    """A run that ended with success and still owes something is not forgotten."""
    one = agenda()
    one.news({RUN: "1"}, 0.0)
    end(one, RUN, Ending.DELIVERED, 1.0)
    one.take_delivered(20.0, 10.0, 5)
    one.doubt(RUN, 20.0)
    assert one.due(20.0 + module.PARKED_BASE_S) == [RUN]


@pytest.mark.parametrize(
    ("ending", "lag"), [(Ending.DELIVERED, 0.0), (Ending.PARKED, 0.0), (Ending.OWED, 9.0)], ids=str
)
def test_lag_is_the_age_of_what_could_be_delivered(ending: Ending, lag: float) -> None:
    """What is delivered, or waits for somebody, is no lag; what is owed is as old as its first news."""
    one = agenda()
    one.news({RUN: "1"}, 1.0)
    one.news({RUN: "2"}, 5.0)
    assert one.lag(6.0) == 5.0
    end(one, RUN, ending, 7.0)
    assert one.lag(10.0) == lag


def test_an_experiment_that_a_run_brought_along_is_tried_again_too() -> None:
    """Jobs that the engine made itself end here like those that were handed out."""
    one = agenda()
    end(one, EXPERIMENT, Ending.OWED, 1.0)
    assert one.due(7.0) == [EXPERIMENT]


#: More than the longest pause between two tries, with its jitter.
BOUND_S = module.PARKED_CAP_S * 1.2 + 1.0


class Remote:
    """A store that grows, and an engine that does what the seed says, as `Deliverer` drives them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.one = Agenda(self.random.random, CAP_S, SETTLE_S)
        self.now = 1.0
        self.logged = {Job("run", str(n)): 1 for n in range(4)}
        self.there: dict[Job, int] = {}
        self.at_work: dict[Job, int | None] = {}
        self.again: set[Job] = set()

    def hand(self, jobs: list[Job]) -> None:
        """As `Engine.add`; nothing is at work twice."""
        assert len(jobs) == len(set(jobs))
        for job in jobs:
            if job not in self.at_work:
                self.at_work[job] = None
            elif self.at_work[job] is not None:
                self.again.add(job)

    def turn(self, *, kind: bool = False) -> None:
        """Something happens; `kind`: nothing is logged any more, and all that is tried succeeds."""
        draw = self.random
        if not kind and draw.random() < 0.4:
            self.logged[draw.choice(list(self.logged))] += 1
        if kind or draw.random() < 0.5:
            jobs = self.one.news({job: str(n) for job, n in self.logged.items()}, self.now)
            jobs += [job for job in self.one.due(self.now) if job not in jobs]
            self.hand(jobs)
        for job in list(self.at_work):
            if self.at_work[job] is None:
                if kind or draw.random() < 0.5:
                    self.at_work[job] = self.logged[job]
            elif kind or draw.random() < 0.5:
                self.end(job, Ending.DELIVERED if kind else draw.choice(list(Ending)))

    def end(self, job: Job, ending: Ending) -> None:
        """A job ends; what it read of its run is there, if it was delivered."""
        read = self.at_work.pop(job)
        if ending is Ending.DELIVERED:
            assert read is not None
            self.there[job] = read
        if job in self.again:
            self.again.discard(job)
            self.at_work[job] = None
            return
        result = JobResult(job.kind, job.id, ending)
        swept, again = self.random.random() < 0.8, ending is Ending.OWED and self.random.random() < 0.2
        self.one.ended(result, self.now, swept=swept, again=again)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 80), st.sampled_from([0.05, 1.0, 30.0, 500.0]))
def test_everything_is_delivered_in_bounded_time_after_all_troubles(seed: int, turns: int, step_s: float) -> None:
    """Whatever news and endings came, once the remote is well all is there within the longest pause."""
    remote = Remote(seed)
    for _ in range(turns):
        remote.turn()
        remote.now += step_s * remote.random.random()
    until = remote.now + BOUND_S
    while remote.there != remote.logged or remote.at_work:
        assert remote.now < until, "something is not handed out any more"
        due = remote.one.next_due()
        remote.turn(kind=True)
        if not remote.at_work and due is not None:
            remote.now = max(remote.now, due)
        remote.now += 0.1
    assert remote.one.lag(remote.now) == 0.0
