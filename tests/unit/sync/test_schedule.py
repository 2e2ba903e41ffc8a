"""When a request may start."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from localtrack_sync.engine.backoff import RETRY_AFTER_CAP_S
from localtrack_sync.engine.budget import RetryBudget
from localtrack_sync.engine.schedule import BREAKER, Gate
from localtrack_sync.engine.slot import Slot
from localtrack_sync.protocol.gate import Condition, GateSettings, GateStanding, one_shot
from localtrack_sync.protocol.request import get
from localtrack_sync.protocol.steps import Ask
from localtrack_sync.protocol.verdict import Judged, Verdict

LOST = Judged(Verdict.UNKNOWN, {}, "connection reset")
CLOSED = Judged(Verdict.NOT_APPLIED, {}, "connection refused")
GOOD = Judged(Verdict.OK, {}, "", 200)
BUSY = Judged(Verdict.THROTTLED, {}, "slow down", 429)
DENIED = Judged(Verdict.UNAUTHORIZED, {}, "HTTP 401: who are you", 401)
#: Of a daemon that is alone with its remote.
ALONE = GateSettings(reconnect_splay_s=0.0, ramp_s=0.0)


def gate(rng: float = 1.0, patience_s: float | None = 30.0) -> Gate:
    """The gate of a replay that people wait for; its random numbers are all the same."""
    return Gate(lambda: rng, one_shot(2, patience_s))


def daemon(rng: float = 0.5, settings: GateSettings = ALONE, now: float = 0.0) -> Gate:
    """The gate of a daemon, looked at for the first time at `now`; its random numbers are all the same."""
    made = Gate(lambda: rng, settings)
    made.is_open(now)
    return made


def line(count: int, tries: int = 0) -> deque[Slot]:
    """Jobs that stand in line with a request."""

    def job() -> Generator[Any, Any, Any]:
        yield

    return deque(Slot(i, ("run", str(i)), job(), ask=Ask(get("runs/get")), tries=tries) for i in range(count))


def taken(one: Gate, asking: deque[Slot], now: float) -> int:
    """How many requests go out at once when nothing else is open."""
    count = 0
    while one.is_open(now) and count < one.connections and asking and one.take(asking, now) is not None:
        count += 1
    return count


# --- backoff ---


def test_network_errors_back_off_exponentially_with_full_jitter() -> None:
    """After failure n the next request waits between 0 and min(300, 2^(n-1)) seconds."""
    longest, shortest = gate(1.0), gate(0.0)
    waits = []
    for _ in range(12):
        longest.ready_at = shortest.ready_at = 0.0
        longest.note(LOST, 100.0)
        shortest.note(LOST, 100.0)
        waits.append(longest.ready_at - 100.0)
        assert shortest.ready_at == 100.0
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_throttling_never_comes_back_at_once() -> None:
    """Without Retry-After a throttled remote is left alone for at least half of min(600, 5 * 2^(n-1)) seconds."""
    for status in (429, 503):
        shortest = gate(0.0)
        waits = []
        for _ in range(9):
            shortest.ready_at = 0.0
            shortest.note(Judged(Verdict.THROTTLED, {}, "slow down", status), 0.0)
            waits.append(shortest.ready_at)
        assert waits == [2.5, 5, 10, 20, 40, 80, 160, 300, 300]


def test_a_remote_that_is_back_and_busy_is_not_left_alone_as_one_that_was_away() -> None:
    """The first 503 after twenty refused connections waits 5 seconds at most, not the 600 that twenty failures cost."""
    one = daemon(1.0)
    for _ in range(20):
        one.note(CLOSED, 0.0)
    one.ready_at = 0.0
    one.note(Judged(Verdict.UNKNOWN, {}, "HTTP 503: busy", 503), 0.0)
    assert one.ready_at == 5.0


def test_the_cap_is_a_setting() -> None:
    """A remote on this machine is never left alone for longer than the setting says, twice that when throttled."""
    for outcome, cap in ((CLOSED, 10.0), (BUSY, 20.0)):
        one = daemon(1.0, replace(ALONE, retry_cap_s=10.0))
        for _ in range(20):
            one.ready_at = 0.0
            one.note(outcome, 0.0)
        assert one.ready_at == cap


@pytest.mark.parametrize(("asked", "shortest", "longest"), [(10.0, 10.0, 12.5), (0.0, 0.0, 0.0), (-5.0, 0.0, 0.0)])
def test_retry_after_is_honoured_with_a_little_jitter(asked: float, shortest: float, longest: float) -> None:
    """What the remote asks for is the least; up to a quarter more spreads the clients out."""
    for rng, wait in ((0.0, shortest), (1.0, longest)):
        one = gate(rng)
        one.note(Judged(Verdict.THROTTLED, {}, "slow down", 429, asked), 0.0)
        assert one.ready_at == wait


def test_a_retry_after_that_did_not_help_is_only_the_least() -> None:
    """A server that says "in one second" again and again is left alone for longer each time all the same."""
    one = gate(0.0)
    waits = []
    for _ in range(6):
        one.ready_at = 0.0
        one.note(replace(BUSY, retry_after_s=6.0), 0.0)
        waits.append(one.ready_at)
    assert waits == [6, 6, 6, 10, 20, 40]


def test_an_absurd_retry_after_is_capped() -> None:
    """A server that asks for thirty years gets an hour."""
    one = gate(0.0)
    one.note(Judged(Verdict.THROTTLED, {}, "slow down", 429, 10.0**9), 0.0)
    assert one.ready_at == RETRY_AFTER_CAP_S


# --- breaker, patience, credentials ---


def test_the_breaker_opens_after_five_failures_in_a_row_and_closes_with_an_answer() -> None:
    """From the fifth failure on only a probe may go out; any definite answer, also a refusal, ends that."""
    one = gate()
    for _ in range(BREAKER - 1):
        one.note(LOST, 0.0)
    before = one.probing(0.0)
    one.note(LOST, 0.0)
    after = one.probing(0.0)
    one.note(Judged(Verdict.REFUSED, {}, "bad value", 400), 0.0)
    assert (before, after, one.probing(0.0)) == (False, True, False)
    assert one.away_since is None


def test_patience_counts_from_the_first_failure_in_a_row() -> None:
    """A replay is given up when nothing definite was heard for the whole of its patience, and not before."""
    one = gate(patience_s=30.0)
    one.note(LOST, 100.0)
    one.note(LOST, 120.0)
    assert one.give_up(129.9) == ""
    assert one.give_up(130.0) == "the remote is away: connection reset"
    one.note(GOOD, 130.0)
    assert one.give_up(1000.0) == ""


def test_without_patience_nothing_is_given_up() -> None:
    """A daemon waits for ever, also for credentials."""
    one = gate(patience_s=None)
    for _ in range(10):
        one.note(DENIED, 0.0)
        assert one.give_up(10.0**9) == ""


def test_refused_credentials_end_a_replay_at_the_second_refusal() -> None:
    """Waiting does not mend a password: one more try, in case they were just renewed, then the replay ends."""
    one = gate()
    one.note(DENIED, 0.0)
    assert one.give_up(0.0) == ""
    one.note(DENIED, 1.0)
    assert "does not accept the credentials" in one.give_up(1.0)


def test_refused_credentials_pause_a_daemon_until_a_request_is_accepted() -> None:
    """After one refusal only probes go out; one that is answered lets a single request try, whose refusal counts on."""
    one = daemon(1.0)
    one.note(DENIED, 100.0)
    assert one.probing(100.0)
    paused = GateStanding(Condition.PAUSED, 100.0, "HTTP 401: who are you", 101.0, 1)
    assert one.standing(100.0) == paused
    waits = []
    for _ in range(6):
        now = one.ready_at
        one.note(GOOD, now, probe=True)
        assert not one.probing(now)
        assert taken(one, line(5), now) == 1
        assert one.standing(now) == replace(paused, next_attempt=None)
        one.note(DENIED, now)
        waits.append(one.ready_at - now)
    assert waits == [2, 4, 8, 16, 32, 64]
    one.note(GOOD, 1000.0)
    assert one.standing(1000.0) == GateStanding(Condition.OK, 1000.0, "", None, 2)


# --- the budget for repeats ---


def test_repeats_stay_within_a_tenth_of_the_others_in_the_long_run() -> None:
    """Ten requests a second, each repeated as often as allowed, for an hour: a tenth and ten in two minutes more."""
    budget, repeated = RetryBudget(0.1, 120.0, 10.0), 0
    for tick in range(36_000):
        now = tick / 10
        budget.count(now, repeat=False)
        if budget.opens_at(now) <= now:
            budget.count(now, repeat=True)
            repeated += 1
    assert 0.9 * 3600 <= repeated <= 0.1 * 36_000 + 10 * 3600 / 120 + 10


def test_a_quiet_remote_may_stumble() -> None:
    """Without any other requests ten may be repeated at once, then one in about 13 seconds."""
    budget = RetryBudget(0.1, 120.0, 10.0)
    for _ in range(10):
        assert budget.opens_at(50.0) == 50.0
        budget.count(50.0, repeat=True)
    opens = budget.opens_at(50.0)
    assert opens == pytest.approx(50.0 + 12.6, abs=0.1)
    assert budget.opens_at(opens + 0.001) == opens + 0.001


def test_beyond_the_budget_only_first_tries_go_out_and_after_a_failure_only_a_probe() -> None:
    """Where every second request fails the breaker stays closed: what failed waits, what is new does not."""
    one = daemon(0.0)
    asking = line(20, tries=1)
    for now in range(10):
        assert one.take(asking, float(now)) is not None
    assert one.take(asking, 9.0) is None
    at, why = one.opens(asking, 9.0)
    assert (9.0 < at < 25.0, why) == (True, "too many requests had to be repeated")
    fresh = line(1)
    assert one.take(fresh, 9.0) is not None
    one.note(LOST, 9.0)
    assert one.probing(9.0)


# --- how many at once ---


def test_connections_grow_with_answers_and_are_halved_by_throttling() -> None:
    """Up to the most that is allowed with answers; half for each 429, once for all that were open together; never 0."""
    one = daemon(0.0)
    seen = [one.connections]
    for now in range(100):
        one.note(GOOD, float(now), now - 0.1)
    seen.append(one.connections)
    for sent_at in (99.1, 99.2, 99.3):
        one.note(BUSY, 100.0, sent_at)
    seen.append(one.connections)
    for now in range(101, 111):
        one.note(BUSY, float(now))
    seen.append(one.connections)
    assert seen == [2, 4, 2, 1]


def test_timeouts_do_not_go_below_one_connection() -> None:
    """A network that loses much leaves one request open all the time."""
    one = daemon(0.5)
    for now in range(20):
        one.note(LOST, float(now))
        one.note(GOOD, now + 0.5, float(now))
    assert one.connections == 1
    one.ready_at = 0.0
    assert one.take(line(1), 100.0) is not None


def test_a_throttled_remote_is_asked_less_than_one_request_at_a_time_would() -> None:
    """Refused down to an eighth of a connection, it is left alone for seven times as long as its answer took."""
    one = daemon(0.5, replace(ALONE, connections_start=1))
    for now in range(3):
        one.note(BUSY, float(now))
    one.ready_at = 0.0
    one.note(GOOD, 102.0, 100.0)
    at, why = one.opens(line(1), 102.0)
    assert at - 102.0 == pytest.approx(2.0 * (1 / 0.13125 - 1))
    assert why == "the remote is busy"


def test_the_pace_of_the_remote_holds_whatever_the_connections() -> None:
    """Ten a second and a burst of half a second: six at once, and a tenth of a second for each further one."""
    one = Gate(lambda: 0.5, replace(ALONE, connections_max=64, connections_start=64), (("", 10.0),))
    asking = line(64)
    assert taken(one, asking, 100.0) == 6
    at, why = one.opens(asking, 100.0)
    assert (round(at, 6), why) == (100.1, "the remote allows only so many requests per second")


# --- crowds ---


def test_the_first_request_is_put_off() -> None:
    """Splay of 30 s: nothing goes out before this daemon's part of it, and the standing says that it is on purpose."""
    one = daemon(0.5, GateSettings(splay_s=30.0), now=1000.0)
    assert one.standing(1000.0) == GateStanding(Condition.STARTING, 1000.0, "", 1015.0, 1)
    assert one.opens(line(1), 1000.0) == (1015.0, "put off, so that not all begin at once")
    assert (one.is_open(1014.9), one.is_open(1015.0)) == (False, True)
    assert one.standing(1015.0) == GateStanding(Condition.OK, 1015.0, "", None, 1)


