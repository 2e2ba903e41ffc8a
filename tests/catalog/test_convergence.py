"""The catalog is a function of the set of records, whatever the order, repetitions and pieces in which they come."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.catalog import database
from localtrack.catalog.files import Signature
from localtrack.catalog.importer import Importer
from localtrack.journal import ops
from localtrack.journal.reader import Points
from tests.catalog import reference, strategies
from tests.catalog.dump import dump
from tests.catalog.strategies import FakeJournal


def plain(op: ops.Op) -> bool:
    """Whether a bulk read may give this as points."""
    return (
        isinstance(op, ops.LogBatch)
        and not (op.params or op.tags or op.deleted_tags)
        and all(m.model_id is None and m.dataset_name is None for m in op.metrics)
    )


class Growing:
    """A journal of which only the beginning is there yet."""

    def __init__(self, journal: FakeJournal, visible: int) -> None:
        self.info = journal.info
        self._items = journal.items[:visible]

    def read(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage]:
        """As JournalReader.read."""
        return (item for item in self._items[after : after + limit])

    def read_bulk(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage | Points]:
        """As JournalReader.read_bulk: points of one run from consecutive records together."""
        points: Points | None = None
        for item in self.read(after, limit):
            if isinstance(item, ops.Record) and isinstance(item.op, ops.LogBatch) and plain(item.op):
                first = item.n * ops.POSITIONS_PER_RECORD
                rows = [(first + i, m.key, m.step, m.timestamp, m.value) for i, m in enumerate(item.op.metrics)]
                if points is not None and points.run_id == item.op.run_id:
                    points = points._replace(last_n=item.n, last_stamp=item.stamp, rows=points.rows + rows)
                    continue
                if points is not None:
                    yield points
                points = Points(item.op.run_id, item.n, item.n, item.stamp, item.stamp, rows)
                continue
            if points is not None:
                yield points
                points = None
            yield item
        if points is not None:
            yield points

    def close(self) -> None:
        """Nothing is open."""


def imported(journals: list[FakeJournal], steps: list[tuple[int, int]]) -> sqlite3.Connection:
    """A catalog after importing what is visible at each step."""
    connection = database.open_to_write(database.MEMORY, network=False)
    reached = [0] * len(journals)
    bring = Importer(connection, "", lambda name: Growing(journals[int(name)], reached[int(name)])).bring
    for number, visible in steps:
        reached[number] = max(reached[number], visible)
        bring({str(number): Signature("changed", 0, settled=False)})
    return connection


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_order_repetition_and_interleaving_gives_what_the_rules_say(data: st.DataObject) -> None:
    """After any schedule of partial imports, the content tables equal a merge of all ops at once by the rules alone."""
    journals = data.draw(strategies.journals())
    steps = data.draw(strategies.schedules(journals))
    with_steps = imported(journals, steps)
    assert dump(with_steps) == reference.content(journals)
    with_steps.close()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_pieces_of_an_import_leave_no_trace(data: st.DataObject) -> None:
    """Writing after every record gives the same content as writing everything at once."""
    journals = data.draw(strategies.journals())
    whole = [(number, len(journal.items)) for number, journal in enumerate(journals)]
    pieces = [(number, n) for number, journal in enumerate(journals) for n in range(len(journal.items) + 1)]
    one, other = imported(journals, whole), imported(journals, pieces)
    assert dump(one) == dump(other)
    one.close()
    other.close()
