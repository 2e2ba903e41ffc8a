"""Damaged, foreign, copied and unreadable files: named, and never in the way of the rest."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.catalog import database
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import JournalEntry
from localtrack.catalog.news import Mark
from localtrack.entities import Metric, Param, RunTag, ViewType
from localtrack.errors import StoreError, TooNewError
from localtrack.journal import ops
from localtrack.journal.reader import JournalReader
from localtrack.journal.writer import Journal
from localtrack.store import Store
from tests.catalog.dump import dump

MS = 1_700_000_000_000
RUN = "a" * 32
OpenJournal = Callable[[int], Journal]


def filled(journal: Journal, points: int = 20) -> str:
    """Log a run and close the journal; returns its file."""
    journal.append(ops.RunCreate(RUN, "7", "n", "me", MS))
    for step in range(points):
        journal.append_metric(RUN, "loss", float(step), MS + step, step)
    path = journal.path
    assert path is not None
    journal.close()
    return path


def change(path: str, sql: str, *values: object) -> None:
    """Change a closed journal behind everybody's back."""
    connection = sqlite3.connect(path)
    connection.execute(sql, values)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def entry(catalog: Catalog, path: str) -> JournalEntry:
    """What the catalog says about a file."""
    (found,) = [each for each in catalog.journals() if each.file == os.path.basename(path)]
    return found


def content(store: Store) -> object:
    """Content of the catalog file, without what is known of journals."""
    connection = database.open_to_read(store.catalog)
    try:
        return {name: rows for name, rows in dump(connection).items() if name not in {"journal", "damage"}}
    finally:
        connection.close()


def steps(catalog: Catalog) -> list[int]:
    """Steps of the logged points."""
    return [metric.step for metric in catalog.metric_history(RUN, "loss")]


def test_a_damaged_record_is_named_and_the_rest_is_imported(catalog: Catalog, open_journal: OpenJournal) -> None:
    """A flipped bit and a missing record cost these records only, and each stands in the list of journals."""
    path = filled(open_journal(MS))
    change(path, "UPDATE record SET body = zeroblob(length(body)) WHERE n = 5")
    change(path, "DELETE FROM record WHERE n IN (9, 10)")
    assert steps(catalog) == [step for step in range(20) if step + 2 not in {5, 9, 10}]
    found = entry(catalog, path)
    assert [(each.first_n, each.last_n) for each in found.damage] == [(5, 5), (9, 10)]
    assert all(each.reason for each in found.damage)
    assert found.sealed


def test_a_gap_at_the_end_is_not_damage(catalog: Catalog, open_journal: OpenJournal) -> None:
    """A journal that ends is still being written, until something follows."""
    path = filled(open_journal(MS))
    change(path, "DELETE FROM record WHERE n > 10")
    assert steps(catalog) == list(range(9))
    found = entry(catalog, path)
    assert (found.damage, found.upto, found.sealed) == ((), 10, False)


def test_unreadable_files_are_listed_with_the_reason_and_stop_nothing(
    catalog: Catalog, store: Store, open_journal: OpenJournal
) -> None:
    """Empty files, files that are no journals and journals of a newer format are listed; the rest is imported."""
    good = filled(open_journal(MS))
    newer = filled(open_journal(MS))
    change(newer, "PRAGMA user_version = 99")
    for name, data in (
        ("empty.db", b""),
        ("text.db", b"hello" * 1000),
        ("!first.db", b"SQLite format 3\0" + b"x" * 5000),
    ):
        Path(store.journals, name).write_bytes(data)
    foreign = sqlite3.connect(Path(store.journals, "foreign.db"))
    foreign.execute("CREATE TABLE t (x)")
    foreign.close()
    assert steps(catalog) == list(range(20))
    errors = {each.file: each.error for each in catalog.journals()}
    assert errors.pop(os.path.basename(good)) == ""
    assert len(errors) == 5
    assert all(errors.values())
    assert "99" in errors[os.path.basename(newer)]
    change(newer, "PRAGMA user_version = 1")
    assert entry(catalog, newer).error == ""


