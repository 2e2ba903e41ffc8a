"""What hangs on runs into the catalog's tables: datasets, models in and out, log_model entries, files. As `writing`."""

from __future__ import annotations

import json
import sqlite3

from localtrack.catalog.changes import Changes

_EARLIER = "(excluded.stamp, excluded.incarnation, excluded.n) < (stamp, incarnation, n)"
_LATER = "(excluded.stamp, excluded.incarnation, excluded.n) > (stamp, incarnation, n)"
_OP = "stamp = excluded.stamp, incarnation = excluded.incarnation, n = excluded.n"


def write_links(connection: sqlite3.Connection, changes: Changes) -> None:
    """Join inputs, outputs, log_model entries and files. The caller owns the transaction."""
    runs = changes.numbers.run
    connection.executemany(
        "INSERT INTO dataset_input VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, name, digest) DO UPDATE "
        "SET source_type = excluded.source_type, source = excluded.source, schema = excluded.schema, "
        f"profile = excluded.profile, tags = excluded.tags, {_OP} WHERE {_EARLIER}",
        [
            (runs[run_id], *row[:6], json.dumps(row[6], ensure_ascii=False, separators=(",", ":")), *op)
            for (run_id, _, _), (op, row) in changes.datasets.items()
        ],
    )
    connection.executemany(
        "INSERT INTO model_link VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run, kind, model_id) DO UPDATE "
        f"SET step = excluded.step, {_OP} WHERE {_EARLIER}",
        [(runs[run_id], kind, model_id, step, *op) for (run_id, kind, model_id), (op, step) in changes.links.items()],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO model_history VALUES (?, ?, ?, ?, ?)",
        [(runs[run_id], *op, entry) for (run_id, op), entry in changes.history.items()],
    )
    connection.executemany(
        "INSERT INTO artifact VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, path) DO UPDATE "
        f"SET size = excluded.size, sha256 = excluded.sha256, {_OP} WHERE {_LATER}",
        [(owner, path, size, sha256, *op) for (owner, path), (op, size, sha256) in changes.artifacts.items()],
    )
