"""The planner alone: how fast points become settled when the remote answers at once.

The whole engine runs (windows, intents, batches, encoding, watermarks) with a delivery state in memory and a remote
that accepts everything; only sockets, files and the catalog are left out. The yardstick is json.dumps of the same
points.
"""

from __future__ import annotations

import json
import time
from typing import Any

from localtrack.catalog.desired import DesiredExperiment, DesiredRun, Point
from localtrack_sync.engine.engine import Engine
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.protocol.effects import (
    Done,
    Effect,
    Load,
    Perform,
    ReadExperiment,
    ReadFiles,
    ReadPoints,
    ReadRun,
    Reply,
    Request,
    Save,
    Start,
)
from localtrack_sync.protocol.jobs import Ending, Job, ReplaySettings

POINTS = 400_000
KEYS = 20


def _points() -> list[Point]:
    ts = 1_700_000_000_000
    return [Point("j", 4096 + i, f"metric_{i % KEYS}", i / 7.0, ts + i // KEYS, i // KEYS) for i in range(POINTS)]


def _reply(request: Request) -> Reply:
    name = request.path.rpartition("/mlflow/")[2]
    if name == "runs/create":
        return Reply(200, {"run": {"info": {"run_id": "r1"}}})
    if name == "server-info":
        return Reply(200, {"store_type": "SqlStore"})
    if name == "experiments/create":
        return Reply(200, {"experiment_id": "1"})
    if name == "experiments/get-by-name":
        return Reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": ""})
    return Reply(200, {}, "3.17.2")


def _perform(effect: Effect, state: MemoryState, points: list[Point]) -> Any:  # noqa: PLR0911 - one for each effect
    match effect:
        case Save():
            state.save(effect)
            return None
        case Load():
            return state.load(effect)
        case ReadRun(run_id):
            head = {"j": points[-1].pos}
            return DesiredRun(run_id, "e", "name", "me", "FINISHED", 1, 2, deleted=False, head=head)
        case ReadFiles():
            return ()
        case ReadExperiment(experiment_id):
            return DesiredExperiment(experiment_id, "name", None, deleted=False)
        case ReadPoints(model_id=str()):
            return ()  # none of them was logged to a model
        case ReadPoints(after=after, limit=limit):
            begin = dict(after).get("j", 4095) + 1 - 4096
            return tuple(points[max(begin, 0) : max(begin, 0) + limit])
    raise AssertionError(effect)


def replay(points: list[Point]) -> float:
    """Seconds to bring the points to a remote that answers at once."""
    state, now = MemoryState(), 0.0
    begun = time.perf_counter()
    engine = Engine(ReplaySettings(), [Job("run", "r")], lambda: 0.5)
    while not isinstance(step := engine.next(now), Done):
        match step:
            case Perform(job, effect):
                engine.feed(job, _perform(effect, state, points), now)
            case Start(job, send):
                engine.feed(job, _reply(send.request), now)
            case _:
                raise AssertionError("nothing to wait for")
    took = time.perf_counter() - begun
    assert [r.ending for r in engine.results.jobs if r.kind == "run"] == [Ending.DELIVERED], "all is delivered"
    assert engine.progress.metrics == len(points), "every point is counted"
    return took


def dumped(points: list[Point]) -> float:
    """Seconds to encode the same points with json.dumps, 1,000 at a time."""
    begun = time.perf_counter()
    for i in range(0, len(points), 1000):
        rows = [{"key": p.key, "value": p.value, "timestamp": p.ts, "step": p.step} for p in points[i : i + 1000]]
        json.dumps({"run_id": "r", "metrics": rows}).encode()
    return time.perf_counter() - begun


def rows() -> list[dict[str, Any]]:
    """One row: metrics per second of the planner."""
    points = _points()
    ours = POINTS / min(replay(points) for _ in range(3))
    yardstick = POINTS / min(dumped(points) for _ in range(3))
    return [
        {
            "what": "planner alone, remote answers at once",
            "ours": round(ours),
            "yardstick": round(yardstick),
            "ratio": round(ours / yardstick, 2),
            "target": 200_000,
            "unit": "metrics/s",
        }
    ]


if __name__ == "__main__":
    print(rows())
