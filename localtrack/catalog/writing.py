"""Changes into the catalog's tables: the joins of `merge` as upserts, inside the importer's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from localtrack.catalog import linked, merge, models
from localtrack.catalog.changes import Changes, extra_parts
from localtrack.catalog.merge import Cell, Claim
from localtrack.journal.ops import ENDED_BY_TAG, OpId, stamp_ms

_LATER = "(excluded.stamp, excluded.incarnation, excluded.n) > (stamp, incarnation, n)"
_TAKE = "value = excluded.value, stamp = excluded.stamp, incarnation = excluded.incarnation, n = excluded.n"


class NumberOf(dict[str, int]):
    """Text -> number in the catalog; a text that is looked up and has none is entered.

    Numbers never change while the file exists, so they are remembered; `clear` after a rolled-back transaction.
    """

    def __init__(self, connection: sqlite3.Connection, table: str, column: str) -> None:
        super().__init__()
        self._connection = connection
        self._find = f"SELECT id FROM {table} WHERE {column} = ?"
        self._enter = f"INSERT INTO {table} ({column}) VALUES (?)"

    def __missing__(self, text: str) -> int:
        row = self._connection.execute(self._find, (text,)).fetchone()
        number = int(row[0]) if row else self._connection.execute(self._enter, (text,)).lastrowid
        assert number, "an inserted row has an id"
        self[text] = number
        return number


class ExtraNumberOf(NumberOf):
    """The same for models and datasets; "" is number 0."""

    def __missing__(self, text: str) -> int:
        if not text:
            self[text] = 0
            return 0
        known = self._connection.execute("SELECT 1 FROM metric_extra WHERE text = ?", (text,)).fetchone()
        if known is None:
            self._connection.execute(
                "INSERT INTO metric_extra (model_id, dataset_name, dataset_digest, text) VALUES (?, ?, ?, ?)",
                (*extra_parts(text), text),
            )
        return super().__missing__(text)


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Join `changes` into the catalog. The caller owns the transaction."""
    journal, runs = changes.numbers.journal, changes.numbers.run
    _write_experiments(connection, changes)
    _write_runs(connection, changes)
    linked.write_links(connection, changes)
    models.write_models(connection, changes)
    connection.executemany("INSERT INTO metric VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", changes.metrics)
    connection.executemany(
        "INSERT INTO metric_latest VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run, key) DO UPDATE SET "
        "step = excluded.step, ts = excluded.ts, value = excluded.value, nan = excluded.nan "
        "WHERE (excluded.step, excluded.ts, excluded.value, excluded.nan) > (step, ts, value, nan)",
        [(*where, *rank) for where, rank in changes.latest.items()],
    )
    connection.executemany(
        "INSERT INTO run_journal VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run, journal) DO UPDATE SET "
        "head = max(head, excluded.head), points = points + excluded.points, "
        "first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)",
        [(runs[run_id], journal, e.head, e.points, e.first_ms, e.last_ms) for run_id, e in changes.extents.items()],
    )
    _write_journal(connection, changes)


def _write_journal(connection: sqlite3.Connection, changes: Changes) -> None:
    journal = changes.numbers.journal
    connection.executemany(
        "INSERT OR IGNORE INTO loss VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (journal, n, kind, count, loss.first_ms, loss.last_ms, loss.reason)
            for n, loss in changes.losses
            for kind, count in loss.counts
        ],
    )
    connection.executemany(
        "INSERT INTO unknown_op VALUES (?, ?, ?) "
        "ON CONFLICT (journal, kind) DO UPDATE SET count = count + excluded.count",
        [(journal, kind, count) for kind, count in changes.unknown.items()],
    )
    connection.executemany(
        "INSERT OR REPLACE INTO damage VALUES (?, ?, ?, ?)",
        [(journal, item.first_n, item.last_n, item.reason) for item in changes.damage],
    )
    connection.execute(
        "UPDATE journal SET last_stamp = CASE WHEN ? > upto THEN ? ELSE last_stamp END, upto = max(upto, ?), "
        "sealed = max(sealed, ?), max_stamp = max(max_stamp, ?) WHERE id = ?",
        (changes.upto, changes.last_stamp, changes.upto, int(changes.sealed), changes.max_stamp, journal),
    )
    if changes.last_ms:
        connection.execute(
            "UPDATE journal SET first_ms = min(coalesce(first_ms, ?), ?), last_ms = max(coalesce(last_ms, ?), ?) "
            "WHERE id = ?",
            (changes.first_ms, changes.first_ms, changes.last_ms, changes.last_ms, journal),
        )


