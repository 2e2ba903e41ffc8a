"""Reads of the catalog for replay and status: what a remote should hold, and where it came from."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from localtrack.catalog.desired import DesiredExperiment, DesiredRun, ParamConflict, Point
from localtrack.catalog.entries import JournalEntry, RunEntry, Totals
from localtrack.catalog.merge import NAME, TAG
from localtrack.catalog.queries import NAN
from localtrack.journal.ops import Damage


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
        "SELECT id, experiment_id, name, user_id, status, start_time, end_time, deleted, remote, remote_proof, create_stamp "
        "FROM run WHERE run_id = ? AND create_stamp IS NOT NULL",
        (run_id,),
    ).fetchone()
    if row is None:
        return None
    number, experiment_id, name, user_id, status, start_time, end_time, deleted, remote, proof, create_stamp = row
    tags, dropped = _tags(connection, "run_cell", "run", number)
    params = dict(connection.execute("SELECT key, value FROM param WHERE run = ? ORDER BY key", (number,)))
    return DesiredRun(
        run_id=run_id,
        experiment_id=experiment_id,
        name=name,
        user_id=user_id,
        status=status,
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
        create_stamp=create_stamp,
    )


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


def points(
    connection: sqlite3.Connection,
    run_id: str,
    after: Mapping[str, int],
    limit: int,
    upto: Mapping[str, int] | None = None,
    *,
    distinct: bool = False,
) -> tuple[Point, ...]:
    """Recorded points of a run beyond the watermarks, by (incarnation, pos): a scan of at most `limit` rows.

    Args:
        after: incarnation -> position of the last point that is not wanted; a journal that is not named starts at its beginning.
        limit: at most this many.
        upto: incarnation -> position of the last point that is wanted; a journal that is not named is not read. None: all.
        distinct: leave out points that have an equal twin (key, step, time, value) which is settled or comes earlier here.
    """
    journals = _point_journals(connection, run_id, after, upto)
    found: list[Point] = []
    names: dict[int, str] = {}
    for run, journal, incarnation, first, last in journals:
        reached = first
        while reached < last and len(found) < limit:
            room = limit - len(found)
            rows = connection.execute(
                "SELECT pos, key, value, nan, ts, step, extra FROM metric WHERE run = ? AND journal = ? AND pos > ? "
                "AND pos <= ? ORDER BY pos LIMIT ?",
                (run, journal, reached, last, min(room, _SCAN)),
            ).fetchall()
            reached = rows[-1][0] if rows else last
            if distinct:
                rows = [row for row in rows if not _has_twin(connection, run, journal, row, journals, after)]
            _learn(connection, names, {row[1] for row in rows})
            extras = _extras(connection, {row[6] for row in rows})
            found += [
                Point(incarnation, pos, names[key], NAN if nan else value, ts, step, *extras[extra])
                for pos, key, value, nan, ts, step, extra in rows
            ]
    return tuple(found)


#: Rows that are read at once; a greater limit is a number of such reads.
_SCAN = 100_000
_PointJournal = tuple[int, int, str, int, int]


def _point_journals(
    connection: sqlite3.Connection, run_id: str, after: Mapping[str, int], upto: Mapping[str, int] | None
) -> list[_PointJournal]:
    """Run, journal, incarnation, last position not wanted, last position wanted; by incarnation."""
    rows = connection.execute(
        "SELECT h.run, j.id, j.incarnation, h.head FROM run r JOIN run_journal h ON h.run = r.id "
        "JOIN journal j ON j.id = h.journal WHERE r.run_id = ? AND h.head >= 0 ORDER BY j.incarnation",
        (run_id,),
    ).fetchall()
    last = {incarnation: head for _, _, incarnation, head in rows}
    if upto is not None:
        last = {incarnation: min(head, upto.get(incarnation, -1)) for incarnation, head in last.items()}
    return [(run, journal, inc, after.get(inc, -1), last[inc]) for run, journal, inc, _ in rows]


def _has_twin(
    connection: sqlite3.Connection,
    run: int,
    journal: int,
    row: tuple[Any, ...],
    journals: Sequence[_PointJournal],
    after: Mapping[str, int],
) -> bool:
    """Whether an equal point is settled, or comes earlier in the same reading."""
    pos, key, value, nan, ts, step, _ = row
    ranges = {number: (incarnation, first, last) for _, number, incarnation, first, last in journals}
    here = (ranges[journal][0], pos)
    twins = connection.execute(
        "SELECT journal, pos FROM metric WHERE run = ? AND key = ? AND ts = ? AND step = ? AND value = ? AND nan = ?",
        (run, key, ts, step, value, nan),
    )
    for other, place in twins:
        incarnation, first, last = ranges[other]
        settled = incarnation in after and place <= first
        if settled or (first < place <= last and (incarnation, place) < here):
            return True
    return False


def count_points(connection: sqlite3.Connection, run_id: str, after: Mapping[str, int]) -> int:
    """How many recorded points of a run lie beyond the watermarks; only journals that are partly done are counted through."""
    total = 0
    for run, journal, incarnation, head, points in connection.execute(
        "SELECT h.run, j.id, j.incarnation, h.head, h.points FROM run r JOIN run_journal h ON h.run = r.id "
        "JOIN journal j ON j.id = h.journal WHERE r.run_id = ? AND h.head >= 0",
        (run_id,),
    ).fetchall():
        reached = after.get(incarnation)
        if reached is None:
            total += points
        elif reached < head:
            total += connection.execute(
                "SELECT count(*) FROM metric WHERE run = ? AND journal = ? AND pos > ?", (run, journal, reached)
            ).fetchone()[0]
    return total


def _learn(connection: sqlite3.Connection, names: dict[int, str], numbers: set[int]) -> None:
    for number in numbers - names.keys():
        names[number] = connection.execute("SELECT key FROM metric_key WHERE id = ?", (number,)).fetchone()[0]


def _extras(connection: sqlite3.Connection, numbers: set[int]) -> dict[int, tuple[Any, ...]]:
    extras: dict[int, tuple[Any, ...]] = {0: ()}
    for number in numbers - {0}:
        extras[number] = connection.execute(
            "SELECT model_id, dataset_name, dataset_digest FROM metric_extra WHERE id = ?", (number,)
        ).fetchone()
    return extras


# --- lists ---------------------------------------------------------------------------------------------------------


def run_index(connection: sqlite3.Connection) -> list[RunEntry]:
    """Every created run with its counts, oldest start first, then by id."""
    counts = "SELECT run, count(*) c FROM {} GROUP BY run"
    rows = connection.execute(
        "SELECT r.run_id, r.experiment_id, coalesce(e.name, r.experiment_id), r.name, r.status, r.deleted, r.start_time, "
        "r.end_time, r.remote, r.remote_proof, r.create_stamp, coalesce(p.c, 0), coalesce(t.c, 0), j.points, j.oldest, j.newest, "
        "coalesce(x.c, 0) FROM run r "
        "JOIN (SELECT run, sum(points) points, min(first_ms) oldest, max(last_ms) newest FROM run_journal GROUP BY run) j "
        "ON j.run = r.id "
        "LEFT JOIN experiment e ON e.experiment_id = r.experiment_id AND e.create_stamp IS NOT NULL "
        f"LEFT JOIN ({counts.format('param')}) p ON p.run = r.id "
        f"LEFT JOIN (SELECT run, count(*) c FROM run_cell WHERE kind = '{TAG}' AND value IS NOT NULL GROUP BY run) t "
        "ON t.run = r.id "
        "LEFT JOIN (SELECT c.run, count(DISTINCT c.key) c FROM param_claim c JOIN param w ON w.run = c.run AND w.key = c.key "
        "WHERE c.value <> w.value GROUP BY c.run) x ON x.run = r.id "
        "WHERE r.create_stamp IS NOT NULL ORDER BY r.start_time, r.run_id"
    )
    return [RunEntry(*(*row[:5], bool(row[5]), *row[6:])) for row in rows]


def files(connection: sqlite3.Connection) -> tuple[dict[str, str], frozenset[str]]:
    """File name -> signature as imported; and the files that were wholly imported and sealed, to which nothing is added."""
    known: dict[str, str] = {}
    finished: list[str] = []
    for name, signature, sealed in connection.execute(
        "SELECT f.name, f.signature, j.sealed AND f.error IS NULL AND f.signature <> '' AND j.id NOT IN (SELECT journal FROM damage) "
        "FROM file f LEFT JOIN journal j ON j.id = f.journal"
    ):
        known[name] = signature
        if sealed:
            finished.append(name)
    return known, frozenset(finished)


def journals(connection: sqlite3.Connection, present: set[str]) -> list[JournalEntry]:
    """Every journal file, by name, then imported journals whose file is gone.

    Args:
        present: names of the files that exist now.
    """
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
