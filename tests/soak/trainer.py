"""A training script as a program: logs until SIGTERM, and writes down what it was told is logged.

Its argument is JSON, the fields of `fleet.Orders`. Each line of the account, written after the call returned, is one of
`run ID`, `step ID NUMBER` (one point of each of METRICS), `file ID PATH`, `end ID`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable

import localtrack

METRICS = ("loss", "accuracy")
#: Steps between two of each.
TAG_EVERY, FILE_EVERY, OTHERS_FILE_EVERY, CHILD_EVERY = 7, 15, 40, 30
CHILD_STEPS = 3
#: Steps of a run.
SHORTEST, LONGEST = 40, 200


def main() -> None:
    """Train until somebody asks for the end."""
    orders = json.loads(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    rng = random.Random(orders["seed"])
    localtrack.set_tracking_uri(orders["store"])
    localtrack.set_experiment(orders["experiment"])
    with open(orders["account"], "a", encoding="ascii") as account:

        def note(*words: object) -> None:
            account.write(" ".join(map(str, words)) + "\n")
            account.flush()

        resume, step = orders["resume"], orders["step"]
        while not stop.is_set():
            with localtrack.start_run(run_id=resume, run_name=None if resume else orders["name"]) as run:
                note("run", run.info.run_id)
                last = step + rng.randint(SHORTEST, LONGEST)
                _train(run.info.run_id, range(step, last), rng, note, lambda: stop.wait(orders["pause_s"]))
            note("end", run.info.run_id)
            resume, step = None, 0


def _train(run_id: str, steps: range, rng: random.Random, note: Callable[..., None], ends: Callable[[], bool]) -> None:
    """Log one run, or the rest of one."""
    localtrack.log_params({f"param {i}": i for i in range(8)})
    localtrack.set_tags({"team": "soak", "resumed": bool(steps.start)})
    for step in steps:
        localtrack.log_metrics({key: rng.random() for key in METRICS}, step=step)
        note("step", run_id, step)
        if step % TAG_EVERY == 0:
            localtrack.set_tag("phase", f"step {step}")
        if step % FILE_EVERY == 0:
            _log_file(run_id, f"notes/{step:05}.txt", rng, note)
            _log_file(run_id, "last.txt", rng, note)
        if step % OTHERS_FILE_EVERY == OTHERS_FILE_EVERY - 1:
            _write_file(run_id, f"others-{step}.bin", rng, note)
        if step % CHILD_EVERY == CHILD_EVERY - 1:
            _nested(step, rng, note)
        if ends():
            return


def _nested(step: int, rng: random.Random, note: Callable[..., None]) -> None:
    with localtrack.start_run(run_name=f"fold {step}", nested=True) as run:
        note("run", run.info.run_id)
        localtrack.log_param("fold", step)
        for number in range(CHILD_STEPS):
            localtrack.log_metrics({key: rng.random() for key in METRICS}, step=number)
            note("step", run.info.run_id, number)
    note("end", run.info.run_id)


def _log_file(run_id: str, path: str, rng: random.Random, note: Callable[..., None]) -> None:
    localtrack.log_text(rng.randbytes(rng.randint(20, 2000)).hex(), path)
    note("file", run_id, path)


def _write_file(run_id: str, name: str, rng: random.Random, note: Callable[..., None]) -> None:
    """As a library does that writes into the artifact directory without telling anybody."""
    folder = localtrack.get_artifact_uri().removeprefix("file://")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(rng.randbytes(3000))
    note("file", run_id, name)


if __name__ == "__main__":
    main()
