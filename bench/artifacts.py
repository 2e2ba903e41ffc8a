"""Files into the store and the scan of them, each beside a plain copy that is as safe, in interleaved blocks."""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

FILES = 5_000
#: Of them the yardstick copies so many: one fsync after the other takes its time.
BARE_FILES = 500
FILE_BYTES = 2048
LARGE_BYTES = 300 << 20
BLOCKS = 3
_PIECE = 1 << 20


def rows() -> list[dict[str, Any]]:
    """The rows of the artifacts for `python -m bench`."""
    from localtrack.journal.writer import journal_of
    from localtrack.store import Store

    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory:
        try:
            return _measured(Path(directory))
        finally:
            journal_of(Store.at(Path(directory, "store"))).close()  # before its directory goes


def _measured(directory: Path) -> list[dict[str, Any]]:
    import localtrack

    localtrack.set_tracking_uri(str(directory / "store"))
    small, large = directory / "small", directory / "large"
    for i in range(FILES):
        (small / f"{i % 50}").mkdir(parents=True, exist_ok=True)
        (small / f"{i % 50}" / f"{i}").write_bytes(os.urandom(FILE_BYTES))
    with large.open("wb") as file:
        for _ in range(LARGE_BYTES // _PIECE):
            file.write(os.urandom(_PIECE))
    times: dict[str, list[float]] = {name: [] for name in ("small", "bare small", "large", "bare large", "scan")}
    for block in range(BLOCKS):
        with localtrack.start_run():
            times["small"].append(_seconds(lambda: localtrack.log_artifacts(str(small))))
            times["large"].append(_seconds(lambda: localtrack.log_artifact(str(large))))
        target = directory / f"bare{block}"
        times["bare small"].append(_seconds(lambda to=target: _copy_tree(small, to)))
        times["bare large"].append(_seconds(lambda to=target: _copy(large, to / "large")))
        times["scan"].append(_seconds(lambda: _scan(directory / "store")))
    localtrack.set_tracking_uri(None)
    megabytes = LARGE_BYTES / 1e6
    return [
        _row(
            f"log_artifacts of {FILES:,} files", "files/s", (FILES, times["small"]), (BARE_FILES, times["bare small"])
        ),
        _row("log_artifact of 300 MiB", "MB/s", (megabytes, times["large"]), (megabytes, times["bare large"])),
        _row(f"scan that finds {FILES:,} more stored files", "files/s", (FILES, times["scan"]), None),
    ]


def _row(
    what: str, unit: str, ours: tuple[float, list[float]], bare: tuple[float, list[float]] | None
) -> dict[str, Any]:
    """Speeds of (amount, seconds of each block)."""
    speed = ours[0] / statistics.median(ours[1])
    yardstick = None if bare is None else bare[0] / statistics.median(bare[1])
    return {
        "what": what,
        "ours": speed,
        "yardstick": yardstick,
        "ratio": None if yardstick is None else speed / yardstick,
        "target": "at least 0.9 x" if yardstick else "",
        "met": None if yardstick is None else speed >= 0.9 * yardstick,
        "unit": unit,
        "beside": "copy, SHA-256 and fsync of one file after the other",
    }


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _copy_tree(source: Path, target: Path) -> None:
    for path in islice((path for path in source.rglob("*") if path.is_file()), BARE_FILES):
        _copy(path, target / path.relative_to(source))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with source.open("rb") as file, target.open("wb") as goal:
        while piece := file.read(_PIECE):
            digest.update(piece)
            goal.write(piece)
        goal.flush()
        os.fsync(goal.fileno())


def _scan(path: Path) -> None:
    from localtrack.artifacts.scan import register
    from localtrack.catalog.catalog import Catalog
    from localtrack.journal.writer import journal_of
    from localtrack.store import Store

    store = Store(str(path))
    with Catalog(store) as catalog:
        register(store, catalog, lambda: journal_of(store), time.time_ns() // 1_000_000 + 60_000)
