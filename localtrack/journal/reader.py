"""Reading journals: short read transactions, `mode=ro`, never in a writer's way (docs/journal-format.md).

Damage never stops a reader: a body whose checksum fails, a hole in the numbers, a page that SQLite refuses become `Damage`
ranges in their place, and everything else is returned. For whole imports `read_points` gives metrics as plain tuples.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from localtrack.errors import JournalError
from localtrack.journal import codec, connect, ops
from localtrack.journal.connect import EmptyJournal, HeldJournal

__all__ = ["EmptyJournal", "HeldJournal", "JournalReader", "RecordSource"]

#: Runs a query and returns its rows.
Query: TypeAlias = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]

_BATCH_ROWS = 4_000


class RecordSource:
    """The records behind a query function; names are learned on the way.

    Args:
        query: runs one SELECT in one short transaction.
        incarnation: 32 hex digits.
    """

    def __init__(self, query: Query, incarnation: str) -> None:
        self._query = query
        self._seed = codec.seed_of(incarnation)
        self._names: dict[int, str] = {}

    def read(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage]:
        """Records n > after in order, at most `limit`; see JournalReader.read."""
        expected = after + 1
        for row in self._rows(after, limit):
            n = row[0]
            if n > expected:
                yield ops.Damage(expected, n - 1, "missing")
            yield self._decode(n, row[1])
            expected = n + 1

    def _rows(self, after: int, limit: int) -> Iterator[tuple[Any, ...]]:
        while limit > 0:
            rows = self._query(
                "SELECT n, body FROM record WHERE n > ? ORDER BY n LIMIT ?", (after, min(limit, _BATCH_ROWS))
            )
            if not rows:
                return
            yield from rows
            after = rows[-1][0]
            limit -= len(rows)

    def _decode(self, n: int, body: object) -> ops.Record | ops.Damage:
        try:
            payload = codec.opened(body, self._seed, n)
            try:
                return codec.decode(payload, n, self._names)
            except codec.UnknownNameError:
                self._load_names()
                return codec.decode(payload, n, self._names)
        except codec.BadBodyError as error:
            return ops.Damage(n, n, f"record {n} {error}")

    def _load_names(self) -> None:
        for ref, text, crc in self._query("SELECT ref, text, crc FROM name", ()):
            if codec.name_crc(text, ref, self._seed) == crc:
                self._names.setdefault(ref, codec.bytes_to_text(text))


class JournalReader:
    """A journal file, open for reading. Use as a context manager or call `close`.

    Args:
        path: the file.

    Raises:
        TooNewError: written by a newer localtrack.
        EmptyJournal: its process died before anything was logged into it.
        HeldJournal: its process holds it exclusively.
        JournalError: not a journal, or its header is damaged.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection = connect.open_for_reading(path)
        try:
            version = connect.check_header(self._connection, path)
            self.info = self._read_info(version)
        except BaseException:
            self._connection.close()
            raise
        self._source = RecordSource(self._query, self.info.incarnation)

    def _read_info(self, version: int) -> ops.JournalInfo:
        try:
            meta = dict(self._query("SELECT key, value FROM meta", ()))
            return ops.JournalInfo(
                incarnation=meta["incarnation"],
                created_ms=int(meta["created_ms"]),
                host=meta["host"],
                pid=int(meta["pid"]),
                user=meta["user"],
                format=version,
            )
        except (sqlite3.Error, KeyError, ValueError) as error:
            raise JournalError(f"journal {self.path} cannot be read: its header is damaged ({error})") from error

    def _query(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    @property
    def sealed(self) -> bool:
        """Whether the last record is a SEAL: nothing follows."""
        rows = self._query("SELECT n, body FROM record ORDER BY n DESC LIMIT 1", ())
        if not rows:
            return False
        record = self._source._decode(*rows[0])  # noqa: SLF001 - our own half
        return isinstance(record, ops.Record) and isinstance(record.op, ops.Seal)

    def read(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage]:
        """Records with n > after, in order, at most `limit` of them; Damage stands in the place of what cannot be read."""
        return self._source.read(after, limit)

    def close(self) -> None:
        """Close the file; the log beside it is left alone."""
        self._connection.close()

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
