"""`localtrack sync --repair` against a real server that lost what it had."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localtrack.entities import Metric
from tests.acceptance.harness import command, compared, outsider, replay_here
from tests.acceptance.test_collisions import remote_run
from tests.acceptance.test_verify import TAMPERINGS, findings, tamper, verified
from tests.acceptance.worlds import NOW, World, model_run, world
from tests.servers.mlflow_server import MlflowServer
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server


@pytest.fixture
def made(tmp_path: Path) -> World:
    """A store with one experiment."""
    return world(tmp_path / "store", f"exp {tmp_path.name}", {"team": "a"})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server of these tests' own, which they stop, and whose database they exchange."""
    with MlflowServer(tmp_path_factory.mktemp("restored-server")) as started:
        yield started


@dataclass
class Backup:
    """A copy of the server's database."""

    server: MlflowServer
    copy: Path

    @classmethod
    def of(cls, server: MlflowServer, copy: Path) -> Backup:
        """Made while the server runs, as SQLite's backup does it."""
        with closing(sqlite3.connect(server.database)) as live, closing(sqlite3.connect(copy)) as there:
            live.backup(there)
        return cls(server, copy)

    def restore(self) -> None:
        """The server goes down and comes back with what it had then."""
        self.server.stop()
        for old in self.server.home.glob("mlflow.db*"):
            old.unlink()
        shutil.copy(self.copy, self.server.database)
        self.server.restart()


def repaired(made: World, url: str, *arguments: str) -> None:
    """Run the real command; it ends with 0."""
    done = command(made, "sync", "--repair", "--to", url, "--settle", "0.5", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_server_restored_from_a_backup_gets_what_it_lost(
    made: World, server: MlflowServer, mlflow_reader: MlflowReader, tmp_path: Path
) -> None:
    """Backup, more of everything, restore: sync believes it is done, verify does not, repair makes both equal."""
    url = server.url
    early = made.run("early", 30)
    growing = made.client.create_run(made.experiment_id, start_time=NOW, run_name="growing").info.run_id
    made.client.log_batch(growing, metrics=[Metric("loss", float(i), NOW + i, i) for i in range(50)])
    kept = made.deleted_run()
    run_id, model_id = model_run(made)
    assert replay_here(made, url).report.complete
    backup = Backup.of(server, tmp_path / "backup.db")
    made.client.log_batch(growing, metrics=[Metric("loss", float(i), NOW + i, i) for i in range(50, 90)])
    made.client.log_metric(growing, "odd", float("nan"), timestamp=NOW, step=1)
    made.client.log_metric(growing, "odd", float("inf"), timestamp=NOW, step=1)
    made.client.log_param(growing, "late", "1")
    made.client.set_tag(growing, "late", "1")
    made.client.set_terminated(growing, "FINISHED", NOW + 7)
    made.client.set_tag(early, "stage", "archived")
    made.client.delete_tag(early, "kind")
    made.client.update_run(early, name="renamed")
    made.client.set_experiment_tag(made.experiment_id, "team", "b")
    made.client.restore_run(kept)
    made.client.set_logged_model_tags(model_id, {"team": "b", "late": "1"})
    made.client.log_batch(run_id, metrics=[Metric("acc", 0.9, NOW + 9, 9, model_id)])
    model_run(made)
    made.odd_run()
    made.family()
    assert replay_here(made, url).report.complete
    backup.restore()
    believed = command(made, "sync", "--to", url)
    assert (believed.returncode, "0 new records" in believed.stdout) == (0, True), believed.stdout + believed.stderr
    code, remote = verified(made, url)
    assert code == 5
    assert {("run", "", "missing"), ("metric", "loss", "missing"), ("tag", "stage", "different")} <= set(
        findings(remote)
    )
    repaired(made, url)
    code, remote = verified(made, url)
    assert (code, findings(remote)) == (0, [])
    assert compared(made, mlflow_reader, url) == []
    again = command(made, "sync", "--to", url)
    assert (again.returncode, "0 new records" in again.stdout) == (0, True)


def test_an_empty_server_gets_everything_again(made: World, server: MlflowServer, mlflow_reader: MlflowReader) -> None:
    """All tables are lost: the experiment, which another one took the id of, and its runs are made anew, once."""
    url = server.url
    made.run("plain")
    made.odd_run()
    made.family()
    model_run(made)
    assert replay_here(made, url).report.complete
    server.stop()
    for old in server.home.glob("mlflow.db*"):
        old.unlink()
    server.restart()
    outsider(url, "experiments/create", {"name": "somebody else's"})
    assert command(made, "verify", "--to", url).returncode == 5
    repaired(made, url)
    assert verified(made, url)[0] == 0
    assert compared(made, mlflow_reader, url) == []
    assert mlflow_reader.dump(url, ["somebody else's"])["somebody else's"]["runs"] == []


REPAIRABLE = [
    name
    for name, (_, (kind, key, what)) in TAMPERINGS.items()
    if what == "missing" and (kind, key) != ("tag", "localtrack.uid") and kind != "time"
]


@pytest.mark.parametrize("name", REPAIRABLE)
def test_what_is_missing_is_sent_again(
    name: str, made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """Whatever was lost of a run is there again after a repair, and nothing is there twice."""
    url = mlflow_server.url
    run_id = made.run("changed")
    made.run("left alone")
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, run_id)
    tamper(mlflow_server, TAMPERINGS[name][0], there["run_id"])
    repaired(made, url)
    found: list[Any] = [one for one in findings(verified(made, url)[1]) if one[2] != "extra"]
    assert found == []


def test_what_others_wrote_stays(made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader) -> None:
    """A repair overwrites no tag that somebody edited and no param that somebody logged, also when it comes twice."""
    url = mlflow_server.url
    run_id = made.run("one", 5)
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, run_id)
    outsider(url, "runs/set-tag", {"run_id": there["run_id"], "key": "stage", "value": "reviewed by hand"})
    outsider(url, "runs/set-tag", {"run_id": there["run_id"], "key": "note", "value": "by hand"})
    for _ in range(2):
        done = command(made, "sync", "--repair", "--to", url, "--settle", "0.5")
        assert done.returncode == 4, done.stdout + done.stderr
        tags = remote_run(mlflow_reader, url, made, run_id)["tags"]
        assert (tags["stage"], tags["note"]) == ("reviewed by hand", "by hand")
    assert verified(made, url)[0] == 4
