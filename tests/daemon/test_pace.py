"""When a store is looked at again, as a function of values."""

from __future__ import annotations

from localtrack_sync.daemon.pace import BUSY_S, QUIET_AFTER_S, SHARE, Pace


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
