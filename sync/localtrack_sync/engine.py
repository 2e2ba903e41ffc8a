"""The replay engine: one state machine for one remote, without I/O. Pure. (Being written: the signatures stand.)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from localtrack_sync.effects import Step
from localtrack_sync.jobs import Job, Progress, ReplaySettings, Results


class Engine:
    """Multiplexes jobs over one remote. See `effects` for the loop that drives it.

    Args:
        settings: how to replay.
        jobs: what to bring to the remote.
        rng: uniform random numbers in [0, 1), for jitter and attempt names.
    """

    def __init__(self, settings: ReplaySettings, jobs: Sequence[Job], rng: Callable[[], float]) -> None:
        self.results = Results()
        self.progress = Progress()

    def next(self, now: float) -> Step:
        """What to do at `now` (seconds of a clock that never goes back)."""
        raise NotImplementedError

    def feed(self, job: int, answer: Any, now: float) -> None:
        """Tell what came of the `Perform` or `Start` of a job."""
        raise NotImplementedError
