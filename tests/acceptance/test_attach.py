"""Runs that others create: ranks of a launched job log to them offline, and everything arrives in that very run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localtrack.store import Store
from tests.acceptance.harness import COMMAND, command, command_environment, outsider
from tests.acceptance.worlds import NOW, World, world
from tests.servers.faults import DropReply
from tests.servers.launch import launch, launched
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, on
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server

#: What a rank does: attach to the run whose id it was handed down, and log to it. Its arguments are JSON.
RANK = """
import json, os, sys
from localtrack.entities import Metric, Param, RunTag
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store
asked = json.loads(sys.argv[1])
run_id, journal = os.environ["MLFLOW_RUN_ID"], Journal(Store.at(os.environ["LOCALTRACK_STORE"]))
journal.append(ops.RunAttach(run_id, asked["now"]))
journal.append(ops.LogBatch(
    run_id,
    metrics=tuple(Metric(*one) for one in asked.get("metrics", [])),
    params=tuple(Param(*one) for one in asked.get("params", {}).items()),
    tags=tuple(RunTag(*one) for one in asked.get("tags", {}).items()),
))
if "status" in asked:
    journal.append(ops.RunUpdate(run_id, status=asked["status"], end_time=asked["end_time"]))
journal.close()
"""


def rank(store: Path, run_id: str, **asked: Any) -> None:
    """Run one rank to its end."""
    subprocess.run(
        [sys.executable, "-c", RANK, json.dumps({"now": NOW, **asked})],
        env={**command_environment(str(store)), "MLFLOW_RUN_ID": run_id}, check=True, timeout=60,
    )  # fmt: skip


def synced(store: Path, url: str, expected: int = 0) -> str:
    """Replay a store with the real command; what it said."""
    os.makedirs(store, exist_ok=True)
    made = World(Store.at(str(store)), None, "", "")  # type: ignore[arg-type]  # only its place is used
    done = command(made, "sync", "--to", url, "--settle", "0.5")
    assert done.returncode == expected, done.stdout + done.stderr
    return done.stdout


def listed(store: Path) -> list[tuple[str, str, str, str | None, str | None]]:
    """What `localtrack conflicts` lists."""
    made = World(Store.at(str(store)), None, "", "")  # type: ignore[arg-type]  # only its place is used
    entries = json.loads(command(made, "conflicts", "--json").stdout)["entries"]
    return [(e["state"], e["kind"], e["key"], e["ours"], e["theirs"]) for e in entries]


def only_run(reader: MlflowReader, url: str, experiment: str) -> dict[str, Any]:
    """The one run of an experiment."""
    [run] = reader.dump(url, [experiment])[experiment]["runs"]
    return dict(run)


def curve(first: int, last: int) -> list[tuple[str, float, int, int]]:
    """Points of a metric, as (key, value, timestamp, step)."""
    return [("loss", 1.0 / (step + 1), NOW + step, step) for step in range(first, last)]


def test_ranks_of_a_launched_job_log_to_its_run(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Two ranks in one store, one in another, lost replies, each store replayed twice: one run, each point once."""
    url, name = mlflow_server.url, f"exp {tmp_path.name}"
    asked = launched("launched", tags={"team": "a"}, params={"lr": "0.1"}, metrics=curve(0, 3))
    [run_id] = launch(url, name, asked)
    here, there = tmp_path / "here", tmp_path / "there"
    rank(here, run_id, metrics=curve(0, 30), params={"lr": "0.1", "depth": "3"}, tags={"rank0": "yes"})
    rank(here, run_id, metrics=curve(20, 50), tags={"rank1": "yes"}, status="FINISHED", end_time=NOW + 60_000)
    rank(there, run_id, metrics=curve(40, 60), tags={"rank2": "yes"}, status="FINISHED", end_time=NOW + 50_000)
    proxy.rule = on("runs/log-batch", DropReply(), nth=(0, 2))
    for _ in range(2):
        synced(here, proxy.url)
        synced(there, url)
    run = only_run(mlflow_reader, url, name)
    assert run["run_id"] == run_id
    assert run["params"] == {"lr": "0.1", "depth": "3"}
    assert run["points"] == {"loss": sorted([ts, step, repr(value)] for _, value, ts, step in curve(0, 60))}
    tags = {key: value for key, value in run["tags"].items() if not key.startswith("mlflow.")}
    assert tags == {"team": "a", "rank0": "yes", "rank1": "yes", "rank2": "yes"}, "and no tag of localtrack's"
    assert (run["name"], run["status"], run["end_time"]) == ("launched", "FINISHED", NOW + 60_000)
    writes = sum(seen.what.startswith("POST runs/") for seen in proxy.seen)
    synced(here, proxy.url)
    assert sum(seen.what.startswith("POST runs/") for seen in proxy.seen) == writes


