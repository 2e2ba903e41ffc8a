"""What others did to the server, and what it refuses: recorded and shown, never overwritten, never in the way."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localtrack import TrackingClient
from localtrack.entities import Metric, Param
from localtrack.store import Store
from localtrack_sync.protocol.jobs import Ending, Job
from tests.acceptance.harness import command, compared, outsider, replay_here, uncounted
from tests.acceptance.worlds import NOW, World, world
from tests.servers.faults import Answer, Fault, Pass
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Seen
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server


@pytest.fixture
def made(tmp_path: Path) -> World:
    """A store with one experiment."""
    return world(tmp_path / "store", f"exp {tmp_path.name}", {"team": "a"})


def remote_run(reader: MlflowReader, url: str, made: World, run_id: str) -> dict[str, Any]:
    """The live run on the server that a local run became."""
    runs = reader.dump(url, [made.experiment])[made.experiment]["runs"]
    [found] = [
        run for run in runs if run["tags"].get("localtrack.uid") == run_id and run["lifecycle_stage"] == "active"
    ]
    return dict(found)


def test_a_param_that_stands_on_the_server_is_never_changed(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """Somebody logged another value first: theirs stays, ours is a conflict that everyone can see, the rest arrives."""
    url = mlflow_server.url
    run_id = made.client.create_run(made.experiment_id, start_time=NOW).info.run_id
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, run_id)
    outsider(url, "runs/log-parameter", {"run_id": there["run_id"], "key": "lr", "value": "9"})
    made.client.log_batch(
        run_id, metrics=[Metric("loss", 0.5, NOW, 1)], params=[Param("lr", "0.1"), Param("depth", "3")]
    )
    ended = command(made, "sync", "--to", url)
    assert ended.returncode == 4, ended.stdout + ended.stderr
    there = remote_run(mlflow_reader, url, made, run_id)
    assert there["params"] == {"lr": "9", "depth": "3"}
    assert there["points"] == {"loss": [[NOW, 1, "0.5"]]}
    assert [key for key in there["tags"] if key.startswith("localtrack.conflict.")]
    listed = json.loads(command(made, "conflicts", "--json").stdout)["entries"]
    assert [(e["kind"], e["key"], e["ours"], e["theirs"]) for e in listed] == [("param", "lr", "0.1", "9")]
    assert command(made, "sync", "--to", url).returncode == 4


def test_a_tag_that_somebody_edited_is_left_alone(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """A tag was changed on the server after we delivered it: a newer value of ours does not overwrite it."""
    url = mlflow_server.url
    run_id = made.run("one", 3)
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, run_id)
    outsider(url, "runs/set-tag", {"run_id": there["run_id"], "key": "stage", "value": "reviewed by hand"})
    made.client.set_tag(run_id, "stage", "archived")
    made.client.set_tag(run_id, "other", "new")
    ended = replay_here(made, url)
    [account] = ended.accounts
    assert (account.conflicts, account.owed) == (1, 0)
    assert uncounted(made, ended) == []
    there = remote_run(mlflow_reader, url, made, run_id)
    assert there["tags"]["stage"] == "reviewed by hand"
    assert there["tags"]["other"] == "new"
    made.client.set_tag(run_id, "other", "newer")
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, run_id)
    assert (there["tags"]["stage"], there["tags"]["other"]) == ("reviewed by hand", "newer")


def test_a_tag_that_nobody_else_touched_follows_us(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """Later values, deletions and new names of ours arrive in later replays."""
    url = mlflow_server.url
    run_id = made.run("one", 3)
    assert replay_here(made, url).report.complete
    made.client.set_tag(run_id, "stage", "archived")
    made.client.delete_tag(run_id, "kind")
    made.client.update_run(run_id, name="renamed")
    made.client.set_experiment_tag(made.experiment_id, "team", "b")
    made.client.set_terminated(run_id, "KILLED", NOW + 99)
    assert replay_here(made, url).report.complete
    assert compared(made, mlflow_reader, url) == []


def test_deleting_and_restoring_follows_us(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """A run that we delete is deleted there, one that we restore comes back, with what was logged meanwhile."""
    url = mlflow_server.url
    run_id = made.run("one", 3)
    assert replay_here(made, url).report.complete
    made.client.delete_run(run_id)
    assert replay_here(made, url).report.complete
    assert compared(made, mlflow_reader, url) == []
    made.client.restore_run(run_id)
    made.client.log_metric(run_id, "late", 1.0, timestamp=NOW, step=0)
    assert replay_here(made, url).report.complete
    assert compared(made, mlflow_reader, url) == []


def test_a_run_that_somebody_deleted_is_parked_and_the_others_arrive(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """Deleted on the server by somebody else: not brought back, its new records wait; restored there, they arrive."""
    url = mlflow_server.url
    gone, other = made.run("gone", 3), made.run("other", 3)
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, gone)
    outsider(url, "runs/delete", {"run_id": there["run_id"]})
    for run_id in (gone, other):
        made.client.log_metric(run_id, "late", 1.0, timestamp=NOW, step=0)
    ended = replay_here(made, url)
    assert ended.report.results[Job("run", gone)].ending is Ending.PARKED
    assert ended.report.results[Job("run", other)].ending is Ending.DELIVERED
    assert {account.run_id: account.parked for account in ended.accounts} == {gone: 1, other: 0}
    assert uncounted(made, ended) == []
    assert compared(made, mlflow_reader, url, [other]) == []
    assert command(made, "sync", "--to", url).returncode == 3
    outsider(url, "runs/restore", {"run_id": there["run_id"]})
    assert replay_here(made, url).report.complete
    assert compared(made, mlflow_reader, url) == []


def test_an_experiment_that_others_made_is_shared(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """The name is taken on the server: our runs go into that experiment, and what stands in it stays."""
    url = mlflow_server.url
    outsider(url, "experiments/create", {"name": made.experiment, "tags": [{"key": "owner", "value": "them"}]})
    run_id = made.run("one", 3)
    assert replay_here(made, url).report.complete
    there = mlflow_reader.dump(url, [made.experiment])[made.experiment]
    assert there["tags"]["owner"] == "them"
    assert compared(made, mlflow_reader, url, [run_id]) in (
        [],
        [f"experiment {made.experiment}: tags[owner]: None here, 'them' there"],
    )


def test_an_experiment_that_somebody_deleted_is_not_brought_back(made: World, mlflow_server: MlflowServer) -> None:
    """The experiment is deleted on the server: its runs are owed, with the reason, and the exit code says so."""
    url = mlflow_server.url
    created = outsider(url, "experiments/create", {"name": made.experiment})
    outsider(url, "experiments/delete", created)
    made.run("one", 3)
    ended = command(made, "sync", "--to", url)
    assert ended.returncode == 3, ended.stdout
    assert "deleted" in ended.stdout


def poison(seen: Seen) -> Fault:
    """A server that refuses every request with the word "poison" in it, as it refuses a value that it does not like."""
    if b"poison" in seen.body:
        body = json.dumps({"error_code": "INVALID_PARAMETER_VALUE", "message": "I do not like this"}).encode()
        return Answer(400, body, content_type="application/json")
    return Pass()


def test_refused_records_are_isolated_and_the_rest_arrives(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """One metric, one param and one tag that the server refuses are listed with its words; everything else is there."""
    proxy.rule = poison
    run_id = made.client.create_run(made.experiment_id, start_time=NOW).info.run_id
    metrics = [Metric("poison" if n == 60 else f"m{n}", float(n), NOW, n) for n in range(100)]
    params = [Param("poisoned" if n == 30 else f"p{n}", str(n)) for n in range(60)]
    made.client.log_batch(run_id, metrics=metrics, params=params)
    made.client.set_tag(run_id, "bad", "poison")
    made.client.set_tag(run_id, "good", "cure")
    ended = replay_here(made, proxy.url)
    [account] = ended.accounts
    assert (account.rejected, account.owed, account.parked) == (3, 0, 0)
    assert uncounted(made, ended) == []
    there = remote_run(mlflow_reader, mlflow_server.url, made, run_id)
    assert len(there["points"]) == 99
    assert len(there["params"]) == 59
    assert there["tags"]["good"] == "cure"
    assert "bad" not in there["tags"]
    shown = command(made, "conflicts").stdout
    assert "I do not like this" in shown
    batches = proxy.count("runs/log-batch")
    assert replay_here(made, proxy.url).report.complete
    assert proxy.count("runs/log-batch") == batches, "what was refused is not sent again"


def test_refused_credentials_keep_everything(made: World, proxy: FaultProxy) -> None:
    """401: nothing is lost or rejected, the exit code is 3, the words are shown, and the token is not."""
    proxy.rule = lambda _: Answer(401, b"You are not authenticated.", content_type="text/plain")
    made.run("one", 3)
    ended = command(made, "sync", "--to", proxy.url, MLFLOW_TRACKING_TOKEN="s3cret-token")  # noqa: S106  made up
    assert ended.returncode == 3, ended.stdout
    assert "credentials" in ended.stdout
    assert proxy.seen[0].header("authorization") == "Bearer s3cret-token"
    assert "s3cret" not in ended.stdout + ended.stderr
    [account] = json.loads(command(made, "status", "--json").stdout)["remotes"]
    assert account["owed"] == account["total"]


def test_records_that_come_in_meanwhile_are_delivered_too(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Training goes on while the replay runs: what was logged during it arrives in the same replay."""
    run_id = made.run("one", 30)

    def rule(seen: Seen) -> Fault:
        if seen.what.endswith("runs/update") and seen.nth == 0:
            made.client.log_metric(run_id, "late", 1.0, timestamp=NOW, step=0)
            made.client.set_tag(run_id, "late", "yes")
            made.run("another", 4)
        return Pass()

    proxy.rule = rule
    ended = replay_here(made, proxy.url)
    assert ended.report.complete
    assert ended.report.passes == 2
    assert len(ended.accounts) == 2
    assert compared(made, mlflow_reader, mlflow_server.url) == []


