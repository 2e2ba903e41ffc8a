"""Scale: what the daemon process does with a long backlog, at a remote that answers at once and at a real one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import backlog, replay
from bench.daemons import DaemonProcess
from bench.null_server import NullServer
from localtrack.store import Store
from tests.servers.mlflow_server import MlflowServer

RUNS = int(os.environ.get("BENCH_SCALE_RUNS", "2000"))
#: Points of one run: five metrics of 1,000 steps.
POINTS = 5000
#: Seconds after which a measurement is given up.
PATIENCE_S = 3600.0


def rows() -> list[dict[str, Any]]:
    """The rows of this benchmark."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory:
        return [*_null(Path(directory)), *_real(Path(directory) / "real")]


def until(true: Callable[[], bool], every_s: float, patience_s: float = PATIENCE_S) -> None:
    """Wait until something is true."""
    end = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(every_s)


def _null(home: Path) -> list[dict[str, Any]]:
    backlog.write(home / "store", RUNS, POINTS)
    bytes_each = backlog.size(home / "store") / (RUNS * POINTS)
    with NullServer() as server:
        began = time.time()
        with DaemonProcess(home / "store", server.url) as daemon:
            until(lambda: server.told()["ended"] >= RUNS, 0.5)
            told = server.told()
            memory, cpu_s = daemon.memory_mb(), daemon.cpu_s()
    assert told["points"] == RUNS * POINTS, "each point is sent once"
    what = f"daemon, backlog of {RUNS * POINTS:,} points in {RUNS:,} runs, null remote"
    return [
        row(f"{what}: memory, at most", memory, "MB", "under 150 MB", met=memory < 150),
        row(f"{what}: from start to the last point", RUNS * POINTS / (told["last_at"] - began), "points/s"),
        row(f"{what}: from start to the first point", told["first_at"] - began, "s"),
        row(f"{what}: for each second of a core", RUNS * POINTS / cpu_s, "points/s"),
        row(f"{what}: journals, for each point", bytes_each, "bytes", "at most 45 bytes", met=bytes_each <= 45),
    ]


def row(
    what: str, ours: float, unit: str, target: str = "", yardstick: float | None = None, *, met: bool | None = None
) -> dict[str, Any]:
    """A row of the table: see `bench.__main__`."""
    ratio = None if yardstick is None else ours / yardstick
    return {
        "what": what, "ours": ours, "yardstick": yardstick, "ratio": ratio, "target": target, "unit": unit, "met": met
    }  # fmt: skip


def _real(home: Path) -> list[dict[str, Any]]:
    """A daemon that lives beside an empty store, into which the journals come; beside posting the same bodies."""
    home.mkdir()
    with MlflowServer(home / "server") as server:
        replay.log(home / "first", "warm")
        replay.recorded(home / "first", server)
        ours, bare = [], []
        for turn in range(replay.TURNS):
            replay.log(home / f"bodies{turn}", f"bodies {turn}")
            bodies = replay.recorded(home / f"bodies{turn}", server)
            replay.log(home / f"daemon{turn}", f"daemon {turn}")
            ours.append(_delivered(home / f"daemon{turn}", server))
            bare.append(replay.post(bodies, server).whole)
    points = replay.POINTS * replay.TURNS
    rate, yardstick = points / sum(ours), points / sum(bare)
    what = f"daemon, {points:,} points in {replay.RUNS * replay.TURNS} runs to mlflow server (SQLite)"
    told = row(what, rate, "points/s", "at least 0.9 x", yardstick, met=rate / yardstick >= 0.9)
    return [{**told, "beside": f"the same bodies posted by http.client, over {replay.CONNECTIONS} connections"}]


def _delivered(path: Path, server: MlflowServer) -> float:
    """Seconds from the moment that the journals are there to the end of the last run on the server."""
    store = Store.at(path)
    aside = f"{store.journals}.aside"
    os.rename(store.journals, aside)
    os.mkdir(store.journals, 0o700)
    environ = {"LOCALTRACK_DAEMON_CONNECTIONS_MAX": str(replay.CONNECTIONS)}
    with DaemonProcess(path, server.url, **environ) as daemon:
        until(lambda: bool(daemon.facts()), 0.1)
        began = time.perf_counter()
        for name in os.listdir(aside):
            os.rename(os.path.join(aside, name), os.path.join(store.journals, name))
        until(lambda: replay.finished(server, f"daemon {path.name.removeprefix('daemon')}") == replay.RUNS, 0.1)
        return time.perf_counter() - began
