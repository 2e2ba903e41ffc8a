"""A trainer that is killed and comes back, as a real server shows it: RUNNING, KILLED, RUNNING, FINISHED."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack.journal.ops import ENDED_BY_TAG
from localtrack.journal.writer import Journal
from localtrack_sync.daemon.dead_trainers import DeadTrainers
from tests.acceptance.harness import command, compared
from tests.acceptance.worlds import World, world
from tests.daemon.trainers import Trainer
from tests.servers.faults import DropReply, Fault, Pass
from tests.servers.kinds import Kind
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Seen
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server
GRACE = 600_000


class Site:
    """A store, its daemon's looks at dead trainers, and a server that the store is delivered to."""

    def __init__(self, made: World, url: str, reader: MlflowReader) -> None:
        self.made, self.url, self.reader = made, url, reader
        self.catalog, self.journal = Catalog(made.store), Journal(made.store)
        self.dead = DeadTrainers(self.catalog, self.journal)
        self.began = time.time_ns() // 1_000_000

    def looks(self, after_ms: int) -> list[str]:
        """A look, so many milliseconds after the beginning."""
        return self.dead.end(self.began + after_ms, GRACE)

    def shown(self) -> dict[str, Any]:
        """Deliver what is owed, and read the run back."""
        done = command(self.made, "sync", "--to", self.url, "--settle", "0.5")
        assert done.returncode == 0, done.stdout + done.stderr
        (run,) = self.reader.dump(self.url, [self.made.experiment])[self.made.experiment]["runs"]
        return dict(run)

    def close(self) -> None:
        """Let go of the store."""
        self.journal.close()
        self.catalog.close()


@pytest.fixture
def site(tmp_path: Path, proxy: FaultProxy, mlflow_reader: MlflowReader) -> Iterator[Site]:
    """A site behind a fault proxy."""
    one = Site(world(tmp_path / "store", f"exp {tmp_path.name}"), proxy.url, mlflow_reader)
    yield one
    one.close()


def trainer(site: Site) -> Trainer:
    """A trainer in the site's experiment."""
    one = Trainer(site.made.store.path)
    one.does(f"localtrack.set_experiment({site.made.experiment!r})")
    return one


def state(run: dict[str, Any]) -> tuple[str, int | None, bool]:
    """Status, end time and whether the tag is there."""
    return run["status"], run["end_time"], ENDED_BY_TAG in run["tags"]


def no_end(kind: Kind, last: int | None) -> int | None:
    """The end time of a resumed run: none, but the file store cannot take one back."""
    return last if kind.backend == "file" else None


def test_a_killed_trainer_and_its_requeued_job(site: Site, mlflow_server: MlflowServer, server_kind: Kind) -> None:
    """The server shows each state in turn, and in the end just what the store has."""
    with trainer(site) as first:
        run_id = first.starts()
        assert state(site.shown()) == ("RUNNING", None, False)
        first.kill()
    assert site.looks(0) == []
    last = site.catalog.run_index()[0].newest_ms
    assert site.looks(GRACE) == [run_id]
    killed = site.shown()
    assert state(killed) == ("KILLED", last, True)
    assert "the process that logged it is gone" in killed["tags"][ENDED_BY_TAG]
    with trainer(site) as second:
        second.starts(run_id)
        assert site.looks(9 * GRACE) == []
        resumed = site.shown()
        assert state(resumed) == ("RUNNING", no_end(server_kind, last), False)
        assert resumed["run_id"] == killed["run_id"]
        second.ends()
    ended = site.shown()
    assert state(ended)[::2] == ("FINISHED", False)
    assert ended["end_time"] > last
    assert compared(site.made, site.reader, mlflow_server.url) == []


class Lossy:
    """Drops the first reply to each kind of request that changes a run's status or tags."""

    def __init__(self) -> None:
        self.dropped: set[str] = set()

    def __call__(self, seen: Seen) -> Fault:
        """The fault of one request."""
        changes = ("runs/update", "runs/delete-tag", "runs/log-batch")
        if not seen.what.endswith(changes) or seen.what in self.dropped:
            return Pass()
        self.dropped.add(seen.what)
        return DropReply()


def test_a_lost_delivery_state_and_lost_replies(site: Site, proxy: FaultProxy, server_kind: Kind) -> None:
    """A delivery state that is lost between end and resume, and replies that are, leave neither end time nor tag."""
    with trainer(site) as first:
        run_id = first.starts()
        first.kill()
    assert site.looks(0) == []
    last = site.catalog.run_index()[0].newest_ms
    assert site.looks(GRACE) == [run_id]
    proxy.rule = Lossy()
    assert state(site.shown()) == ("KILLED", last, True)
    for file in Path(site.made.store.sync).iterdir():
        file.unlink()
    with trainer(site) as second:
        second.starts(run_id)
        proxy.rule = lossy = Lossy()
        assert state(site.shown()) == ("RUNNING", no_end(server_kind, last), False)
        assert {"POST runs/update", "POST runs/delete-tag"} <= lossy.dropped
        second.kill()
    assert site.looks(2 * GRACE) == []
    assert site.looks(3 * GRACE) == [run_id]
    assert state(site.shown())[::2] == ("KILLED", True)
