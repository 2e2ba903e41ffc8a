"""The journal of a process: what was logged is in the file, in order, once, small."""

from __future__ import annotations

import os
import sqlite3
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import JournalError, StoreError, TooNewError
from localtrack.journal import connect, ops
from localtrack.journal.file import JournalFile
from localtrack.journal.reader import EmptyJournal, JournalReader, Points
from localtrack.journal.writer import MAX_AHEAD_MS, Journal, journal_of
from localtrack.store import Store
from tests.journal.samples import CREATE, RUN, any_op, exact, files, items, journal_in, records

NOW_MS = 1_700_000_000_000


class Clock:
    """A clock that says what it is told, in milliseconds."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms * 1_000_000


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logged=st.lists(any_op, max_size=12))
def test_every_op_is_read_back_from_the_file(tmp_path_factory: pytest.TempPathFactory, logged: list[ops.Op]) -> None:
    """A journal holds just the appended ops, in order, with n = 1, 2, 3 and growing stamps, then a SEAL."""
    directory = tmp_path_factory.mktemp("store")
    with journal_in(directory) as journal:
        ids = [journal.append(op) for op in logged]
        path = journal.path
    if not logged:
        assert path is None
        assert not os.path.exists(Store.at(directory).journals)
        return
    assert path is not None
    found = records(path)
    assert [exact(record.op) for record in found] == [exact(op) for op in [*logged, ops.Seal()]]
    assert [record.n for record in found] == list(range(1, len(found) + 1))
    assert all(a.stamp < b.stamp for a, b in pairwise(found))
    with JournalReader(path) as reader:
        assert reader.sealed
        assert [ops.OpId(r.stamp, reader.info.incarnation, r.n) for r in found[:-1]] == ids


def test_metrics_of_every_width(tmp_path: Path) -> None:
    """A metric of any time and step, of a new or a known name, is read back as it was logged."""
    logged = [
        ("loss", 0.5, NOW_MS, 1),
        ("loss", 0.25, NOW_MS + 1, 2),
        ("loss", float("inf"), 0, -1),
        ("loss", -0.0, 2**63 - 1, 2**31),
        ("acc", 1.0, -(2**63), -(2**63)),
        ("acc", 1e-310, NOW_MS, 2**63 - 1),
    ]
    with journal_in(tmp_path, clock=Clock()) as journal:
        for key, value, ts, step in logged:
            journal.append_metric(RUN, key, value, ts, step)
        journal.append_metric(RUN, "acc", 3.0, None, 5)
        path = journal.path
    assert path is not None
    expected = [Metric(*point) for point in [*logged, ("acc", 3.0, NOW_MS, 5)]]
    assert [record.op for record in records(path)[:-1]] == [ops.LogBatch(RUN, (metric,)) for metric in expected]


def test_bulk_reading_says_the_same(tmp_path: Path) -> None:
    """`read_bulk` gives the points that `read` gives, with dense positions, and every other record as it is."""
    other = "f" * 32
    linked = Metric("m", 1.0, NOW_MS, 0, "m-1", "data", "abc")
    with journal_in(tmp_path) as journal:
        journal.append(CREATE)
        for step in range(50):
            journal.append_metric(RUN if step % 20 else other, "loss", step / 2, None, step)
        journal.append_batch(RUN, [Metric(f"k{i}", i, NOW_MS + i, i) for i in range(7)])
        journal.append_batch(RUN, [linked], [Param("p", "1")], [RunTag("t", "2")], ["gone"])
        journal.append_batch(RUN, [], [Param("q", "1")])
        path = journal.path
    assert path is not None
    points: list[tuple[object, ...]] = []
    rest: list[object] = []
    with JournalReader(path) as reader:
        for item in reader.read_bulk(0):
            if isinstance(item, Points):
                assert item.rows[0][0] // ops.POSITIONS_PER_RECORD == item.first_n
                assert item.rows[-1][0] // ops.POSITIONS_PER_RECORD == item.last_n
                assert item.first_stamp <= item.last_stamp
                points += [(item.run_id, *row) for row in item.rows]
            else:
                rest.append(item)
    expected_points: list[tuple[object, ...]] = []
    expected_rest: list[object] = []
    for record in records(path):
        op = record.op
        if isinstance(op, ops.LogBatch) and not op.params and not op.tags and linked not in op.metrics:
            first = record.n * ops.POSITIONS_PER_RECORD
            rows = enumerate(op.metrics, first)
            expected_points += [(op.run_id, pos, m.key, m.step, m.timestamp, m.value) for pos, m in rows]
        else:
            expected_rest.append(record)
    assert points == expected_points
    assert rest == expected_rest


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A reader that starts anywhere, with any limit, gets the same records: names are found without reading from 1."""
    with journal_in(tmp_path) as journal:
        for step in range(40):
            journal.append_metric(RUN, f"key{step % 3}", step, None, step)
        path = journal.path
        assert path is not None
        whole = items(path)
        for after in range(40):
            with JournalReader(path) as reader:
                assert list(reader.read(after, 7)) == whole[after : after + 7]


