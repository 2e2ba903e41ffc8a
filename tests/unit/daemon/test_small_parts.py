"""The small pure parts: pace, counts, parcels, words, lines of the log, the summary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localtrack.catalog.entries import RunEntry
from localtrack.errors import StoreError
from localtrack_sync.daemon.changes import Changes, summary
from localtrack_sync.daemon.counts import OVER_S, Counts
from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing
from localtrack_sync.daemon.pace import BUSY_S, QUIET_AFTER_S, Pace
from localtrack_sync.daemon.parcel import Parcel, parcel_of
from localtrack_sync.daemon.words import words_of
from localtrack_sync.protocol.jobs import Job
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.store.choice import Errand

REMOTE = RemoteFacts("http://a", "", Standing.IDLE, 1.0)
FACTS = DaemonFacts(1, "host", "1", 0.0, 1.0, 1, "events", (REMOTE,))


def run(run_id: str, content: str = "c") -> RunEntry:
    """A run of a list."""
    return RunEntry(
        run_id,
        "7",
        "exp",
        run_id,
        "RUNNING",
        deleted=False,
        start_time=1,
        end_time=None,
        remote=None,
        remote_proof=None,
        create_stamp=1,
        params=0,
        tags=0,
        points=0,
        oldest_ms=1,
        newest_ms=1,
        content=content,
    )


# --- pace ---


@pytest.mark.parametrize(
    ("since_news", "took", "events", "seconds"),
    [
        (0.0, 0.001, True, BUSY_S),
        (QUIET_AFTER_S - 0.1, 0.001, False, BUSY_S),
        (QUIET_AFTER_S, 0.001, True, 30.0),
        (QUIET_AFTER_S, 0.001, False, 2.0),
        (0.0, 1.0, True, 10.0),
        (QUIET_AFTER_S, 4.0, False, 40.0),
    ],
)
def test_the_next_look(since_news: float, took: float, events: bool, seconds: float) -> None:
    """A busy store often, a quiet one by its way of telling, and never more than a tenth of the time."""
    now = 100.0
    pace = Pace(30.0, 2.0, now - since_news)
    assert pace.next_look(now, took, events=events) == pytest.approx(seconds)


def test_a_store_without_news_is_quiet() -> None:
    """From the first moment on."""
    assert not Pace(30.0, 2.0).busy(0.0)


@pytest.mark.parametrize(("took", "seconds"), [(0.0, 30.0), (0.2, 30.0), (1.0, 100.0)])
def test_looking_for_files_takes_a_hundredth_of_the_time(took: float, seconds: float) -> None:
    """A store with very many files is looked through seldom."""
    assert Pace.next_scan(took, 30.0) == pytest.approx(seconds)


# --- counts ---


def test_the_rate_is_that_of_the_last_minute() -> None:
    """What is older counts in the total only, and is not kept."""
    counts = Counts()
    counts.add(600, 0.0)
    counts.add(60, 30.0)
    assert counts.total == 660
    assert counts.rate(30.0) == 11.0
    assert counts.rate(OVER_S + 1.0) == 1.0
    assert counts.rate(1000.0) == 0.0
    for at in range(1000):
        counts.add(at % 2, 2000.0 + at)
    assert len(counts._samples) <= OVER_S


# --- parcels ---


def test_a_parcel_holds_runs_first_and_what_makes_an_experiment_new() -> None:
    """Runs by their content, experiments by theirs; one that is not known has none."""
    errand = Errand(parse_remote("http://a"), (run("x", "1"), run("y", "2")), ("7", "8"))
    parcel = parcel_of(errand, {"7": "seven"})
    assert list(parcel.contents.items()) == [
        (Job("run", "x"), "1"),
        (Job("run", "y"), "2"),
        (Job("experiment", "7"), "seven"),
        (Job("experiment", "8"), ""),
    ]
    assert set(parcel.items) == {Job("run", "x"), Job("run", "y")}


def test_a_later_parcel_takes_the_place_of_what_it_names() -> None:
    """The rest stays."""
    whole = Parcel()
    whole.join(parcel_of(Errand(parse_remote("http://a"), (run("x", "1"), run("y", "2"))), {}))
    whole.join(parcel_of(Errand(parse_remote("http://a"), (run("x", "3"),)), {}))
    assert whole.contents == {Job("run", "x"): "3", Job("run", "y"): "2"}
    assert whole.items[Job("run", "x")].content == "3"


# --- words ---


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreError("gone", "look"), "gone"),
        (StoreError(""), "StoreError"),
        (OSError(), "OSError"),
        (TimeoutError(), "TimeoutError"),
        (ValueError("  bad "), "bad"),
    ],
    ids=repr,
)
def test_an_error_always_has_words(error: Exception, words: str) -> None:
    """Trouble "" means that all is well."""
    assert words_of(error) == words


# --- lines of the log ---


def with_remote(**changes: object) -> DaemonFacts:
    """Facts with one remote that is like this."""
    return replace(FACTS, remotes=(replace(REMOTE, **changes),))  # type: ignore[arg-type]


def test_a_line_for_each_change_of_state() -> None:
    """To and fro between idle and working is none; the same state is said once."""
    changes = Changes()
    said = [changes.of(with_remote(standing=one), {}) for one in (Standing.IDLE, Standing.WORKING, Standing.IDLE)]
    assert said == [[("info", "remote", {"remote": "http://a", "state": "online"})], [], []]
    [line] = changes.of(with_remote(standing=Standing.OFFLINE, trouble="refused"), {})
    assert line == ("warning", "remote", {"remote": "http://a", "state": "offline", "trouble": "refused"})
    assert changes.of(with_remote(standing=Standing.OFFLINE, trouble="timed out"), {}) == []
    [line] = changes.of(with_remote(standing=Standing.WORKING), {})
    assert line[2]["state"] == "online"


def test_why_a_remote_needs_a_person_is_said_when_it_changes() -> None:
    """Failed and paused are said again with other words."""
    changes = Changes()
    for standing, level in ((Standing.FAILED, "error"), (Standing.PAUSED, "warning")):
        for trouble in ("one", "two"):
            [line] = changes.of(with_remote(standing=standing, trouble=trouble, workspace="w"), {})
            assert line[0] == level
            assert line[2]["trouble"] == trouble
            assert line[2]["workspace"] == "w"


def test_trouble_of_the_store_and_its_end_are_said() -> None:
    """Once each."""
    changes = Changes()
    changes.of(FACTS, {})
    in_trouble = replace(FACTS, trouble="the disk is full")
    assert changes.of(in_trouble, {}) == [("error", "store in trouble", {"trouble": "the disk is full"})]
    assert changes.of(in_trouble, {}) == []
    assert changes.of(FACTS, {}) == [("info", "store works again", {})]


def test_runs_that_go_nowhere_are_said_once_for_each_reason() -> None:
    """More of the same is no news; the reason that comes back after it was gone is."""
    changes = Changes()
    changes.of(FACTS, {})
    assert changes.of(FACTS, {"no remote": 2}) == [("warning", "runs go nowhere", {"runs": 2, "reason": "no remote"})]
    assert changes.of(FACTS, {"no remote": 3}) == []
    assert changes.of(FACTS, {}) == []
    assert len(changes.of(FACTS, {"no remote": 1})) == 1


# --- the summary ---


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ((), "nothing to deliver yet"),
        ((replace(FACTS, remotes=()),), "nothing to deliver yet"),
        ((FACTS,), "up to date with 1 remote"),
        ((FACTS, FACTS), "up to date with 2 remotes"),
        ((with_remote(standing=Standing.WORKING, jobs=3), FACTS), "delivering 3 runs"),
        ((FACTS, with_remote(standing=Standing.OFFLINE)), "offline: http://a"),
        (
            (with_remote(standing=Standing.BUSY), with_remote(standing=Standing.FAILED)),
            "another process delivers: http://a and 1 more",
        ),
        ((FACTS, replace(FACTS, trouble="bad\nworse")), "in trouble: bad"),
    ],
)
def test_all_of_it_in_one_line(facts: tuple[DaemonFacts, ...], line: str) -> None:
    """What is wrong comes first."""
    assert summary(facts) == line
