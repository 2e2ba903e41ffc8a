"""A training script for `import mlflow` and `import localtrack as mlflow`; it prints what it saw as JSON.

Called as: same_script.py MODULE TRACKING_URI.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

#: Set by the surroundings or by the server, not by the script.
OTHERS = ("mlflow.user", "mlflow.source.", "mlflow.runName", "mlflow.parentRunId")


class Scalar:
    """A 0-d tensor of some library."""

    def item(self) -> float:
        """The Python number in it."""
        return 0.25

    def __float__(self) -> float:
        return 0.25


def train(mlflow: Any) -> None:
    """What a plain script does."""
    mlflow.set_experiment("same")
    mlflow.set_experiment_tag("owner", 7)
    with mlflow.start_run(run_name="main", tags={"a": 1}, description="about"):
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"none": None, "list": [1, "x"], "empty": "", "long": "x" * 6001})
        for step in range(20):
            mlflow.log_metric("loss", 1.0 / (step + 1), step=step, timestamp=1000 + step)
        mlflow.log_metric("values", value=True, timestamp=1)
        mlflow.log_metric("values", "1.5", timestamp=2, step=-1)
        mlflow.log_metric("values", Scalar(), timestamp=3)
        mlflow.log_metric("values", float("nan"), timestamp=4, step=2**63 - 1)
        mlflow.log_metrics({"acc": 1, "f1": 0.5}, step=3, timestamp=5)
        mlflow.set_tags({"b": None, "gone": 1, "long": "y" * 8001})
        mlflow.set_tag("a", "again")
        mlflow.delete_tag("gone")
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("loss", 2.0, timestamp=1)
    try:
        with mlflow.start_run(run_name="failing"):
            json.loads("{")
    except ValueError:
        pass
    run = mlflow.start_run(run_name="killed")
    mlflow.end_run("KILLED")
    with mlflow.start_run(run_id=run.info.run_id, run_name="resumed", tags={"r": 1}):
        mlflow.log_param("after", "resume")
    with mlflow.start_run(run_name="deleted") as run:
        pass
    mlflow.delete_run(run.info.run_id)
    client = mlflow.MlflowClient()
    by_client = client.create_run(
        client.get_experiment_by_name("same").experiment_id, 123, {"mlflow.runName": "client"}
    )
    batch(mlflow, client, by_client.info.run_id)
    client.update_run(by_client.info.run_id, "SCHEDULED", "client 2")
    client.set_terminated(by_client.info.run_id, "FAILED", 456)
    other = client.create_experiment("other", tags={"k": "v"})
    client.rename_experiment(other, "renamed")
    client.delete_experiment(other)


def batch(mlflow: Any, client: Any, run_id: str) -> None:
    """A batch that the client splits."""
    entities = mlflow.entities
    metrics = [entities.Metric("many", float(i % 3), i, i) for i in range(1500)]
    params = [entities.Param(f"p{i}", str(i)) for i in range(150)]
    tags = [entities.RunTag(f"t{i}", str(i)) for i in range(120)]
    client.log_batch(run_id, metrics, params, tags)


def probes(mlflow: Any) -> dict[str, Callable[[], object]]:
    """Calls that may be refused, by name."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("same").experiment_id
    gone = client.get_experiment_by_name("renamed").experiment_id
    run_id = client.create_run(experiment, run_name="probed").info.run_id
    client.log_param(run_id, "p", 1)
    deleted = client.create_run(experiment, run_name="probed and deleted").info.run_id
    client.delete_run(deleted)
    entities = mlflow.entities
    names = [
        "ok",
        "é/中",
        "a b",
        "a:b",
        "",
        "a@b",
        "a//b",
        "/a",
        "../a",
        "./a",
        "a/",
        ".",
        "x" * 250,
        "x" * 251,
        "a\tb",
        "😀",
    ]
    found: dict[str, Callable[[], object]] = {}
    for name in names:
        found[f"metric {name[:20]!r} {len(name)}"] = partial(client.log_metric, run_id, name, 1.0, 1)
        found[f"param {name[:20]!r} {len(name)}"] = partial(client.log_param, run_id, name, 1)
        found[f"tag {name[:20]!r} {len(name)}"] = partial(client.set_tag, run_id, name, 1)
    for value in (None, "abc", "1e3", True, 7, float("inf")):
        found[f"value {value!r}"] = partial(client.log_metric, run_id, "m", value, 1)
    for timestamp in (0, -1, 5):
        found[f"timestamp {timestamp!r}"] = partial(client.log_metric, run_id, "m", 1.0, timestamp)
    found |= {
        "same param": lambda: client.log_param(run_id, "p", "1"),
        "changed param": lambda: client.log_param(run_id, "p", 2),
        "changed param in a batch": lambda: client.log_batch(run_id, params=[entities.Param("p", "3")]),
        "param twice": lambda: client.log_batch(run_id, params=[entities.Param("q", "1"), entities.Param("q", "1")]),
        "tag twice": lambda: client.log_batch(run_id, tags=[entities.RunTag("q", "1"), entities.RunTag("q", "2")]),
        "nothing": lambda: client.log_batch(run_id),
        "delete missing tag": lambda: client.delete_tag(run_id, "none"),
        "missing run": lambda: client.log_metric("f" * 32, "m", 1.0),
        "get missing run": lambda: client.get_run("f" * 32),
        "bad run id": lambda: client.get_run("no id!"),
        "log to deleted run": lambda: client.log_metric(deleted, "m", 1.0),
        "tag deleted run": lambda: client.set_tag(deleted, "m", 1.0),
        "update deleted run": lambda: client.update_run(deleted, "FINISHED"),
        "delete deleted run": lambda: client.delete_run(deleted),
        "restore active run": lambda: client.restore_run(run_id),
        "log to ended run": lambda: (client.set_terminated(run_id), client.log_metric(run_id, "late", 1.0, 1)),
        "finished to running": lambda: client.update_run(run_id, "RUNNING"),
        "create taken experiment": lambda: client.create_experiment("same"),
        "create deleted experiment": lambda: client.create_experiment("renamed"),
        "create empty experiment": lambda: client.create_experiment(""),
        "create long experiment": lambda: client.create_experiment("x" * 501),
        "bad artifact location": lambda: client.create_experiment("l", artifact_location="runs:/x"),
        "get missing experiment": lambda: client.get_experiment("987654"),
        "missing name": lambda: client.get_experiment_by_name("none"),
        "rename deleted": lambda: client.rename_experiment(gone, "x"),
        "run in deleted experiment": lambda: client.create_run(gone),
        "tag deleted experiment": lambda: client.set_experiment_tag(gone, "k", 1),
        "delete deleted experiment": lambda: client.delete_experiment(gone),
        "restore active experiment": lambda: client.restore_experiment(experiment),
        "set deleted experiment": lambda: mlflow.set_experiment("renamed"),
        "set missing experiment": lambda: mlflow.set_experiment(experiment_id="987654"),
        "set nothing": mlflow.set_experiment,
        "start deleted run": lambda: mlflow.start_run(run_id=deleted),
        "start missing run": lambda: mlflow.start_run(run_id="f" * 32),
        "start under deleted run": lambda: mlflow.start_run(parent_run_id=deleted),
        "two names": lambda: client.create_run(experiment, tags={"mlflow.runName": "a"}, run_name="b"),
        "page of none": lambda: client.search_runs([experiment], max_results=0),
        "page too long": lambda: client.search_runs([experiment], max_results=50_001),
        "both ids and names": lambda: mlflow.search_runs(experiment_ids=["0"], experiment_names=["same"]),
        "end without run": mlflow.end_run,
        "last run": lambda: mlflow.last_active_run().info.run_name,
    }
    return found