def test_one_request_at_a_time_during_the_ramp() -> None:
    """For 30 s after the start one request is open however many were answered; then the number grows."""
    one = daemon(0.0, GateSettings(), now=100.0)
    seen = []
    for tick in range(600):
        now = 100.0 + tick / 10
        one.note(GOOD, now, now - 0.01)
        seen.append(one.connections)
    assert set(seen[:300]) == {1}
    assert seen[-1] == 4


def away(one: Gate, since: float, until: float) -> None:
    """Failures from one time to another, each as early as the gate allows."""
    now = since
    while now < until:
        one.note(CLOSED, now)
        now = max(one.ready_at, now + 1.0)


def test_after_a_long_outage_the_reconnect_is_put_off() -> None:
    """The probe that is answered after an hour opens nothing: a random part of 180 s passes first, then a ramp."""
    one = daemon(0.5, GateSettings())
    for now in range(100):
        one.note(GOOD, float(now), now - 0.01)
    away(one, 100.0, 3700.0)
    assert one.standing(3700.0).what is Condition.OFFLINE
    back = one.ready_at
    one.note(GOOD, back, probe=True)
    assert one.standing(back) == GateStanding(Condition.STARTING, back, "", back + 90.0, 1)
    assert taken(one, line(9), back + 89.0) == 0
    assert taken(one, line(9), back + 90.0) == 1


