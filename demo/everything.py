"""Use every operation of the API, with no server anywhere: what `localtrack sync` and `localtrack verify` are tried on.

Start it in any store: `LOCALTRACK_STORE=... python -m demo.everything`. It prints the id of its first run. Each block
below is a part of the table in docs/operations.md, in the table's order.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path

import localtrack as mlflow
from localtrack.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
)

MS = 1_790_000_000_000


def experiments(client: mlflow.MlflowClient) -> str:
    """Experiments: made, renamed, tagged, deleted, restored, found."""
    first = client.create_experiment("everything (first name)", tags={"team": "vision", "to go": "1"})
    client.rename_experiment(first, "everything")
    client.set_experiment_tag(first, "team", "vision and more")
    client.delete_experiment_tag(first, "to go")
    gone = client.create_experiment("everything, deleted")
    client.create_run(gone, run_name="goes with its experiment")
    client.delete_experiment(gone)
    back = client.create_experiment("everything, restored")
    client.create_run(back, run_name="comes back with its experiment")
    client.delete_experiment(back)
    client.restore_experiment(back)
    assert client.get_experiment(first).name == "everything"
    assert client.get_experiment_by_name("everything") is not None
    assert len(client.search_experiments(filter_string="name LIKE 'everything%'", order_by=["name ASC"])) == 2
    return first


def runs(client: mlflow.MlflowClient, experiment_id: str) -> str:
    """Runs: made, logged to one by one and in batches, renamed, deleted, restored, ended, found."""
    run_id = client.create_run(experiment_id, start_time=MS, tags={"stage": "start", "to go": "1"}).info.run_id
    client.update_run(run_id, name="all of it")
    client.log_param(run_id, "learning rate", 0.1)
    for step, value in enumerate((1.0, math.nan, math.inf, -math.inf, -0.0, 1e-320)):
        client.log_metric(run_id, "odd", value, timestamp=MS + step, step=step)
    client.log_batch(
        run_id,
        metrics=[Metric("loss", 1 / (1 + step), MS + step, step) for step in range(2500)],
        params=[Param(f"p{i}", "x" * i) for i in range(150)],
        tags=[RunTag(f"t{i}", str(i)) for i in range(120)],
    )
    client.set_tag(run_id, "stage", "middle")
    client.set_tag(run_id, "stage", "end")
    client.delete_tag(run_id, "to go")
    client.delete_run(run_id)
    client.restore_run(run_id)
    client.set_terminated(run_id, "FINISHED", MS + 60_000)
    gone = client.create_run(experiment_id, start_time=MS + 1, run_name="deleted").info.run_id
    client.log_metric(gone, "loss", 1.0, timestamp=MS, step=0)
    client.delete_run(gone)
    found = client.search_runs([experiment_id], "params.`learning rate` = '0.1' AND tags.stage ILIKE 'EN%'")
    assert [run.info.run_id for run in found] == [run_id]
    assert len(client.get_metric_history(run_id, "loss")) == 2500
    return run_id


def bulk(client: mlflow.MlflowClient) -> None:
    """Many runs deleted and restored by time."""
    experiment_id = client.create_experiment("everything, in bulk")
    for i in range(6):
        run_id = client.create_run(experiment_id, start_time=MS + i, run_name=f"bulk {i}").info.run_id
        client.set_terminated(run_id, end_time=MS + i)
    assert client.delete_runs(experiment_id, MS + 3, max_runs=3) == 3
    assert client.restore_runs(experiment_id, 0, max_runs=1) == 1


def inputs(client: mlflow.MlflowClient, run_id: str) -> None:
    """Datasets that went into a run, points measured on one, and the deprecated log_model."""
    digits = Dataset("digits", "4f2a", "local", '{"uri": "digits.csv"}', '{"columns": 64}', '{"rows": 1797}')
    client.log_inputs(run_id, [DatasetInput(digits, (InputTag("mlflow.data.context", "training"),))])
    client.log_metric(run_id, "accuracy", 0.9, timestamp=MS, step=1, dataset_name="digits", dataset_digest="4f2a")
    entry = {"run_id": run_id, "artifact_path": "old", "flavors": {}, "utc_time_created": "2026", "model_uuid": "0a"}
    client.log_model(run_id, json.dumps(entry))


def models(client: mlflow.MlflowClient, experiment_id: str, run_id: str, place: Path) -> str:
    """Logged models: made, tagged, measured, with files, finalized, linked, deleted, found."""
    model = client.create_logged_model(
        experiment_id, name="classifier", source_run_id=run_id, tags={"a": "1", "to go": "1"}, params={"depth": "3"}
    )
    client.log_model_params(model.model_id, {"width": "64"})
    client.set_logged_model_tags(model.model_id, {"a": "2", "b": "3"})
    client.delete_logged_model_tag(model.model_id, "to go")
    (place / "MLmodel").write_text(
        f"artifact_path: {model.artifact_location}\nflavors: {{}}\nmodel_id: {model.model_id}\n"
        f"model_uuid: {model.model_id}\nrun_id: {run_id}\n"
    )
    (place / "weights.bin").write_bytes(bytes(range(256)) * 400)
    client.log_model_artifacts(model.model_id, str(place))
    client.log_metric(run_id, "test accuracy", 0.93, timestamp=MS, step=3, model_id=model.model_id)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 3)])
    reader = client.create_run(experiment_id, start_time=MS + 2, run_name="reads the model").info.run_id
    client.log_inputs(reader, models=[LoggedModelInput(model.model_id)])
    client.set_terminated(reader, end_time=MS + 3)
    gone = client.create_logged_model(experiment_id, name="deleted", source_run_id=run_id)
    client.delete_logged_model(gone.model_id)
    assert [one.model_id for one in client.search_logged_models([experiment_id], "name = 'classifier'")] == [
        model.model_id
    ]
    return model.model_id


def artifacts(client: mlflow.MlflowClient, run_id: str, place: Path) -> None:
    """Files of a run: written, copied, listed, read back."""
    (place / "notes.txt").write_text("what was logged is safe from later changes\n")
    client.log_artifact(run_id, str(place / "notes.txt"), "notes")
    (place / "notes.txt").write_text("changed since\n")
    client.log_artifacts(run_id, str(place), "all")
    client.log_text(run_id, "täxt", "texts/one with spaces & signs.txt")
    client.log_dict(run_id, {"a": [1, 2]}, "texts/one.json")
    client.log_table(run_id, {"question": ["1 + 1"], "answer": ["2"]}, "table.json")
    assert "notes" in [file.path for file in client.list_artifacts(run_id)]
    back = client.download_artifacts(run_id, "notes/notes.txt", str(place))
    assert Path(back).read_text().startswith("what was logged")


def fluent() -> None:
    """The same through the functions that training scripts use: nested runs, active models, steps."""
    mlflow.set_experiment("everything, fluent")
    with mlflow.start_run(run_name="parent", description="a sweep"):
        mlflow.log_params({"tries": 2})
        mlflow.set_tags({"kind": "sweep"})
        for number in range(2):
            with mlflow.start_run(run_name=f"child {number}", nested=True):
                mlflow.log_metrics({"loss": 1.0 / (number + 1), "accuracy": 0.5}, step=number)
                mlflow.log_text(f"child {number}", "who.txt")
        with mlflow.set_active_model(name="net"):
            mlflow.log_metric("loss", 0.25, step=2)
        mlflow.log_dict({"best": 1}, "best.json")


def main() -> None:
    """All of it; prints the id of the first run."""
    client = mlflow.MlflowClient()
    experiment_id = experiments(client)
    run_id = runs(client, experiment_id)
    bulk(client)
    inputs(client, run_id)
    with tempfile.TemporaryDirectory() as place:
        os.mkdir(os.path.join(place, "model"))
        models(client, experiment_id, run_id, Path(place, "model"))
        artifacts(client, run_id, Path(place))
    fluent()
    print(run_id)


if __name__ == "__main__":
    main()
