"""The lag that the daemon tells: the age of the oldest change that is not delivered and could be."""

from __future__ import annotations

from localtrack_sync.daemon.agenda import Agenda
from localtrack_sync.protocol.jobs import Ending, Job, JobResult

RUN = Job("run", "a")


def agenda() -> Agenda:
    """An empty one."""
    return Agenda(lambda: 0.5, 10.0, 5.0)


def result(ending: Ending) -> JobResult:
    """The end of the run's job."""
    return JobResult(RUN.kind, RUN.id, ending, "")


def test_a_run_that_is_logged_to_all_the_time_is_as_late_as_its_oldest_news() -> None:
    """Its job ends and begins again without a pause: each end brings the lag down to what came meanwhile."""
    made = agenda()
    made.news({RUN: "0"}, 100.0)
    for second in range(101, 160):
        made.news({RUN: str(second)}, second)
        made.again(RUN, second)
        made.goes_on(result(Ending.DELIVERED), second + 0.5)
        assert made.lag(second + 0.5) == 0.5
    made.ended(result(Ending.DELIVERED), 160.0, swept=True, again=False)
    assert made.lag(160.0) == 0.0


def test_news_that_a_job_has_read_is_no_news_later() -> None:
    """When a job has ended for good, what came while it worked does not count for the next."""
    made = agenda()
    made.news({RUN: "0"}, 100.0)
    made.again(RUN, 101.0)
    made.ended(result(Ending.DELIVERED), 102.0, swept=True, again=False)
    made.news({RUN: "1"}, 200.0)
    made.goes_on(result(Ending.DELIVERED), 201.0)
    assert made.lag(201.0) == 0.0


def test_what_is_owed_stays_as_old_as_it_is() -> None:
    """A job that ended with something owed and begins again has delivered nothing for certain."""
    made = agenda()
    made.news({RUN: "0"}, 100.0)
    made.again(RUN, 101.0)
    made.goes_on(result(Ending.OWED), 102.0)
    assert made.lag(102.0) == 2.0
