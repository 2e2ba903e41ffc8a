from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack.catalog import queries
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.search import reads
from localtrack.catalog.search.experiment_search import experiment_search
from localtrack.catalog.search.model_search import model_search
from localtrack.catalog.search.run_search import run_search
from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import TrackingError
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store
from tests.catalog.conftest import Clock
from tests.catalog.search_data import MS, RUNS_OF_POINTS, Question, data, filled, questions
from tests.servers.venv import mlflow_python

SCRIPT = Path(__file__).with_name("mlflow_search_script.py")
ROOT = Path(__file__).parents[2]
#: Where localtrack answers otherwise, on purpose: (MLflow's answer, ours).
DIFFERENT: dict[str, tuple[object, object]] = {
    # MLflow raises it without a code, so its default INTERNAL_ERROR stands; the input is at fault.
    "a field twice in order_by": ("INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"),
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ids and answers of MLflow's SQL store."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    done = subprocess.run(
        [str(mlflow_python()), str(SCRIPT), str(tmp_path_factory.mktemp("mlflow"))],
        env={**env, "PYTHONPATH": str(ROOT), "GIT_PYTHON_REFRESH": "quiet"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def ours(theirs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """The catalog of a store with the same data under the same ids."""
    store = Store.at(tmp_path_factory.mktemp("ours"))
    store.make()
    clock = Clock(MS - 1)
    journal = Journal(store, strict=True, clock=clock)
    fill(journal, clock, theirs["ids"])
    journal.close()
    with Catalog(store) as catalog:
        yield catalog


def fill(journal: Journal, clock: Clock, ids: dict[str, list[str]]) -> None:
    """What mlflow_search_script.py logs."""
    wanted = data()
    for experiment_id, one in zip(ids["experiment"], wanted["experiments"], strict=True):
        clock.ms = one["created"] - 1
        journal.append(ops.ExperimentCreate(experiment_id, one["name"], None, tuple(one["tags"].items())))
    for run_id, one in zip(ids["run"], wanted["runs"], strict=True):
        fill_run(journal, run_id, ids["experiment"][one["experiment"]], one)
    for model_id, one in zip(ids["model"], wanted["models"], strict=True):
        clock.ms = one["created"] - 1
        fill_model(journal, model_id, ids, one)
    journal.append(ops.ExperimentLifecycle(ids["experiment"][2], deleted=True))


def fill_run(journal: Journal, run_id: str, experiment_id: str, one: dict[str, Any]) -> None:
    """One run."""
    journal.append(ops.RunCreate(run_id, experiment_id, one["name"], one["user"], one["start"]))
    metrics = [Metric(key, value, 1, 0) for key, value in one["metrics"].items()]
    params = [Param(key, value) for key, value in one["params"].items()]
    tags = [RunTag(key, value) for key, value in one["tags"].items()]
    journal.append_batch(run_id, metrics, params, tags)
    datasets = tuple(
        (name, digest, "local", "here", None, None, () if context is None else (("mlflow.data.context", context),))
        for name, digest, context in one["datasets"]
    )
    journal.append(ops.RunInputs(run_id, datasets))
    journal.append(ops.RunUpdate(run_id, one["status"], one["end"]))
    if one["deleted"]:
        journal.append(ops.RunLifecycle(run_id, deleted=True))


def fill_model(journal: Journal, model_id: str, ids: dict[str, list[str]], one: dict[str, Any]) -> None:
    """One logged model."""
    source = None if one["run"] is None else ids["run"][one["run"]]
    journal.append(
        ops.ModelCreate(
            model_id,
            ids["experiment"][one["experiment"]],
            one["name"],
            one["type"],
            source,
            tuple(one["tags"].items()),
            tuple(one["params"].items()),
        )
    )
    for number, (key, value, step, ts, dataset, digest) in enumerate(one["points"]):
        run_id = ids["run"][RUNS_OF_POINTS[number % 2]]
        journal.append_batch(run_id, [Metric(key, value, ts, step, model_id, dataset, digest)])
    if one["status"] is not None:
        journal.append(ops.ModelFinalize(model_id, one["status"]))
    if one["deleted"]:
        journal.append(ops.ModelLifecycle(model_id, deleted=True))


def answer(catalog: Catalog, question: Question, ids: dict[str, list[str]]) -> list[str] | str:
    """The ids that are found, or the error code."""
    try:
        return found(catalog, filled(question, ids), ids["experiment"])
    except TrackingError as error:
        return error.error_code


def found(catalog: Catalog, question: Question, experiments: list[str]) -> list[str]:
    """The ids that are found."""
    text, order, stages = question["filter"], question.get("order"), queries.stages_of(question.get("view", 1))
    if question["of"] == "runs":
        search = run_search(experiments, text, order, stages, catalog.store.artifacts)
        return [run.info.run_id for run in catalog.search(reads.runs, search, 1000)]
    if question["of"] == "experiments":
        search = experiment_search(text, order, stages)
        return [one.experiment_id for one in catalog.search(reads.experiments, search, 1000)]
    search = model_search(experiments, text, question.get("datasets"), order)
    return [one.model_id for one in catalog.search(reads.models, search, 1000)]


@pytest.mark.server
def test_searches_answer_as_mlflow_does(theirs: dict[str, Any], ours: Catalog) -> None:
    """500 filters and orders over the same data find the same in the same order, or fail with the same code."""
    asked = questions()
    assert len(asked) == len(theirs["answers"]) > 400
    different = []
    for question, expected in zip(asked, theirs["answers"], strict=True):
        got = answer(ours, question, theirs["ids"])
        if got != expected and (expected, got) not in DIFFERENT.values():
            different.append((question, expected, got))
    assert different == [], "\n".join(map(str, different))
