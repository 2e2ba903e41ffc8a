"""Stores with runs of every kind, logged through the public client: what the acceptance tests replay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localtrack import TrackingClient
from localtrack.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag
from localtrack.store import Store

NOW = 1_700_000_000_000


@dataclass
class World:
    """A store and a client that logs into it.

    Attributes:
        experiment: name of its experiment, unlike any other test's.
        experiment_id: its local id.
    """

    store: Store
    client: TrackingClient
    experiment: str
    experiment_id: str

    def run(self, name: str, points: int = 30, **tags: str) -> str:
        """Log a finished run with params, tags and points; returns its id."""
        client = self.client
        run = client.create_run(self.experiment_id, start_time=NOW, run_name=name, tags={"kind": "plain", **tags})
        run_id = run.info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric("loss", 1.0 / (step + 1), NOW + step, step) for step in range(points)],
            params=[Param("lr", "0.1"), Param("layers", "[64, 64]"), Param("note", "größer ≥ 5")],
            tags=[RunTag("stage", "train")],
        )
        client.set_tag(run_id, "stage", "done")
        client.set_terminated(run_id, "FINISHED", NOW + 60_000)
        return run_id

    def odd_run(self) -> str:
        """Log a run with values at the edges of what MLflow takes; returns its id."""
        client = self.client
        run_id = client.create_run(self.experiment_id, start_time=NOW + 1, run_name="odd ≠ even").info.run_id
        odd = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1e308, 0.1 + 0.2]
        for step, value in enumerate(odd):
            client.log_metric(run_id, "odd/values", value, timestamp=NOW + step, step=step - 3)
        client.log_metric(run_id, "same", 1.0, timestamp=NOW, step=0)
        client.log_metric(run_id, "same", 1.0, timestamp=NOW, step=0)  # an equal point: a SQL server keeps one
        client.log_metric(run_id, "same", 2.0, timestamp=NOW, step=0)
        client.log_metric(run_id, "far", 1.0, timestamp=0, step=-(2**63))
        client.log_metric(run_id, "far", 1.0, timestamp=NOW, step=2**63 - 1)
        client.log_batch(
            run_id,
            metrics=[Metric(f"m/{n:03d}", float(n), NOW, 0) for n in range(120)],  # more names than one request takes
            params=[Param(f"p{n:03d}", "x" * n) for n in range(100)],
            tags=[RunTag("empty", ""), RunTag("long", "v" * 5000)],
        )
        client.set_tag(run_id, "gone", "soon")
        client.delete_tag(run_id, "gone")
        client.set_terminated(run_id, "FAILED", NOW + 5)
        return run_id

    def family(self) -> tuple[str, str]:
        """Log a run and a nested one, which is still running; returns both ids."""
        parent = self.run("parent", 3)
        child = self.client.create_run(
            self.experiment_id, start_time=NOW + 2, run_name="child", tags={"mlflow.parentRunId": parent}
        ).info.run_id
        self.client.log_metric(child, "loss", 0.5, timestamp=NOW, step=1)
        return parent, child

    def deleted_run(self) -> str:
        """Log a run and delete it; returns its id."""
        run_id = self.run("deleted", 5)
        self.client.delete_run(run_id)
        return run_id


def world(path: Path, experiment: str, tags: dict[str, str] | None = None) -> World:
    """An empty store at `path` with one experiment."""
    client = TrackingClient(str(path))
    experiment_id = client.create_experiment(experiment, tags=tags)
    return World(Store.at(path), client, experiment, experiment_id)


def model_run(made: World) -> tuple[str, str]:
    """Log a run with a dataset that went in and a logged model that came out; returns the ids of run and model."""
    client = made.client
    run_id = client.create_run(made.experiment_id, start_time=NOW + 3, run_name="with a model").info.run_id
    dataset = Dataset("wine", "0a1b2c3d", "local", '{"uri": "wine.csv"}')
    client.log_inputs(run_id, [DatasetInput(dataset, (InputTag("mlflow.data.context", "train"),))])
    model_id = client.create_logged_model(
        made.experiment_id,
        name="net",
        source_run_id=run_id,
        tags={"team": "a"},
        params={"depth": "3"},
        model_type="mine",
    ).model_id
    client.log_batch(run_id, metrics=[Metric("acc", i / 8, NOW + i, i, model_id) for i in range(5)])
    client.log_outputs(run_id, [LoggedModelOutput(model_id, 4)])
    client.finalize_logged_model(model_id, "READY")
    client.set_terminated(run_id, "FINISHED", NOW + 9)
    return run_id, model_id