# --- experiments ---------------------------------------------------------------------------------------------------


def _write_experiments(connection: sqlite3.Connection, changes: Changes) -> None:
    touched = {where for where, _, _ in changes.experiment_cells} | changes.experiments.keys()
    if not touched:
        return
    connection.executemany("INSERT OR IGNORE INTO experiment (experiment_id) VALUES (?)", [(i,) for i in touched])
    connection.executemany(
        "UPDATE experiment SET created_name = ?, artifact_location = ?, creation_ms = ?, "
        "create_stamp = ?, create_incarnation = ?, create_n = ? WHERE experiment_id = ? AND "
        "(create_stamp IS NULL OR creation_ms IS NULL OR (?, ?, ?) < (create_stamp, create_incarnation, create_n))",
        [
            (op.name, op.artifact_location, stamp_ms(op_id.stamp), *op_id, experiment_id, *op_id)
            for experiment_id, (op_id, op) in changes.experiments.items()
        ],
    )
    connection.executemany(
        "INSERT INTO experiment_cell VALUES (?, ?, ?, ?, ?, ?, ?) "
        f"ON CONFLICT (experiment_id, kind, key) DO UPDATE SET {_TAKE} WHERE {_LATER}",
        [(*where, cell.value, *cell.op) for where, cell in changes.experiment_cells.items()],
    )
    connection.executemany("INSERT OR IGNORE INTO experiment_ever VALUES (?, ?, ?, ?)", changes.experiment_ever)
    for experiment_id in touched:
        _derive_experiment(connection, experiment_id)
    covered = {where for where, kind, _ in changes.experiment_cells if kind == merge.COVERS}
    for experiment_id in covered:
        _derive_runs(connection, _numbers(connection, "SELECT id FROM run WHERE experiment_id = ?", experiment_id))


def _derive_experiment(connection: sqlite3.Connection, experiment_id: str) -> None:
    cells = _cells(connection, "experiment_cell", "experiment_id", experiment_id)
    created_name, creation_ms = connection.execute(
        "SELECT created_name, creation_ms FROM experiment WHERE experiment_id = ?", (experiment_id,)
    ).fetchone()
    name, deleted = cells.get(merge.NAME), cells.get(merge.DELETED)
    times = [stamp_ms(cells[kind].op.stamp) for kind in (merge.NAME, merge.COVERS) if kind in cells]
    if creation_ms is not None:
        times.append(creation_ms)
    connection.execute(
        "UPDATE experiment SET name = ?, deleted = ?, updated_ms = ? WHERE experiment_id = ?",
        (
            name.value if name else created_name or "",
            deleted.value if deleted else 0,
            max(times, default=None),
            experiment_id,
        ),
    )


def _cells(connection: sqlite3.Connection, table: str, column: str, where: str | int) -> dict[str, Cell]:
    """The registers of one run or experiment by kind, without its tags."""
    rows = connection.execute(
        f"SELECT kind, value, stamp, incarnation, n FROM {table} WHERE {column} = ? AND kind <> '{merge.TAG}'", (where,)
    )
    return {kind: Cell(OpId(stamp, incarnation, n), value) for kind, value, stamp, incarnation, n in rows}


def _numbers(connection: sqlite3.Connection, sql: str, *values: object) -> list[int]:
    return [row[0] for row in connection.execute(sql, values)]


# --- runs ----------------------------------------------------------------------------------------------------------


