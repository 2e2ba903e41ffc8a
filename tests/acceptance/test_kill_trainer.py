"""SIGKILL of the whole process group right after call N: all N acknowledged calls are in the catalog afterwards."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack.journal import ops
from localtrack.journal.reader import EmptyJournal, JournalReader
from localtrack.store import Store

#: Calls after which the trainer is killed: the first ones each, then around what is done every so often.
KILL_AFTER = [*range(1, 24), 50, 97, 333, 1000, 2500, 8100, 8200, 9000]

ONE_THREAD = """
import os, signal, sys
import localtrack
from localtrack import MlflowClient
store, last = sys.argv[1], int(sys.argv[2])
calls = 0
def done():
    global calls
    calls += 1
    if calls == last:
        os.killpg(0, signal.SIGKILL)
localtrack.set_tracking_uri(store)
run = localtrack.start_run(run_id=None, run_name="killed")
done()
step = 0
while True:
    localtrack.log_metric("loss", step / 2, step=step)
    done()
    if step % 3 == 0:
        localtrack.log_param(f"p{step}", step)
        done()
    if step % 4 == 0:
        localtrack.log_metrics({"a": step, "b": -step}, step=step)
        done()
    if step % 5 == 0:
        localtrack.set_tag("step", step)
        done()
    step += 1
"""


def expected(calls: int) -> tuple[dict[str, list[int]], list[str], str | None]:
    """What the first `calls` calls of ONE_THREAD logged: steps by metric key, params, the tag."""
    steps: dict[str, list[int]] = {}
    params, tag = [], None
    left, step = calls - 1, 0
    while left > 0:
        for due, keys in ((True, ["loss"]), (step % 3 == 0, []), (step % 4 == 0, ["a", "b"]), (step % 5 == 0, [])):
            if not due or left == 0:
                continue
            left -= 1
            for key in keys:
                steps.setdefault(key, []).append(step)
        step += 1
    left, step = calls - 1, 0
    while left > 0:
        left -= 1
        if step % 3 == 0 and left > 0:
            left -= 1
            params.append(f"p{step}")
        if step % 4 == 0 and left > 0:
            left -= 1
        if step % 5 == 0 and left > 0:
            left -= 1
            tag = str(step)
        step += 1
    return steps, params, tag


def run_until_killed(script: str, *arguments: object) -> None:
    """Run a script in a process group of its own, which kills that group."""
    process = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], start_new_session=True)
    assert process.wait(120) == -signal.SIGKILL


@pytest.mark.parametrize("calls", KILL_AFTER)
def test_every_acknowledged_call_survives(tmp_path: Path, calls: int) -> None:
    """Killed right after call N, through the public API: the run and exactly the N calls are in the catalog."""
    run_until_killed(ONE_THREAD, tmp_path, calls)
    steps, params, tag = expected(calls)
    with closing(Catalog(Store.at(tmp_path))) as catalog:
        (entry,) = catalog.run_index()
        run = catalog.run(entry.run_id)
        for key, wanted in steps.items():
            assert [m.step for m in catalog.metric_history(entry.run_id, key, None, None)] == wanted
    assert run is not None
    assert run.info.run_name == "killed"
    assert set(run.data.metrics) == set(steps)
    assert sorted(run.data.params) == sorted(params)
    assert run.data.tags.get("step") == tag
    assert run.info.status == "RUNNING"


WORKERS = """
import mmap, os, struct, sys, threading
from localtrack.entities import Metric, Param
from localtrack.journal.writer import journal_of
from localtrack.store import Store
store, acks, children, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
journal = journal_of(Store.at(store))
with open(acks, "r+b") as file:
    board = mmap.mmap(file.fileno(), 0)  # shared memory of a file: what stands in it survives the process
def work(number):
    step = 0
    while True:
        if step % 10 == 9:
            journal.append_batch("r", [Metric(f"worker{number}", 1.0, 5, step)], [Param(f"p{number}.{step}", "x")])
        else:
            journal.append_metric("r", f"worker{number}", 1.0, None, step)
        step += 1
        struct.pack_into("<q", board, number * 8, step)
journal.append_metric("r", "before", 1.0, None, 0)
base = 0
for child in range(children):
    if os.fork() == 0:
        base = (child + 1) * threads
        break
others = [threading.Thread(target=work, args=(base + i,)) for i in range(1, threads)]
for thread in others:
    thread.start()
work(base)
"""


def recorded_steps(directory: Path) -> dict[str, list[int]]:
    """Steps by key in all journals of a store, none of them damaged."""
    steps: dict[str, list[int]] = {}
    for path in sorted((directory / "journals").glob("*.db")):
        try:
            with JournalReader(str(path)) as reader:
                for item in reader.read(0, 1 << 40):
                    assert isinstance(item, ops.Record), item
                    assert isinstance(item.op, ops.LogBatch)
                    for metric in item.op.metrics:
                        steps.setdefault(metric.key, []).append(metric.step)
        except EmptyJournal:  # noqa: PERF203 - killed while it made the file
            continue
    return steps


@pytest.mark.parametrize(("children", "threads"), [(0, 2), (0, 4), (3, 1), (2, 2)])
@pytest.mark.parametrize("seed", range(4))
def test_threads_and_forked_children(tmp_path: Path, children: int, threads: int, seed: int) -> None:
    """Killed at a random moment: of every thread of every process all finished calls are read, at most one more."""
    workers = (children + 1) * threads
    acks = tmp_path / "acks"
    acks.write_bytes(bytes(8 * workers))
    store = tmp_path / "store"
    arguments = [sys.executable, "-c", WORKERS, str(store), str(acks), str(children), str(threads)]
    process = subprocess.Popen(arguments, start_new_session=True)
    with acks.open("r+b") as file:
        board = mmap.mmap(file.fileno(), 0)
    try:
        deadline = time.monotonic() + 60
        wanted = random.Random(seed).randrange(1, 3000)
        while min(struct.unpack(f"<{workers}q", board)) < min(wanted, 50) or _sum(board, workers) < wanted:
            assert time.monotonic() < deadline, "the workers do not log"
            assert process.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)
    acknowledged = struct.unpack(f"<{workers}q", board)
    board.close()
    steps = recorded_steps(store)
    assert steps.pop("before") == [0]
    with closing(Catalog(Store.at(store))) as catalog:
        for worker, count in enumerate(acknowledged):
            found = steps.pop(f"worker{worker}")
            assert found == list(range(len(found)))
            assert count <= len(found) <= count + 1
            assert len(catalog.metric_history("r", f"worker{worker}", None, None)) == len(found)
    assert not steps


def _sum(board: mmap.mmap, workers: int) -> int:
    return sum(struct.unpack(f"<{workers}q", board))
