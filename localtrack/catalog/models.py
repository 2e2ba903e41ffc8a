"""Logged models into the catalog's tables: the joins of `merge` as upserts. As `writing`."""

from __future__ import annotations

import sqlite3

from localtrack.catalog import merge
from localtrack.catalog.changes import Changes
from localtrack.catalog.merge import Claim
from localtrack.journal.ops import OpId, stamp_ms


def write_models(connection: sqlite3.Connection, changes: Changes) -> None:
    """Join logged models. The caller owns the transaction."""
    number = changes.numbers.model
    touched = {number[where] for where, _, _ in changes.model_cells}
    claimed = {number[where] for where, _, _ in changes.model_claims}
    created = {number[where] for where in changes.models}
    if not touched | claimed | created:
        return
    connection.executemany(
        "UPDATE model SET experiment_id = ?, name = ?, model_type = ?, source_run_id = ?, remote = ?, "
        "remote_proof = ?, creation_ms = ?, create_stamp = ?, create_incarnation = ?, create_n = ? WHERE id = ? AND "
        "(create_stamp IS NULL OR (?, ?, ?) < (create_stamp, create_incarnation, create_n))",
        [
            (
                *(op.experiment_id, op.name, op.model_type, op.source_run_id, op.remote, op.remote_proof),
                *(stamp_ms(op_id.stamp), *op_id, number[model_id], *op_id),
            )
            for model_id, (op_id, op) in changes.models.items()
        ],
    )
    connection.executemany(
        "INSERT INTO model_cell VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (model, kind, key) DO UPDATE "
        "SET value = excluded.value, stamp = excluded.stamp, incarnation = excluded.incarnation, n = excluded.n "
        "WHERE (excluded.stamp, excluded.incarnation, excluded.n) > (stamp, incarnation, n)",
        [(number[where], kind, key, cell.value, *cell.op) for (where, kind, key), cell in changes.model_cells.items()],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO model_tag_ever VALUES (?, ?, ?)",
        [(number[where], key, value) for where, key, value in changes.model_ever],
    )
    connection.executemany(
        "INSERT INTO model_claim VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (model, key, incarnation, value) "
        "DO UPDATE SET stamp = excluded.stamp, n = excluded.n WHERE (excluded.stamp, excluded.n) < (stamp, n)",
        [
            (number[where], key, op.incarnation, value, op.stamp, op.n)
            for (where, key, value), op in changes.model_claims.items()
        ],
    )
    for model in touched | created | claimed:
        _derive(connection, model)


def _derive(connection: sqlite3.Connection, model: int) -> None:
    owner, born = connection.execute(
        "SELECT create_incarnation, creation_ms FROM model WHERE id = ?", (model,)
    ).fetchone()
    claims = [
        Claim(key, value, OpId(stamp, incarnation, n))
        for key, value, stamp, incarnation, n in connection.execute(
            "SELECT key, value, stamp, incarnation, n FROM model_claim WHERE model = ?", (model,)
        )
    ]
    connection.executemany(
        "INSERT OR REPLACE INTO model_param VALUES (?, ?, ?)",
        [(model, key, value) for key, value in merge.param_winners(claims, owner).items()],
    )
    cells = dict(
        connection.execute(f"SELECT kind, value FROM model_cell WHERE model = ? AND kind <> '{merge.TAG}'", (model,))
    )
    (last,) = connection.execute("SELECT max(stamp) FROM model_cell WHERE model = ?", (model,)).fetchone()
    updated = max((ms for ms in (born, None if last is None else stamp_ms(last)) if ms is not None), default=None)
    connection.execute(
        "UPDATE model SET status = ?, deleted = ?, updated_ms = ? WHERE id = ?",
        (cells.get(merge.STATUS) or "PENDING", cells.get(merge.DELETED) or 0, updated, model),
    )
