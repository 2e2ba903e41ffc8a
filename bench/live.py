"""Live: seconds from the return of `log_metric` in a trainer to the value being readable on a real MLflow server."""

from __future__ import annotations

import http.client
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, final

from bench.daemons import DaemonProcess
from bench.fair import at
from bench.scale import row, until
from bench.trainers import EXPERIMENT, KEY, Logged, Trainers
from localtrack.store import Store
from tests.servers.mlflow_server import MlflowServer

#: Values that are watched, one after the other.
SAMPLES = int(os.environ.get("BENCH_LIVE_SAMPLES", "60"))
QUIET_SAMPLES = 8
#: Seconds between two questions to the server, while one value is waited for.
EVERY_S = 0.02


def rows() -> list[dict[str, Any]]:
    """The rows of this benchmark."""
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory,
        MlflowServer(Path(directory) / "server") as server,
    ):
        found: list[dict[str, Any]] = []
        for name, trainers, every_s, samples in (
            ("1 trainer at 1 Hz", 1, 1.0, SAMPLES),
            ("20 trainers at 1 Hz", 20, 1.0, SAMPLES),
            ("1 trainer, after 10 s of quiet", 1, 10.5, QUIET_SAMPLES),
        ):
            took = _took(Path(directory) / name.replace(" ", "-"), server, trainers, every_s, samples)
            what = f"live, {name}: from log_metric to the server"
            found += [
                row(f"{what}, median of {len(took)}", at(took, 0.5), "s", "under 1 s", met=at(took, 0.5) < 1),
                row(f"{what}, p90", at(took, 0.9), "s"),
                row(f"{what}, p99", at(took, 0.99), "s"),
            ]
    return found


def _took(path: Path, server: MlflowServer, trainers: int, every_s: float, samples: int) -> list[float]:
    """Seconds of so many values, sorted; each time that of another trainer."""
    Store.at(path).make()
    began = time.time()
    took: list[float] = []
    with DaemonProcess(path, server.url), Trainers(path, trainers, every_s) as running:
        reader = _Reader(server)
        until(lambda: len(reader.runs(began)) == trainers, 0.5, 120)
        ids = reader.runs(began)
        while not running.logged.empty():
            running.logged.get()
        while len(took) < samples:
            logged = running.logged.get(timeout=60)
            if logged.at < time.time() - EVERY_S:
                continue  # it came while another one was waited for
            took.append(reader.seen(ids[logged.trainer], logged) - logged.at)
    return sorted(took)


@final
class _Reader:
    """Somebody who looks at the server, over one connection."""

    def __init__(self, server: MlflowServer) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def runs(self, since: float) -> dict[int, str]:
        """Number of a trainer -> id of its run on the server; those that started since."""
        experiment = self._ask("GET", f"experiments/get-by-name?experiment_name={EXPERIMENT}")
        if "experiment" not in experiment:
            return {}
        ids = [experiment["experiment"]["experiment_id"]]
        asked = {"experiment_ids": ids, "max_results": 100, "filter": f"start_time > {1000 * since:.0f}"}
        found = self._ask("POST", "runs/search", asked).get("runs", [])
        return {int(run["info"]["run_name"].split()[1]): run["info"]["run_id"] for run in found}

    def seen(self, run_id: str, logged: Logged) -> float:
        """When a value was there."""
        self._connection.close()  # the server ends what was quiet for 5 s; the next question connects anew
        while True:
            history = self._ask("GET", f"metrics/get-history?run_id={run_id}&metric_key={KEY}")
            if any(int(metric["step"]) == logged.step for metric in history.get("metrics", ())):
                return time.time()
            assert time.time() < logged.at + 60, f"{logged} does not arrive"
            time.sleep(EVERY_S)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, f"/api/2.0/mlflow/{path}", text, {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return answer