def test_a_copied_journal_counts_once(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Copies of a journal, also one that lags behind, change nothing, whichever is seen first."""
    path = filled(open_journal(MS))
    change(path, "DELETE FROM record WHERE n > 12")
    lagging = path.replace(".db", "-a-copy.db")
    shutil.copy(path, lagging)
    change(lagging, "DELETE FROM record WHERE n > 7")
    shutil.copy(path, path.replace(".db", "-z-copy.db"))
    assert steps(catalog) == list(range(11))
    assert [(each.error, each.damage) for each in catalog.journals()] == [("", ())] * 3
    assert len(catalog.points(RUN, {}, 100)) == 11


def test_a_good_copy_heals_what_is_damaged_in_another(
    catalog: Catalog, store: Store, open_journal: OpenJournal
) -> None:
    """Records that one file lost are taken from a copy that has them, in either order."""
    path = filled(open_journal(MS))
    copy = path.replace(".db", "-copy.db")
    shutil.copy(path, copy)
    change(path, "UPDATE record SET body = zeroblob(length(body)) WHERE n IN (5, 6, 15)")
    change(copy, "UPDATE record SET body = zeroblob(length(body)) WHERE n IN (6, 18)")
    aside = copy + ".aside"
    os.rename(copy, aside)
    assert len(steps(catalog)) == 17
    os.rename(aside, copy)
    assert steps(catalog) == [step for step in range(20) if step != 4]
    assert [(each.first_n, each.last_n) for each in entry(catalog, path).damage] == [(6, 6)]
    healed = content(store)
    database.discard(store.catalog)
    with Catalog(store) as again:
        again.refresh()
    assert content(store) == healed


@pytest.mark.parametrize("together", [True, False])
def test_a_copy_that_was_written_on_is_reported_and_not_merged(
    catalog: Catalog, store: Store, open_journal: OpenJournal, tmp_path: Path, together: bool
) -> None:
    """Two continuations of one journal (a restored machine) differ: the second is listed, with the record."""
    path = filled(open_journal(MS))
    change(path, "DELETE FROM record WHERE n = 22")  # its seal: the machine went down while it was open
    other = filled(open_journal(MS + 5000), points=30)
    with JournalReader(path) as reader:
        incarnation = reader.info.incarnation
    # What a clone would have written under the same identity, with its own checksums.
    clone = Journal(store, strict=True, random=lambda _: bytes.fromhex(incarnation))
    clone.append(ops.RunCreate(RUN, "7", "n", "me", MS))
    for step in range(25):
        clone.append_metric(RUN, "loss", float(step) + (step > 10), MS + step, step)
    cloned = clone.path
    assert cloned is not None
    clone.close()
    hidden = tmp_path / "hidden"
    if not together:
        os.rename(cloned, hidden)
        catalog.refresh()
        os.unlink(path)
        os.rename(hidden, path)
        cloned = path
    before = len(catalog.points(RUN, {}, 1000))
    assert before in {50, 55}
    errors = {each.file: each.error for each in catalog.journals()}
    assert errors.pop(os.path.basename(other)) == ""
    assert [("same journal" in error or "went on writing" in error) for error in errors.values() if error] == [True]
    with open(cloned, "ab"):
        os.utime(cloned)
    assert sum(bool(each.error) for each in catalog.journals()) == 1, "it stays listed when it changes"
    assert len(catalog.points(RUN, {}, 1000)) == before


def test_losses_and_unknown_ops_are_summed(catalog: Catalog, open_journal: OpenJournal) -> None:
    """What a writer could not write, and what this version does not know, is counted by journal."""
    journal = open_journal(MS)
    journal.append(ops.Loss((("metric", 3), ("tag", 1)), MS, MS + 1, "disk full"))
    journal.append(ops.Loss((("metric", 4),), MS, MS + 1, "disk full"))
    journal.append(ops.Unknown(200, b"?"))
    journal.append(ops.Unknown(201, b"?"))
    path = filled(journal)
    found = entry(catalog, path)
    assert (found.losses, found.unknown_ops) == ({"metric": 7, "tag": 1}, 2)
    assert len(steps(catalog)) == 20


def test_a_record_that_cannot_be_kept_stops_nothing(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Values that the rules above the journal refuse, but that are in one, are named as damage."""
    journal = open_journal(MS)
    journal.append_batch(RUN, [], [Param("p", "1")], [RunTag("bad", "\ud800")])
    journal.append(ops.RunCreate("b" * 32, "7", "n", "me", 1 << 70))
    journal.append_batch(RUN, [], [Param("q", "2")], [])
    path = filled(journal)
    assert steps(catalog) == list(range(20))
    run = catalog.run(RUN)
    assert run is not None
    assert run.data.params == {"q": "2"}
    found = entry(catalog, path)
    assert [each.first_n for each in found.damage] == [1, 2]
    assert "cannot be kept" in found.damage[0].reason
    shutil.copy(path, path.replace(".db", "-copy.db"))  # which does not heal it, and stops nothing either
    damaged = path.replace(".db", "-damaged.db")
    shutil.copy(path, damaged)
    change(damaged, "UPDATE record SET body = zeroblob(length(body)) WHERE n < 5")
    Path(os.fsdecode(os.fsencode(path) + b"-\xff.db")).write_bytes(b"a name that is not UTF-8")
    assert steps(catalog) == list(range(20))
    assert [(each.error, len(each.damage)) for each in catalog.journals()] == [("", 2)] * 3


def test_a_journal_whose_file_is_gone_stays_listed(catalog: Catalog, open_journal: OpenJournal) -> None:
    """Content of a removed file stays until the catalog is built again, and its journal is listed as gone."""
    path = filled(open_journal(MS))
    assert len(steps(catalog)) == 20
    os.unlink(path)
    (found,) = catalog.journals()
    assert (found.file, found.error) == ("", "the file is gone")
    assert len(steps(catalog)) == 20


# --- the catalog's own file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["empty", "garbage", "header", "middle", "older", "side"])
def test_a_catalog_that_cannot_be_used_is_built_again(store: Store, open_journal: OpenJournal, damage: str) -> None:
    """Whatever happened to catalog.db, reading goes on with the same content, because the journals are the truth."""
    journal = open_journal(MS)
    for number in range(300):
        journal.append_batch(RUN, [Metric("loss", float(number), MS, number)], [], [RunTag(f"k{number}", "v" * 50)])
    filled(journal)
    with Catalog(store) as catalog:
        catalog.refresh()
    expected = content(store)
    path = Path(store.catalog)
    whole = path.read_bytes()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif damage == "header":
        path.write_bytes(b"\0" * 100 + whole[100:])
    elif damage == "middle":
        path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    elif damage == "older":
        change(store.catalog, "PRAGMA user_version = 0")
    else:
        path.unlink()
        Path(store.catalog + "-wal").write_bytes(b"left over" * 1000)
    with Catalog(store) as catalog:
        run = catalog.run(RUN)
        assert run is not None
        assert len(run.data.tags) == 301
        assert len(catalog.metric_history(RUN, "loss")) == 319
    assert content(store) == expected


def test_a_newer_catalog_is_refused_untouched(store: Store, catalog: Catalog, open_journal: OpenJournal) -> None:
    """A catalog of a newer localtrack raises TooNewError and is not changed."""
    filled(open_journal(MS))
    catalog.refresh()
    catalog.close()
    change(store.catalog, "PRAGMA user_version = 99")
    before = Path(store.catalog).read_bytes()
    with Catalog(store) as other, pytest.raises(TooNewError):
        other.refresh()
    assert Path(store.catalog).read_bytes() == before


def test_a_foreign_file_is_refused_untouched(store: Store, catalog: Catalog) -> None:
    """A database that is not ours at the place of the catalog is not overwritten."""
    foreign = sqlite3.connect(store.catalog)
    foreign.execute("CREATE TABLE precious (x)")
    foreign.close()
    with pytest.raises(StoreError, match="not a catalog"):
        catalog.refresh()
    foreign = sqlite3.connect(store.catalog)
    assert foreign.execute("SELECT count(*) FROM precious").fetchone() == (0,)
    foreign.close()


def test_a_store_that_cannot_be_written_is_read_in_memory(store: Store, open_journal: OpenJournal) -> None:
    """Where the lock or the catalog cannot be made, all is readable and new points are seen; `read_only` says so."""
    journal = open_journal(MS)
    os.mkdir(os.path.join(store.path, "catalog.lock"))
    journal.append(ops.RunCreate(RUN, "7", "n", "me", MS))
    with Catalog(store) as catalog:
        assert catalog.run(RUN) is not None
        assert catalog.read_only
        journal.append_metric(RUN, "loss", 1.0, MS, 0)
        assert steps(catalog) == [0]
        assert len(catalog.journals()) == 1
    assert not os.path.exists(store.catalog)


def test_a_store_that_can_be_written_again_is(store: Store, open_journal: OpenJournal) -> None:
    """Who lives long asks now and then: the catalog in memory is given up, and what is new since is told once."""
    journal = open_journal(MS)
    os.mkdir(os.path.join(store.path, "catalog.lock"))
    journal.append(ops.RunCreate(RUN, "7", "n", "me", MS))
    with Catalog(store) as catalog:
        first = catalog.news(Mark())
        assert first is not None
        assert first.whole
        assert not catalog.write_again()
        assert catalog.news(first.mark) is None
        os.rmdir(os.path.join(store.path, "catalog.lock"))
        assert catalog.write_again()
        assert not catalog.read_only
        second = catalog.news(first.mark)
        assert second is not None
        assert second.whole, "the file numbers its journals differently"
        assert catalog.news(second.mark) is None
        assert [run.run_id for run in second.runs] == [RUN]
        journal.append_metric(RUN, "loss", 1.0, MS, 0)
        assert steps(catalog) == [0]
        assert catalog.write_again()
    assert os.path.exists(store.catalog)


def test_a_catalog_that_must_not_write_never_does(store: Store, open_journal: OpenJournal) -> None:
    """`write_again` changes nothing of what was asked for."""
    filled(open_journal(MS))
    with Catalog(store, read_only=True) as catalog:
        assert not catalog.write_again()
        assert catalog.read_only
    assert not os.path.exists(store.catalog)


def test_read_only_on_demand_writes_nothing(store: Store, open_journal: OpenJournal) -> None:
    """`read_only=True` leaves the store as it is."""
    filled(open_journal(MS))
    before = sorted(os.listdir(store.path))
    with Catalog(store, read_only=True) as catalog:
        assert steps(catalog) == list(range(20))
    assert sorted(os.listdir(store.path)) == before


READ_ON_A_FULL_DISK = """
import resource, sys
from localtrack.catalog.catalog import Catalog
from localtrack.store import Store
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
catalog = Catalog(Store(sys.argv[1]))
print(len(catalog.metric_history("a" * 32, "loss")), catalog.read_only)
"""


def test_a_full_disk_does_not_stop_reading(store: Store, open_journal: OpenJournal) -> None:
    """When the catalog cannot grow (here by a file size limit), reads go on in memory."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    filled(open_journal(MS), points=5000)
    command = [sys.executable, "-c", READ_ON_A_FULL_DISK, store.path]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["5000", "True"]
    with Catalog(store) as catalog:
        assert steps(catalog) == list(range(5000))


# --- what a refresh costs ------------------------------------------------------------------------------------------


def test_a_refresh_without_news_opens_no_journal(store: Store, open_journal: OpenJournal) -> None:
    """Neither this process nor a new one opens an unchanged journal; a deleted catalog is noticed at once."""
    path = filled(open_journal(MS))
    old = os.stat(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns - 10_000_000_000))  # not changed just now
    opened: list[str] = []

    def open_source(file: str) -> JournalReader:
        opened.append(file)
        return JournalReader(file)

    with Catalog(store, open_source=open_source) as first, Catalog(store, open_source=open_source) as second:
        first.refresh()
        assert opened == [path]
        for catalog in (first, second, first):
            catalog.refresh()
        assert opened == [path]
        os.unlink(store.catalog)
        assert catalog.runs(["7"], ViewType.ALL, 10) != []
        assert opened == [path, path]
