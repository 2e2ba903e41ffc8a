from __future__ import annotations

import time
from pathlib import Path

from localtrack.catalog import importer
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.lock import WriteLock
from localtrack.entities import Metric
from localtrack.journal.ops import LogBatch, RunCreate
from localtrack.journal.writer import Journal
from localtrack.store import Store

RUN = "a" * 32


def backlog(store: Store, points: int) -> None:
    """A journal with this many points that no catalog has seen."""
    journal = Journal(store)
    journal.append(RunCreate(RUN, "0", "n", "u", 1))
    for begin in range(0, points, 4000):
        count = min(4000, points - begin)
        journal.append(LogBatch(RUN, tuple(Metric("m", 1.0, begin + i, begin + i) for i in range(count))))
    journal.close()


def test_a_refresh_within_no_time_stops_at_a_commit(tmp_path: Path) -> None:
    """What was imported by then can be read, and the next refresh goes on from there to the same end."""
    store = Store.at(tmp_path / "store")
    points = importer.POINTS_PER_COMMIT + 2 * importer.POINTS_PER_WRITE
    backlog(store, points)
    with Catalog(store) as catalog:
        assert not catalog.refresh_within(0.0)
        assert catalog.built
        assert catalog.run(RUN, refresh=False) is not None
        some = len(catalog.metric_history(RUN, "m", None, refresh=False))
        assert 0 < some < points
        assert catalog.refresh_within(600.0)
        assert len(catalog.metric_history(RUN, "m", None, refresh=False)) == points
        assert catalog.refresh_within(0.0), "nothing is new"


def test_a_refresh_within_no_time_stops_between_small_journals(tmp_path: Path) -> None:
    """Many journals with little in them are no reason to go on: it stops between two of them."""
    store = Store.at(tmp_path / "store")
    files = importer.POINTS_PER_COMMIT // importer.POINTS_PER_FILE
    for _ in range(files + 1):
        backlog(store, 1)
    with Catalog(store) as catalog:
        assert not catalog.refresh_within(0.0)
        assert sum(journal.upto > 0 for journal in catalog.journals(refresh=False)) == files
        assert catalog.refresh_within(600.0)
        assert sum(journal.upto > 0 for journal in catalog.journals(refresh=False)) == files + 1


def test_a_growing_journal_does_not_wait_for_a_backlog(tmp_path: Path) -> None:
    """What is logged to a journal that is known is imported before large journals that came meanwhile."""
    store, other = Store.at(tmp_path / "store"), Store.at(tmp_path / "other")
    backlog(other, importer.POINTS_PER_COMMIT + 2 * importer.POINTS_PER_WRITE)
    live, run_id = Journal(store), "b" * 32
    live.append(RunCreate(run_id, "0", "live", "u", 1))
    with Catalog(store) as catalog:
        catalog.refresh()
        (path,) = Path(other.journals).glob("*.db")
        path.rename(Path(store.journals) / path.name)
        live.append_metric(run_id, "m", 1.0, 1, 1)
        assert not catalog.refresh_within(0.0)
        assert len(catalog.metric_history(run_id, "m", None, refresh=False)) == 1
    live.close()


def test_a_refresh_within_no_time_waits_for_no_lock(tmp_path: Path) -> None:
    """While another one imports, it comes back at once, and says that there is nothing to read yet."""
    store = Store.at(tmp_path / "store")
    backlog(store, 1)
    other = WriteLock(store.path + "/catalog.lock")
    with Catalog(store) as catalog:
        with other.held(lambda: None):
            began = time.monotonic()
            assert not catalog.refresh_within(0.05)
            assert not catalog.built
            assert time.monotonic() - began < 20, "the patience with a lock is 30 s"
        assert catalog.refresh_within(600.0)