def test_stamps_never_step_back(tmp_path: Path) -> None:
    """Stamps grow with n while the clock jumps back by years; they follow stamps seen elsewhere, but no mad ones."""
    clock = Clock()
    with journal_in(tmp_path, clock=clock) as journal:
        journal.append_metric(RUN, "a", 0, None, 0)
        clock.now_ms -= 10**11
        journal.append_metric(RUN, "a", 0, None, 1)
        journal.append_metric(RUN, "a", 0, None, 2)
        clock.now_ms = NOW_MS
        seen = (NOW_MS + 5_000) << 16
        journal.observe(seen)
        journal.observe((NOW_MS + MAX_AHEAD_MS + 1) << 16)
        journal.append_metric(RUN, "a", 0, None, 3)
        path = journal.path
    assert path is not None
    found = records(path)
    assert all(a.stamp < b.stamp for a, b in pairwise(found))
    assert found[3].stamp == seen + 1
    times = [record.op.metrics[0].timestamp for record in found[:-1] if isinstance(record.op, ops.LogBatch)]
    assert times == [NOW_MS, NOW_MS - 10**11, NOW_MS - 10**11, NOW_MS]


def test_a_scalar_costs_at_most_45_bytes(tmp_path: Path) -> None:
    """100,000 single metrics of three keys make a file of at most 45 bytes each."""
    with journal_in(tmp_path) as journal:
        for step in range(100_000):
            journal.append_metric(RUN, ("loss", "accuracy", "lr")[step % 3], step * 0.1, None, step)
        path = journal.path
    assert path is not None
    assert os.path.getsize(path) / 100_000 <= 45


def test_more_names_than_numbers(tmp_path: Path) -> None:
    """After 65,535 names, new ones are written out in each record: memory is bounded and nothing is refused."""
    with journal_in(tmp_path) as journal:
        for first in range(0, 68_000, 4_000):
            journal.append_batch(RUN, [Metric(f"key{i}", i, NOW_MS, 0) for i in range(first, first + 4_000)])
        journal.append_metric(RUN, "one more", 1.0, NOW_MS, 1)
        journal.append_metric(RUN, "key5", 2.0, NOW_MS, 1)
        file = journal._current.file
        assert isinstance(file, JournalFile)
        assert len(file.refs) <= 65_535
        path = file.path
    points = [m for r in records(path) if isinstance(r.op, ops.LogBatch) for m in r.op.metrics]
    assert [m.key for m in points] == [f"key{i}" for i in range(68_000)] + ["one more", "key5"]


def test_files_are_private(tmp_path: Path) -> None:
    """Whatever the umask, directories are 0700, and journal, -wal and -shm are 0600."""
    old = os.umask(0)
    try:
        with journal_in(tmp_path / "new" / "store") as journal:
            journal.append(CREATE)
            assert journal.path is not None
            for name in os.listdir(os.path.dirname(journal.path)):
                mode = os.stat(os.path.join(os.path.dirname(journal.path), name)).st_mode
                assert stat.S_IMODE(mode) == 0o600, name
            for directory in (tmp_path / "new" / "store", tmp_path / "new" / "store" / "journals"):
                assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    finally:
        os.umask(old)


def test_a_sealed_journal_is_one_plain_file(tmp_path: Path) -> None:
    """After close nothing lies beside the journal, and reading it leaves nothing there."""
    with journal_in(tmp_path) as journal:
        journal.append(CREATE)
        path = journal.path
    assert path is not None
    assert len(records(path)) == 2
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_append_after_close_begins_a_new_journal(tmp_path: Path) -> None:
    """No journal is ever continued: after close, the next append makes another file."""
    with journal_in(tmp_path) as journal:
        journal.append(CREATE)
        first = journal.incarnation
        journal.close()
        assert journal.incarnation is None
        journal.append_metric(RUN, "loss", 1.0, NOW_MS, 0)
        assert journal.incarnation != first
    assert [len(records(path)) for path in files(tmp_path)] == [2, 2]


