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


class Source:
    """Where a dataset came from, as both libraries take it."""

    def to_dict(self) -> dict[str, str]:
        """How to find it."""
        return {"uri": "s3://bucket/train"}

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict())

    @staticmethod
    def _get_source_type() -> str:
        return "s3"


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


def model(mlflow: Any) -> dict[str, str]:
    """What a script does with datasets and logged models; the models' ids by label."""
    entities, client = mlflow.entities, mlflow.MlflowClient()
    dataset = mlflow.data.meta_dataset.MetaDataset(Source(), name="train", digest="v1")
    unnamed = mlflow.data.meta_dataset.MetaDataset(Source())
    other = client.create_logged_model(
        client.get_experiment_by_name("same").experiment_id, "other", None, {"t": 1}, {"p": 2}, "kind"
    )
    with mlflow.start_run(run_name="with models") as run:
        mlflow.log_input(dataset, context="training", tags={"a": "1"})
        mlflow.log_input(dataset, context="again")
        mlflow.log_inputs([unnamed], ["test"], [{"b": "2"}])
        mlflow.log_input(model=entities.LoggedModelInput(other.model_id))
        made = mlflow.initialize_logged_model("net", tags={"k": "v"}, params={"lr": 0.1}, model_type="net")
        mlflow.log_metric("acc", 0.5, step=1, timestamp=1, model_id=made.model_id, dataset=dataset)
        mlflow.log_metrics({"acc": 0.75, "f1": 0.25}, step=2, timestamp=2, model_id=made.model_id)
        mlflow.log_outputs([entities.LoggedModelOutput(made.model_id, 3)])
        mlflow.set_logged_model_tags(made.model_id, {"n": 1, "gone": 2})
        mlflow.delete_logged_model_tag(made.model_id, "gone")
        mlflow.log_model_params({"depth": 3}, made.model_id)
        mlflow.finalize_logged_model(made.model_id, "READY")
        external = mlflow.create_external_model("outside", params={"q": "1"})
        with mlflow.set_active_model(model_id=external.model_id):
            mlflow.log_metric("linked", 1.0, timestamp=1)
            mlflow.log_metrics({"linked": 2.0}, timestamp=2)
            client.log_batch(run.info.run_id, [entities.Metric("batched", 1.0, 1, 0)])
            client.log_metric(run.info.run_id, "by client", 1.0, 1)
        mlflow.log_metric("plain", 1.0, step=3, timestamp=1)
        mlflow.log_metric("by id", 1.0, step=3, timestamp=1, run_id=run.info.run_id)
        mlflow.log_metric("measured", 1.0, timestamp=1, dataset=unnamed)
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metric("resumed", 1.0, step=3, timestamp=1)
        mlflow.log_metrics({"resumed too": 1.0}, step=3, timestamp=1)
    failed = mlflow.initialize_logged_model("failed", experiment_id=made.experiment_id)
    client.finalize_logged_model(failed.model_id, mlflow.entities.LoggedModelStatus.FAILED)
    named = mlflow.set_active_model(name="by name")
    mlflow.clear_active_model()
    found = {"net": made, "other": other, "external": external, "failed": failed, "by name": named}
    return {label: one.model_id for label, one in found.items()}


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


