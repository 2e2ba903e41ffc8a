"""Reads of the catalog for the API: experiments and runs."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from localtrack.catalog import linked_queries, paging
from localtrack.catalog.changes import INPUT, OUTPUT
from localtrack.catalog.history import NAN, no_collection
from localtrack.catalog.merge import TAG
from localtrack.entities import (
    DatasetInput,
    Experiment,
    LifecycleStage,
    LoggedModelInput,
    LoggedModelOutput,
    PagedList,
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


def _stages(view_type: int) -> tuple[int, ...]:
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
    return _experiments(connection, store, rows)[0] if rows else None


def experiment_by_name(connection: sqlite3.Connection, store: Store, name: str) -> Experiment | None:
    """An experiment by name: an active one before a deleted one, and of several the one that was created first."""
    rows = connection.execute(
        f"{_EXPERIMENT} AND name = ? ORDER BY deleted, create_stamp, create_incarnation, create_n LIMIT 1", (name,)
    ).fetchall()
    return _experiments(connection, store, rows)[0] if rows else None


def experiments(
    connection: sqlite3.Connection, store: Store, view_type: int, max_results: int, page_token: str | None
) -> PagedList[Experiment]:
    """A page of experiments, newest first, then by id (MLflow's default order).

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE for a bad view type, max_results or page_token.
    """
    paging.check_max_results(max_results)
    stages = _stages(view_type)
    query = ("experiments", view_type)
    start = paging.start_of(query, page_token, (int, str))
    born = "coalesce(creation_ms, 0)"
    sql = f"{_EXPERIMENT} AND deleted IN ({_marks(stages)})"
    values: list[Any] = [*stages]
    if start is not None:
        sql += f" AND ({born} < ? OR ({born} = ? AND experiment_id > ?))"
        values += [start[0], *start]
    rows = connection.execute(
        f"{sql} ORDER BY {born} DESC, experiment_id LIMIT ?", (*values, max_results + 1)
    ).fetchall()
    token = None
    if len(rows) > max_results:
        rows = rows[:max_results]
        token = paging.token_after(query, (rows[-1][4] or 0, rows[-1][0]))
    return PagedList(_experiments(connection, store, rows), token)


def _experiments(connection: sqlite3.Connection, store: Store, rows: Sequence[tuple[Any, ...]]) -> list[Experiment]:
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
    return _runs(connection, store, rows)[0] if rows else None


class RunPage(NamedTuple):
    """Which runs are asked for: of these experiments, with this view type, from this token on."""

    experiment_ids: tuple[str, ...]
    view_type: int
    max_results: int
    page_token: str | None
    ascending: bool


def runs(connection: sqlite3.Connection, store: Store, page: RunPage) -> PagedList[Run]:
    """A page of runs, by start time (latest first, unless ascending), then by run id: MLflow's default order.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE for a bad view type, max_results or page_token.
    """
    paging.check_max_results(page.max_results)
    stages = _stages(page.view_type)
    wanted = sorted(set(page.experiment_ids))
    query = ("runs", wanted, page.view_type, page.ascending)
    start = paging.start_of(query, page.page_token, (int, str))
    rows: list[tuple[Any, ...]] = []
    for ids in _batches(wanted):  # one statement, unless very many experiments are asked for
        rows += _run_rows(connection, ids, stages, page, start)
    if len(wanted) > _BATCH:
        rows.sort(key=lambda row: (row[6] if page.ascending else -row[6], row[1]))
    token = None
    if len(rows) > page.max_results:
        rows = rows[: page.max_results]
        token = paging.token_after(query, (rows[-1][6], rows[-1][1]))
    with no_collection():
        return PagedList(_runs(connection, store, rows), token)


def _run_rows(
    connection: sqlite3.Connection,
    experiment_ids: Sequence[str],
    stages: Sequence[int],
    page: RunPage,
    start: Sequence[paging.SortValue] | None,
) -> list[tuple[Any, ...]]:
    sql = f"{_RUN} AND experiment_id IN ({_marks(experiment_ids)}) AND deleted IN ({_marks(stages)})"
    values: list[Any] = [*experiment_ids, *stages]
    if start is not None:
        beyond = ">" if page.ascending else "<"
        sql += f" AND (start_time {beyond} ? OR (start_time = ? AND run_id > ?))"
        values += [start[0], *start]
    order = "start_time" if page.ascending else "start_time DESC"
    return connection.execute(f"{sql} ORDER BY {order}, run_id LIMIT ?", (*values, page.max_results + 1)).fetchall()


def _runs(connection: sqlite3.Connection, store: Store, rows: Sequence[tuple[Any, ...]]) -> list[Run]:
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
            tags[linked_queries.HISTORY_TAG] = linked_queries.history_tag(tags.get(linked_queries.HISTORY_TAG), entries)

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
