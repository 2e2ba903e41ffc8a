"""How records become rows: one table per record class, one column per field, by the fields' types alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from localtrack_sync.protocol.records import CLASSES, Record


@dataclass(frozen=True, slots=True)
class Table:
    """How one record class is stored.

    Attributes:
        types: the fields' types, in the order of `columns`.
    """

    kind: type[Record]
    columns: tuple[str, ...]
    types: tuple[Any, ...]

    def create(self) -> str:
        """The CREATE TABLE statement."""
        lines = [f"  {name} {_sql_type(hint)}" for name, hint in zip(self.columns, self.types, strict=True)]
        return (
            f"CREATE TABLE {self.kind.TABLE} (\n"
            + ",\n".join([*lines, f"  PRIMARY KEY ({', '.join(self.kind.KEY)})"])
            + "\n) WITHOUT ROWID"
        )

    def put(self, record: Record) -> tuple[str, list[Any]]:
        """The statement that inserts or replaces a record, and its values."""
        marks = ", ".join("?" * len(self.columns))
        sql = f"INSERT OR REPLACE INTO {self.kind.TABLE} ({', '.join(self.columns)}) VALUES ({marks})"
        return sql, [_packed(getattr(record, name)) for name in self.columns]

    def delete(self, record: Record) -> tuple[str, list[Any]]:
        """The statement that removes the record with this key, and its values."""
        where = " AND ".join(f"{name} = ?" for name in self.kind.KEY)
        return f"DELETE FROM {self.kind.TABLE} WHERE {where}", [_packed(getattr(record, k)) for k in self.kind.KEY]

    def made(self, row: tuple[Any, ...]) -> Record:
        """The record of a row that holds `columns` in order."""
        return self.kind(*(_unpacked(value, hint) for value, hint in zip(row, self.types, strict=True)))


def _describe(kind: type[Record]) -> Table:
    hints = get_type_hints(kind)
    names = tuple(item.name for item in fields(kind))
    return Table(kind, names, tuple(hints[name] for name in names))


_TABLES: dict[type[Record], Table] = {kind: _describe(kind) for kind in CLASSES}


def table_of(kind: type[Record]) -> Table:
    """The table of a record class."""
    return _TABLES[kind]


_SQL_TYPES: dict[Any, str] = {
    str: "TEXT NOT NULL",
    int: "INTEGER NOT NULL",
    bool: "INTEGER NOT NULL",
    float: "REAL NOT NULL",
    tuple[str, ...]: "TEXT NOT NULL",  # a JSON list
    str | None: "TEXT",
    int | None: "INTEGER",
    float | None: "REAL",
}


def _sql_type(hint: Any) -> str:
    return _SQL_TYPES[hint]


def _packed(value: Any) -> Any:
    if isinstance(value, tuple):
        return json.dumps(value)  # ASCII, so that any text survives
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # half a surrogate pair, which JSON from a remote may hold and UTF-8 may not
            return value.encode("utf-8", "surrogatepass")
    return value


def _unpacked(value: Any, hint: Any) -> Any:
    if hint == tuple[str, ...]:
        return tuple(json.loads(value))
    if hint is bool:
        return bool(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogatepass")
    return value
