"""Logs search_data into a SQL store of MLflow and prints the ids and what it answers, as JSON.

Called with MLflow's Python, and the repository in PYTHONPATH, as: mlflow_search_script.py DIRECTORY.
"""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tests.catalog import search_data

entities: Any = importlib.import_module("mlflow.entities")
Ids = dict[str, list[str]]


def fill(store: Any, database: Path) -> Ids:
    """Log everything; returns ids by kind, in the order of the data."""
    data = search_data.data()
    ids: Ids = {"experiment": [], "run": [], "model": []}
    for one in data["experiments"]:
        tags = [entities.ExperimentTag(key, value) for key, value in one["tags"].items()]
        ids["experiment"].append(store.create_experiment(one["name"], tags=tags))
    ids["run"] = [_run(store, ids["experiment"][one["experiment"]], one) for one in data["runs"]]
    ids["model"] = [_model(store, ids, one) for one in data["models"]]
    store.delete_experiment(ids["experiment"][2])
    # The store takes the time of these from its own clock.
    connection = sqlite3.connect(database)
    with connection:
        connection.execute("UPDATE experiments SET creation_time = 0 WHERE experiment_id = 0")
        for name, one in zip(ids["experiment"], data["experiments"], strict=True):
            connection.execute(
                "UPDATE experiments SET creation_time = ? WHERE experiment_id = ?", (one["created"], name)
            )
        for name, one in zip(ids["model"], data["models"], strict=True):
            connection.execute(
                "UPDATE logged_models SET creation_timestamp_ms = ? WHERE model_id = ?", (one["created"], name)
            )
    connection.close()
    return ids


def _run(store: Any, experiment_id: str, one: dict[str, Any]) -> str:
    run_id: str = store.create_run(experiment_id, one["user"], one["start"], [], one["name"]).info.run_id
    store.log_batch(
        run_id,
        [entities.Metric(key, value, 1, 0) for key, value in one["metrics"].items()],
        [entities.Param(key, value) for key, value in one["params"].items()],
        [entities.RunTag(key, value) for key, value in one["tags"].items()],
    )
    for name, digest, context in one["datasets"]:
        tags = [] if context is None else [entities.InputTag("mlflow.data.context", context)]
        store.log_inputs(run_id, [entities.DatasetInput(entities.Dataset(name, digest, "local", "here"), tags)])
    store.update_run_info(run_id, getattr(entities.RunStatus, one["status"]), one["end"], None)
    if one["deleted"]:
        store.delete_run(run_id)
    return run_id


def _model(store: Any, ids: Ids, one: dict[str, Any]) -> str:
    model = store.create_logged_model(
        ids["experiment"][one["experiment"]],
        one["name"],
        None if one["run"] is None else ids["run"][one["run"]],
        [entities.LoggedModelTag(key, value) for key, value in one["tags"].items()],
        [entities.LoggedModelParameter(key, value) for key, value in one["params"].items()],
        one["type"],
    )
    for number, (key, value, step, ts, dataset, digest) in enumerate(one["points"]):
        run_id = ids["run"][search_data.RUNS_OF_POINTS[number % 2]]
        store.log_batch(
            run_id,
            [
                entities.Metric(
                    key, value, ts, step, model_id=model.model_id, dataset_name=dataset, dataset_digest=digest
                )
            ],
            [],
            [],
        )
    if one["status"] is not None:
        store.finalize_logged_model(model.model_id, entities.LoggedModelStatus(one["status"]))
    if one["deleted"]:
        store.delete_logged_model(model.model_id)
    return str(model.model_id)


def answer(store: Any, question: search_data.Question, ids: Ids) -> list[str] | str:
    """The ids that are found, or the error code."""
    try:
        return _found(store, search_data.filled(question, ids), ids["experiment"])
    except Exception as error:  # noqa: BLE001 - what kind it is, is the finding
        return str(getattr(error, "error_code", type(error).__name__))


def _found(store: Any, question: search_data.Question, experiments: list[str]) -> list[str]:
    of, text, order = question["of"], question["filter"], question.get("order")
    if of == "runs":
        return [r.info.run_id for r in store.search_runs(experiments, text, question.get("view", 1), 1000, order)]
    if of == "experiments":
        found = store.search_experiments(question.get("view", 1), 1000, text, order)
        return [one.experiment_id for one in found]
    found = store.search_logged_models(experiments, text, question.get("datasets"), 1000, order)
    return [one.model_id for one in found]


def main() -> None:
    """Log, ask, print."""
    directory = Path(sys.argv[1])
    database = directory / "mlflow.db"
    stores: Any = importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    store = stores.SqlAlchemyStore(f"sqlite:///{database}", str(directory / "artifacts"))
    ids = fill(store, database)
    answers = [answer(store, question, ids) for question in search_data.questions()]
    print(json.dumps({"ids": ids, "answers": answers}))  # noqa: T201


if __name__ == "__main__":
    main()