def outcome(probe: Callable[[], object]) -> str:
    """The error code of a refusal; what was returned, if it is plain; "ok"."""
    try:
        answer = probe()
    except Exception as error:  # noqa: BLE001 - what kind it is, is the finding
        return str(getattr(error, "error_code", type(error).__name__))
    return repr(answer) if isinstance(answer, str | None) else "ok"


def dump(mlflow: Any) -> dict[str, Any]:
    """Everything in the store, with names in place of ids, and no time that the clock gave."""
    client = mlflow.MlflowClient()
    experiments = client.search_experiments(view_type=3)
    ids = {one.experiment_id: one.name for one in experiments}
    runs = client.search_runs(list(ids), run_view_type=3, max_results=1000)
    names = {run.info.run_id: run.info.run_name for run in runs}
    return {
        "experiments": {one.name: [one.lifecycle_stage, one.tags] for one in experiments},
        "runs": {run.info.run_name: _run(client, run, ids, names) for run in runs},
    }


def _run(client: Any, run: Any, ids: dict[str, str], names: dict[str, str]) -> dict[str, Any]:
    parent = run.data.tags.get("mlflow.parentRunId")
    return {
        "experiment": ids[run.info.experiment_id],
        "status": run.info.status,
        "stage": run.info.lifecycle_stage,
        "ended": run.info.end_time is not None,
        "times": [run.info.start_time, run.info.end_time] if run.info.run_name == "client 2" else None,
        "parent": names.get(parent),
        "name tag": run.data.tags["mlflow.runName"],
        "params": run.data.params,
        "tags": {key: value for key, value in run.data.tags.items() if not key.startswith(OTHERS)},
        "latest": {key: repr(value) for key, value in run.data.metrics.items()},
        "points": {
            key: [(m.timestamp, m.step, repr(m.value)) for m in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
            if key not in ("m", "late")
        },
    }


def main() -> None:
    """Run the script and print what it left behind."""
    module, uri = sys.argv[1:]
    os.environ["GIT_PYTHON_REFRESH"] = "quiet"
    mlflow = importlib.import_module(module)
    mlflow.set_tracking_uri(uri)
    train(mlflow)
    outcomes = {name: outcome(probe) for name, probe in probes(mlflow).items()}
    print(json.dumps({"outcomes": outcomes, "store": dump(mlflow)}))  # noqa: T201


if __name__ == "__main__":
    main()
