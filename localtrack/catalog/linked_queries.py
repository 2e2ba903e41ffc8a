"""Reads of what hangs on runs and logged models: datasets, models in and out, log_model entries, files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from localtrack.catalog.changes import INPUT, OUTPUT
from localtrack.catalog.desired import StoredFile
from localtrack.entities import Dataset, DatasetInput, InputTag
from localtrack.json_text import loaded

_DATASET = "SELECT run, name, digest, source_type, source, schema, profile, tags FROM dataset_input"


def datasets(connection: sqlite3.Connection, runs: Sequence[int]) -> dict[int, list[DatasetInput]]:
    """Run number -> its dataset inputs, by name and digest."""
    found: dict[int, list[DatasetInput]] = {}
    for run, *row, tags in _within(connection, f"{_DATASET} WHERE run IN (%s) ORDER BY run, name, digest", runs):
        one = DatasetInput(Dataset(*row), tuple(InputTag(key, value) for key, value in json.loads(tags)))
        found.setdefault(run, []).append(one)
    return found


def links(connection: sqlite3.Connection, kind: str, runs: Sequence[int]) -> dict[int, list[tuple[str, int]]]:
    """Run number -> (model id, step) of its models in or out, by id; `kind` is INPUT or OUTPUT."""
    assert kind in (INPUT, OUTPUT), kind
    found: dict[int, list[tuple[str, int]]] = {}
    sql = f"SELECT run, model_id, step FROM model_link WHERE kind = '{kind}' AND run IN (%s) ORDER BY run, model_id"
    for run, model_id, step in _within(connection, sql, runs):
        found.setdefault(run, []).append((model_id, step))
    return found


def history(connection: sqlite3.Connection, runs: Sequence[int]) -> dict[int, list[str]]:
    """Run number -> entries of the deprecated log_model, in their order."""
    found: dict[int, list[str]] = {}
    sql = "SELECT run, entry FROM model_history WHERE run IN (%s) ORDER BY run, stamp, incarnation, n"
    for run, entry in _within(connection, sql, runs):
        found.setdefault(run, []).append(entry)
    return found


def history_tag(tag: str | None, entries: Sequence[str]) -> str:
    """The tag mlflow.log-model.history: what it was set to, if that is a JSON list, and the entries behind it."""
    try:
        before = loaded(tag) if tag else []
    except ValueError:
        before = []
    return json.dumps([*(before if isinstance(before, list) else []), *map(json.loads, entries)])


def files(connection: sqlite3.Connection, owner: str) -> tuple[StoredFile, ...]:
    """The files of a run or logged model, by path."""
    rows = connection.execute("SELECT path, size, sha256 FROM artifact WHERE owner = ? ORDER BY path", (owner,))
    return tuple(StoredFile(*row) for row in rows)


class Registered(NamedTuple):
    """What the last op about a file says: bytes, SHA-256 (64 hex digits), and its stamp."""

    size: int
    sha256: str
    stamp: int


def registered(connection: sqlite3.Connection, owner: str) -> dict[str, Registered]:
    """Path -> what is registered of it, for a run or logged model."""
    rows = connection.execute("SELECT path, size, sha256, stamp FROM artifact WHERE owner = ?", (owner,))
    return {path: Registered(*rest) for path, *rest in rows}


def _within(connection: sqlite3.Connection, sql: str, numbers: Sequence[int]) -> Iterable[tuple[Any, ...]]:
    return connection.execute(sql % ",".join("?" * len(numbers)), tuple(numbers))