def test_a_run_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """Another machine's run was not delivered yet: parked with the reason; once it is there, all flows."""
    url = mlflow_server.url
    made = world(tmp_path / "creator", f"exp {tmp_path.name}")
    run_id = made.run("made elsewhere", 5)
    store = tmp_path / "attached"
    rank(store, run_id, metrics=curve(3, 9), params={"extra": "1"}, tags={"stage": "evaluated"})
    said = synced(store, url, expected=3)
    assert "parked" in said
    [entry] = listed(store)
    assert entry[:2] == ("parked", "run")
    assert mlflow_reader.dump(url, [made.experiment]) == {}
    synced(tmp_path / "creator", url)
    synced(store, url, expected=4)  # their tag `stage` stands
    run = only_run(mlflow_reader, url, made.experiment)
    assert run["params"] == {"lr": "0.1", "layers": "[64, 64]", "note": "größer ≥ 5", "extra": "1"}
    assert run["points"] == {"loss": sorted([ts, step, repr(value)] for _, value, ts, step in curve(0, 9))}
    assert (run["tags"]["stage"], run["status"], run["tags"]["localtrack.uid"]) == ("done", "FINISHED", run_id)
    assert listed(store) == [("conflict", "tag", "stage", "evaluated", "done")]


def test_what_others_wrote_to_it_stands(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """A param of the launcher's stays, ours is a conflict; a tag of ours that somebody edited is left alone."""
    url, name, store = mlflow_server.url, f"exp {tmp_path.name}", tmp_path / "store"
    [run_id] = launch(url, name, launched("launched", params={"lr": "9"}))
    rank(store, run_id, params={"lr": "0.1", "depth": "3"}, tags={"stage": "train"}, metrics=curve(0, 3))
    synced(store, url, expected=4)
    outsider(url, "runs/set-tag", {"run_id": run_id, "key": "stage", "value": "reviewed by hand"})
    rank(store, run_id, tags={"stage": "done", "other": "new"}, status="FINISHED", end_time=NOW + 9)
    synced(store, url, expected=4)
    run = only_run(mlflow_reader, url, name)
    assert run["params"] == {"lr": "9", "depth": "3"}
    assert (run["tags"]["stage"], run["tags"]["other"], run["status"]) == ("reviewed by hand", "new", "FINISHED")
    collided = [("conflict", "param", "lr", "0.1", "9"), ("conflict", "tag", "stage", "done", "reviewed by hand")]
    assert sorted(listed(store)) == collided


def test_a_store_may_hold_created_and_attached_runs(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """Created runs are delivered while an attached one waits; what each owes is told apart."""
    url = mlflow_server.url
    made = world(tmp_path / "store", f"exp {tmp_path.name}")
    made.run("plain", 4)
    rank(tmp_path / "store", "0" * 32, metrics=curve(0, 2))
    synced(tmp_path / "store", url, expected=3)
    run = only_run(mlflow_reader, url, made.experiment)
    assert (run["name"], run["status"]) == ("plain", "FINISHED")
    [(state, kind, *_)] = listed(tmp_path / "store")
    assert (state, kind) == ("parked", "run")


#: What a user's training script does with the id that it was handed down.
SCRIPT = """
import os
import localtrack as mlflow
WEIGHTS = os.environ["WEIGHTS"]
with mlflow.start_run(attach=True):
    mlflow.log_params({"depth": 3})
    mlflow.log_input(mlflow.data.MetaDataset("s3://b/x", "train", "v1"))
    for step in range(5):
        mlflow.log_metric("loss", 1.0 / (step + 1), step=step)
    mlflow.log_text("from the node", "notes/one.txt")
    model = mlflow.initialize_logged_model(name="net")
    mlflow.log_metric("accuracy", 0.5, model_id=model.model_id)
    mlflow.MlflowClient().log_model_artifacts(model.model_id, WEIGHTS)
    mlflow.finalize_logged_model(model.model_id, "READY")
    with mlflow.start_run(nested=True, run_name="child"):
        mlflow.log_metric("inner", 1.0, step=0)
"""


@pytest.mark.usefixtures("modern_server")
def test_a_script_goes_on_with_the_run_that_it_was_handed_down(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """start_run(attach=True) with MLFLOW_RUN_ID, offline: all of it arrives in that run, and a nested one names it."""
    url, name, store = mlflow_server.url, f"exp {tmp_path.name}", tmp_path / "store"
    [run_id] = launch(url, name, launched("launched"))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"0123456789")
    handed_down = {"MLFLOW_RUN_ID": run_id, "MLFLOW_EXPERIMENT_NAME": f"{name} nested"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, timeout=60,
        env=command_environment(str(store), WEIGHTS=str(tmp_path / "weights"), **handed_down),
    )  # fmt: skip
    for _ in range(2):
        synced(store, url)
    run, child = only_run(mlflow_reader, url, name), only_run(mlflow_reader, url, f"{name} nested")
    assert (run["run_id"], run["name"], run["status"]) == (run_id, "launched", "FINISHED")
    assert (run["params"], len(run["points"]["loss"])) == ({"depth": "3"}, 5)
    assert (child["name"], child["tags"]["mlflow.parentRunId"]) == ("child", run_id)
    read = subprocess.run(
        [*COMMAND, "verify", "--to", url, "--json"], env=command_environment(str(store)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert read.returncode == 0, read.stdout + read.stderr
    [model] = json.loads(read.stdout)["remotes"][0]["models"]
    assert model["verdict"] == "equal"
