"""When a store is looked at again, as a function of values."""

from __future__ import annotations

from localtrack_sync.daemon.pace import (
    AGAIN_BASE_S,
    AGAIN_CAP_S,
    BUSY_S,
    QUIET_AFTER_S,
    SHARE,
    Pace,
    pause_after_failure,
)


def test_failures_in_a_row_are_tried_ever_more_seldom() -> None:
    """The pause doubles up to its cap."""
    pauses, pause = [], 0.0
    for _ in range(9):
        pause = pause_after_failure(pause, 0.1)
        pauses.append(pause)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, AGAIN_CAP_S, AGAIN_CAP_S, AGAIN_CAP_S]


def test_a_failure_after_a_long_time_is_the_first_again() -> None:
    """What worked for minutes is tried again at once, however often it had failed before."""
    assert pause_after_failure(AGAIN_CAP_S, 3 * AGAIN_CAP_S) == AGAIN_BASE_S
    assert pause_after_failure(AGAIN_CAP_S, AGAIN_CAP_S) == AGAIN_CAP_S


def test_a_busy_store_is_looked_at_often_and_a_quiet_one_seldom() -> None:
    """A fifth of a second after news, half a minute where events tell of writes, two seconds where they do not."""
    pace = Pace(30.0, 2.0, news_at=100.0)
    assert pace.next_look(100.0, 0.001, events=True) == BUSY_S
    later = 100.0 + QUIET_AFTER_S
    assert pace.next_look(later, 0.001, events=True) == 30.0
    assert pace.next_look(later, 0.001, events=False) == 2.0


def test_a_look_takes_a_small_share_of_the_time() -> None:
    """One that cost a second is not repeated for ten, however busy the store is."""
    pace = Pace(30.0, 2.0, news_at=100.0)
    assert pace.next_look(100.0, 1.0, events=True) == 1.0 / SHARE
