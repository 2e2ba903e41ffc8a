"""Reads of the catalog for status: every run at a glance, every journal file, what is imported."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection

from localtrack.catalog.entries import JournalEntry, RunEntry, Totals
from localtrack.catalog.merge import TAG
from localtrack.journal.ops import Damage

#: `{of}` and `{owned}` narrow it to some runs, or are empty.
_RUN_INDEX = f"""
WITH
  extent AS (
    SELECT run, sum(points) points, min(first_ms) oldest, max(last_ms) newest FROM run_journal {{of}} GROUP BY run),
  params AS (SELECT run, count(*) n FROM param {{of}} GROUP BY run),
  tags AS (
    SELECT run, count(*) n FROM (SELECT * FROM run_cell {{of}}) WHERE kind = '{TAG}' AND value IS NOT NULL
    GROUP BY run),
  conflicts AS (
    SELECT c.run, count(DISTINCT c.key) n FROM (SELECT * FROM param_claim {{of}}) c
    JOIN param w ON w.run = c.run AND w.key = c.key
    WHERE c.value <> w.value GROUP BY c.run),
  cells AS (
    SELECT run, count(*) || '.' || sum(stamp & 1099511627775) || '.' || sum(n) content
    FROM run_cell {{of}} GROUP BY run),
  claims AS (
    SELECT run, count(*) || '.' || sum(stamp & 1099511627775) || '.' || sum(n) content
    FROM param_claim {{of}} GROUP BY run),
  linked AS (
    SELECT run, sum(kind <> 'output' AND kind <> 'history') inputs, sum(kind = 'output') outputs,
      sum(kind = 'history') history,
      count(*) || '.' || sum(stamp & 1099511627775) || '.' || sum(n) content
    FROM (SELECT run, 'dataset' kind, stamp, n FROM dataset_input {{of}}
      UNION ALL SELECT run, kind, stamp, n FROM model_link {{of}}
      UNION ALL SELECT run, 'history', stamp, n FROM model_history {{of}}) GROUP BY run),
  files AS (
    SELECT owner, count(*) n, sum(size) bytes,
      count(*) || '.' || sum(stamp & 1099511627775) || '.' || sum(n) content FROM artifact {{owned}} GROUP BY owner)
SELECT r.run_id, r.experiment_id, coalesce(e.name, r.experiment_id), r.name, r.status, r.deleted, r.start_time,
  r.end_time, r.remote, r.remote_proof, r.create_stamp, coalesce(params.n, 0), coalesce(tags.n, 0), extent.points,
  extent.oldest, extent.newest, coalesce(conflicts.n, 0),
  coalesce(cells.content, '') || '/' || coalesce(claims.content, '') || '/' || extent.points || '/' || r.deleted
    || '/' || coalesce(linked.content, '') || '/' || coalesce(files.content, ''),
  coalesce(linked.inputs, 0), coalesce(linked.outputs, 0), coalesce(linked.history, 0), coalesce(files.n, 0),
  coalesce(files.bytes, 0), r.attached
FROM run r
JOIN extent ON extent.run = r.id
LEFT JOIN experiment e ON e.experiment_id = r.experiment_id AND e.create_stamp IS NOT NULL
LEFT JOIN params ON params.run = r.id
LEFT JOIN tags ON tags.run = r.id
LEFT JOIN conflicts ON conflicts.run = r.id
LEFT JOIN cells ON cells.run = r.id
LEFT JOIN claims ON claims.run = r.id
LEFT JOIN linked ON linked.run = r.id
LEFT JOIN files ON files.owner = r.run_id
WHERE r.create_stamp IS NOT NULL
ORDER BY r.start_time, r.run_id
"""


def run_index(connection: sqlite3.Connection, only: Collection[int] | None = None) -> list[RunEntry]:
    """Every created run with its counts, oldest start first, then by id; `only`: of the runs of these numbers."""
    of = owned = ""
    if only is not None:
        numbers = ", ".join(str(int(number)) for number in only)
        of = f"WHERE run IN ({numbers})"
        owned = f"WHERE owner IN (SELECT run_id FROM run WHERE id IN ({numbers}))"
    rows = connection.execute(_RUN_INDEX.format(of=of, owned=owned))
    return [RunEntry(*(*row[:5], bool(row[5]), *row[6:-1], bool(row[-1]))) for row in rows]


def files(connection: sqlite3.Connection) -> tuple[dict[str, str], frozenset[str]]:
    """File name -> signature as imported; and the files of sealed, wholly imported journals, which do not grow."""
    known: dict[str, str] = {}
    finished: list[str] = []
    for name, signature, is_finished in connection.execute(
        "SELECT f.name, f.signature, j.sealed AND f.error IS NULL AND f.signature <> '' "
        "AND j.id NOT IN (SELECT journal FROM damage) FROM file f LEFT JOIN journal j ON j.id = f.journal"
    ):
        known[name] = signature
        if is_finished:
            finished.append(name)
    return known, frozenset(finished)


def journals(connection: sqlite3.Connection, present: set[str]) -> list[JournalEntry]:
    """Every journal file, by name, then imported journals whose file is gone; `present` names the files that exist."""
    damage: defaultdict[int, list[Damage]] = defaultdict(list)
    for journal, first_n, last_n, reason in connection.execute("SELECT * FROM damage ORDER BY journal, first_n"):
        damage[journal].append(Damage(first_n, last_n, reason))
    losses: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for journal, kind, count in connection.execute("SELECT journal, kind, sum(count) FROM loss GROUP BY journal, kind"):
        losses[journal][kind] = count
    unknown = dict(connection.execute("SELECT journal, sum(count) FROM unknown_op GROUP BY journal"))
    known = {
        row[0]: row[1:]
        for row in connection.execute(
            "SELECT id, incarnation, host, pid, user, created_ms, first_ms, last_ms, upto, sealed FROM journal"
        )
    }

    def entry(file: str, journal: int | None, size: int, error: str | None) -> JournalEntry:
        if journal is None:
            return JournalEntry(file, None, size=size, error=error or "")
        incarnation, host, pid, user, created_ms, first_ms, last_ms, upto, sealed = known[journal]
        return JournalEntry(
            file=file,
            incarnation=incarnation,
            host=host,
            pid=pid,
            user=user,
            created_ms=created_ms,
            first_ms=first_ms,
            last_ms=last_ms,
            size=size,
            upto=upto,
            sealed=bool(sealed),
            damage=tuple(damage[journal]),
            losses=losses[journal],
            unknown_ops=unknown.get(journal, 0),
            error=error or "",
        )

    files = [
        row
        for row in connection.execute("SELECT name, journal, size, error FROM file ORDER BY name")
        if row[0] in present
    ]
    gone = known.keys() - {journal for _, journal, _, _ in files}
    found = [entry(*row) for row in files]
    return found + [entry("", journal, 0, "the file is gone") for journal in sorted(gone, key=lambda j: known[j][0])]


def totals(connection: sqlite3.Connection) -> Totals:
    """How much the catalog holds."""
    return Totals(
        *connection.execute(
            "SELECT (SELECT count(*) FROM experiment WHERE create_stamp IS NOT NULL), count(create_stamp), "
            "count(*) - count(create_stamp), (SELECT coalesce(sum(points), 0) FROM run_journal) FROM run"
        ).fetchone()
    )


def max_stamp(connection: sqlite3.Connection, limit: int) -> int:
    """The greatest stamp of all journals that have not run ahead of `limit`; 0 for none."""
    row = connection.execute("SELECT max(max_stamp) FROM journal WHERE max_stamp <= ?", (limit,)).fetchone()
    return int(row[0] or 0)
