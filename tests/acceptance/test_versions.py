"""One store with runs of every kind to each kind of server: versions and backends. Nothing missing, nothing doubled."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.harness import COMMAND_S, command, compared, outsider
from tests.acceptance.test_kills import many_kinds, start_sync
from tests.acceptance.worlds import NOW, World
from tests.servers.faults import DropReply, Fault, Pass
from tests.servers.kinds import BY_NAME, Kind
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Seen, on
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server

#: In `make test`; the others in `make test-versions`.
ALWAYS = ("2.22.0-sqlite", "3.17.2-file")


@pytest.fixture(
    scope="module",
    params=[name if name in ALWAYS else pytest.param(name, marks=pytest.mark.versions) for name in BY_NAME],
)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of server in turn."""
    kind = BY_NAME[request.param]
    if kind.why_not():
        pytest.skip(kind.why_not())
    return kind


@pytest.fixture(scope="module")
def server(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A server of that kind."""
    with kind.server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def between(server: MlflowServer) -> Iterator[FaultProxy]:
    """A fault proxy in front of it."""
    with FaultProxy(server.port) as proxy:
        yield proxy


def killed_sync(made: World, proxy: FaultProxy, lost: int, last: int) -> None:
    """A sync that loses the reply to one log-batch and is killed at a later one: their numbers, from 0."""
    ready, process = threading.Event(), list[subprocess.Popen[str]]()
    before = proxy.count("runs/log-batch")

    def rule(seen: Seen) -> Fault:
        if not seen.what.endswith("runs/log-batch") or seen.nth - before not in (lost, last):
            return Pass()
        if seen.nth - before == last:
            assert ready.wait(10)
            process[0].kill()
        return DropReply()

    proxy.rule = rule
    process.append(start_sync(made, proxy.url))
    ready.set()
    process[0].communicate(timeout=COMMAND_S)
    proxy.rule = lambda _: Pass()
    assert process[0].returncode == -signal.SIGKILL, "it ended before it could be killed"


def test_a_store_arrives_once_on_each_kind_of_server(
    tmp_path: Path, server: MlflowServer, between: FaultProxy, mlflow_reader: MlflowReader
) -> None:
    """Replayed with lost replies and SIGKILLs, with late data, again, and once more without its delivery state."""
    made = many_kinds(tmp_path)
    killed_sync(made, between, lost=1, last=3)
    done = command(made, "sync", "--to", between.url, "--settle", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert compared(made, mlflow_reader, server.url) == []
    run_id = made.run("late", 12, flavour="late")
    made.client.set_terminated(run_id, "KILLED", NOW + 70_000)
    killed_sync(made, between, lost=0, last=1)
    for _ in range(2):
        done = command(made, "sync", "--to", between.url, "--settle", "0.5")
        assert done.returncode == 0, done.stdout + done.stderr
        assert compared(made, mlflow_reader, server.url) == []
    for path in Path(made.store.sync).iterdir():
        path.unlink()
    made.client.set_tag(run_id, "after", "the loss")
    done = command(made, "sync", "--to", between.url, "--settle", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert compared(made, mlflow_reader, server.url) == []


def test_logged_models_arrive_where_there_are_any(
    tmp_path: Path, kind: Kind, server: MlflowServer, between: FaultProxy, mlflow_reader: MlflowReader
) -> None:
    """A logged model arrives once, through a lost reply, with params, tags, status; on 2.22 it waits and says so."""
    made = many_kinds(tmp_path)
    run_id = made.run("trainer", 4)
    model = made.client.create_logged_model(
        made.experiment_id, name="net", source_run_id=run_id, params={"depth": "3"}, tags={"team": "a"}
    )
    made.client.finalize_logged_model(model.model_id, "READY")
    between.rule = on("logged-models", DropReply(), nth=(1,))
    for _ in range(2):
        done = command(made, "sync", "--to", between.url, "--settle", "0.5")
        assert done.returncode == (0 if kind.has_models else 3), done.stdout + done.stderr
        assert compared(made, mlflow_reader, server.url) == []
    listed = json.loads(command(made, "conflicts", "--json").stdout)["entries"]
    if not kind.has_models:
        assert [(e["state"], e["scope"], e["kind"]) for e in listed] == [("parked", "model", "model")]
        assert "logged models" in listed[0]["reason"]
        return
    assert listed == []
    there = mlflow_reader.dump(server.url, [made.experiment])[made.experiment]["experiment_id"]
    [found] = outsider(server.url, "logged-models/search", {"experiment_ids": [there]})["models"]
    assert (found["info"]["name"], found["info"]["status"]) == ("net", "LOGGED_MODEL_READY")
    assert found["data"]["params"] == [{"key": "depth", "value": "3"}]
    tags = {tag["key"]: tag["value"] for tag in found["info"]["tags"] if not tag["key"].startswith("localtrack.")}
    assert tags == {"team": "a"}


def test_each_kind_of_server_is_verified_and_repaired(
    tmp_path: Path, kind: Kind, server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """Equal after a sync; a run that is purged is named and made again, a repair of what is there doubles nothing."""
    made, url = many_kinds(tmp_path), server.url
    done = command(made, "sync", "--to", url, "--settle", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    done = command(made, "verify", "--to", url)
    assert done.returncode == 0, done.stdout + done.stderr
    before = mlflow_reader.dump(url, [made.experiment])
    for _ in range(2):
        done = command(made, "sync", "--repair", "--to", url, "--settle", "0.5")
        assert done.returncode == 0, done.stdout + done.stderr
        assert mlflow_reader.dump(url, [made.experiment]) == before, f"a repair changed something on {kind}"
    victim = next(run for run in before[made.experiment]["runs"] if run["points"].get("loss"))
    if not purge(server, victim["run_id"]):
        return
    done = command(made, "verify", "--to", url)
    assert (done.returncode, "run: is not there" in done.stdout) == (5, True), done.stdout
    done = command(made, "sync", "--repair", "--to", url, "--settle", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert command(made, "verify", "--to", url).returncode == 0
    assert compared(made, mlflow_reader, url) == []


def purge(server: MlflowServer, run_id: str) -> bool:
    """Remove a run for good, as `mlflow gc` does; whether this backend can be reached from here."""
    if server.database.exists():
        with closing(sqlite3.connect(server.database, timeout=30)) as database, database:
            for table in ("params", "tags", "metrics", "latest_metrics", "runs"):
                database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run_id,))
        return True
    places = [path for path in server.home.rglob(run_id) if (path / "meta.yaml").exists()]
    for place in places:
        shutil.rmtree(place)
    return bool(places)
