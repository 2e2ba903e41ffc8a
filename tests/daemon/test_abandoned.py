"""The decision which runs to end: a table of what is known, and what follows."""

from __future__ import annotations

from typing import Any

import pytest

from localtrack.catalog.entries import OpenRun
from localtrack.journal.life import Life
from localtrack_sync.daemon.abandoned import Abandoned, Process, Writer, abandoned, gone_since, processes

LIVING, GONE, UNKNOWN, SEALED = Life.LIVING, Life.GONE, Life.UNKNOWN, None
NOW, GRACE = 1_000_000, 600


def writer(name: str, life: Life | None, process: str = "", created_ms: int = 0) -> Writer:
    """A journal; without a process, the only one of its process."""
    return Writer(name, process or name, f"host of {name}", created_ms, life)


def run(opened_by: str, *writers: str, stamp: int = 5) -> OpenRun:
    """An open run; its writers wrote last at 1, 2, 3, ..."""
    every = dict.fromkeys((opened_by, *writers))
    return OpenRun("r", opened_by, stamp, {name: ms for ms, name in enumerate(every, 1)})


def ended(one: OpenRun, *writers: Writer, since: int = NOW - GRACE, own: str | None = "own") -> list[Abandoned]:
    """What is decided of one run when every process that is gone has been so since `since`."""
    known = gone_since(dict.fromkeys(map(str, [w.process for w in writers]), since), processes(writers), NOW)
    return abandoned([one], writers, known, own=own, until_ms=NOW - GRACE, greatest_stamp=100)


def test_a_run_of_a_dead_trainer_is_ended() -> None:
    """Its last record is its end; the tag will name the host of the process that opened it."""
    assert ended(run("a", "b"), writer("a", GONE), writer("b", GONE)) == [Abandoned("r", "host of a", 2, 5)]


def test_the_grace_is_waited_for() -> None:
    """One millisecond before it is over nothing happens; every process that is gone has its own."""
    assert not ended(run("a"), writer("a", GONE), since=NOW - GRACE + 1)
    assert ended(run("a"), writer("a", GONE), since=NOW - GRACE)
    late = {"a": 0, "b": NOW}
    writers = [writer("a", GONE), writer("b", GONE)]
    assert not abandoned([run("a", "b")], writers, late, own=None, until_ms=NOW - GRACE, greatest_stamp=100)


@pytest.mark.parametrize("life", [LIVING, UNKNOWN])
def test_whoever_may_live_keeps_the_run_open(life: Life) -> None:
    """A writer that lives, or of which nothing is known, keeps the run; whether it opened it or only wrote to it."""
    assert not ended(run("a"), writer("a", life))
    assert not ended(run("a", "b"), writer("a", GONE), writer("b", life))
    assert not ended(run("a", "b"), writer("a", GONE))


def test_what_was_closed_in_good_order_is_left_open_on_purpose() -> None:
    """A launcher that creates a run and ends keeps it open for ever; a worker that ended well keeps nobody alive."""
    assert not ended(run("a", "b"), writer("a", SEALED), writer("b", GONE))
    assert ended(run("a", "b"), writer("a", GONE), writer("b", SEALED))


@pytest.mark.parametrize(
    ("first", "second", "state"),
    [
        (SEALED, GONE, Process.GONE),
        (SEALED, LIVING, Process.LIVING),
        (GONE, LIVING, Process.LIVING),
        (GONE, SEALED, Process.CLOSED),
        (UNKNOWN, GONE, Process.GONE),
        (GONE, UNKNOWN, Process.UNKNOWN),
        (LIVING, SEALED, Process.LIVING),
    ],
)
def test_the_last_journal_of_a_process_speaks_for_it(first: Any, second: Any, state: Process) -> None:
    """A process that went on in a new journal is what that one says, and lives when it holds any lock."""
    writers = [writer("b", second, "a", created_ms=2), writer("a", first, "a", created_ms=1)]
    assert processes(writers) == {"a": state}
    assert bool(ended(run("a"), *writers)) is (state is Process.GONE)


def test_what_the_daemon_writes_keeps_nobody_alive() -> None:
    """Our own journal does not count among the writers, nor its time as the last record."""
    assert ended(run("a", "own"), writer("a", GONE), writer("own", LIVING)) == [Abandoned("r", "host of a", 1, 5)]


def test_a_run_from_the_future_waits() -> None:
    """What a clock that is far ahead wrote is not ended until our clock comes there."""
    assert not ended(run("a", stamp=101), writer("a", GONE))
    assert ended(run("a", stamp=100), writer("a", GONE))


def test_since_when_a_process_is_gone() -> None:
    """The first sight counts as long as it stays gone; who lives again begins anew; no time lies in the future."""
    states = {"a": Process.GONE, "b": Process.LIVING, "c": Process.GONE, "d": Process.CLOSED, "e": Process.GONE}
    before = {"a": 10, "b": 20, "d": 40, "e": NOW + 1, "f": 5}
    assert gone_since(before, states, NOW) == {"a": 10, "c": NOW, "e": NOW}
