"""Replay to a real MLflow server, beside posting the very same bodies, built beforehand, over as many connections.

Both sides log into runs of their own on the same server, in turns, so that the server's work is the same; what replay
adds is the catalog, the planner, the delivery state with its fsyncs, and httpx.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from localtrack import TrackingClient
from localtrack.catalog.catalog import Catalog
from localtrack.entities import Metric
from localtrack.journal.writer import journal_of
from localtrack.store import Store
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import TransportSettings
from localtrack_sync.shell.replay import Silent, Stop
from localtrack_sync.shell.session import SyncSettings, run_errand
from localtrack_sync.store.choice import Errand
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy

#: Points of one turn; a server with SQLite takes a few thousand a second.
POINTS = int(os.environ.get("BENCH_REPLAY_POINTS", "50000"))
TURNS = 2
RUNS = 4
KEYS = 10
CONNECTIONS = 2
NOW = 1_700_000_000_000
#: Points that one logging call of the benchmark writes.
CALL = 1000


def rows() -> list[dict[str, Any]]:
    """The rows of this benchmark."""
    with tempfile.TemporaryDirectory() as directory, MlflowServer(Path(directory) / "server") as server:
        home = Path(directory)
        _warm(home, server)
        ours, bare = [], []
        for turn in range(TURNS):
            log(home / f"store{turn}", f"turn {turn}")
            bodies = recorded(home / f"store{turn}", server)
            log(home / f"again{turn}", f"turn {turn} again")
            ours.append(replay(home / f"again{turn}", server.url))
            bare.append(post(bodies, server))
        memory = peak_memory(home, server)
    points = POINTS * TURNS
    rate = points / sum(ours)
    yardsticks = {
        "the same bodies posted by http.client, runs made and ended as well": POINTS
        * TURNS
        / sum(b.whole for b in bare),
        "the bodies with points alone": points / sum(b.points for b in bare),
    }
    return [
        *(
            {
                "what": f"replay of {POINTS * TURNS:,} points in {RUNS * TURNS} runs to mlflow server (SQLite)",
                "ours": round(rate), "yardstick": round(yardstick), "ratio": rate / yardstick,
                "target": "at least 0.9 x", "unit": "points/s", "met": rate / yardstick >= 0.9,
                "beside": f"{beside}, over {CONNECTIONS} connections",
            }
            for beside, yardstick in yardsticks.items()
        ),
        {
            "what": f"memory of `localtrack sync` while it replays {POINTS:,} points",
            "ours": round(memory), "yardstick": None, "ratio": None,
            "target": "under 150 MB", "unit": "MB", "met": memory < 150,
        },
    ]  # fmt: skip


def log(path: Path, experiment: str) -> None:
    """Log the points of one turn into a new store."""
    client = TrackingClient(str(path))
    experiment_id = client.create_experiment(experiment)
    for number in range(RUNS):
        run_id = client.create_run(experiment_id, start_time=NOW, run_name=f"run {number}").info.run_id
        for first in range(0, POINTS // RUNS, CALL):
            metrics = [
                Metric(f"metric_{i % KEYS}", 1.0 / (i + 1), NOW + i // KEYS, i // KEYS)
                for i in range(first, min(first + CALL, POINTS // RUNS))
            ]
            client.log_batch(run_id, metrics)
        client.set_terminated(run_id, "FINISHED", NOW + 1)
    journal_of(Store.at(path)).close()


def replay(path: Path, url: str) -> float:
    """Replay a store; seconds, import into the catalog included."""
    settings = SyncSettings(ReplaySettings(connections=CONNECTIONS), TransportSettings(), {})
    address = parse_remote(url)
    began = time.perf_counter()
    with Catalog(Store.at(path)) as catalog:
        ended = run_errand(
            catalog,
            address,
            lambda: Errand(address, tuple(catalog.run_index(refresh=False))),
            settings,
            Silent(),
            Stop(),
        )
    seconds = time.perf_counter() - began
    assert ended.report.complete, ended.report
    assert ended.report.progress.metrics == POINTS, ended.report.progress
    return seconds


def recorded(path: Path, server: MlflowServer) -> list[bytes]:
    """The bodies with points that a replay of the store sends, as a proxy between them sees them."""
    with FaultProxy(server.port) as proxy:
        replay(path, proxy.url)
        return [seen.body for seen in proxy.seen if b'"metrics":' in seen.body]


class Posted(NamedTuple):
    """Seconds that posting took: the points alone, and with the requests that make and end the runs."""

    points: float
    whole: float


def post(bodies: list[bytes], server: MlflowServer) -> Posted:
    """Post the bodies for new runs, over several connections, with what makes and ends these runs."""
    runs: dict[str, str] = {}
    tasks: SimpleQueue[bytes] = SimpleQueue()
    began = time.perf_counter()
    experiment = _ask(server, "experiments/create", {"name": f"bare {time.time_ns()}"})["experiment_id"]
    for body in bodies:
        old = json.loads(body)["run_id"]
        if old not in runs:
            runs[old] = _ask(server, "runs/create", {"experiment_id": experiment, "start_time": NOW})["run"]["info"][
                "run_id"
            ]
        tasks.put(body.replace(old.encode(), runs[old].encode(), 1))
    threads = [threading.Thread(target=_post_all, args=(server, tasks)) for _ in range(CONNECTIONS)]
    points_began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    points_ended = time.perf_counter()
    for run_id in runs.values():
        _ask(server, "runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": NOW + 1})
    return Posted(points_ended - points_began, time.perf_counter() - began)


def finished(server: MlflowServer, experiment: str) -> int:
    """How many runs of an experiment have ended."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    connection.request("GET", f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={quote(experiment)}")
    found = json.loads(connection.getresponse().read())
    connection.close()
    if "experiment" not in found:
        return 0
    asked = {"experiment_ids": [found["experiment"]["experiment_id"]], "filter": "attributes.status = 'FINISHED'"}
    return len(_ask(server, "runs/search", asked).get("runs", []))


def _post_all(server: MlflowServer, tasks: SimpleQueue[bytes]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    while True:
        try:
            body = tasks.get_nowait()
        except Empty:
            connection.close()
            return
        connection.request("POST", "/api/2.0/mlflow/runs/log-batch", body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        assert reply.status == 200, text


def _ask(server: MlflowServer, path: str, body: dict[str, Any]) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    connection.request(
        "POST", f"/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def _warm(home: Path, server: MlflowServer) -> None:
    """The first requests of a server load code and open its database."""
    client = TrackingClient(str(home / "warm"))
    run_id = client.create_run(client.create_experiment("warm"), start_time=NOW).info.run_id
    client.log_metric(run_id, "m", 1.0)
    journal_of(Store.at(home / "warm")).close()
    with FaultProxy(server.port) as proxy:
        address = parse_remote(proxy.url)
        with Catalog(Store.at(home / "warm")) as catalog:
            settings = SyncSettings(ReplaySettings(), TransportSettings(), {})
            run_errand(
                catalog,
                address,
                lambda: Errand(address, tuple(catalog.run_index(refresh=False))),
                settings,
                Silent(),
                Stop(),
            )


def peak_memory(home: Path, server: MlflowServer) -> float:
    """Peak resident memory of the real command in MB, as a process of its own sees its child."""
    log(home / "memory", "memory")
    command = [sys.executable, "-c", "from localtrack.cli import main; main()", "sync", "--to", server.url]
    measured = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL,"
        " stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    environment = {**os.environ, "LOCALTRACK_STORE": str(home / "memory")}
    done = subprocess.run(
        [sys.executable, "-c", measured, *command], env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout) / 1000
