"""What a read costs does not grow with what it is not about: counted in steps of SQLite's machine, not in seconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import pytest

from localtrack.catalog import database, desired_queries, history, points, queries
from localtrack.catalog.files import Signature
from localtrack.catalog.importer import Importer
from localtrack.catalog.search import reads
from localtrack.catalog.search.run_search import run_search
from localtrack.entities import Metric
from localtrack.journal import ops
from localtrack.store import Store
from tests.catalog.strategies import FakeJournal
from tests.catalog.test_convergence import Growing

MS = 1_700_000_000_000
PER_RUN = 400


def run_id(number: int) -> str:
    """A run id."""
    return f"{number:032x}"


def journal(number: int, runs: int) -> FakeJournal:
    """A journal with points of all runs in turn."""
    items: list[ops.Record] = []
    for run in range(runs):
        items.append(
            ops.Record(len(items) + 1, (MS << 16) + len(items), ops.RunCreate(run_id(run), "7", "n", "me", run))
        )
    for batch in range(4):
        for run in range(runs):
            rows = [Metric(f"k{i % 3}", float(i), MS + batch, batch * 100 + i) for i in range(PER_RUN // 4)]
            items.append(ops.Record(len(items) + 1, (MS << 16) + len(items), ops.LogBatch(run_id(run), tuple(rows))))
    return FakeJournal(ops.JournalInfo(f"{number:032x}", MS, "host", 1, "me", 1), tuple(items))


def imported(journals: list[FakeJournal]) -> sqlite3.Connection:
    """A catalog in memory."""
    connection = database.open_to_write(database.MEMORY, network=False)
    importer = Importer(connection, "", lambda name: Growing(journals[int(name)], 1 << 30))
    importer.bring({str(number): Signature("changed", 0, settled=False) for number in range(len(journals))})
    return connection


@pytest.fixture(scope="module")
def catalogs() -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """A small catalog (10 runs, 2 journals) and a large one (300 runs, 4 journals)."""
    small, large = imported([journal(n, 10) for n in range(2)]), imported([journal(n, 300) for n in range(4)])
    yield small, large
    small.close()
    large.close()


def steps(connection: sqlite3.Connection, question: Callable[[], object]) -> int:
    """Thousands of steps of SQLite's machine, in units of ten."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(tick, 10)
    question()
    connection.set_progress_handler(None, 0)
    return count


Question = Callable[[sqlite3.Connection, int], object]
QUESTIONS: dict[str, Question] = {
    "the next points of the last run": lambda db, runs: points.points(db, run_id(runs - 1), {f"{0:032x}": 1 << 18}, 50),
    "the same without twins": lambda db, runs: points.points(db, run_id(runs - 1), {}, 50, distinct=True),
    "a page of a history": lambda db, runs: history.metric_history(db, run_id(runs - 1), "k1", 20, None),
    "one run": lambda db, runs: queries.run(db, Store("/s"), run_id(runs - 1)),
    "the desired state of one run": lambda db, runs: desired_queries.desired_run(db, run_id(runs - 1)),
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_a_read_about_one_run_does_not_look_at_others(
    catalogs: tuple[sqlite3.Connection, sqlite3.Connection], what: str
) -> None:
    """With 30 times the runs and twice the journals, a question about one run costs at most three times as much."""
    small, large = catalogs
    cheap, dear = steps(small, lambda: QUESTIONS[what](small, 10)), steps(large, lambda: QUESTIONS[what](large, 300))
    assert dear <= 3 * cheap + 20, (cheap, dear)


def test_a_page_of_runs_reads_details_of_that_page_only(
    catalogs: tuple[sqlite3.Connection, sqlite3.Connection],
) -> None:
    """Of 300 runs, metrics, params and tags are read of the five that are shown."""
    _, large = catalogs
    search = run_search(["7"], None, None, (0, 1), "/s/artifacts")
    few = steps(large, lambda: reads.runs(large, Store("/s"), search, 5, None))
    assert few * 3 < steps(large, lambda: reads.runs(large, Store("/s"), search, 300, None))


def test_points_end_to_end_over_many_windows(catalogs: tuple[sqlite3.Connection, sqlite3.Connection]) -> None:
    """Read window by window, a run in four journals gives each recorded point once."""
    _, large = catalogs
    after: dict[str, int] = {}
    seen = 0
    while found := points.points(large, run_id(299), after, 97):
        seen += len(found)
        after |= {point.incarnation: point.pos for point in found}
    assert seen == 4 * PER_RUN