def test_after_a_short_outage_nothing_is_put_off() -> None:
    """A minute is no reason to wait; but after the breaker has opened one request goes first."""
    one = daemon(0.5, GateSettings())
    for now in range(200):
        one.note(GOOD, float(now), now - 0.01)
    away(one, 200.0, 260.0)
    one.note(GOOD, 260.0, probe=True)
    one.ready_at = 0.0
    assert one.standing(260.0) == GateStanding(Condition.OK, 260.0, "", None, 1)
    assert taken(one, line(9), 260.0) == 1


def test_probes_of_a_crowd_are_spread() -> None:
    """While a remote is away for long, each next probe is anywhere between now and the cap."""
    for rng, wait in ((0.0, 0.0), (0.25, 75.0), (1.0, 300.0)):
        one = daemon(rng)
        for _ in range(15):
            one.ready_at = 0.0
            one.note(CLOSED, 0.0)
        assert one.ready_at == wait


# --- what it says of itself ---


def test_a_single_failure_is_not_worth_a_word() -> None:
    """One lost request is not "offline"; the second in a row is, since the first."""
    one = daemon(0.5)
    one.note(GOOD, 50.0)
    one.note(CLOSED, 100.0)
    assert one.standing(100.0) == GateStanding(Condition.OK, 0.0, "", None, 2)
    one.note(CLOSED, 101.0)
    assert one.standing(101.0) == GateStanding(Condition.OFFLINE, 100.0, "connection refused", 102.0, 2)


