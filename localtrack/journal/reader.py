"""Reading journals: short read transactions, `mode=ro`, never in a writer's way (docs/journal-format.md).

Damage never stops a reader: a body whose checksum fails, a hole in the numbers, a page that SQLite refuses become
`Damage` ranges in their place, and everything else is returned.

`read` gives one value per record. `read_bulk` is for whole imports: metrics, nearly all of a journal, come as
`Points`, a list of plain tuples per stretch of records of one run, several times faster; everything else comes as
from `read`.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from localtrack.journal import codec, connect, log_end, ops, salvage
from localtrack.journal.connect import EmptyJournal, HeldJournal
from localtrack.journal.identity import read_identity

__all__ = ["OPEN_END", "EmptyJournal", "HeldJournal", "JournalReader", "Points", "RecordSource"]

#: last_n of a Damage at the end of a file that does not tell any more how far it went.
OPEN_END = 1 << 62
#: Rows in one read transaction: short, so that no checkpoint waits for a reader.
_ROWS_PER_QUERY = 4_000
#: A number this far behind the one before cannot be right, unless a page in between is lost, and then it does not
#: matter.
_FAR = 1_000_000
_LEAST_PAYLOAD = codec.HEAD.size
_NEXT_ROWS = "SELECT n, body FROM record WHERE n > ? ORDER BY n LIMIT ?"
_Payload: TypeAlias = tuple[int, bytes]
_Row: TypeAlias = tuple[int, str, int, int, float]
#: A Points is not stretched beyond this many rows: bounds the memory of an import.
MOST_ROWS = 16_384


class Points(NamedTuple):
    """Metrics of one run from consecutive records that hold nothing else.

    Attributes:
        run_id: the run.
        first_n, last_n: the records.
        first_stamp, last_stamp: their stamps.
        rows: (pos, key, step, ts, value), in order; pos = n * POSITIONS_PER_RECORD + index in the record.
    """

    run_id: str
    first_n: int
    last_n: int
    first_stamp: int
    last_stamp: int
    rows: list[_Row]


class RecordSource:
    """The records behind a query function; names are learned on the way.

    Args:
        query: runs one SELECT in one short transaction.
        incarnation: 32 hex digits.
        path: of the file, for a look at its log; empty when it is our own, whose log SQLite never reads anew.
    """

    def __init__(self, query: salvage.Query, incarnation: str, path: str = "") -> None:
        self._query = query
        self._path = path
        self._seed = codec.seed_of(incarnation)
        self._names: dict[int, str] = {}
        self._searched_records = False

    def read(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage]:
        """See JournalReader.read."""
        for item in self._placed(after, limit):
            yield item if isinstance(item, ops.Damage) else self._record(*item)

    def read_bulk(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage | Points]:
        """See JournalReader.read_bulk."""
        points: Points | None = (
            None  # the stretch that goes on: its first record; `rows` and `last_*` are its present end
        )
        rows: list[_Row] = []
        run_ref, last_n, last_stamp = -1, 0, 0
        names, unpack, size, bits = self._names, codec.METRIC_STRUCT.unpack, codec.METRIC_STRUCT.size, ops.COUNTER_BITS
        for item in self._placed(after, limit):
            if type(item) is tuple:
                n, payload = item
                if len(payload) == size and payload[0] == codec.METRIC:
                    # Nearly every record of a journal comes by here: no call, no object but the row.
                    _, stamp, run, key, value, delta, step = unpack(payload)
                    if run == run_ref and key in names and len(rows) < MOST_ROWS:
                        rows.append((n * ops.POSITIONS_PER_RECORD, names[key], step, (stamp >> bits) + delta, value))
                        last_n, last_stamp = n, stamp
                        continue
            more = None if isinstance(item, ops.Damage) else self._points(*item)
            if points is not None:
                if more is not None and more.run_id == points.run_id and len(rows) < MOST_ROWS:
                    rows += more.rows
                    run_ref, last_n, last_stamp = self._run_ref(item, run_ref), more.last_n, more.last_stamp
                    continue
                yield points._replace(last_n=last_n, last_stamp=last_stamp)
            points = more
            if more is None:
                run_ref = -1
                yield item if isinstance(item, ops.Damage) else self._record(*item)
            else:
                rows, last_n, last_stamp = more.rows, more.last_n, more.last_stamp
                run_ref = self._run_ref(item, -1)
        if points is not None:
            yield points._replace(last_n=last_n, last_stamp=last_stamp)

    @staticmethod
    def _run_ref(item: _Payload | ops.Damage, otherwise: int) -> int:
        """Number of the run of a single metric: what `read_bulk` recognises the next one by."""
        if isinstance(item, ops.Damage) or item[1][0] != codec.METRIC:
            return otherwise
        return int(codec.METRIC_STRUCT.unpack(item[1])[2])

    def sealed(self) -> bool:
        """Whether the last record is a SEAL."""
        try:
            rows = self._query("SELECT n, body FROM record ORDER BY n DESC LIMIT 1", ())
            return bool(rows) and codec.opened(rows[0][1], self._seed, rows[0][0])[0] == codec.SEAL
        except codec.BadBodyError:
            return False
        except sqlite3.DatabaseError as error:
            if not salvage.is_damage(error):
                raise
            return False

    # ----------------------------------------------------------------------------------------------------- rows

    def _placed(self, after: int, limit: int) -> Iterator[_Payload | ops.Damage]:
        """N and payload of the records whose checksum holds, in order; Damage for the numbers between them.

        A row whose checksum fails is not believed, not even its number: what it was follows from its neighbours.
        """
        expected, why, bad = after + 1, "missing", 0
        seed, crc32, from_bytes = self._seed, zlib.crc32, int.from_bytes
        for row in self._rows(after, limit):
            if row is None:
                why = "on a damaged page"
                continue
            n, body = row
            payload = body[4:] if type(body) is bytes else b""
            if len(payload) < _LEAST_PAYLOAD or crc32(payload, seed ^ n) != from_bytes(body[:4], "little"):
                bad += 1
                continue
            if n != expected:
                if n < expected:
                    continue  # out of order: its place was reported as damaged
                yield _damage(expected, n - 1, "damaged (checksum does not match)" if bad else why)
            yield n, payload
            expected, bad = n + 1, 0
            limit -= 1
            if limit == 0:
                return
        if bad:
            yield _damage(expected, expected + bad - 1, "damaged (checksum does not match)")
        elif why != "missing" and not salvage.end_is_readable(self._query):
            yield _damage(expected, OPEN_END, why)
        elif self._path and (end := log_end.greatest_record(self._path, self._seed)) > expected:
            yield from self._behind_damage(expected, end)

    def _behind_damage(self, expected: int, end: int) -> Iterator[ops.Damage]:
        """Damage when record `end`, seen in the log, is still two or more beyond what SQLite shows."""
        ((shown,),) = self._query("SELECT max(n) FROM record", ())
        if end > max(shown or 0, expected - 1) + 1 and (shown or 0) < expected:
            why = "lost behind a damaged place of the write-ahead log, or in the second before a power cut"
            yield _damage(expected, end, why)

    def _rows(self, after: int, limit: int) -> Iterator[salvage.Row | None]:
        """Rows in order; None when a damaged page is met, and then what can be read behind it."""
        while limit > 0:
            asked = min(limit, _ROWS_PER_QUERY)
            try:
                rows = self._query(_NEXT_ROWS, (after, asked))
            except sqlite3.DatabaseError as error:
                if not salvage.is_damage(error):
                    raise
                yield None
                yield from salvage.rows(self._query, after)
                return
            yield from rows
            if len(rows) < asked:
                return
            # Numbers are dense: a last number that is far off is damaged, and would have us skip what follows.
            after = rows[-1][0] if rows[-1][0] <= after + _FAR else after + len(rows)
            limit -= len(rows)

    # -------------------------------------------------------------------------------------------------- decoding

    def _record(self, n: int, payload: bytes) -> ops.Record | ops.Damage:
        while True:
            try:
                return codec.decode(payload, n, self._names)
            except codec.UnknownNameError as error:  # noqa: PERF203 - tried again when the name was found
                if not self._find_name(error.ref):
                    return ops.Damage(n, n, f"record {n} {error}")

    def _points(self, n: int, payload: bytes) -> Points | None:
        """The metrics of a record that holds nothing else, or None: then `_record` says what it is."""
        names = self._names
        try:
            if payload[0] == codec.METRIC and len(payload) == codec.METRIC_STRUCT.size:
                _, stamp, run, key, value, delta, step = codec.METRIC_STRUCT.unpack(payload)
                row = (n * ops.POSITIONS_PER_RECORD, names[key], step, (stamp >> ops.COUNTER_BITS) + delta, value)
                return Points(names[run], n, n, stamp, stamp, [row])
            if payload[0] != codec.BATCH or (batch := codec.read_batch(payload)) is None or batch.tail.keys() - {"d"}:
                return None
            names.update(batch.defines)
            first = n * ops.POSITIONS_PER_RECORD
            columns = (batch.keys(names), batch.steps, batch.ts, batch.values)
            rows = list(zip(range(first, first + batch.count), *columns, strict=True))
            return Points(batch.run_id(names), n, n, batch.stamp, batch.stamp, rows)
        except (KeyError, codec.UnknownNameError):
            return None  # `_record` finds the name, and the next one is known

    def _find_name(self, ref: int) -> bool:
        """Learn a name from its row, or else from the record that defined it."""
        try:
            rows = self._query("SELECT text, crc FROM name WHERE ref = ?", (ref,))
        except sqlite3.DatabaseError as error:
            if not salvage.is_damage(error):
                raise
            rows = []
        for text, crc in rows:
            if isinstance(text, bytes) and codec.name_crc(text, ref, self._seed) == crc:
                self._names[ref] = codec.bytes_to_text(text)
                return True
        self._search_records()
        return ref in self._names

    def _search_records(self) -> None:
        """Learn every name that a readable record defines: once, and only when the table of names is damaged."""
        if self._searched_records:
            return
        self._searched_records = True
        for item in self._placed(0, OPEN_END):
            if isinstance(item, ops.Damage) or item[1][0] != codec.BATCH:
                continue
            if (batch := codec.read_batch(item[1])) is not None:
                self._names.update(batch.defines)


def _damage(first: int, last: int, why: str) -> ops.Damage:
    what = f"record {first} is" if first == last else f"records {first} to {last} are"
    return ops.Damage(first, last, f"records from {first} on are {why}" if last == OPEN_END else f"{what} {why}")


class JournalReader:
    """A journal file, open for reading. Use as a context manager or call `close`.

    Args:
        path: the file.

    Raises:
        TooNewError: written by a newer localtrack.
        EmptyJournal: its process died before anything was logged into it.
        HeldJournal: its process holds it exclusively.
        JournalError: not a journal, or its header is damaged.

    Attributes:
        info: header of the journal.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection = connect.open_for_reading(path)
        try:
            version = connect.check_header(self._connection, path)
            self.info = read_identity(self._connection).info(version)
        except ValueError as error:
            self._connection.close()
            raise connect.unreadable(path, error) from error
        except BaseException:
            self._connection.close()
            raise
        # As SQLite names it: behind a snapshot of an inherited journal there is no log to look at.
        opened = self._query("PRAGMA database_list", ())[0][2]
        self._source = RecordSource(self._query, self.info.incarnation, opened)

    def _query(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, parameters).fetchall()

    @property
    def sealed(self) -> bool:
        """Whether the last record is a SEAL: nothing follows."""
        return self._source.sealed()

    def read(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage]:
        """Records with n > after, in order, at most `limit`; Damage stands in the place of what cannot be read.

        Raises:
            sqlite3.OperationalError: the file cannot be read just now (locked, I/O error); what was yielded holds.
        """
        return self._source.read(after, limit)

    def read_bulk(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage | Points]:
        """As `read`, but records that hold nothing but metrics without model or dataset come together as Points."""
        return self._source.read_bulk(after, limit)

    def close(self) -> None:
        """Close the file; the log beside it is left alone."""
        self._connection.close()

    def __enter__(self) -> JournalReader:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
