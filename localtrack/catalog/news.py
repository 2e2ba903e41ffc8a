"""What has changed in a catalog since it was looked at last: for whoever follows a store while training goes on.

A run changes by records of journals, and with the life of its experiment. The stamps of a journal only grow, so the
runs that changed are those to which a journal wrote not before its last record that was known; when an experiment
changed, it may be any.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from localtrack.catalog import listings, model_queries
from localtrack.catalog.entries import ModelEntry, RunEntry

#: More runs than this are not worth narrowing the question to.
_MANY = 2000


@dataclass(frozen=True, slots=True)
class Mark:
    """How far somebody has looked.

    Attributes:
        file: which catalog; another one numbers its journals differently.
        upto: number of a journal -> number and time (ms since the epoch) of its last imported record.
        experiments: id of an experiment -> changes whenever anything of it does.
    """

    file: tuple[int, int] | None = None
    upto: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    experiments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """What may have changed.

    Attributes:
        mark: to ask from next time.
        whole: it is all that there is, not only what may have changed.
        runs: oldest start first, then by id.
        models: all logged models.
    """

    mark: Mark
    whole: bool
    runs: tuple[RunEntry, ...]
    models: tuple[ModelEntry, ...]


def news(connection: sqlite3.Connection, file: tuple[int, int] | None, since: Mark) -> News | None:
    """What may have changed since; None when nothing was imported. Costs a row per journal when nothing was."""
    journals = connection.execute("SELECT id, upto, coalesce(last_ms, 0) FROM journal")
    upto = {journal: (n, last_ms) for journal, n, last_ms in journals}
    if since.file == file and upto == since.upto:
        return None
    experiments = dict(connection.execute(_EXPERIMENTS))
    mark = Mark(file, upto, experiments)
    models = tuple(model_queries.model_index(connection))
    runs = _touched(connection, upto, since) if since.file == file and experiments == since.experiments else None
    whole = runs is None or len(runs) > _MANY
    return News(mark, whole, tuple(listings.run_index(connection, None if whole else runs)), models)


_EXPERIMENTS = """
SELECT e.experiment_id,
  coalesce(e.create_stamp, '') || '.' || e.name || '.' || e.deleted || '/' || coalesce(c.content, '')
FROM experiment e LEFT JOIN (
  SELECT experiment_id, count(*) || '.' || sum(stamp & 1099511627775) || '.' || sum(n) content
  FROM experiment_cell GROUP BY experiment_id) c ON c.experiment_id = e.experiment_id
"""


def _touched(connection: sqlite3.Connection, upto: Mapping[int, tuple[int, int]], since: Mark) -> set[int]:
    """Numbers of the runs that journals with new records wrote to since."""
    grown = [
        (journal, since.upto.get(journal, (0, 0))[1]) for journal, n in upto.items() if since.upto.get(journal) != n
    ]
    sql = "SELECT run FROM run_journal WHERE journal = ? AND last_ms >= ?"
    return {run for each in grown for (run,) in connection.execute(sql, each)}
