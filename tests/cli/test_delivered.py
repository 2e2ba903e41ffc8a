"""What the commands show of a store that was replayed to a real server."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from localtrack import TrackingClient
from localtrack.cli.entry import run
from tests.servers.mlflow_server import MlflowServer

pytestmark = pytest.mark.server


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one finished run of an experiment that no other test uses."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LOCALTRACK_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    client = TrackingClient(str(tmp_path / "store"))
    first = client.create_run(client.create_experiment(f"shown {tmp_path.name}"), run_name="first").info.run_id
    client.log_param(first, "rate", 0.1)
    client.set_tag(first, "stage", "training")
    for step in range(50):
        client.log_metric(first, "loss", 1 / (step + 1), step=step)
    client.set_terminated(first)
    return tmp_path / "store"


def document(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a command prints with --json."""
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def remote(server: MlflowServer, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    """Ask the server, as somebody else would."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - a server of our own on 127.0.0.1
        f"{server.url}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=20) as reply:
        told: dict[str, Any] = json.loads(reply.read())
    return told


@pytest.mark.usefixtures("store")
def test_after_a_sync_everything_is_delivered_and_linked(
    capsys: pytest.CaptureFixture[str], mlflow_server: MlflowServer
) -> None:
    """Status counts all records as delivered, `runs` says so, and `show` links the run's page on the server."""
    assert run(["sync", "--to", mlflow_server.url]) == 0
    [account] = document(capsys, "status")["remotes"]
    assert account["remote"] == mlflow_server.url
    assert account["synced"]
    assert account["delivered"] == account["total"] >= 53
    assert (account["owed"], account["oldest_owed_ms"]) == (0, None)
    [one] = document(capsys, "runs")["runs"]
    [delivery] = document(capsys, "show", "first")["run"]["delivery"]
    assert delivery == one["delivery"][0]
    there = delivery["link"].removeprefix(f"{mlflow_server.url}/#/runs/")
    info = remote(mlflow_server, f"runs/get?run_id={there}")["run"]["info"]
    assert info["run_name"] == "first"


def test_somebodys_edit_on_the_server_is_shown_as_a_conflict(
    store: Path, capsys: pytest.CaptureFixture[str], mlflow_server: MlflowServer
) -> None:
    """A tag edited over there stays, sync ends with 4, and `conflicts` and `status` show both values."""
    assert run(["sync", "--to", mlflow_server.url]) == 0
    entry = document(capsys, "runs")["runs"][0]
    there = entry["delivery"][0]["link"].rpartition("/")[2]
    remote(mlflow_server, "runs/set-tag", {"run_id": there, "key": "stage", "value": "checked by Ada"})
    TrackingClient(str(store)).set_tag(entry["run_id"], "stage", "done")
    assert run(["sync", "--to", mlflow_server.url]) == 4
    [conflict] = document(capsys, "conflicts")["entries"]
    assert (conflict["kind"], conflict["key"], conflict["ours"], conflict["theirs"]) == (
        "tag", "stage", "done", "checked by Ada",
    )  # fmt: skip
    [account] = document(capsys, "status")["remotes"]
    assert (account["conflicts"], account["owed"]) == (1, 0)
    tags = {
        tag["key"]: tag["value"] for tag in remote(mlflow_server, f"runs/get?run_id={there}")["run"]["data"]["tags"]
    }
    assert tags["stage"] == "checked by Ada"
    capsys.readouterr()
    assert run(["conflicts"]) == 0
    assert "logged 'done', the remote has 'checked by Ada'" in capsys.readouterr().out


@pytest.mark.usefixtures("store")
def test_a_server_that_is_away_leaves_everything_owed(capsys: pytest.CaptureFixture[str]) -> None:
    """A refused connection ends with 3, and status still counts every record as owed."""
    before = document(capsys, "status")["remotes"][0]
    assert run(["sync", "--to", "http://127.0.0.1:9", "--patience", "0"]) == 3
    after = next(one for one in document(capsys, "status")["remotes"] if one["remote"] == "http://127.0.0.1:9")
    assert (after["owed"], after["delivered"]) == (before["owed"], 0)
    assert after["synced"]
