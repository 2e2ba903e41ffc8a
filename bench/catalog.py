"""The catalog: import, histories, search, and what asking costs when nothing is new."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from localtrack.catalog import database
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.search import reads
from localtrack.catalog.search.run_search import run_search
from localtrack.entities import Metric, Param, RunTag, ViewType
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store

RUN = "0123456789abcdef0123456789abcdef"
_POINTS = 1_000_000
_SINGLES = 200_000
_RUNS = 10_000
_JOURNALS = 1_000


def rows() -> list[dict[str, Any]]:
    """The rows of the catalog for `python -m bench`."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as name:
        directory = Path(name)
        return [*_points(directory), *_singles(directory), *_search(directory), *_quiet(directory)]


def _points(directory: Path) -> list[dict[str, Any]]:
    """One million points of one metric: import, history, delivery order."""
    store = Store.at(directory / "points")
    journal = Journal(store, strict=True)
    journal.append(ops.RunCreate(RUN, "7", "bench", "bench", 0))
    now = time.time_ns() // 1_000_000
    for first in range(0, _POINTS, 1000):
        journal.append_batch(RUN, [Metric("loss", 0.5 * i, now + i // 100, i) for i in range(first, first + 1000)])
    journal.close()
    with Catalog(store) as catalog:
        imported = _seconds(catalog.refresh)
        bare = _bare_import(store.catalog, directory / "bare.db")
        history = min(_seconds(lambda: catalog.metric_history(RUN, "loss")) for _ in range(3))
        select = min(_seconds(lambda: _bare_history(store.catalog)) for _ in range(3))
        incarnation = catalog.journals()[0].incarnation
        assert incarnation is not None, "the journal was read"
        last = {incarnation: (_POINTS // 1000 - 9) * ops.POSITIONS_PER_RECORD}
        window = min(_seconds(lambda: catalog.points(RUN, last, 1000, refresh=False)) for _ in range(20))
        unlike = min(_seconds(lambda: catalog.points(RUN, last, 1000, distinct=True, refresh=False)) for _ in range(20))
    return [
        _rate("import, batches of 1000", _POINTS / imported, _POINTS / bare),
        _row("history of 1 million points", history, select, "s", "under 1 s", met=history < 1),
        _row("1000 points of 1 million in delivery order", window * 1e3, None, "ms"),
        _row("the same without equal twins", unlike * 1e3, None, "ms"),
    ]


def _singles(directory: Path) -> list[dict[str, Any]]:
    """Points that were logged one by one, ten metrics in turn."""
    store = Store.at(directory / "singles")
    journal = Journal(store, strict=True)
    journal.append(ops.RunCreate(RUN, "7", "bench", "bench", 0))
    keys = [f"metric{i}" for i in range(10)]
    for i in range(_SINGLES):
        journal.append_metric(RUN, keys[i % 10], 0.5 * i, None, i // 10)
    journal.close()
    with Catalog(store) as catalog:
        imported = _seconds(catalog.refresh)
        bare = _bare_import(store.catalog, directory / "bare-singles.db")
    return [_rate("import, points logged one by one", _SINGLES / imported, _SINGLES / bare)]


def _search(directory: Path) -> list[dict[str, Any]]:
    """Ten thousand runs with 10 params, 10 metrics and 5 tags each."""
    store = Store.at(directory / "search")
    journal = Journal(store, strict=True)
    params = [Param(f"param{i}", str(i)) for i in range(10)]
    tags = [RunTag(f"tag{i}", "value") for i in range(5)]
    for number in range(_RUNS):
        run_id = f"{number:032x}"
        journal.append(ops.RunCreate(run_id, "7", f"run {number}", "bench", number))
        # 7919 is prime: the values are spread and each is there once.
        metrics = [Metric(f"metric{i}", number * 7919 % _RUNS / _RUNS, 1, 1) for i in range(10)]
        journal.append_batch(run_id, metrics, params, tags)
    journal.close()
    with Catalog(store) as catalog:
        imported = _seconds(catalog.refresh)
        page = min(_seconds(lambda: catalog.runs(["7"], ViewType.ACTIVE_ONLY, 100)) for _ in range(5))
        large = min(_seconds(lambda: catalog.runs(["7"], ViewType.ACTIVE_ONLY, 1000)) for _ in range(5))
        found = {name: _page(catalog, *search) for name, search in _SEARCHES.items()}
        index = min(_seconds(catalog.run_index) for _ in range(3))
    return [
        _row("import of 10,000 runs, each", imported / _RUNS * 1e6, None, "us"),
        _row("search 10,000 runs, page of 100", page * 1e3, None, "ms", "under 100 ms", met=page < 0.1),
        _row("search 10,000 runs, page of 1000", large * 1e3, None, "ms", "under 100 ms", met=large < 0.1),
        *(
            _row(f"{name}, page of 100", took * 1e3, None, "ms", "under 100 ms", met=took < 0.1)
            for name, took in found.items()
        ),
        _row("index of 10,000 runs (status, planning)", index * 1e3, None, "ms"),
    ]


#: Filter and order of searches of pages of 100 over the ten thousand runs.
_SEARCHES: dict[str, tuple[str, list[str]]] = {
    "by a metric's order": ("", ["metrics.metric5 DESC"]),
    "by a filter of four": (
        "metrics.metric3 > 0.1 AND params.param2 = '2' AND tags.tag1 LIKE 'val%' AND status = 'RUNNING'",
        [],
    ),
    "by a filter of three and an order of three": (
        "metrics.metric3 > 0.5 AND params.param2 ILIKE '2' AND tags.none IS NULL",
        ["metrics.metric5 DESC", "params.param1", "tags.tag0 DESC"],
    ),
    "by a filter that one run passes": ("metrics.metric3 = 0.1234", ["metrics.metric5"]),
}


def _page(catalog: Catalog, filter_string: str, order_by: list[str]) -> float:
    """Seconds for a first page or the one behind it, whichever takes longer."""
    search = run_search(["7"], filter_string, order_by, (0,), catalog.store.artifacts)
    token = catalog.search(reads.runs, search, 100).token
    first = min(_seconds(lambda: catalog.search(reads.runs, search, 100)) for _ in range(5))
    return max(first, min(_seconds(lambda: catalog.search(reads.runs, search, 100, token)) for _ in range(5)))


def _quiet(directory: Path) -> list[dict[str, Any]]:
    """What asking costs when nothing is new, and a read after a write."""
    store = Store.at(directory / "quiet")
    journal = Journal(store, strict=True)
    journal.append(ops.RunCreate(RUN, "7", "bench", "bench", 0))
    path = journal.path
    assert path is not None, "a journal that was written to has a file"
    journal.close()
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM record WHERE n > 1")  # its seal: these journals count as open
    connection.commit()
    connection.close()
    for number in range(_JOURNALS):
        copy = Path(path).with_name(f"{number}.db")
        shutil.copy(path, copy)
        Path(f"{copy}-wal").touch()
    with Catalog(store) as catalog:
        catalog.refresh()
        end = time.monotonic() + 0.2  # files changed a moment ago are looked into again
        while time.monotonic() < end:
            catalog.refresh()
        quiet = min(_seconds(catalog.refresh) for _ in range(20))
        bare = min(_seconds(lambda: [e.stat() for e in os.scandir(store.journals)]) for _ in range(20))
    small = Store.at(directory / "small")
    journal = Journal(small, strict=True)
    journal.append(ops.RunCreate(RUN, "7", "bench", "bench", 0))
    with Catalog(small) as catalog:

        def write_and_read() -> None:
            journal.append_metric(RUN, "loss", 1.0, None, 1)
            catalog.run(RUN)

        after_write = sorted(_seconds(write_and_read) for _ in range(200))[100]
    journal.close()
    return [
        _row("refresh, nothing new, 1000 open journals", quiet * 1e3, bare * 1e3, "ms"),
        _row("write a point and read the run, p50", after_write * 1e3, None, "ms"),
    ]


def _bare_import(source: str, target: Path) -> float:
    """Seconds to write the same rows into the same table and index, without reading or merging anything."""
    connection = database.open_to_read(source)
    content = connection.execute("SELECT * FROM metric").fetchall()
    table = connection.execute("SELECT sql FROM sqlite_master WHERE tbl_name = 'metric' AND sql NOT NULL").fetchall()
    connection.close()
    bare = sqlite3.connect(target, isolation_level=None)
    bare.execute("PRAGMA journal_mode=WAL").fetchone()
    bare.execute("PRAGMA synchronous=NORMAL")
    bare.execute("PRAGMA cache_size=-32768")
    for (sql,) in table:
        bare.execute(sql)

    def write() -> None:
        bare.execute("BEGIN")
        bare.executemany("INSERT INTO metric VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", content)
        bare.execute("COMMIT")

    taken = _seconds(write)
    bare.close()
    return taken


def _bare_history(source: str) -> None:
    connection = database.open_to_read(source)
    connection.execute("SELECT ts, step, value FROM metric WHERE run = 1 ORDER BY ts, step, value").fetchall()
    connection.close()


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _rate(what: str, ours: float, yardstick: float) -> dict[str, Any]:
    return {
        "what": f"{what}, points/s",
        "ours": ours,
        "yardstick": yardstick,
        "ratio": ours / yardstick,
        "target": "at least 200,000 points/s",
        "unit": "points/s",
        "met": ours >= 200_000,
        "beside": "bare executemany of the same rows into the same table and index",
    }


def _row(
    what: str, ours: float, yardstick: float | None, unit: str, target: str = "", *, met: bool | None = None
) -> dict[str, Any]:
    ratio = None if yardstick is None else ours / yardstick
    return {
        "what": what,
        "ours": ours,
        "yardstick": yardstick,
        "ratio": ratio,
        "target": target,
        "unit": unit,
        "met": met,
    }
