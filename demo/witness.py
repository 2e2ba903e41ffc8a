"""A notebook beside localtrack: it notes what the training code logged, so that the comparison asks a third party.

The training code logs through it; each call is noted here and passed on, unchanged, to localtrack.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import localtrack


class Witness:
    """Notes of one training program.

    Attributes:
        runs: run id -> params, tags, points, status, parent.
        calls, seconds: logging calls, and the time spent in them.
    """

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self._open: list[str] = []
        self.calls, self.seconds = 0, 0.0

    @contextmanager
    def run(self, name: str, tags: dict[str, str]) -> Iterator[str]:
        """A run, nested into the one that is open; ends FINISHED, or FAILED when the block raises."""
        parent = self._open[-1] if self._open else None
        status = "FAILED"
        run_id = ""
        try:
            with localtrack.start_run(run_name=name, nested=bool(parent), tags=tags) as run:
                run_id = run.info.run_id
                self.runs[run_id] = {
                    "name": name, "tags": dict(tags), "params": {}, "points": [], "status": status, "parent": parent,
                }  # fmt: skip
                self._open.append(run_id)
                yield run_id
            status = "FINISHED"
        finally:
            self._open.pop()
            self.runs[run_id]["status"] = status

    def log_params(self, params: dict[str, Any]) -> None:
        """Log params; MLflow keeps them as strings."""
        self._now["params"].update({key: str(value) for key, value in params.items()})
        self._timed(localtrack.log_params, params)

    def log_metric(self, key: str, value: float, step: int) -> None:
        """Log one point."""
        self._now["points"].append((key, value, step))
        self._timed(localtrack.log_metric, key, value, step=step)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        """Log several points of one step in one call."""
        self._now["points"].extend((key, value, step) for key, value in metrics.items())
        self._timed(localtrack.log_metrics, metrics, step=step)

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag; the last value wins."""
        self._now["tags"][key] = value
        self._timed(localtrack.set_tag, key, value)

    def save(self, path: str) -> None:
        """Write the notes as JSON; NaN and the infinities by name, as Python's json spells them."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.runs, file)

    def _timed(self, call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        began = time.perf_counter()
        call(*arguments, **named)
        self.seconds += time.perf_counter() - began
        self.calls += 1

    @property
    def _now(self) -> dict[str, Any]:
        return self.runs[self._open[-1]]
