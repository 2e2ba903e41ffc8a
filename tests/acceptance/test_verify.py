"""`localtrack verify` against a real server: what is equal is called equal, and every tampering is found by name."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import command, outsider, replay_here
from tests.acceptance.test_collisions import remote_run
from tests.acceptance.worlds import NOW, World, model_run, world
from tests.servers.mlflow_server import MlflowServer
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server


@pytest.fixture
def made(tmp_path: Path) -> World:
    """A store with one experiment."""
    return world(tmp_path / "store", f"exp {tmp_path.name}", {"team": "a"})


def verified(made: World, url: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the remote's part of `localtrack verify --json`."""
    done = command(made, "verify", "--to", url, "--json", *arguments)
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode, done.stderr
    [remote] = document["remotes"]
    return done.returncode, remote


def findings(remote: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(kind, key, what) of every finding that is a difference."""
    return [
        (found["kind"], found["key"], found["what"])
        for part in (*remote["experiments"], *remote["runs"])
        for found in part["findings"]
        if found["standing"] == "different"
    ]


def test_what_was_replayed_is_equal(made: World, mlflow_server: MlflowServer) -> None:
    """Runs of every kind: odd values, many metrics, nested, deleted; with the delivery state and without it."""
    url = mlflow_server.url
    made.run("plain")
    made.odd_run()
    made.family()
    made.deleted_run()
    assert replay_here(made, url).report.complete
    code, remote = verified(made, url)
    assert (code, findings(remote)) == (0, [])
    assert remote["equal"] == 5
    for file in Path(made.store.sync).glob("*.db*"):
        file.unlink()
    code, remote = verified(made, url)
    assert (code, findings(remote)) == (0, [])
    assert not list(Path(made.store.sync).glob("*.db*")), "a verification writes nothing"
    said = command(made, "verify", "--to", url)
    assert (said.returncode, "5 runs: 5 equal" in said.stdout) == (0, True)


#: What is done to the server's database -> the finding that must name it. {run}: id of the run there.
TAMPERINGS: dict[str, tuple[str, tuple[str, str, str]]] = {
    "a param is lost": ("DELETE FROM params WHERE key = 'lr'", ("param", "lr", "missing")),
    "a param has another value": ("UPDATE params SET value = '9' WHERE key = 'lr'", ("param", "lr", "different")),
    "a param is there that nobody logged": (
        "INSERT INTO params (key, value, run_uuid) SELECT 'more', '1', {run}",
        ("param", "more", "extra"),
    ),
    "a tag is lost": ("DELETE FROM tags WHERE key = 'stage'", ("tag", "stage", "missing")),
    "a tag has another value": ("UPDATE tags SET value = 'x' WHERE key = 'stage'", ("tag", "stage", "different")),
    "our uid is lost": ("DELETE FROM tags WHERE key = 'localtrack.uid'", ("tag", "localtrack.uid", "missing")),
    "a point is lost": ("DELETE FROM metrics WHERE key = 'loss' AND step = 7", ("metric", "loss", "missing")),
    "the last point is lost": ("DELETE FROM metrics WHERE key = 'loss' AND step = 29", ("metric", "loss", "missing")),
    "a point has another value": (
        "UPDATE metrics SET value = 0.123 WHERE key = 'loss' AND step = 7",
        ("metric", "loss", "extra"),
    ),
    "a point has another time": (
        "UPDATE metrics SET timestamp = timestamp + 1 WHERE key = 'loss' AND step = 7",
        ("metric", "loss", "missing"),
    ),
    "a point has another step": (
        "UPDATE metrics SET step = 70 WHERE key = 'loss' AND step = 7",
        ("metric", "loss", "missing"),
    ),
    "a number became NaN": (
        "UPDATE metrics SET value = 0, is_nan = 1 WHERE key = 'loss' AND step = 7",
        ("metric", "loss", "missing"),
    ),
    "a whole metric is lost": (
        "DELETE FROM metrics WHERE key = 'loss'; DELETE FROM latest_metrics WHERE key = 'loss'",
        ("metric", "loss", "missing"),
    ),
    "another status": ("UPDATE runs SET status = 'FAILED'", ("status", "", "different")),
    "another end": ("UPDATE runs SET end_time = 5", ("time", "end_time", "different")),
    "no end": ("UPDATE runs SET end_time = NULL", ("time", "end_time", "missing")),
    "another start": ("UPDATE runs SET start_time = 5", ("time", "start_time", "different")),
    "another user": ("UPDATE runs SET user_id = 'eve'", ("user", "", "different")),
    "another name": ("UPDATE runs SET name = 'eve'", ("name", "", "different")),
    "the run is deleted": ("UPDATE runs SET lifecycle_stage = 'deleted'", ("lifecycle", "", "different")),
    "the run is gone": ("DELETE FROM runs", ("run", "", "missing")),
}


def tamper(server: MlflowServer, sql: str, run_id: str) -> None:
    """Change one run in the server's database, behind its back."""
    if not Path(server.database).exists():
        pytest.skip("what is changed here is the SQLite file of the server, and this kind has none")
    with closing(sqlite3.connect(server.database, timeout=30)) as database, database:
        for statement in sql.split(";"):
            tables = ("DELETE", "UPDATE")
            where = "AND" if " WHERE " in statement else "WHERE"
            own = f"{statement} {where} run_uuid = :run" if statement.strip().startswith(tables) else statement
            database.execute(own.replace("{run}", ":run"), {"run": run_id})


@pytest.mark.parametrize("name", TAMPERINGS)
def test_every_tampering_is_found(
    name: str, made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """One thing is changed in the server's database: exit code 5, that thing is named, the other run is equal."""
    url = mlflow_server.url
    run_id, other = made.run("changed"), made.run("left alone")
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, run_id)
    sql, expected = TAMPERINGS[name]
    tamper(mlflow_server, sql, there["run_id"])
    code, remote = verified(made, url)
    assert code == 5
    assert expected in findings(remote)
    assert {run["run_id"]: run["verdict"] for run in remote["runs"]} == {run_id: "different", other: "equal"}
    said = command(made, "verify", "--to", url, "--run", run_id)
    assert said.returncode == 5
    assert f"localtrack sync --repair --to {url}" in said.stdout
    assert expected[1] in said.stdout


def test_a_second_run_with_our_uid_is_found(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """A run of the same uid beside ours: named as there twice."""
    url = mlflow_server.url
    run_id = made.run("one", 3)
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, run_id)
    experiment = mlflow_reader.dump(url, [made.experiment])[made.experiment]["experiment_id"]
    tags = [{"key": "localtrack.uid", "value": run_id}]
    twin = outsider(url, "runs/create", {"experiment_id": experiment, "start_time": NOW, "tags": tags})
    code, remote = verified(made, url)
    assert (code, findings(remote)) == (5, [("run", twin["run"]["info"]["run_id"], "twice")])
    assert remote["runs"][0]["remote_run_id"] == there["run_id"]


@pytest.mark.usefixtures("modern_server")
@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("experiments/set-experiment-tag", {"key": "team", "value": "b"}, [("tag", "team", "different")]),
        ("experiments/delete-experiment-tag", {"key": "team"}, [("tag", "team", "missing")]),
        ("experiments/update", {"new_name": "another {name}"}, [("name", "", "different")]),
        ("experiments/set-experiment-tag", {"key": "note", "value": "by hand"}, []),
    ],
)
def test_a_changed_experiment_is_found(
    path: str,
    body: dict[str, str],
    expected: list[tuple[str, str, str]],
    made: World,
    mlflow_server: MlflowServer,
    mlflow_reader: MlflowReader,
) -> None:
    """Another tag value, a lost tag, another name; a tag that others added is told, and is no difference."""
    url = mlflow_server.url
    made.run("one", 3)
    assert replay_here(made, url).report.complete
    experiment = mlflow_reader.dump(url, [made.experiment])[made.experiment]["experiment_id"]
    changed = {key: value.replace("{name}", made.experiment) for key, value in body.items()}
    outsider(url, path, {"experiment_id": experiment, **changed})
    code, remote = verified(made, url)
    assert (code, findings(remote)) == (5 if expected else 0, expected)


