"""When a request may start."""

from __future__ import annotations

import pytest

from localtrack_sync.engine.schedule import BREAKER, RETRY_AFTER_CAP_S, Gate
from localtrack_sync.protocol.verdict import Judged, Verdict

LOST = Judged(Verdict.UNKNOWN, {}, "connection reset")
GOOD = Judged(Verdict.OK, {}, "", 200)


def gate(rng: float = 1.0, patience_s: float | None = 30.0) -> Gate:
    """A gate whose random numbers are all the same."""
    return Gate(lambda: rng, patience_s)


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


@pytest.mark.parametrize(("asked", "shortest", "longest"), [(10.0, 10.0, 12.5), (0.0, 0.0, 0.0), (-5.0, 0.0, 0.0)])
def test_retry_after_is_honoured_with_a_little_jitter(asked: float, shortest: float, longest: float) -> None:
    """What the remote asks for is the least; up to a quarter more spreads the clients out."""
    for rng, wait in ((0.0, shortest), (1.0, longest)):
        one = gate(rng)
        one.note(Judged(Verdict.THROTTLED, {}, "slow down", 429, asked), 0.0)
        assert one.ready_at == wait


def test_an_absurd_retry_after_is_capped() -> None:
    """A server that asks for thirty years gets an hour."""
    one = gate(0.0)
    one.note(Judged(Verdict.THROTTLED, {}, "slow down", 429, 10.0**9), 0.0)
    assert one.ready_at == RETRY_AFTER_CAP_S


def test_the_breaker_opens_after_five_failures_in_a_row_and_closes_with_an_answer() -> None:
    """From the fifth failure on only a probe may go out; any definite answer, also a refusal, ends that."""
    one = gate()
    for _ in range(BREAKER - 1):
        one.note(LOST, 0.0)
    before = one.probing
    one.note(LOST, 0.0)
    after = one.probing
    one.note(Judged(Verdict.REFUSED, {}, "bad value", 400), 0.0)
    assert (before, after, one.probing) == (False, True, False)
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
    """A daemon waits for ever."""
    one = gate(patience_s=None)
    one.note(LOST, 0.0)
    assert one.give_up(10.0**9) == ""


def test_refused_credentials_end_a_replay_at_the_second_refusal() -> None:
    """Waiting does not mend a password: one more try, in case they were just renewed, then the replay ends."""
    one = gate()
    refused = Judged(Verdict.UNAUTHORIZED, {}, "HTTP 401: who are you", 401)
    one.note(refused, 0.0)
    assert one.give_up(0.0) == ""
    one.note(refused, 1.0)
    assert "does not accept the credentials" in one.give_up(1.0)
