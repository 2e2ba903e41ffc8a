"""When a store that failed is looked at again."""

from __future__ import annotations

from localtrack_sync.daemon.pace import AGAIN_BASE_S, AGAIN_CAP_S, pause_after_failure


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
