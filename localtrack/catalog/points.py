"""Reads of metric points in the order of their delivery."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple

from localtrack.catalog.desired import Point
from localtrack.catalog.history import NAN, extras_of

#: Rows that are read at once; a greater limit is a number of such reads.
_SCAN = 100_000
_ROWS = (
    "SELECT pos, key, value, nan, ts, step, extra FROM metric "
    "WHERE run = ? AND journal = ? AND pos > ? AND pos <= ? ORDER BY pos LIMIT ?"
)
#: The same, of points that were logged to one logged model.
_ROWS_OF_MODEL = _ROWS.replace(
    "ORDER BY",
    "AND extra <> 0 AND extra IN (SELECT id FROM metric_extra WHERE model_id = ifnull(?, model_id)) ORDER BY",
)
#: Of the points in a range of positions, those that have an equal one elsewhere in the run: decided by the index alone.
_TWINS = (
    "SELECT m.pos, o.journal, o.pos FROM metric m JOIN metric o ON o.run = m.run AND o.key = m.key AND o.ts = m.ts "
    "AND o.step = m.step AND o.value = m.value AND o.nan = m.nan AND (o.journal <> m.journal OR o.pos <> m.pos) "
    "WHERE m.run = ? AND m.journal = ? AND m.pos > ? AND m.pos <= ?"
)


class _Range(NamedTuple):
    """What is wanted of one journal: positions beyond `first`, up to `last`; `begun`: the caller named the journal."""

    run: int
    journal: int
    incarnation: str
    first: int
    last: int
    begun: bool


def points(
    connection: sqlite3.Connection,
    run_id: str,
    after: Mapping[str, int],
    limit: int,
    upto: Mapping[str, int] | None = None,
    *,
    distinct: bool = False,
    model_id: str | None = None,
) -> tuple[Point, ...]:
    """Recorded points of a run beyond the watermarks; see Catalog.points."""
    ranges = _ranges(connection, run_id, after, upto)
    found: list[Point] = []
    names: dict[int, str] = {}
    for each in ranges.values():
        reached = each.first
        while reached < each.last and len(found) < limit:
            room = min(limit - len(found), _SCAN)
            where = (each.run, each.journal, reached, each.last)
            if model_id is None:
                rows = connection.execute(_ROWS, (*where, room)).fetchall()
            else:
                rows = connection.execute(_ROWS_OF_MODEL, (*where, model_id or None, room)).fetchall()
            end = rows[-1][0] if rows else each.last
            if distinct and rows:
                twins = _repeated(connection, ranges, each._replace(first=reached, last=end))
                rows = [row for row in rows if row[0] not in twins] if twins else rows
            reached = end
            found += _points(connection, each.incarnation, rows, names)
    return tuple(found)


def _ranges(
    connection: sqlite3.Connection, run_id: str, after: Mapping[str, int], upto: Mapping[str, int] | None
) -> dict[int, _Range]:
    """By journal, in the order of incarnations."""
    rows = connection.execute(
        "SELECT h.run, j.id, j.incarnation, h.head FROM run r JOIN run_journal h ON h.run = r.id "
        "JOIN journal j ON j.id = h.journal WHERE r.run_id = ? AND h.head >= 0 ORDER BY j.incarnation",
        (run_id,),
    ).fetchall()
    ranges = {}
    for run, journal, incarnation, head in rows:
        last = head if upto is None else min(head, upto.get(incarnation, -1))
        ranges[journal] = _Range(run, journal, incarnation, after.get(incarnation, -1), last, incarnation in after)
    return ranges


def _repeated(connection: sqlite3.Connection, ranges: Mapping[int, _Range], read: _Range) -> set[int]:
    """Positions of `read` whose point has an equal one that is settled, or that comes earlier in the whole reading."""
    repeated = set()
    for pos, other, place in connection.execute(_TWINS, (read.run, read.journal, read.first, read.last)):
        there = ranges[other]
        settled = there.begun and place <= there.first
        earlier = (there.incarnation, place) < (read.incarnation, pos)
        if settled or (earlier and there.first < place <= there.last):
            repeated.add(pos)
    return repeated


def _points(
    connection: sqlite3.Connection, incarnation: str, rows: list[tuple[Any, ...]], names: dict[int, str]
) -> list[Point]:
    for number in {row[1] for row in rows} - names.keys():
        names[number] = connection.execute("SELECT key FROM metric_key WHERE id = ?", (number,)).fetchone()[0]
    extras = extras_of(connection, {row[6] for row in rows})
    return [
        Point(incarnation, pos, names[key], NAN if nan else value, ts, step, *extras[extra])
        for pos, key, value, nan, ts, step, extra in rows
    ]


def count_points(connection: sqlite3.Connection, run_id: str, after: Mapping[str, int]) -> int:
    """How many recorded points of a run lie beyond the watermarks; only partly done journals are counted through."""
    total = 0
    for run, journal, incarnation, head, recorded in connection.execute(
        "SELECT h.run, j.id, j.incarnation, h.head, h.points FROM run r JOIN run_journal h ON h.run = r.id "
        "JOIN journal j ON j.id = h.journal WHERE r.run_id = ? AND h.head >= 0",
        (run_id,),
    ).fetchall():
        reached = after.get(incarnation)
        if reached is None:
            total += recorded
        elif reached < head:
            total += connection.execute(
                "SELECT count(*) FROM metric WHERE run = ? AND journal = ? AND pos > ?", (run, journal, reached)
            ).fetchone()[0]
    return total
