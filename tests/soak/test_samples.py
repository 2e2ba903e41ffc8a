"""Whether the judgement of a process that stays flat finds one that does not."""

from __future__ import annotations

import random

import pytest

from tests.soak.samples import SHORTEST_S, Life, Sample, longest, rises

MB = 1 << 20


def life(seconds: int, *, memory_a_minute: float = 0, handles_a_minute: float = 0, threads_a_minute: float = 0) -> Life:
    """A process of 55 MB that warms up for a third of a minute, is restless, and may leak."""
    rng = random.Random(seconds)
    made = Life(1, 0.0)
    for at in range(seconds):
        warm, minutes = min(1.0, at / 20), at / 60
        memory = warm * 55 * MB + memory_a_minute * minutes + rng.random() * 3 * MB + (30 * MB if at % 97 == 0 else 0)
        handles = 40 + rng.randint(-6, 6) + handles_a_minute * minutes
        threads = 25 + rng.randint(-2, 2) + threads_a_minute * minutes
        made.samples.append(Sample(at, int(memory), int(handles), int(threads)))
    return made


@pytest.mark.parametrize("seconds", [60, 120, 900])
def test_a_restless_process_is_flat(seconds: int) -> None:
    """Warming up, bursts and coming and going are no rise; shorter lives do not count."""
    trend = longest([life(20, memory_a_minute=900 * MB), life(seconds)])
    assert trend is not None
    assert trend.seconds == seconds - 1
    assert rises(trend) == []


@pytest.mark.parametrize(
    ("name", "leak"),
    [
        ("memory", {"memory_a_minute": 5.0 * MB}),
        ("handles", {"handles_a_minute": 4.0}),
        ("threads", {"threads_a_minute": 2.0}),
    ],
)
def test_a_leak_is_found(name: str, leak: dict[str, float]) -> None:
    """In a quarter of an hour 5 MB, 4 handles or 2 threads a minute show."""
    trend = longest([life(900, **leak)])
    assert trend is not None
    (found,) = rises(trend)
    assert found.startswith(name)


def test_a_short_life_says_nothing() -> None:
    """A process that did not live long enough is not judged."""
    assert longest([]) is None
    assert longest([Life(1, 0.0), life(int(SHORTEST_S) - 1)]) is None