def model_probes(mlflow: Any, ids: dict[str, str]) -> dict[str, Callable[[], object]]:
    """Calls about datasets and models that may be refused, by name."""
    client, entities = mlflow.MlflowClient(), mlflow.entities
    experiment = client.get_experiment_by_name("same").experiment_id
    run_id = client.create_run(experiment, run_name="probed for models").info.run_id
    net, none = ids["net"], "m-" + "0" * 32
    deleted = client.create_logged_model(experiment, "deleted").model_id
    client.delete_logged_model(deleted)
    gone = client.get_experiment_by_name("renamed").experiment_id

    def given(**changes: Any) -> Callable[[], object]:
        fields = {"name": "n", "digest": "d", "source_type": "s", "source": "x"} | changes
        return lambda: client.log_inputs(run_id, [entities.DatasetInput(entities.Dataset(**fields), [])])

    def tagged(key: str, value: str) -> Callable[[], object]:
        dataset = entities.Dataset("t", "d", "s", "x")
        return lambda: client.log_inputs(run_id, [entities.DatasetInput(dataset, [entities.InputTag(key, value)])])

    def make(name: str) -> None:
        client.create_logged_model(experiment, name)

    def in_a_run(call: Callable[[], object]) -> Callable[[], object]:
        def probe() -> object:
            with mlflow.start_run(run_id=run_id):
                return call()

        return probe

    found: dict[str, Callable[[], object]] = {}
    for name in ["ok", "", "a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "a b", "é"]:
        found[f"model name {name!r}"] = partial(make, name)
    for field, length in (("name", 500), ("digest", 36), ("source", 65_535), ("schema", 1_048_575)):
        found[f"dataset {field} fits"] = given(**{field: "x" * length, "profile": field})
        found[f"dataset {field} too long"] = given(**{field: "x" * (length + 1)})
    found |= {
        "dataset profile too long": given(profile="x" * 16_777_216),
        "input tag fits": tagged("x" * 255, "y" * 500),
        "input tag key too long": tagged("x" * 256, "y"),
        "input tag value too long": tagged("x", "y" * 501),
        "inputs of missing run": lambda: client.log_inputs("f" * 32, []),
        "unknown model input": lambda: client.log_inputs(run_id, models=[entities.LoggedModelInput(none)]),
        "unknown model output": lambda: client.log_outputs(run_id, [entities.LoggedModelOutput(none, 1)]),
        "output at another step": lambda: client.log_outputs(run_id, [entities.LoggedModelOutput(none, 2)]),
        "lists of unequal length": in_a_run(lambda: mlflow.log_inputs([None], [], [])),
        "context without dataset": in_a_run(lambda: mlflow.log_inputs([None], ["train"], [None])),
        "model in missing experiment": lambda: client.create_logged_model("987654"),
        "model in deleted experiment": lambda: client.create_logged_model(gone),
        "get missing model": lambda: client.get_logged_model(none),
        "get no model": lambda: client.get_logged_model(""),
        "get deleted model": lambda: client.get_logged_model(deleted),
        "delete deleted model": lambda: client.delete_logged_model(deleted),
        "delete missing model": lambda: client.delete_logged_model(none),
        "finalize deleted model": lambda: client.finalize_logged_model(deleted, "READY"),
        "finalize missing model": lambda: client.finalize_logged_model(none, "READY"),
        "finalize to pending": lambda: client.finalize_logged_model(net, "PENDING"),
        "finalize again": lambda: client.finalize_logged_model(net, "READY"),
        "tag missing model": lambda: client.set_logged_model_tags(none, {"a": 1}),
        "tag deleted model": lambda: client.set_logged_model_tags(deleted, {"a": 1}),
        "delete missing model tag": lambda: client.delete_logged_model_tag(net, "none"),
        "params of missing model": lambda: client.log_model_params(none, {"a": 1}),
        "params of deleted model": lambda: client.log_model_params(deleted, {"a": 1}),
        "params of no model": lambda: mlflow.log_model_params({"a": 1}),
        "changed model param": lambda: client.log_model_params(net, {"lr": 0.2}),
        "metric for missing model": lambda: client.log_metric(run_id, "m", 1.0, 1, model_id=none),
        "batch for missing model": lambda: client.log_batch(
            run_id, [entities.Metric("m", 1.0, 1, 0, model_id=none)], [], []
        ),
        "metric for deleted model": lambda: client.log_metric(run_id, "m", 1.0, 1, model_id=deleted),
        "activate nothing": mlflow.set_active_model,
        "activate missing model": lambda: mlflow.set_active_model(model_id=none),
        "activate wrong name": lambda: mlflow.set_active_model(name="x", model_id=net),
        "active model": mlflow.get_active_model_id,
        "last model": lambda: mlflow.last_logged_model().name,
    }
    return found


def outcome(probe: Callable[[], object]) -> str:
    """The error code of a refusal; what was returned, if it is plain; "ok"."""
    try:
        answer = probe()
    except Exception as error:  # noqa: BLE001 - what kind it is, is the finding
        return str(getattr(error, "error_code", type(error).__name__))
    return repr(answer) if isinstance(answer, str | None) else "ok"


def models(mlflow: Any, ids: dict[str, str], runs: dict[str, str]) -> dict[str, Any]:
    """What the models look like, with names in place of ids, and no time that the clock gave."""
    found = {label: mlflow.get_logged_model(model_id) for label, model_id in ids.items()}
    return {
        label: {
            "name": one.name,
            "type": one.model_type,
            "status": str(one.status),
            "params": one.params,
            "tags": {key: value for key, value in one.tags.items() if not key.startswith(OTHERS)},
            "source": runs.get(one.source_run_id),
            "metrics": latest([(m, runs[m.run_id]) for m in one.metrics or []]),
        }
        for label, one in found.items()
    }


def latest(points: list[tuple[Any, str]]) -> list[Any]:
    """The last point of each metric, run and dataset: MLflow's SQL store gives all points of a model."""
    points.sort(key=lambda pair: (pair[0].step, pair[0].timestamp, pair[0].value))
    found = {(m.key, run, m.dataset_name, m.dataset_digest): (m.value, m.timestamp, m.step) for m, run in points}
    return sorted([list(map(str, where)), *values] for where, values in found.items())


def linked(run: Any, labels: dict[str, str]) -> dict[str, Any]:
    """Inputs and outputs of a run."""
    fields = ("name", "digest", "source_type", "source", "schema", "profile")
    return {
        "datasets": sorted(
            [
                [str(getattr(one.dataset, field)) for field in fields],
                sorted([tag.key, tag.value] for tag in one.tags),
            ]
            for one in run.inputs.dataset_inputs
            if len(one.dataset.source) < 100
        ),
        "models in": sorted(labels.get(one.model_id, one.model_id) for one in run.inputs.model_inputs),
        "models out": sorted([labels.get(one.model_id, one.model_id), one.step] for one in run.outputs.model_outputs),
    }


def all_runs(mlflow: Any) -> Any:
    """All runs of the store."""
    client = mlflow.MlflowClient()
    ids = [one.experiment_id for one in client.search_experiments(view_type=3)]
    return client.search_runs(ids, run_view_type=3, max_results=1000)


def dump(mlflow: Any) -> dict[str, Any]:
    """Everything in the store, with names in place of ids, and no time that the clock gave."""
    client = mlflow.MlflowClient()
    experiments = client.search_experiments(view_type=3)
    ids = {one.experiment_id: one.name for one in experiments}
    runs = all_runs(mlflow)
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
    ids = model(mlflow)
    outcomes = {name: outcome(probe) for name, probe in (probes(mlflow) | model_probes(mlflow, ids)).items()}
    found = dump(mlflow)
    runs = {run.info.run_id: run.info.run_name for run in all_runs(mlflow)}
    labels = {model_id: label for label, model_id in ids.items()}
    found["models"] = models(mlflow, ids, runs)
    client = mlflow.MlflowClient()
    found["linked"] = {name: linked(client.get_run(run_id), labels) for run_id, name in runs.items()}
    print(json.dumps({"outcomes": outcomes, "store": found}))  # noqa: T201


if __name__ == "__main__":
    main()
