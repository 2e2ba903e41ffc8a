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
_JOURNALS = "SELECT id, incarnation, host, pid, created_ms, sealed FROM journal ORDER BY created_ms, id"
_FILES = "SELECT CASE WHEN error IS NULL THEN journal END, name FROM file ORDER BY name"


def open_runs(connection: sqlite3.Connection) -> OpenRuns:
    """The runs that have not ended, in the order of their import, and the journals that wrote to them."""
    runs: dict[str, OpenRun] = {}
    for run_id, opened_by, opened_stamp, writer, last_ms in connection.execute(_RUNS):
        runs.setdefault(run_id, OpenRun(run_id, opened_by, opened_stamp, {})).writers[writer] = last_ms
    if not runs:
        return OpenRuns()
    journals = _journals(connection, {writer for run in runs.values() for writer in run.writers})
    files: dict[int, list[str]] = {number: [] for number in journals}
    unread = []
    for number, name in connection.execute(_FILES):
        if number is None:
            unread.append(name)
        elif number in files:
            files[number].append(name)
    near = tuple(
        OpenJournal(incarnation, host, pid, tuple(files[number]), created_ms, bool(sealed))
        for number, (incarnation, host, pid, created_ms, sealed) in journals.items()
    )
    return OpenRuns(tuple(runs.values()), near, tuple(unread))


def _journals(connection: sqlite3.Connection, writers: set[str]) -> dict[int, tuple[str, str, int, int, int]]:
    """Number -> row of the journals `writers`, and of those that a process of the same host and pid made later."""
    processes: set[tuple[str, int]] = set()
    found = {}
    for number, *row in connection.execute(_JOURNALS):
        incarnation, host, pid, created_ms, sealed = row
        if incarnation in writers:
            processes.add((host, pid))
        if (host, pid) in processes:
            found[number] = (incarnation, host, pid, created_ms, sealed)
    return found
