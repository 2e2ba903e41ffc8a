"""Fairness: how old the points of live runs are when they reach the remote, while a backlog drains beside them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import backlog
from bench.daemons import DaemonProcess
from bench.null_server import NullServer
from bench.scale import row, until
from bench.trainers import Trainers
from localtrack.store import Store

LIVE = 20
POINTS = int(os.environ.get("BENCH_FAIR_POINTS", "1000000"))
#: Seconds for which the live runs are watched before the backlog comes.
ALONE_S = 15.0


def rows() -> list[dict[str, Any]]:
    """The rows of this benchmark."""
    return [*_beside(1, POINTS), *_beside(200, POINTS // 200)]


def _beside(runs: int, points: int) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory, NullServer() as server:
        store, old = Path(directory) / "store", Path(directory) / "old"
        backlog.write(old, runs, points)
        Store.at(store).make()
        with DaemonProcess(store, server.url), Trainers(store, LIVE, 1.0):
            until(lambda: server.told()["runs"] == LIVE, 0.5)
            time.sleep(ALONE_S)
            came = time.time()
            for name in os.listdir(Store.at(old).journals):
                os.rename(os.path.join(Store.at(old).journals, name), os.path.join(Store.at(store).journals, name))
            until(lambda: server.told()["ended"] == runs, 0.5)
            done = time.time()
            time.sleep(2.0)
            ages = server.told()["ages"]
    alone = sorted(age / 1000 for at, age in ages if came - ALONE_S < at < came)
    beside = sorted(age / 1000 for at, age in ages if came < at < done + 2)
    what = f"lag of {LIVE} live runs while {runs * points:,} points in {runs} run{'s' * (runs > 1)} drain"
    told = f", {done - came:.0f} s"
    return [
        row(f"{what}{told}: median", at(beside, 0.5), "s", "beside no backlog", at(alone, 0.5)),
        row(f"{what}: most", beside[-1], "s", "seconds, not minutes", alone[-1], met=beside[-1] < 20),
    ]  # fmt: skip


def at(values: list[float], share: float) -> float:
    """The value that this share of sorted values does not exceed."""
    return values[min(int(share * len(values)), len(values) - 1)]
