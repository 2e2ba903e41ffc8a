"""What gc may remove, decided from values: by tables, and for whatever the books say."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.catalog.desired import StoredFile
from localtrack.catalog.entries import JournalEntry
from localtrack.journal.ops import Damage
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.books import RunAccount
from localtrack_sync.store.disposable import (
    Holder,
    Home,
    Rule,
    next_chunk,
    oldest_first,
    reason_to_keep,
    reason_to_stop,
    removable,
)

DAY = 86_400_000
RULE = Rule(now_ms=100 * DAY, older_than_ms=30.0 * DAY)
FILE = StoredFile("a.bin", 10, "0" * 64)
OLD = Holder("run", "r1", "one", "1", "exp", False, False, 60 * DAY, "c", (FILE,), 1)  # noqa: FBT003
ACCOUNT = RunAccount("r1", "one", "1", "exp", "remote-id", 5, 5, 0, files=1, files_delivered=1, bytes=10)
HOME = Home(Remote("http://a"), True, ACCOUNT)  # noqa: FBT003


def stuck(column: str) -> Home:
    """A home where one record is not delivered."""
    return replace(HOME, account=RunAccount.of({**asdict(ACCOUNT), "delivered": 4, column: 1}))


@pytest.mark.parametrize(
    ("holder", "homes", "expected"),
    [
        (OLD, (HOME,), ""),
        (OLD, (HOME, replace(HOME, remote=Remote("http://b"))), ""),
        (replace(OLD, active=True), (HOME,), "not ended"),
        (replace(OLD, deleted=True), (HOME,), "deleted"),
        (replace(OLD, newest_ms=70 * DAY + 1), (HOME,), "recently"),
        (replace(OLD, newest_ms=70 * DAY), (HOME,), ""),
        (replace(OLD, newest_ms=200 * DAY), (HOME,), "recently"),
        (OLD, (), "no remote"),
        (OLD, (replace(HOME, remote=None),), "no remote"),
        (OLD, (replace(HOME, named=False),), "not named"),
        (OLD, (HOME, replace(HOME, remote=None)), "no remote"),
        (OLD, (stuck("owed"),), "owed 1"),
        (OLD, (HOME, stuck("parked")), "parked 1"),
        (OLD, (stuck("conflicts"),), "conflicts 1"),
        (OLD, (stuck("rejected"),), "rejected 1"),
        (OLD, (stuck("superseded"),), ""),
        (OLD, (replace(HOME, account=replace(ACCOUNT, files_delivered=0)),), "not all of its files"),
        (replace(OLD, registered=2), (HOME,), "not all of its files"),
        (OLD, (replace(HOME, account=replace(ACCOUNT, remote_run_id=None)),), "not all of its files"),
        (OLD, (replace(HOME, account=replace(ACCOUNT, run_id="r2")),), "not its own"),
    ],
)
def test_every_reason_to_keep(holder: Holder, homes: tuple[Home, ...], expected: str) -> None:
    """Each condition alone keeps the files; without any they may go."""
    reason = reason_to_keep(holder, homes, RULE)
    assert expected in reason
    assert bool(reason) == bool(expected)


numbers = st.integers(0, 2)


@st.composite
def homes(draw: st.DrawFn) -> Home:
    """Any home, in any state."""
    delivered, owed, conflicts, rejected, parked, superseded, files = (draw(numbers) for _ in range(7))
    account = RunAccount(
        draw(st.sampled_from(["r1", "r2"])), "one", "1", "exp", draw(st.sampled_from([None, "remote-id"])),
        delivered + owed + conflicts + rejected + parked + superseded, delivered, owed, conflicts, rejected, parked,
        superseded, files=files, files_delivered=draw(st.integers(0, files)),
        kind=draw(st.sampled_from(["run", "model"])),
    )  # fmt: skip
    return Home(draw(st.sampled_from([None, Remote("http://a"), Remote("http://b")])), draw(st.booleans()), account)


@given(
    st.builds(
        Holder, st.sampled_from(["run", "model"]), st.just("r1"), st.just("one"), st.just("1"), st.just("exp"),
        st.booleans(), st.booleans(), st.integers(0, 200 * DAY), st.just("c"), st.just((FILE,)), numbers,
    ),
    st.lists(homes(), max_size=3),
)  # fmt: skip
def test_nothing_owed_active_young_or_unknown_is_ever_chosen(holder: Holder, every: list[Home]) -> None:
    """Whatever the books say: what is chosen is ended, old, alive, and wholly delivered to each of its remotes."""
    if reason_to_keep(holder, every, RULE):
        return
    assert not holder.active
    assert not holder.deleted
    assert RULE.now_ms - holder.newest_ms >= RULE.older_than_ms
    assert every
    for home in every:
        account = home.account
        assert home.remote is not None
        assert home.named
        assert account.owed + account.parked + account.conflicts + account.rejected == 0
        assert account.files == account.files_delivered == holder.registered
        assert (account.kind, account.run_id) == (holder.kind, holder.id)


def test_a_journal_in_trouble_stops_all() -> None:
    """Damage, a file that cannot be read, records of a newer version and a catalog in memory each stop everything."""
    fine = JournalEntry("a.db", "i", sealed=True)
    assert reason_to_stop([fine, JournalEntry("", "gone", error="the file is gone")], in_memory=False) == ""
    assert reason_to_stop([JournalEntry("e.db", None, error="e.db is empty")], in_memory=False) == ""
    assert "damaged" in reason_to_stop([fine, replace(fine, damage=(Damage(1, 2, "x"),))], in_memory=False)
    assert "b.db" in reason_to_stop([fine, JournalEntry("b.db", None, error="too new")], in_memory=False)
    assert "newer" in reason_to_stop([replace(fine, unknown_ops=1)], in_memory=False)
    assert "catalog" in reason_to_stop([fine], in_memory=True)


def test_the_oldest_go_until_the_excess_is_gone() -> None:
    """In order of the last record; no more than the excess needs, no more than fit into a chunk."""
    some = [replace(OLD, id=f"r{n}", newest_ms=n) for n in (3, 1, 2)]
    order = oldest_first(some)
    assert [one.newest_ms for one in order] == [1, 2, 3]
    assert next_chunk(order, None, 2) == order[:2]
    assert next_chunk(order, 0, 9) == []
    assert next_chunk(order, 10, 9) == order[:1]
    assert next_chunk(order, 11, 9) == order[:2]


def test_a_file_that_holds_ids_stays() -> None:
    """An MLmodel file has other bytes on the remote, wherever it lies."""
    named = [StoredFile(path, 1, "0" * 64) for path in ("MLmodel", "a/MLmodel", "a/MLmodel.txt", "b")]
    assert [file.path for file in removable(named)] == ["a/MLmodel.txt", "b"]