def _write_runs(connection: sqlite3.Connection, changes: Changes) -> None:
    runs = changes.numbers.run
    # A creation beats an attach, an earlier one a later one.
    born = [
        (op.experiment_id, op.user_id, op.start_time, op.remote, op.remote_proof, 0, *op_id, runs[run_id], 0, *op_id)
        for run_id, (op_id, op) in changes.runs.items()
    ] + [
        ("", "", op.start_time, op.remote, op.remote_proof, 1, *op_id, runs[run_id], 1, *op_id)
        for run_id, (op_id, op) in changes.attaches.items()
    ]
    connection.executemany(
        "UPDATE run SET experiment_id = ?, user_id = ?, start_time = ?, remote = ?, remote_proof = ?, attached = ?, "
        "create_stamp = ?, create_incarnation = ?, create_n = ? WHERE id = ? AND (create_stamp IS NULL OR "
        "(?, ?, ?, ?) < (attached, create_stamp, create_incarnation, create_n))",
        born,
    )
    connection.executemany(
        "INSERT INTO run_cell VALUES (?, ?, ?, ?, ?, ?, ?) "
        f"ON CONFLICT (run, kind, key) DO UPDATE SET {_TAKE} WHERE {_LATER}",
        [(runs[where], kind, key, cell.value, *cell.op) for (where, kind, key), cell in changes.run_cells.items()],
    )
    connection.executemany(
        "INSERT OR IGNORE INTO run_tag_ever VALUES (?, ?, ?)",
        [(runs[run_id], key, value) for run_id, key, value in changes.run_ever],
    )
    connection.executemany(
        "INSERT INTO param_claim VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (run, key, incarnation, value) "
        "DO UPDATE SET stamp = excluded.stamp, n = excluded.n WHERE (excluded.stamp, excluded.n) < (stamp, n)",
        [
            (runs[run_id], key, op.incarnation, value, op.stamp, op.n)
            for (run_id, key, value), op in changes.claims.items()
        ],
    )
    created = {runs[run_id] for run_id in (*changes.runs, *changes.attaches)}
    derived = {runs[where] for where, kind, key in changes.run_cells if kind != merge.TAG or key == ENDED_BY_TAG}
    _derive_runs(connection, created | derived)
    _derive_params(connection, created | {runs[run_id] for run_id, _, _ in changes.claims})


def _derive_runs(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    covers: dict[str | None, Cell | None] = {}
    for number in numbers:
        experiment_id, *create = connection.execute(
            "SELECT experiment_id, create_stamp, create_incarnation, create_n FROM run WHERE id = ?", (number,)
        ).fetchone()
        if experiment_id is not None and experiment_id not in covers:
            its = _cells(connection, "experiment_cell", "experiment_id", experiment_id)
            covers[experiment_id] = its.get(merge.COVERS)
        cells = _cells(connection, "run_cell", "run", number)
        _drop_ended_tag(connection, number, cells.get(merge.STATUS))
        state = merge.run_state(OpId(*create) if create[0] is not None else None, cells, covers.get(experiment_id))
        connection.execute(
            "UPDATE run SET name = ?, status = ?, end_time = ?, deleted = ? WHERE id = ?",
            (state.name, state.status, state.end_time, int(state.deleted), number),
        )


def _drop_ended_tag(connection: sqlite3.Connection, number: int, status: Cell | None) -> None:
    """A later status takes the tag ENDED_BY_TAG along, as if it had deleted it."""
    where = (number, merge.TAG, ENDED_BY_TAG)
    row = connection.execute(
        "SELECT value, stamp, incarnation, n FROM run_cell WHERE run = ? AND kind = ? AND key = ?", where
    ).fetchone()
    tag = Cell(OpId(*row[1:]), row[0]) if row else None
    if (gone := merge.ended_tag(tag, status)) is not None:
        connection.execute(
            "UPDATE run_cell SET value = ?, stamp = ?, incarnation = ?, n = ? WHERE run = ? AND kind = ? AND key = ?",
            (gone.value, *gone.op, *where),
        )


def _derive_params(connection: sqlite3.Connection, numbers: Iterable[int]) -> None:
    for number in numbers:
        owner = connection.execute("SELECT create_incarnation FROM run WHERE id = ?", (number,)).fetchone()[0]
        claims = [
            Claim(key, value, OpId(stamp, incarnation, n))
            for key, value, stamp, incarnation, n in connection.execute(
                "SELECT key, value, stamp, incarnation, n FROM param_claim WHERE run = ?", (number,)
            )
        ]
        connection.executemany(
            "INSERT OR REPLACE INTO param VALUES (?, ?, ?)",
            [(number, key, value) for key, value in merge.param_winners(claims, owner).items()],
        )