@pytest.mark.parametrize("order", ["ours first", "theirs first", "both at once"])
def test_journals_that_disagree_end_the_same_for_every_order(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, order: str
) -> None:
    """Machines log different values of one param: the order decides only when the server has one of them already."""
    made = world(tmp_path / "store", f"exp {tmp_path.name}")
    run_id = made.client.create_run(made.experiment_id, start_time=NOW).info.run_id
    elsewhere = shutil.copytree(made.store.path, tmp_path / "elsewhere")
    here = made.client
    there = TrackingClient(str(elsewhere))
    here.log_param(run_id, "lr", "0.1")
    there.log_param(run_id, "lr", "0.2")
    if order == "ours first":
        assert replay_here(made, mlflow_server.url).report.complete
    if order == "theirs first":
        assert replay_here(replace(made, store=Store.at(elsewhere)), mlflow_server.url).report.complete
    for file in Path(elsewhere, "journals").iterdir():
        if not Path(made.store.journals, file.name).exists():
            shutil.copy(file, made.store.journals)
    ended = replay_here(made, mlflow_server.url)
    assert uncounted(made, ended) == []
    [account] = ended.accounts
    assert (account.conflicts >= 1, account.owed) == (True, 0)
    remote = remote_run(mlflow_reader, mlflow_server.url, made, run_id)
    assert remote["params"] == {"lr": "0.2" if order == "theirs first" else "0.1"}
    assert len([key for key in remote["tags"] if key.startswith("localtrack.conflict.")]) == 1