def test_what_is_known_is_told_apart(made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader) -> None:
    """A param conflict and an edited tag are named with their reason, and end with 4; a note of others is no matter."""
    url = mlflow_server.url
    run_id = made.client.create_run(made.experiment_id, start_time=NOW).info.run_id
    made.client.set_tag(run_id, "stage", "train")
    assert replay_here(made, url).report.complete
    there = remote_run(mlflow_reader, url, made, run_id)
    outsider(url, "runs/log-parameter", {"run_id": there["run_id"], "key": "lr", "value": "9"})
    outsider(url, "runs/set-tag", {"run_id": there["run_id"], "key": "stage", "value": "reviewed"})
    outsider(url, "runs/set-tag", {"run_id": there["run_id"], "key": "note", "value": "by hand"})
    made.client.log_param(run_id, "lr", "0.1")
    made.client.set_tag(run_id, "stage", "done")
    assert replay_here(made, url).report.complete
    code, remote = verified(made, url)
    assert (code, findings(remote)) == (4, [])
    told = {(f["kind"], f["key"]): (f["standing"], f["ours"], f["theirs"]) for f in remote["runs"][0]["findings"]}
    assert told == {
        ("param", "lr"): ("known", "0.1", "9"),
        ("tag", "stage"): ("known", "done", "reviewed"),
        ("tag", "note"): ("foreign", None, "by hand"),
    }
    said = command(made, "verify", "--to", url)
    assert said.returncode == 4
    assert "known: conflict" in said.stdout


