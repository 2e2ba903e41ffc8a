"""Reads of the catalog for replay: the state that a remote should reach."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping

from localtrack.catalog import linked_queries
from localtrack.catalog.changes import INPUT, OUTPUT
from localtrack.catalog.desired import DesiredExperiment, DesiredRun, ParamConflict
from localtrack.catalog.merge import NAME, STATUS, TAG


def desired_experiment(connection: sqlite3.Connection, experiment_id: str) -> DesiredExperiment | None:
    """The state of an experiment after all imported ops; None while its creation is not imported."""
    row = connection.execute(
        "SELECT name, artifact_location, deleted, created_name FROM experiment "
        "WHERE experiment_id = ? AND create_stamp IS NOT NULL",
        (experiment_id,),
    ).fetchone()
    if row is None:
        return None
    name, location, deleted, created_name = row
    tags, dropped = _tags(connection, "experiment_cell", "experiment_id", experiment_id)
    names = connection.execute(
        f"SELECT value FROM experiment_ever WHERE experiment_id = ? AND kind = '{NAME}'", (experiment_id,)
    ).fetchall()
    return DesiredExperiment(
        experiment_id=experiment_id,
        name=name,
        artifact_location=location,
        deleted=bool(deleted),
        tags=tags,
        dropped_tags=dropped,
        ever=_ever(connection, f"experiment_ever WHERE kind = '{TAG}' AND experiment_id = ?", experiment_id),
        names_ever=tuple(sorted({created_name, *(row[0] for row in names)})),
    )


def desired_run(connection: sqlite3.Connection, run_id: str) -> DesiredRun | None:
    """The state of a run after all imported ops, without its points; None while its creation is not imported."""
    row = connection.execute(
        "SELECT id, experiment_id, name, user_id, status, start_time, end_time, deleted, remote, remote_proof, "
        "create_stamp, attached FROM run WHERE run_id = ? AND create_stamp IS NOT NULL",
        (run_id,),
    ).fetchone()
    if row is None:
        return None
    number, experiment_id, name, user_id, status, start_time, end_time, deleted, remote, proof, stamp, attached = row
    tags, dropped = _tags(connection, "run_cell", "run", number)
    params = dict(connection.execute("SELECT key, value FROM param WHERE run = ? ORDER BY key", (number,)))
    return DesiredRun(
        run_id=run_id,
        experiment_id=experiment_id,
        name=name,
        user_id=user_id,
        status=status if not attached or _has_status(connection, number) else "",
        start_time=start_time,
        end_time=end_time,
        deleted=bool(deleted),
        params=params,
        param_conflicts=_conflicts(connection, number, params),
        tags=tags,
        dropped_tags=dropped,
        ever=_ever(connection, "run_tag_ever WHERE run = ?", number),
        head=_head(connection, number),
        remote=remote,
        remote_proof=proof,
        create_stamp=stamp,
        datasets=tuple(linked_queries.datasets(connection, [number]).get(number, ())),
        model_inputs=tuple(one for one, _ in linked_queries.links(connection, INPUT, [number]).get(number, ())),
        model_outputs=tuple(linked_queries.links(connection, OUTPUT, [number]).get(number, ())),
        models_logged=tuple(linked_queries.history(connection, [number]).get(number, ())),
        attached=bool(attached),
    )


def _has_status(connection: sqlite3.Connection, number: int) -> bool:
    """Whether anybody here set the status of a run."""
    sql = f"SELECT 1 FROM run_cell WHERE run = ? AND kind = '{STATUS}'"
    return connection.execute(sql, (number,)).fetchone() is not None


def _tags(
    connection: sqlite3.Connection, table: str, column: str, where: str | int
) -> tuple[dict[str, str], tuple[str, ...]]:
    rows = connection.execute(
        f"SELECT key, value FROM {table} WHERE {column} = ? AND kind = '{TAG}' ORDER BY key", (where,)
    )
    cells = dict(rows)
    return (
        {key: value for key, value in cells.items() if value is not None},
        tuple(key for key, value in cells.items() if value is None),
    )


def _ever(connection: sqlite3.Connection, source: str, where: str | int) -> dict[str, tuple[str, ...]]:
    values: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in connection.execute(f"SELECT key, value FROM {source} ORDER BY key, value", (where,)):
        values[key].append(value)
    return {key: tuple(each) for key, each in values.items()}


def _conflicts(connection: sqlite3.Connection, number: int, params: Mapping[str, str]) -> tuple[ParamConflict, ...]:
    others: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, value, incarnation in connection.execute(
        "SELECT c.key, c.value, c.incarnation FROM param_claim c JOIN param p ON p.run = c.run AND p.key = c.key "
        "WHERE c.run = ? AND c.value <> p.value ORDER BY c.key, c.value, c.incarnation",
        (number,),
    ):
        others[key].append((value, incarnation))
    return tuple(ParamConflict(key, params[key], tuple(each)) for key, each in others.items())


def _head(connection: sqlite3.Connection, number: int) -> dict[str, int]:
    return dict(
        connection.execute(
            "SELECT j.incarnation, h.head FROM run_journal h JOIN journal j ON j.id = h.journal "
            "WHERE h.run = ? AND h.head >= 0 ORDER BY j.incarnation",
            (number,),
        )
    )
