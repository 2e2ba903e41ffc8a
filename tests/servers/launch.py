"""Runs that MLflow's own client makes on a real server, as a launcher does that hands their ids down."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.servers.mlflow_server import server_environment
from tests.servers.venv import MLFLOW_VERSION, mlflow_python

_SCRIPT = """
import json, sys
import mlflow
asked = json.loads(sys.stdin.read())
client = mlflow.MlflowClient(asked["url"])
found = client.get_experiment_by_name(asked["experiment"])
experiment_id = found.experiment_id if found else client.create_experiment(asked["experiment"])
ids = []
for one in asked["runs"]:
    run_id = client.create_run(experiment_id, run_name=one["name"], tags=one["tags"]).info.run_id
    for key, value in one["params"].items():
        client.log_param(run_id, key, value)
    for key, value, timestamp, step in one["metrics"]:
        client.log_metric(run_id, key, value, timestamp, step)
    ids.append(run_id)
print(json.dumps(ids))
"""


def launched(
    name: str,
    *,
    tags: dict[str, str] | None = None,
    params: dict[str, str] | None = None,
    metrics: list[tuple[str, float, int, int]] | None = None,
) -> dict[str, Any]:
    """A run to launch; metrics are (key, value, timestamp in ms, step)."""
    return {"name": name, "tags": tags or {}, "params": params or {}, "metrics": metrics or []}


def launch(url: str, experiment: str, *runs: dict[str, Any], version: str = MLFLOW_VERSION) -> list[str]:
    """Make runs in an experiment (made too when it is missing); their ids on the server."""
    done = subprocess.run(
        [str(mlflow_python(version)), "-c", _SCRIPT],
        input=json.dumps({"url": url, "experiment": experiment, "runs": runs}),
        env=server_environment(), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    ids: list[str] = json.loads(done.stdout.splitlines()[-1])
    return ids
