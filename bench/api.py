"""What a logging call and an import cost, each beside its yardstick, in interleaved blocks of one run."""

from __future__ import annotations

import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLOCKS = 40
IMPORTS = 15
#: Of 1000 points, as a training loop would log them.
_STEPS = 1000
_INSERT = "INSERT INTO point (run, key, step, ts, value) VALUES (?, ?, ?, ?, ?)"


class Bare:
    """The yardstick: the same rows by plain sqlite3, WAL and synchronous=NORMAL, in a file on the same disk."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("CREATE TABLE point (n INTEGER PRIMARY KEY, run, key, step, ts, value)")
        self._rows = [(1, 2, i, 1_700_000_000_000 + i, 0.5 * i) for i in range(_STEPS)]

    def one(self, step: int) -> None:
        """One autocommit INSERT."""
        self._connection.execute(_INSERT, (1, 2, step, 1_700_000_000_000 + step, 0.5 * step))

    def many(self, count: int) -> None:
        """`count` rows by executemany in one transaction."""
        self._connection.execute("BEGIN")
        self._connection.executemany(_INSERT, self._rows[:count])
        self._connection.execute("COMMIT")

    def tidy(self) -> None:
        """Checkpoint between blocks, as the journal's background thread does for the journal."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def rows() -> list[dict[str, Any]]:
    """The rows of the API for `python -m bench`."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory:
        return [*_logging(Path(directory)), *_importing()]


def _logging(directory: Path) -> list[dict[str, Any]]:
    import localtrack

    bare = Bare(directory / "bare.db")
    client = localtrack.TrackingClient(directory / "store")
    run_id = client.create_run("0").info.run_id
    ten = {f"metric{i}": 0.5 * i for i in range(10)}
    thousand = [localtrack.Metric("loss", 0.5 * i, 1_700_000_000_000 + i, i) for i in range(_STEPS)]
    before = localtrack.get_tracking_uri() if localtrack.is_tracking_uri_set() else None
    localtrack.set_tracking_uri(directory / "store")
    run = localtrack.start_run(run_id=run_id)
    try:
        one = _beside(lambda i: localtrack.log_metric("loss", 0.5 * i, step=i), bare.one, 500, bare.tidy)
        few = _beside(lambda i: localtrack.log_metrics(ten, step=i), lambda _: bare.many(10), 100, bare.tidy)
        many = _beside(lambda _: client.log_batch(run_id, thousand), lambda _: bare.many(_STEPS), 5, bare.tidy)
    finally:
        localtrack.end_run()
        localtrack.set_tracking_uri(before)
        run.service.journal.close()
        bare.close()
    autocommit, executemany = "bare autocommit INSERT, same disk", "bare executemany in one transaction"
    worst, yardstick = (_quantile(times, 0.999) for times in one)
    slow = _row("log_metric, committed before return, p99.9", worst, yardstick, "under 1 ms", "us")
    slow["met"], slow["beside"] = worst < 1000, autocommit
    return [
        _ratio_row("log_metric, committed before return, p50", one, autocommit),
        slow,
        _ratio_row("log_metrics of 10, p50", few, executemany),
        _ratio_row("log_batch of 1000, p50", many, executemany),
    ]


def _beside(
    ours: Callable[[int], object], theirs: Callable[[int], object], count: int, tidy: Callable[[], object]
) -> tuple[list[float], list[float]]:
    """Microseconds of each call, block by block in turn, so that a busy moment of the machine meets both."""
    for warm in range(count):
        ours(warm)
        theirs(warm)
    times: tuple[list[float], list[float]] = ([], [])
    for block in range(BLOCKS):
        for call, kept in zip((ours, theirs), times, strict=True):
            for step in range(block * count, (block + 1) * count):
                began = time.perf_counter_ns()
                call(step)
                kept.append((time.perf_counter_ns() - began) / 1e3)
        tidy()
    return times


def _importing() -> list[dict[str, Any]]:
    """CPU time and memory of `import localtrack` over bare Python: the least of interleaved starts."""
    codes = ("pass", "import localtrack")
    with tempfile.TemporaryDirectory() as compiled:
        # As installed packages are: compiled once before. The variable keeps files out of the work tree.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env["PYTHONPYCACHEPREFIX"] = compiled
        for code in codes:
            _start(code, env)
        starts: dict[str, list[tuple[float, float]]] = {code: [] for code in codes}
        for _ in range(IMPORTS):
            for code in codes:
                starts[code].append(_start(code, env))
    made = []
    for place, (what, limit, unit) in enumerate((("CPU time", 60, "ms"), ("memory", 15, "MB"))):
        bare, ours = (min(start[place] for start in starts[code]) for code in codes)
        row = _row(f"import localtrack, {what} over bare Python", ours - bare, None, f"under {limit} {unit}", unit)
        row["met"], row["beside"] = row["ours"] < limit, f"bare Python: {bare:.0f} {unit}"
        made.append(row)
    return made


def _start(code: str, env: dict[str, str]) -> tuple[float, float]:
    """CPU milliseconds of a Python that runs `code`, from start to end, and its peak memory in MB."""
    # VmHWM and not ru_maxrss: that one counts the process that it was forked from.
    script = f"{code}\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run([sys.executable, "-c", script], env=env, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent * 1e3, float(said) / 1024


def _ratio_row(what: str, times: tuple[list[float], list[float]], beside: str) -> dict[str, Any]:
    ours, theirs = statistics.median(times[0]), statistics.median(times[1])
    row = _row(what, ours, theirs, "at most 1.5 x", "us")
    row["met"], row["beside"] = ours <= 1.5 * theirs, beside
    return row


def _row(what: str, ours: float, yardstick: float | None, target: str, unit: str) -> dict[str, Any]:
    ratio = None if yardstick is None else ours / yardstick
    return {"what": what, "ours": ours, "yardstick": yardstick, "ratio": ratio, "target": target, "unit": unit}


def _quantile(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * part))]