def test_one_journal_per_process_and_store(tmp_path: Path) -> None:
    """`journal_of` gives one journal for one path, and touches no disk."""
    store = Store.at(tmp_path / "store")
    assert journal_of(store) is journal_of(Store.at(tmp_path / "store"), strict=True)
    assert journal_of(store) is not journal_of(Store.at(tmp_path / "other"))
    assert not os.path.exists(store.path)


def test_a_wrong_value_is_the_callers_error(tmp_path: Path) -> None:
    """What is no number raises in the caller's stack, is no trouble of the machine, and leaves the journal whole."""
    with journal_in(tmp_path) as journal:
        journal.append_metric(RUN, "loss", 1.0, NOW_MS, 0)
        with pytest.raises((TypeError, ValueError)):
            journal.append_metric(RUN, "loss", "high", NOW_MS, 1)  # type: ignore[arg-type]
        with pytest.raises(OverflowError):
            journal.append_metric(RUN, "loss", 1.0, NOW_MS, 2**63)
        journal.append_metric(RUN, "loss", 2.0, NOW_MS, 2)
        assert journal.flush()
        path = journal.path
    assert path is not None
    assert [record.n for record in records(path)] == [1, 2, 3]


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A journal of a later format is refused with advice, and not changed."""
    with journal_in(tmp_path) as journal:
        journal.append(CREATE)
        path = journal.path
    assert path is not None
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={connect.FORMAT + 1}")
    connection.close()
    before = Path(path).read_bytes()
    with pytest.raises(TooNewError, match="format 2") as caught:
        JournalReader(path)
    assert "install a newer localtrack" in caught.value.hint
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"no journal", b"SQLite format 3\0" + b"\xff" * 2000, os.urandom(5000), b"\0" * 4096]
)
def test_what_is_no_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    """Garbage raises a JournalError that names the file, and nothing else."""
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(JournalError, match=r"x\.db") as caught:
        JournalReader(str(path))
    assert not isinstance(caught.value, EmptyJournal)


def test_an_empty_file_is_an_empty_journal(tmp_path: Path) -> None:
    """What a process leaves that died between making the file and filling it is said to be empty."""
    path = tmp_path / "x.db"
    path.write_bytes(b"")
    with pytest.raises(EmptyJournal):
        JournalReader(str(path))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """Opening what is not there raises and makes no file."""
    with pytest.raises(StoreError, match="there is no journal"):
        JournalReader(str(tmp_path / "x.db"))
    assert not list(tmp_path.iterdir())


def test_another_database_is_refused(tmp_path: Path) -> None:
    """An SQLite file of another program is no journal."""
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(JournalError, match="not a localtrack journal"):
        JournalReader(str(tmp_path / "x.db"))


def test_every_cut_of_a_sealed_file(tmp_path: Path) -> None:
    """A journal cut at any page, and anywhere in its first pages, is refused or gives a prefix and names the rest."""
    with journal_in(tmp_path) as journal:
        for step in range(300):
            journal.append_metric(RUN, "loss", step, None, step)
        path = journal.path
    assert path is not None
    whole = {record.n: record for record in records(path)}
    content = Path(path).read_bytes()
    cut = tmp_path / "cut.db"
    for length in [*range(0, 3000, 97), *range(0, len(content), connect.PAGE_SIZE)]:
        cut.write_bytes(content[:length])
        try:
            found = items(str(cut))
        except JournalError:
            continue
        for item in found:
            assert isinstance(item, ops.Damage) or item == whole[item.n]
        assert any(isinstance(item, ops.Damage) for item in found), length


def test_a_strict_journal_reads_the_same(tmp_path: Path) -> None:
    """Strictness changes what errors do, not what is written."""
    with journal_in(tmp_path, strict=True) as journal:
        assert journal.append(CREATE, synced=True) is not None
        assert journal.flush(sync=True)
        assert isinstance(journal, Journal)
    assert [record.op for record in records(files(tmp_path)[0])] == [CREATE, ops.Seal()]
