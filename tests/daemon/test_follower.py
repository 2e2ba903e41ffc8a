"""The follower of a store: what it finds is handed out while a long import goes on; it may end in the middle of one."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

from localtrack.catalog import database, importer
from localtrack.entities import Metric
from localtrack.journal.ops import LogBatch, RunCreate
from localtrack.journal.writer import Journal
from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.follower import Follower
from localtrack_sync.shell.replay import Stop
from tests.journal.processes import wait_for as until

_RUNS = 3


def _backlog(store: Store) -> None:
    """Runs with so many points that each is a transaction of the import, each in a journal of its own."""
    for number in range(_RUNS):
        journal = Journal(store)
        run_id = f"{number:032x}"
        journal.append(RunCreate(run_id, "0", "n", "u", number))
        for begin in range(0, importer.POINTS_PER_COMMIT, 4000):
            metrics = tuple(Metric("m", 1.0, begin + i, begin + i) for i in range(4000))
            journal.append(LogBatch(run_id, metrics))
        journal.close()


def _follower(store: Store, environ: dict[str, str], stop: Stop, import_s: float) -> Follower:
    settings = DaemonSettings(stores=(store.path,))
    return Follower(store, settings, load(environ), environ, stop, lambda: None, import_s)


def _imported(store: Store) -> int:
    """Points in the catalog as it lies there: a Catalog would import the rest before it answers."""
    with closing(database.open_to_read(store.catalog)) as connection:
        return int(connection.execute("SELECT count(*) FROM metric").fetchone()[0])


class _StopsAtALane(Stop):
    """A wish to stop that comes as soon as something was handed out."""

    follower: Follower | None = None

    @property
    def wanted(self) -> bool:
        """Whether there is a lane."""
        return self.follower is not None and bool(self.follower.lanes)

    @wanted.setter
    def wanted(self, value: bool) -> None:
        """Nothing to set."""


def test_a_long_import_is_handed_out_in_parts(tmp_path: Path) -> None:
    """A lane gets what is imported so far, and who is told to stop then does not import the rest."""
    store = Store.at(tmp_path / "store")
    _backlog(store)
    environ = {"LOCALTRACK_REMOTE": "http://127.0.0.1:9", "HOME": os.fspath(tmp_path)}
    stop = _StopsAtALane()
    stop.follower = follower = _follower(store, environ, stop, 0.0)
    follower.start()
    assert follower.join(60.0)
    assert 0 < _imported(store) < _RUNS * importer.POINTS_PER_COMMIT


def test_a_long_import_ends_whole(tmp_path: Path) -> None:
    """Handed out in parts or not, in the end everything is imported, and the follower said that it lives meanwhile."""
    store = Store.at(tmp_path / "store")
    _backlog(store)
    stop = Stop()
    follower = _follower(store, {"HOME": os.fspath(tmp_path)}, stop, 0.0)
    began = time.monotonic()
    follower.start()
    try:
        until(lambda: follower.left and sum(follower.left.values()) == _RUNS)
        assert _imported(store) == _RUNS * importer.POINTS_PER_COMMIT
        assert follower.beat > began
    finally:
        stop.request()
        assert follower.join(60.0)
