"""Stores with much in them, written through the real journals: one journal per run, as one trainer writes it."""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from localtrack.entities import Metric
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store

#: Points that one logging call writes.
CALL = 1000
NOW = 1_700_000_000_000
EXPERIMENT = "7"


def write(path: Path, runs: int, points: int, keys: int = 5, *, name: str = "run") -> None:
    """Write runs with `points` points each, of `keys` metrics in turn, by as many processes as there are cores."""
    store = Store.at(path)
    store.make()
    journal = Journal(store, strict=True)
    journal.append(ops.ExperimentCreate(EXPERIMENT, "backlog"))
    journal.close()
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        tasks = [(str(path), range(i, min(i + 50, runs)), points, keys, name) for i in range(0, runs, 50)]
        pool.starmap(_write_runs, tasks, chunksize=1)


def _write_runs(path: str, numbers: Sequence[int], points: int, keys: int, name: str) -> None:
    store = Store(path)
    names = [f"metric_{i}" for i in range(keys)]
    for number in numbers:
        journal = Journal(store, strict=True)
        run_id = uuid.uuid4().hex
        journal.append(ops.RunCreate(run_id, EXPERIMENT, f"{name} {number}", "bench", NOW + number))
        for first in range(0, points, CALL):
            metrics = [
                Metric(names[i % keys], 1.0 / (i + 1), NOW + i // keys, i // keys)
                for i in range(first, min(first + CALL, points))
            ]
            journal.append_batch(run_id, metrics)
        journal.append(ops.RunUpdate(run_id, "FINISHED", NOW + points))
        journal.close()


def size(path: Path) -> int:
    """Bytes of the journals of a store."""
    with os.scandir(Store.at(path).journals) as entries:
        return sum(entry.stat().st_size for entry in entries)
