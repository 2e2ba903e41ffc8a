"""Reads of logged models: for the API, for replay, and at a glance."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from localtrack.catalog.desired import DesiredModel
from localtrack.catalog.entries import ModelEntry
from localtrack.catalog.history import NAN
from localtrack.catalog.merge import TAG
from localtrack.entities import LoggedModel, Metric
from localtrack.store import Store

_MODEL = (
    "SELECT id, model_id, experiment_id, name, model_type, source_run_id, status, deleted, creation_ms, updated_ms, "
    "remote, remote_proof, create_stamp FROM model WHERE create_stamp IS NOT NULL"
)
_INDEX = f"""
WITH
  cells AS (
    SELECT model, count(*) || '.' || sum(stamp & 1099511627775) || '.' || sum(n) content
    FROM model_cell GROUP BY model),
  claims AS (
    SELECT model, count(*) || '.' || sum(stamp & 1099511627775) || '.' || sum(n) content
    FROM model_claim GROUP BY model),
  files AS (
    SELECT owner, count(*) n, sum(size) bytes,
      count(*) || '.' || sum(stamp & 1099511627775) || '.' || sum(n) content FROM artifact GROUP BY owner)
SELECT m.model_id, m.experiment_id, m.name, m.status, m.deleted, m.source_run_id, m.remote, m.remote_proof,
  m.create_stamp, m.creation_ms, m.updated_ms, coalesce(p.n, 0), coalesce(t.n, 0), coalesce(files.n, 0),
  coalesce(files.bytes, 0),
  coalesce(cells.content, '') || '/' || coalesce(claims.content, '') || '/' || coalesce(files.content, '')
FROM model m
LEFT JOIN (SELECT model, count(*) n FROM model_param GROUP BY model) p ON p.model = m.id
LEFT JOIN (SELECT model, count(*) n FROM model_cell WHERE kind = '{TAG}' AND value IS NOT NULL GROUP BY model) t
  ON t.model = m.id
LEFT JOIN files ON files.owner = m.model_id
LEFT JOIN cells ON cells.model = m.id
LEFT JOIN claims ON claims.model = m.id
WHERE m.create_stamp IS NOT NULL
ORDER BY m.creation_ms, m.model_id
"""


def model_index(connection: sqlite3.Connection) -> list[ModelEntry]:
    """Every created logged model with its counts, oldest first, then by id."""
    return [ModelEntry(*(*row[:4], bool(row[4]), *row[5:])) for row in connection.execute(_INDEX)]


def model(
    connection: sqlite3.Connection, store: Store, model_id: str, *, allow_deleted: bool = False
) -> LoggedModel | None:
    """A logged model by id; None when the store has none of that id, or it is deleted."""
    rows = connection.execute(f"{_MODEL} AND model_id = ?", (model_id,)).fetchall()
    if not rows or (rows[0][7] and not allow_deleted):
        return None
    return models(connection, store, rows)[0]


def models(connection: sqlite3.Connection, store: Store, rows: Sequence[tuple[Any, ...]]) -> list[LoggedModel]:
    """Logged models with their params, tags and latest metrics, from rows of `_MODEL`."""
    return [_entity(connection, store, row) for row in rows]


def _entity(connection: sqlite3.Connection, store: Store, row: tuple[Any, ...]) -> LoggedModel:
    number, model_id, experiment_id, name, model_type, source_run_id, status, _, created, updated, *_ = row
    return LoggedModel(
        experiment_id=experiment_id,
        model_id=model_id,
        name=name,
        artifact_location=store.model_artifacts(experiment_id, model_id),
        creation_timestamp=created,
        last_updated_timestamp=updated,
        model_type=model_type,
        source_run_id=source_run_id,
        status=status,
        tags=_tags(connection, number)[0],
        params=_params(connection, number),
        metrics=model_metrics(connection, model_id),
    )


def model_metrics(connection: sqlite3.Connection, model_id: str) -> list[Metric]:
    """The latest point of each metric, run and dataset that was logged to a model (MLflow's own grouping)."""
    rows = connection.execute(
        "SELECT r.run_id, k.key, x.dataset_name, x.dataset_digest, m.step, m.ts, m.value, m.nan "
        "FROM metric_extra x JOIN metric m ON m.extra = x.id AND m.extra <> 0 JOIN metric_key k ON k.id = m.key "
        "JOIN run r ON r.id = m.run WHERE x.model_id = ? ORDER BY k.key, r.run_id, m.step, m.ts, m.value, m.nan",
        (model_id,),
    )
    latest: dict[tuple[str, str, str | None, str | None], Metric] = {}
    for run_id, key, name, digest, step, ts, value, nan in rows:
        latest[key, run_id, name, digest] = Metric(key, NAN if nan else value, ts, step, model_id, name, digest, run_id)
    return list(latest.values())


def desired_model(connection: sqlite3.Connection, model_id: str) -> DesiredModel | None:
    """The state of a logged model after all imported ops; None while its creation is not imported."""
    row = connection.execute(f"{_MODEL} AND model_id = ?", (model_id,)).fetchone()
    if row is None:
        return None
    number, _, experiment_id, name, model_type, source_run_id, status, deleted, _, _, remote, proof, stamp = row
    tags, dropped = _tags(connection, number)
    ever: defaultdict[str, list[str]] = defaultdict(list)
    for key, value in connection.execute(
        "SELECT key, value FROM model_tag_ever WHERE model = ? ORDER BY key, value", (number,)
    ):
        ever[key].append(value)
    return DesiredModel(
        model_id=model_id,
        experiment_id=experiment_id,
        name=name,
        model_type=model_type,
        source_run_id=source_run_id,
        status=status,
        deleted=bool(deleted),
        params=_params(connection, number),
        tags=tags,
        dropped_tags=dropped,
        ever={key: tuple(values) for key, values in ever.items()},
        remote=remote,
        remote_proof=proof,
        create_stamp=stamp,
    )


def _params(connection: sqlite3.Connection, number: int) -> dict[str, str]:
    return dict(connection.execute("SELECT key, value FROM model_param WHERE model = ? ORDER BY key", (number,)))


def _tags(connection: sqlite3.Connection, number: int) -> tuple[dict[str, str], tuple[str, ...]]:
    cells = dict(
        connection.execute(
            f"SELECT key, value FROM model_cell WHERE model = ? AND kind = '{TAG}' ORDER BY key", (number,)
        )
    )
    return (
        {key: value for key, value in cells.items() if value is not None},
        tuple(key for key, value in cells.items() if value is None),
    )
