"""Reads of the catalog for the API: experiments and runs."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from localtrack.catalog import linked_queries
from localtrack.catalog.changes import INPUT, OUTPUT
from localtrack.catalog.history import NAN
from localtrack.catalog.merge import HISTORY_TAG, TAG
from localtrack.entities import (
    DatasetInput,
    Experiment,
    LifecycleStage,
    LoggedModelInput,
    LoggedModelOutput,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    ViewType,
)
from localtrack.errors import TrackingError
from localtrack.store import Store

#: Bound variables of one statement; SQLite before 3.32 allows 999.
_BATCH = 500
_VIEWS = {ViewType.ACTIVE_ONLY: (0,), ViewType.DELETED_ONLY: (1,), ViewType.ALL: (0, 1)}
_EXPERIMENT = (
    "SELECT experiment_id, name, artifact_location, deleted, creation_ms, updated_ms FROM experiment "
    "WHERE create_stamp IS NOT NULL"
)
_RUN = (
    "SELECT id, run_id, experiment_id, name, user_id, status, start_time, end_time, deleted FROM run "
    "WHERE create_stamp IS NOT NULL"
)


def stages_of(view_type: int) -> tuple[int, ...]:
    """Values of the column `deleted` that a view type sees.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE; not a view type.
    """
    stages = _VIEWS.get(view_type)
    if stages is None:
        raise TrackingError(f"Invalid view type {view_type!r}: 1 (active), 2 (deleted) or 3 (all)")
    return stages


def _stage(deleted: int) -> str:
    return LifecycleStage.DELETED if deleted else LifecycleStage.ACTIVE


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


# --- experiments ---------------------------------------------------------------------------------------------------


def experiment(connection: sqlite3.Connection, store: Store, experiment_id: str) -> Experiment | None:
    """An experiment by id, active or deleted; None when the store has none of that id."""
    rows = connection.execute(f"{_EXPERIMENT} AND experiment_id = ?", (experiment_id,)).fetchall()
    return experiments(connection, store, rows)[0] if rows else None


def experiment_by_name(connection: sqlite3.Connection, store: Store, name: str) -> Experiment | None:
    """An experiment by name: an active one before a deleted one, and of several the one that was created first."""
    rows = connection.execute(
        f"{_EXPERIMENT} AND name = ? ORDER BY deleted, create_stamp, create_incarnation, create_n LIMIT 1", (name,)
    ).fetchall()
    return experiments(connection, store, rows)[0] if rows else None


def experiments(connection: sqlite3.Connection, store: Store, rows: Sequence[tuple[Any, ...]]) -> list[Experiment]:
    """Experiments with their tags, from rows of `_EXPERIMENT`."""
    tags: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for ids in _batches([row[0] for row in rows]):
        for experiment_id, key, value in connection.execute(
            f"SELECT experiment_id, key, value FROM experiment_cell WHERE kind = '{TAG}' AND value IS NOT NULL "
            f"AND experiment_id IN ({_marks(ids)})",
            ids,
        ):
            tags[experiment_id][key] = value
    return [
        Experiment(
            experiment_id=experiment_id,
            name=name,
            artifact_location=location or os.path.join(store.artifacts, experiment_id),
            lifecycle_stage=_stage(deleted),
            tags=tags[experiment_id],
            creation_time=created,
            last_update_time=updated,
        )
        for experiment_id, name, location, deleted, created, updated in rows
    ]


# --- runs ----------------------------------------------------------------------------------------------------------


def run(connection: sqlite3.Connection, store: Store, run_id: str) -> Run | None:
    """A run by id, active or deleted; None when the store has none of that id."""
    rows = connection.execute(f"{_RUN} AND run_id = ?", (run_id,)).fetchall()
    return runs(connection, store, rows)[0] if rows else None


def runs(connection: sqlite3.Connection, store: Store, rows: Sequence[tuple[Any, ...]]) -> list[Run]:
    """Runs with what they hold, from rows of `_RUN`."""
    data: dict[int, RunData] = {row[0]: RunData() for row in rows}
    for numbers in _batches(list(data)):
        within = f"run IN ({_marks(numbers)})"
        for number, key, value, nan in connection.execute(
            f"SELECT run, k.key, value, nan FROM metric_latest l JOIN metric_key k ON k.id = l.key WHERE {within}",
            numbers,
        ):
            data[number].metrics[key] = NAN if nan else value
        for number, key, value in connection.execute(f"SELECT run, key, value FROM param WHERE {within}", numbers):
            data[number].params[key] = value
        for number, key, value in connection.execute(
            f"SELECT run, key, value FROM run_cell WHERE {within} AND kind = '{TAG}' AND value IS NOT NULL", numbers
        ):
            data[number].tags[key] = value
    linked = _Linked(connection, list(data))
    linked.add_history(data)
    return [Run(_info(store, row), data[row[0]], *linked.of(row[0])) for row in rows]


class _Linked:
    """Datasets, models and log_model entries of some runs."""

    def __init__(self, connection: sqlite3.Connection, numbers: list[int]) -> None:
        self._datasets: dict[int, list[DatasetInput]] = {}
        self._inputs: dict[int, list[tuple[str, int]]] = {}
        self._outputs: dict[int, list[tuple[str, int]]] = {}
        self._history: dict[int, list[str]] = {}
        for some in _batches(numbers):
            self._datasets |= linked_queries.datasets(connection, some)
            self._inputs |= linked_queries.links(connection, INPUT, some)
            self._outputs |= linked_queries.links(connection, OUTPUT, some)
            self._history |= linked_queries.history(connection, some)

    def add_history(self, data: dict[int, RunData]) -> None:
        """What the deprecated log_model recorded, as the tag that MLflow keeps it in."""
        for number, entries in self._history.items():
            tags = data[number].tags
            tags[HISTORY_TAG] = linked_queries.history_tag(tags.get(HISTORY_TAG), entries)

    def of(self, number: int) -> tuple[RunInputs, RunOutputs]:
        """Inputs and outputs of one run."""
        models = tuple(LoggedModelInput(model_id) for model_id, _ in self._inputs.get(number, ()))
        outputs = tuple(LoggedModelOutput(model_id, step) for model_id, step in self._outputs.get(number, ()))
        return RunInputs(tuple(self._datasets.get(number, ())), models), RunOutputs(outputs)


def _info(store: Store, row: tuple[Any, ...]) -> RunInfo:
    _, run_id, experiment_id, name, user_id, status, start_time, end_time, deleted = row
    return RunInfo(
        run_id=run_id,
        experiment_id=experiment_id,
        run_name=name,
        user_id=user_id,
        status=status,
        start_time=start_time,
        end_time=end_time,
        artifact_uri=store.run_artifacts(experiment_id, run_id),
        lifecycle_stage=_stage(deleted),
    )


def _batches(values: list[Any]) -> Iterable[list[Any]]:
    return (values[i : i + _BATCH] for i in range(0, len(values), _BATCH))
