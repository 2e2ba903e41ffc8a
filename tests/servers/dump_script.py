"""Run by the Python of an MLflow venv: reads a whole server through MLflow's own client.

Line protocol: each line on stdin is JSON {"url": ..., "experiments": [names] or null}; the answer is one line of JSON
on stdout. One process serves many reads, because importing MLflow takes seconds.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

#: MLflow's ViewType.ALL: active and deleted.
ALL = 3


def read(url: str, names: list[str] | None) -> dict[str, Any]:
    """Everything the server holds: experiments by name, with their runs (deleted ones too) and all metric points."""
    mlflow: Any = importlib.import_module("mlflow")  # only this script's venv has it
    client = mlflow.MlflowClient(url)
    experiments = {}
    for experiment in client.search_experiments(view_type=ALL, max_results=10_000):
        if names is not None and experiment.name not in names:
            continue
        experiments[experiment.name] = {
            "experiment_id": experiment.experiment_id,
            "lifecycle_stage": experiment.lifecycle_stage,
            "tags": experiment.tags,
            "runs": [_run(client, run) for run in _runs(client, experiment.experiment_id)],
        }
    return experiments


def _runs(client: Any, experiment_id: str) -> list[Any]:
    found, token = [], None
    while True:
        page = client.search_runs([experiment_id], run_view_type=ALL, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _run(client: Any, run: Any) -> dict[str, Any]:
    info, data = run.info, run.data
    return {
        "run_id": info.run_id,
        "name": info.run_name,
        "user_id": info.user_id,
        "status": info.status,
        "start_time": info.start_time,
        "end_time": info.end_time,
        "lifecycle_stage": info.lifecycle_stage,
        "params": data.params,
        "tags": data.tags,
        "latest": {key: repr(value) for key, value in data.metrics.items()},
        "points": {
            key: sorted(
                [m.timestamp, m.step, repr(float(m.value))] for m in client.get_metric_history(info.run_id, key)
            )
            for key in data.metrics
        },
    }


def main() -> None:
    """Answer each line of stdin."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print must not come between the answers
    for line in sys.stdin:
        asked = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"read": read(asked["url"], asked["experiments"])}
        except Exception as error:  # noqa: BLE001  the reader of the answer raises it again
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