def test_a_long_wait_that_was_asked_for_is_shown_at_once() -> None:
    """A server that asks for ten minutes is "throttled", with the time of the next attempt."""
    one = daemon(0.0)
    one.note(replace(BUSY, retry_after_s=600.0), 100.0)
    assert one.standing(101.0) == GateStanding(Condition.THROTTLED, 100.0, "slow down", 700.0, 1)


# --- clocks ---


@pytest.mark.parametrize("jump", [3600.0, 8 * 3600.0, 30 * 86400.0])
def test_hours_of_sleep_open_no_storm(jump: float) -> None:
    """A clock that counted a suspend: when it wakes at most as many requests go out as before, one when it was away."""
    working = daemon(0.5)
    for now in range(100):
        working.note(GOOD, float(now), now - 0.1)
    assert taken(working, line(50), 100.0 + jump) <= 4
    for _ in range(4):  # they were open when it fell asleep
        working.note(LOST, 100.0 + jump, 99.0)
    assert working.opens(line(50, tries=1), 100.0 + jump)[0] > 100.0 + jump
    broken = daemon(0.5)
    away(broken, 100.0, 200.0)
    assert broken.is_open(200.0 + jump)
    assert broken.probing(200.0 + jump)
    broken.note(CLOSED, 200.0 + jump)
    assert not broken.is_open(200.0 + jump)


def test_a_clock_that_did_not_count_the_sleep_leaves_the_gate_closed_for_minutes_at_most() -> None:
    """Whatever happened before, what is left of our own pauses is at most the cap, however long the outage was."""
    for rng in (0.0, 0.5, 1.0):
        one = daemon(rng, GateSettings())
        away(one, 0.0, 100_000.0)
        assert one.ready_at - 100_000.0 <= 301.0
        busy = daemon(rng, GateSettings())
        for now in range(50):
            busy.note(BUSY, float(now))
        assert busy.opens(line(1), 50.0)[0] <= 50.0 + 600.0


def test_a_request_that_was_open_during_a_sleep_does_not_slow_the_gate_for_hours() -> None:
    """An answer that took nine hours by the clock counts as a slow one, not as the time that the remote takes."""
    one = daemon(0.5, GateSettings(splay_s=1.0))
    one.note(GOOD, 9 * 3600.0, 1.0)
    assert one.opens(line(1), 9 * 3600.0)[0] <= 9 * 3600.0 + 60.0


def test_somebody_elses_page_is_an_outage_for_a_daemon_only() -> None:
    """What a replay with patience ends with, a daemon waits out."""
    page = Judged(Verdict.MISROUTED, {}, "HTTP 404: <html>login", 404)
    assert gate().meaning(page) is page
    assert daemon().meaning(page).verdict is Verdict.NOT_APPLIED
    assert daemon().meaning(page).words == "this does not look like an MLflow server: HTTP 404: <html>login"
