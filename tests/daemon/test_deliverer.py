"""One remote at work for long: outages, news at any moment, books."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.store.state import StateReader
from tests.acceptance.worlds import NOW
from tests.daemon.desk import URL, Desk, desk, new_desk

#: Longer than an outage after which a new engine asks anew what the remote is.
LONG_S = 90.0


def log(one: Desk, run_id: str, step: int) -> None:
    """One value more."""
    one.made.client.log_metric(run_id, "loss", 1.0, timestamp=NOW + step, step=step)
    one.post()


def begin(one: Desk, name: str = "live") -> str:
    """A run that is at work and on the remote."""
    run_id = one.made.client.create_run(one.made.experiment_id, start_time=NOW, run_name=name).info.run_id
    log(one, run_id, 0)
    one.work(5.0)
    assert len(one.network.run(name).metrics) == 1
    return run_id


def test_values_arrive_as_they_are_logged(tmp_path: Path) -> None:
    """Each value is there a moment later, once; a quiet remote is not asked anything."""
    with new_desk(tmp_path) as one:
        run_id = begin(one)
        for step in range(1, 20):
            log(one, run_id, step)
            one.work(1.0)
            assert len(one.network.run("live").metrics) == step + 1
        before = one.network.requests
        one.work(300.0)
        assert one.network.requests == before
        assert one.deliverer.seen().lag_s == 0.0


def test_what_piles_up_behind_a_request_goes_out_with_the_next(tmp_path: Path) -> None:
    """One value makes a request at once; fifty that come while it is under way make one more, not fifty."""
    with new_desk(tmp_path) as one:
        run_id = begin(one)
        before = one.network.requests
        log(one, run_id, 1)
        for _ in range(1000):
            if one.network.requests > before:
                break
            one.step()
        for step in range(2, 52):
            log(one, run_id, step)
        one.work(5.0)
        assert len(one.network.run("live").metrics) == 52
        assert one.network.requests == before + 2


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_news_at_any_moment_of_a_reconnect_is_delivered(tmp_path: Path, at: int) -> None:
    """After a long outage a new engine takes over; a value and a run that come in that moment are not forgotten."""
    with new_desk(tmp_path) as one:
        run_id = begin(one)
        one.network.up = False
        log(one, run_id, 1)
        one.work(LONG_S)
        assert one.deliverer.seen().lag_s > LONG_S - 10.0
        one.network.up = True
        for _ in range(at):
            one.step()
        log(one, run_id, 2)
        one.made.client.set_terminated(run_id, "FINISHED", NOW + 9)
        one.made.client.create_run(one.made.experiment_id, start_time=NOW, run_name="second")
        one.post()
        one.work(40.0)
        assert len(one.network.run("live").metrics) == 3
        assert one.network.run("live").status == "FINISHED"
        assert one.network.run("second").tags["localtrack.uid"]
        assert one.deliverer.seen().lag_s == 0.0


@pytest.mark.parametrize("at", range(0, 40, 4))
def test_news_of_a_run_that_failed_a_moment_ago_is_delivered(tmp_path: Path, at: int) -> None:
    """The remote refuses one run for a while; a value that comes at any step of a later try of it arrives."""
    with new_desk(tmp_path) as one:
        run_id = begin(one)
        one.network.up = False
        log(one, run_id, 1)
        one.work(20.0)
        one.network.up = True
        for _ in range(at):
            one.step()
        log(one, run_id, 2)
        one.work(30.0)
        assert len(one.network.run("live").metrics) == 3


def test_what_is_delivered_is_noted_when_it_stays_as_it_is(tmp_path: Path) -> None:
    """A run that did not change for a while is settled in the delivery state, so the next start passes over it."""
    with new_desk(tmp_path) as one:
        run_id = begin(one)
        one.made.client.set_terminated(run_id, "FINISHED", NOW + 9)
        one.post()
        one.work(30.0)
        with StateReader(parse_remote(URL).remote.state_path(one.made.store)) as state:
            assert set(state.settled()) == {run_id}
        log(one, run_id, 1)
        one.step()
        with StateReader(parse_remote(URL).remote.state_path(one.made.store)) as state:
            assert state.settled() == {}
            assert state.asked() == {run_id}


@pytest.mark.parametrize("at", range(0, 24, 3))
def test_a_stop_at_any_moment_loses_nothing(tmp_path: Path, at: int) -> None:
    """The next deliverer of the same state brings the rest, and nothing twice."""
    with new_desk(tmp_path) as one:
        run_id = begin(one)
        for step in range(1, 4):
            log(one, run_id, step)
        for _ in range(at):
            one.step()
        one.stop.request()
        while one.deliverer.step():
            pass
        one.deliverer.close()
        assert one.network.open == 0
        made, network = one.made, one.network
    with desk(made, network) as other:
        other.post()
        other.work(5.0)
        assert len(network.run("live").metrics) == 4
