"""Reads of the catalog for those who look after runs that nobody ends: which are open, and who wrote them."""

from __future__ import annotations

import sqlite3

from localtrack.catalog.entries import OpenJournal, OpenRun, OpenRuns
from localtrack.catalog.merge import STATUS

# An attached run counts when its status was set here. The first condition is that of the index run_open.
_RUNS = f"""
SELECT r.run_id, coalesce(c.incarnation, r.create_incarnation), coalesce(c.stamp, r.create_stamp), j.incarnation,
  w.last_ms
FROM run r
LEFT JOIN run_cell c ON c.run = r.id AND c.kind = '{STATUS}' AND c.key = ''
JOIN run_journal w ON w.run = r.id
JOIN journal j ON j.id = w.journal
WHERE r.status IN ('RUNNING', 'SCHEDULED') AND r.create_stamp IS NOT NULL AND NOT r.deleted
  AND (c.stamp IS NOT NULL OR NOT r.attached)
ORDER BY r.id, w.journal
"""
_JOURNALS = """
SELECT j.id, j.incarnation, j.host, j.pid, j.created_ms, j.sealed
FROM journal j JOIN (
  SELECT host, pid, min(created_ms) since FROM journal WHERE id IN (
    SELECT w.journal FROM run r JOIN run_journal w ON w.run = r.id
    WHERE r.status IN ('RUNNING', 'SCHEDULED') AND r.create_stamp IS NOT NULL AND NOT r.deleted)
  GROUP BY host, pid) p ON j.host = p.host AND j.pid = p.pid AND j.created_ms >= p.since
ORDER BY j.created_ms, j.id
"""
_FILES = "SELECT CASE WHEN error IS NULL THEN journal END, name FROM file ORDER BY name"


def open_runs(connection: sqlite3.Connection) -> OpenRuns:
    """The runs that have not ended, in the order of their import, and the journals that wrote to them."""
    runs: dict[str, OpenRun] = {}
    for run_id, opened_by, opened_stamp, writer, last_ms in connection.execute(_RUNS):
        runs.setdefault(run_id, OpenRun(run_id, opened_by, opened_stamp, {})).writers[writer] = last_ms
    if not runs:
        return OpenRuns()
    rows = connection.execute(_JOURNALS).fetchall()
    names: dict[int, list[str]] = {row[0]: [] for row in rows}
    unread = []
    for journal, name in connection.execute(_FILES):
        if journal is None:
            unread.append(name)
        elif journal in names:
            names[journal].append(name)
    journals = tuple(
        OpenJournal(incarnation, host, pid, tuple(names[number]), created_ms, bool(sealed))
        for number, incarnation, host, pid, created_ms, sealed in rows
    )
    return OpenRuns(tuple(runs.values()), journals, tuple(unread))
