"""The same searches under `import mlflow` and `import localtrack`, as DataFrames; prints what they look like as JSON.

Called with MLflow's Python (it has pandas), and the repository in PYTHONPATH, as: frame_script.py MODULE TRACKING_URI.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any


def log(mlflow: Any) -> None:
    """Three runs, which differ in what they have, and two logged models."""
    client = mlflow.MlflowClient()
    for number in range(3):
        run_id = client.create_run(
            "0", 1000 * (number + 1), {"team": "a"} if number else None, f"r{number}"
        ).info.run_id
        client.log_metric(run_id, "loss", number / 2, 1)
        if number == 1:
            client.log_metric(run_id, "nan", float("nan"), 1)
            client.log_param(run_id, "lr", 0.1)
            client.set_terminated(run_id, "FINISHED", 5000)
    for name in ("net", "tree"):
        model(mlflow, client, name)


def model(mlflow: Any, client: Any, name: str) -> None:
    """A logged model with a tag and a param."""
    if mlflow.__name__ == "mlflow":
        client.create_logged_model("0", name, None, {"k": "v"}, {"p": "1"}, "agent")
        return
    ops: Any = importlib.import_module("localtrack.journal.ops")
    model_id = "m-" + name.encode().hex().rjust(32, "0")
    client._service.journal.append(ops.ModelCreate(model_id, "0", name, "agent", None, (("k", "v"),), (("p", "1"),)))


def shape(frame: Any, hidden: tuple[str, ...]) -> dict[str, Any]:
    """Columns with their types and values; of the hidden ones, which are new in each store, only the types."""
    return {
        "columns": list(frame.columns),
        "types": {name: str(kind) for name, kind in frame.dtypes.items()},
        "values": {name: list(map(str, frame[name])) for name in frame.columns if name not in hidden},
    }


def main() -> None:
    """Log, search, print."""
    module, uri = sys.argv[1:]
    os.environ["GIT_PYTHON_REFRESH"] = "quiet"
    mlflow = importlib.import_module(module)
    mlflow.set_tracking_uri(uri)
    log(mlflow)
    of_runs = ("run_id", "artifact_uri")
    of_models = ("model_id", "artifact_location", "creation_timestamp", "last_updated_timestamp")
    found = {
        "runs": shape(mlflow.search_runs(["0"]), of_runs),
        "filtered": shape(mlflow.search_runs(["0"], "metrics.loss > 0", order_by=["metrics.loss"]), of_runs),
        "no runs": list(mlflow.search_runs(["0"], "metrics.loss > 5").columns),
        "models": shape(mlflow.search_logged_models(["0"], order_by=[{"field_name": "name"}]), of_models),
        "one model": shape(mlflow.search_logged_models(["0"], "name = 'net'", max_results=5), of_models),
        "list": [run.info.run_name for run in mlflow.search_runs(["0"], output_format="list")],
    }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
