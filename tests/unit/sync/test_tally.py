"""Histories compared by sums of hashes: equal contents are equal whatever their order, everything else is found."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack_sync.delivery.tally import HELD, Sample, Tally, Unlike, suspects, unlike, within
from localtrack_sync.protocol.values import Identity, canonical

VALUES = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), -1.7976931348623157e308]))
POINTS = st.builds(
    lambda step, ts, value: ("m", step, ts, canonical(value)),
    st.sampled_from([-(2**63), -1, 0, 1, 2, 2**63 - 1]),
    st.integers(0, 3),
    VALUES,
)


def compared(ours: set[Identity], theirs: list[Identity], examples: int = 1000) -> Unlike | None:
    """What the two readings find; None when the first one finds nothing."""
    left, right = Tally(), Tally()
    left.add(ours)
    right.add(theirs)
    differing = suspects(left, right)
    if not differing:
        return None
    sample = Sample(within(left, right, differing))
    sample.take(ours, sample.ours)
    sample.take(theirs, sample.theirs)
    return unlike(left, right, sample, differing, examples)


@given(st.sets(POINTS, max_size=30), st.randoms(use_true_random=False))
def test_any_order_is_equal(points: set[Identity], rng: random.Random) -> None:
    """The same points in any order are equal."""
    shuffled = sorted(points, key=str)
    rng.shuffle(shuffled)
    assert compared(points, shuffled) is None


@settings(max_examples=300)
@given(st.sets(POINTS, max_size=20), st.lists(POINTS, max_size=30))
def test_every_difference_is_found(ours: set[Identity], theirs: list[Identity]) -> None:
    """What is missing, extra or there more than once is named, and nothing else."""
    found, count = compared(ours, theirs), Counter(theirs)
    missing, extra = ours - set(theirs), set(theirs) - ours
    twice = {point for point, times in count.items() if times > 1}
    if found is None:
        assert missing | extra | twice == set()
        return
    assert [set(part[1]) for part in (found.missing, found.extra, found.twice)] == [missing, extra, twice]
    assert [part[0] for part in (found.missing, found.extra, found.twice)] == [len(missing), len(extra), len(twice)]


def test_a_remote_may_keep_two_spellings_of_one_value() -> None:
    """Infinity and the largest double are one point to a SQL server and two to the file store: both are equal."""
    point = ("m", 0, 0, canonical(float("inf")))
    left, right = Tally(), Tally()
    left.add([point])
    right.add([point, point])
    differing = suspects(left, right)
    sample = Sample(within(left, right, differing))
    sample.take([point, point], sample.ours)  # logged in two spellings
    sample.take([point, point], sample.theirs)
    assert unlike(left, right, sample, differing, 3).twice == (0, ())


def test_many_differences_are_counted_and_few_are_held() -> None:
    """Of 200,000 missing points all are counted, and no more than a second reading may hold are looked at."""
    points: set[Identity] = {("m", step, 0, 1.0) for step in range(200_000)}
    found = compared(points, [], examples=3)
    assert found is not None
    assert found.missing[0] == 200_000
    assert len(found.missing[1]) == 3
    left = Tally()
    left.add(points)
    assert sum(left.counts[bucket] for bucket in within(left, Tally(), suspects(left, Tally()))) <= HELD


def test_a_long_history_takes_no_memory() -> None:
    """A tally of 300,000 points holds less than a megabyte, as does one of any length."""
    tracemalloc.start()
    try:
        tally = Tally()
        tally.add(("m", step, step, step / 7) for step in range(300_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert tally.total == 300_000
    assert peak < 1 << 20