def test_what_was_never_delivered_is_missing(made: World, mlflow_server: MlflowServer) -> None:
    """Before any replay: the run is named as missing, with `localtrack sync` as the next step; nothing is made."""
    made.run("one", 3)
    done = command(made, "verify", "--to", mlflow_server.url)
    assert done.returncode == 5
    assert "run: is not there" in done.stdout
    assert f"localtrack sync --to {mlflow_server.url}" in done.stdout
    assert not list(Path(made.store.sync).glob("*"))


#: What is done to the server's database, {model}: id of the model there -> the finding, and whether it is the model's.
OF_MODELS: dict[str, tuple[str, tuple[str, str, str], bool]] = {
    "the model is gone": ("DELETE FROM logged_models WHERE model_id = {model}", ("model", "", "missing"), True),
    "another status": (
        "UPDATE logged_models SET status = 1 WHERE model_id = {model}",
        ("status", "", "different"),
        True,
    ),
    "another type": (
        "UPDATE logged_models SET model_type = 'x' WHERE model_id = {model}",
        ("type", "", "different"),
        True,
    ),
    "another source run": (
        "UPDATE logged_models SET source_run_id = 'x' WHERE model_id = {model}",
        ("source run", "", "different"),
        True,
    ),
    "a param of a model": (
        "UPDATE logged_model_params SET param_value = '4' WHERE model_id = {model}",
        ("param", "depth", "different"),
        True,
    ),
    "a tag of a model": (
        "DELETE FROM logged_model_tags WHERE tag_key = 'team' AND model_id = {model}",
        ("tag", "team", "missing"),
        True,
    ),
    "a model's last value": (
        "DELETE FROM logged_model_metrics WHERE metric_step = 4 AND model_id = {model}",
        ("metric", "acc", "missing"),
        True,
    ),
    "a dataset": ("DELETE FROM inputs WHERE source_type = 'DATASET'", ("dataset", "wine 0a1b2c3d", "missing"), False),
    "the context of a dataset": (
        "UPDATE input_tags SET value = 'eval'",
        ("dataset", "wine 0a1b2c3d: tag mlflow.data.context", "different"),
        False,
    ),
    "the step of an output": (
        "UPDATE inputs SET step = 3 WHERE destination_id = {model}",
        ("output", "{local}", "different"),
        False,
    ),
    "an output": ("DELETE FROM inputs WHERE destination_id = {model}", ("output", "{local}", "missing"), False),
}


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server whose database holds nothing but what a test of this file puts there."""
    with MlflowServer(tmp_path_factory.mktemp("tampered-server")) as started:
        yield started


@pytest.mark.parametrize("name", OF_MODELS)
def test_every_tampering_with_a_model_or_a_link_is_found(name: str, made: World, own_server: MlflowServer) -> None:
    """One thing about a logged model, an input or an output is changed: it is found by name, and nothing else."""
    url = own_server.url
    run_id, model_id = model_run(made)
    assert replay_here(made, url).report.complete
    code, remote = verified(made, url)
    assert (code, findings(remote), remote["models"][0]["verdict"]) == (0, [], "equal")
    sql, (kind, key, what), of_model = OF_MODELS[name]
    with closing(sqlite3.connect(own_server.database, timeout=30)) as database, database:
        database.execute(sql.replace("{model}", ":model"), {"model": remote["models"][0]["remote_model_id"]})
    code, remote = verified(made, url, "--run", run_id)
    assert code == 5
    found = remote["models"] if of_model else remote["runs"]
    assert (kind, key.replace("{local}", model_id), what) in [
        (one["kind"], one["key"], one["what"]) for one in found[0]["findings"]
    ]
    with closing(sqlite3.connect(own_server.database, timeout=30)) as database, database:
        database.execute("DELETE FROM inputs")  # what the next test's datasets would be taken for
        database.execute("DELETE FROM input_tags")
