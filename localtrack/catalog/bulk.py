"""Which runs a bulk delete or restore is about."""

from __future__ import annotations

import sqlite3

from localtrack.catalog.merge import COVERS, DELETED
from localtrack.journal.ops import COUNTER_BITS

# A run was deleted by its own op or with its experiment; of a run that is deleted, the later of both did it.
_DELETED_AT = f"""
  max(coalesce((SELECT stamp FROM run_cell c WHERE c.run = r.id AND c.kind = '{DELETED}' AND c.key = ''), 0),
      coalesce((SELECT stamp FROM experiment_cell e
                WHERE e.experiment_id = r.experiment_id AND e.kind = '{COVERS}' AND e.key = ''), 0)) >> {COUNTER_BITS}
"""


def started_upto(connection: sqlite3.Connection, experiment_id: str, ms: int, limit: int) -> list[str]:
    """Ids of active runs of an experiment that started at `ms` or before, oldest first."""
    rows = connection.execute(
        "SELECT run_id FROM run WHERE create_stamp IS NOT NULL AND experiment_id = ? AND start_time <= ? "
        "AND NOT deleted ORDER BY start_time, run_id LIMIT ?",
        (experiment_id, ms, limit),
    )
    return [run_id for (run_id,) in rows]


def deleted_since(connection: sqlite3.Connection, experiment_id: str, ms: int, limit: int) -> list[str]:
    """Ids of deleted runs of an experiment that were deleted at `ms` or later, the last deleted first."""
    rows = connection.execute(
        f"SELECT run_id, {_DELETED_AT} AS at FROM run r WHERE create_stamp IS NOT NULL AND experiment_id = ? "
        "AND deleted AND at >= ? ORDER BY at DESC, run_id LIMIT ?",
        (experiment_id, ms, limit),
    )
    return [run_id for run_id, _ in rows]
