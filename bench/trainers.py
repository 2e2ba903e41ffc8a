"""Trainer processes that log one value again and again, and say when each logging call returned."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, final

from localtrack import TrackingClient
from localtrack.journal.writer import journal_of
from localtrack.store import Store

EXPERIMENT = "live"
KEY = "loss"


class Logged(NamedTuple):
    """One logging call that returned at `at`, seconds since the epoch."""

    trainer: int
    step: int
    at: float


@final
class Trainers:
    """Processes with a run each, called "live N"; a context manager that kills them.

    Args:
        store: directory of the store.
        count: how many.
        every_s: seconds between two logging calls of one.

    Attributes:
        logged: what they logged, as it happens.
    """

    def __init__(self, store: Path, count: int, every_s: float) -> None:
        self.logged: SimpleQueue[Logged] = SimpleQueue()
        experiment_id = TrackingClient(str(store)).create_experiment(EXPERIMENT)
        journal_of(Store.at(store)).close()
        self._commands = [
            [sys.executable, "-m", "bench.trainers", str(store), experiment_id, str(number), str(every_s)]
            for number in range(count)
        ]

    def __enter__(self) -> Trainers:
        self._processes = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True) for each in self._commands]
        for process in self._processes:
            threading.Thread(target=self._read, args=(process,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            trainer, step, at = line.split()
            self.logged.put(Logged(int(trainer), int(step), float(at)))


def _train(store: str, experiment_id: str, number: int, every_s: float) -> None:
    client = TrackingClient(store)
    run_id = client.create_run(experiment_id, run_name=f"live {number}").info.run_id
    due = time.monotonic() + every_s * ((number * 0.618) % 1)  # spread over the time, and never all at once
    step = 0
    while True:
        time.sleep(max(0.0, due - time.monotonic()))
        due += every_s
        client.log_metric(run_id, KEY, 1.0 / (step + 1), step=step)
        print(number, step, time.time(), flush=True)
        step += 1


if __name__ == "__main__":
    _train(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
