"""The journal alone: what an append costs beside bare SQLite, what a point takes on disk, how fast it is read back."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.api import Bare
from localtrack.entities import Metric
from localtrack.errors import JournalError
from localtrack.journal import ops
from localtrack.journal.reader import JournalReader, Points
from localtrack.journal.writer import Journal
from localtrack.store import Store

RUN = "0123456789abcdef0123456789abcdef"
_POINTS = 200_000
_BLOCKS = 40


def rows() -> list[dict[str, Any]]:
    """The rows of the journal for `python -m bench`."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as name:
        directory = Path(name)
        return [*_appending(directory), *_whole_journal(directory), *_trouble(directory)]


def _appending(directory: Path) -> list[dict[str, Any]]:
    journal, bare = Journal(Store.at(directory / "appending")), Bare(directory / "bare.db")
    ten = tuple(Metric(f"metric{i}", 0.5 * i, 1_700_000_000_000, 3) for i in range(10))
    thousand = tuple(Metric("loss", 0.5 * i, 1_700_000_000_000 + i, i) for i in range(1000))
    began = time.perf_counter_ns()
    journal.append(ops.RunCreate(RUN, "0", "bench", "bench", 1_700_000_000_000))
    first = (time.perf_counter_ns() - began) / 1e3
    single = _beside(lambda i: journal.append_metric(RUN, "loss", 0.5 * i, None, i), bare.one, 1000, bare.tidy)
    few = _beside(lambda _: journal.append_batch(RUN, ten), lambda _: bare.many(10), 100, bare.tidy)
    many = _beside(lambda _: journal.append_batch(RUN, thousand), lambda _: bare.many(1000), 5, bare.tidy)
    synced = _times(lambda i: journal.append(ops.RunUpdate(RUN, end_time=i), synced=True), 100)
    journal.close()
    bare.close()
    autocommit, executemany = "bare autocommit INSERT, same disk", "bare executemany in one transaction"
    return [
        _row("append_metric, committed, p50", _quantile(single[0], 0.5), _quantile(single[1], 0.5), 1.25, autocommit),
        _limit("append_metric, committed, p99.9", _quantile(single[0], 0.999), _quantile(single[1], 0.999), 1000),
        _limit("append_metric, committed, slowest of 40,000", max(single[0]), max(single[1]), None),
        _row("append_batch of 10, p50", _quantile(few[0], 0.5), _quantile(few[1], 0.5), 1.25, executemany),
        _row("append_batch of 1000, p50", _quantile(many[0], 0.5), _quantile(many[1], 0.5), 1.25, executemany),
        _limit("append, survives power loss (fenced), p50", _quantile(synced, 0.5), None, None),
        _limit("first append: makes the file, durably", first, None, None),
    ]


def _whole_journal(directory: Path) -> list[dict[str, Any]]:
    journal = Journal(Store.at(directory / "whole"))
    for step in range(_POINTS):
        journal.append_metric(RUN, ("loss", "accuracy", "lr")[step % 3], 0.5 * step, None, step)
    path = journal.path
    assert path is not None
    journal.close()
    size = os.path.getsize(path) / _POINTS
    with JournalReader(path) as reader:
        began = time.perf_counter()
        found = sum(len(item.rows) for item in reader.read_bulk(0, 1 << 40) if isinstance(item, Points))
        rate = found / (time.perf_counter() - began)
    assert found == _POINTS
    what = f"journal of {_POINTS:,} single metrics, on disk"
    return [
        {**_base(what, size, None, "bytes/scalar"), "target": "at most 45", "met": size <= 45},
        _base("the same, read back and checked (read_bulk)", rate, None, "points/s"),
    ]


def _trouble(directory: Path) -> list[dict[str, Any]]:
    """A disk that takes nothing must not slow training down."""
    broken = directory / "broken"
    broken.mkdir()
    (broken / "journals").write_text("in the way")
    journal = Journal(Store.at(broken), retry_seconds=3600)
    journal.strict = True  # no warning in the table of results
    with suppress(JournalError):
        journal.append_metric(RUN, "loss", 1.0, None, 0)
    journal.strict = False
    times = _times(lambda i: journal.append_metric(RUN, "loss", 0.5, None, i), 20_000)
    (broken / "journals").unlink()
    journal.close()
    return [_limit("append_metric while nothing can be written, p50", _quantile(times, 0.5), None, None)]


def _beside(
    ours: Callable[[int], object], theirs: Callable[[int], object], count: int, tidy: Callable[[], object]
) -> tuple[list[float], list[float]]:
    """Microseconds of each call, in blocks that alternate, so that a busy moment of the machine meets both."""
    _times(ours, count)
    _times(theirs, count)
    mine: list[float] = []
    yours: list[float] = []
    for _ in range(_BLOCKS):
        mine += _times(ours, count)
        yours += _times(theirs, count)
        tidy()
    return mine, yours


def _times(call: Callable[[int], object], count: int) -> list[float]:
    times = []
    for step in range(count):
        began = time.perf_counter_ns()
        call(step)
        times.append((time.perf_counter_ns() - began) / 1e3)
    return times


def _quantile(times: list[float], share: float) -> float:
    return sorted(times)[int(share * (len(times) - 1))]


def _base(what: str, ours: float, yardstick: float | None, unit: str) -> dict[str, Any]:
    ratio = None if yardstick is None else ours / yardstick
    return {"what": what, "ours": ours, "yardstick": yardstick, "ratio": ratio, "target": "", "unit": unit}


def _row(what: str, ours: float, yardstick: float, most: float, beside: str) -> dict[str, Any]:
    row = _base(what, ours, yardstick, "us")
    return {**row, "target": f"at most {most} x", "met": row["ratio"] <= most, "beside": beside}


def _limit(what: str, ours: float, yardstick: float | None, most: float | None) -> dict[str, Any]:
    row = _base(what, ours, yardstick, "us")
    return row if most is None else {**row, "target": f"under {most / 1000:g} ms", "met": ours < most}
