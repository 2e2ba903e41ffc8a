"""Numbers, ages and sizes as people read them."""

from __future__ import annotations

import pytest

from localtrack.cli import wording


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3600, "1 h"), (7500, "2 h 5 min"), (86400, "1 day"), (1e6, "11 days")],
)
def test_a_span_names_its_largest_units(seconds: float, words: str) -> None:
    """A length of time is told in at most two units."""
    assert wording.span(seconds) == words


def test_an_age_from_the_future_is_told_as_such() -> None:
    """A record stamped by a clock that is ahead is not shown as a negative age."""
    assert wording.ago(61_000, 1_000) == "in 1 min (a clock is ahead)"
    assert wording.ago(1_000, 61_000) == "1 min ago"
    assert wording.ago(None, 0) == "never"


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (1_234_567, "1.2 MB"), (5e12, "5.0 TB")],
)
def test_sizes_are_short(number: int, words: str) -> None:
    """A size takes three digits and a unit."""
    assert wording.size(number) == words


def test_counts_have_the_right_plural() -> None:
    """One run, two runs, 1,234 conflicts."""
    assert [wording.count(n, "run") for n in (0, 1, 1234)] == ["0 runs", "1 run", "1,234 runs"]
    assert wording.count(2, "entry", "entries") == "2 entries"


def test_a_start_time_beyond_the_calendar_is_still_shown() -> None:
    """A run with a start time that no calendar knows does not break a listing."""
    assert wording.moment(2**62) == f"{2**62} ms"
    assert wording.moment(None) == ""


def test_metric_values_keep_six_digits_and_their_oddities() -> None:
    """NaN and the infinities are values like others."""
    assert [wording.number(v) for v in (0.5, 1 / 3, float("nan"), float("-inf"))] == ["0.5", "0.333333", "nan", "-inf"]
