"""The content of a catalog as values that do not depend on the order of import: no numbers given on the way."""

from __future__ import annotations

import sqlite3
from typing import Any, TypeAlias

Content: TypeAlias = dict[str, list[tuple[Any, ...]]]

_QUERIES = {
    "journal": "SELECT incarnation, host, pid, user, created_ms, format, upto, sealed, max_stamp, first_ms, last_ms "
    "FROM journal",
    "damage": "SELECT j.incarnation, d.first_n, d.last_n, d.reason FROM damage d JOIN journal j ON j.id = d.journal",
    "loss": "SELECT j.incarnation, l.n, l.kind, l.count, l.reason FROM loss l JOIN journal j ON j.id = l.journal",
    "unknown": "SELECT j.incarnation, u.kind, u.count FROM unknown_op u JOIN journal j ON j.id = u.journal",
    "experiment": "SELECT experiment_id, created_name, artifact_location, creation_ms, name, deleted, updated_ms "
    "FROM experiment",
    "experiment_cell": "SELECT experiment_id, kind, key, value FROM experiment_cell",
    "experiment_ever": "SELECT * FROM experiment_ever",
    "run": "SELECT run_id, experiment_id, user_id, start_time, remote, attached, create_stamp, create_incarnation, "
    "create_n, name, status, end_time, deleted FROM run",
    "run_tag": "SELECT r.run_id, c.key, c.value FROM run_cell c JOIN run r ON r.id = c.run WHERE c.kind = 'tag'",
    "run_tag_ever": "SELECT r.run_id, e.key, e.value FROM run_tag_ever e JOIN run r ON r.id = e.run",
    "param": "SELECT r.run_id, p.key, p.value FROM param p JOIN run r ON r.id = p.run",
    "param_claim": "SELECT r.run_id, c.key, c.incarnation, c.value, c.stamp, c.n FROM param_claim c "
    "JOIN run r ON r.id = c.run",
    "metric": "SELECT r.run_id, j.incarnation, m.pos, k.key, m.step, m.ts, m.value, m.nan, x.model_id, "
    "x.dataset_name FROM metric m JOIN run r ON r.id = m.run JOIN journal j ON j.id = m.journal "
    "JOIN metric_key k ON k.id = m.key "
    "LEFT JOIN metric_extra x ON x.id = m.extra",
    "metric_latest": "SELECT r.run_id, k.key, l.step, l.ts, l.value, l.nan FROM metric_latest l "
    "JOIN run r ON r.id = l.run JOIN metric_key k ON k.id = l.key",
    "dataset_input": "SELECT r.run_id, d.name, d.digest, d.source_type, d.source, d.schema, d.profile, d.tags, "
    "d.stamp, d.incarnation, d.n FROM dataset_input d JOIN run r ON r.id = d.run",
    "model_link": "SELECT r.run_id, l.kind, l.model_id, l.step, l.stamp, l.incarnation, l.n FROM model_link l "
    "JOIN run r ON r.id = l.run",
    "model_history": "SELECT r.run_id, h.stamp, h.incarnation, h.n, h.entry FROM model_history h "
    "JOIN run r ON r.id = h.run",
    "model": "SELECT model_id, experiment_id, name, model_type, source_run_id, remote, create_stamp, "
    "create_incarnation, create_n, creation_ms, status, deleted, updated_ms FROM model",
    "model_tag": "SELECT m.model_id, c.key, c.value FROM model_cell c JOIN model m ON m.id = c.model "
    "WHERE c.kind = 'tag'",
    "model_tag_ever": "SELECT m.model_id, e.key, e.value FROM model_tag_ever e JOIN model m ON m.id = e.model",
    "model_param": "SELECT m.model_id, p.key, p.value FROM model_param p JOIN model m ON m.id = p.model",
    "artifact": "SELECT owner, path, size, sha256, stamp, incarnation, n FROM artifact",
    "run_journal": "SELECT r.run_id, j.incarnation, h.head, h.points, h.first_ms, h.last_ms FROM run_journal h "
    "JOIN run r ON r.id = h.run JOIN journal j ON j.id = h.journal",
}


def dump(connection: sqlite3.Connection) -> Content:
    """Every content table, sorted."""
    return {name: sorted(connection.execute(sql).fetchall(), key=repr) for name, sql in _QUERIES.items()}
