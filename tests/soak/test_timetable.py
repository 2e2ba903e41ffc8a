"""What goes wrong in a soak, and when."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.soak.test_soak import SECONDS
from tests.soak.timetable import DAEMON_DIES, ENDS, LIVES, LONG_OUTAGE_S, SKIES, Span, Timetable, timetable

LONG = 1800.0
SEEDS = range(50)


def rows(table: Timetable) -> list[tuple[Span, ...]]:
    """The spans of each that something befalls."""
    return [table.network, table.server, table.daemon, *table.trainers]


def kinds(spans: Sequence[Span]) -> set[str]:
    """What there is of."""
    return {span.what for span in spans}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("seconds", [SECONDS, LONG])
def test_it_is_in_order_and_within_bounds(seed: int, seconds: float) -> None:
    """Spans of one lie one after the other within the length, the daemon's within the first part, and come again."""
    table = timetable(seed, seconds, 4)
    assert table == timetable(seed, seconds, 4)
    assert table != timetable(seed + 1, seconds, 4)
    for spans in rows(table):
        times = [0.0, *(at for span in spans for at in (span.begin, span.end)), seconds]
        assert times == sorted(times)
    assert table.daemon[-1].end <= DAEMON_DIES * seconds


@pytest.mark.parametrize("seed", SEEDS)
def test_the_long_form_has_all_that_can_go_wrong(seed: int) -> None:
    """Every weather, every end of server, daemon and trainers, and one outage that is long."""
    table = timetable(seed, LONG, 20)
    assert kinds(table.network) == set(SKIES)
    assert kinds(table.server) == set(ENDS)
    assert kinds(table.daemon) == set(ENDS)
    assert all(kinds(spans) == set(LIVES) for spans in table.trainers)
    assert sum(span.end - span.begin >= LONG_OUTAGE_S[0] for span in table.network) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_short_form_has_most_of_it(seed: int) -> None:
    """Most weathers, both ends of the server, deaths of the daemon, and all ends of trainers."""
    table = timetable(seed, SECONDS, 6)
    assert len(kinds(table.network)) >= 6
    assert kinds(table.server) == set(ENDS)
    assert "kill" in kinds(table.daemon)
    assert kinds([span for spans in table.trainers for span in spans]) == set(LIVES)
