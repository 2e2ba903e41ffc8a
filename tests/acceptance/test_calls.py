"""Delivery from code, to a real server: what `sync` delivers, and what `wait_for_sync` waits for."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import localtrack
from localtrack.catalog.catalog import Catalog
from localtrack.entities import Metric, RunTag
from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.shell.selection import Wanted, chosen
from localtrack_sync.store.accounts import errand_accounts
from localtrack_sync.store.backlog import Backlog
from localtrack_sync.store.choice import Choice, Errand
from localtrack_sync.store.presence import is_held
from tests.acceptance.harness import COMMAND_S, command, command_environment, compared, outsider, replay_here
from tests.acceptance.test_kills import many_kinds, start_sync
from tests.acceptance.worlds import World, model_run, world
from tests.journal.processes import wait_for
from tests.servers.faults import CutBefore, Pass
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A store that the module functions log to, in an environment that knows nothing else."""
    found = world(tmp_path / "store", f"exp {tmp_path.name}", {"team": "a"})
    exported = {"MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"}  # by the code under test
    for name in set(os.environ) - set(command_environment(found.store.path)) | exported:
        monkeypatch.setenv(name, "")  # so that it is undone, whatever happens to it
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCALTRACK_STORE", found.store.path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LOCALTRACK_SETTLE_SECONDS", "0.5")
    yield found
    assert localtrack.active_run() is None
    localtrack.set_experiment("Default")
    localtrack.set_tracking_uri(None)


def backlog_of(catalog: Catalog, url: str) -> Backlog:
    """What waits for a server now."""
    catalog.refresh()
    return Backlog(catalog, chosen(catalog, Wanted(parse_remote(url), (), ()), load(os.environ), os.environ))


def test_sync_delivers_what_was_logged(made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader) -> None:
    """One call: the server has everything, the counts say so, and the next call finds nothing to do."""
    localtrack.set_experiment(made.experiment)
    with localtrack.start_run():
        for step in range(50):
            localtrack.log_metric("loss", 1.0 / (step + 1), step=step)
        localtrack.log_params({"a": 1, "b": 2})
    assert not localtrack.wait_for_sync(0, to=mlflow_server.url)
    result = localtrack.sync(mlflow_server.url)
    assert result.complete
    [remote] = result.remotes
    assert (remote.by, remote.owed, remote.stopped) == ("this process", 0, "")
    assert remote.delivered >= 53
    assert compared(made, mlflow_reader, mlflow_server.url) == []
    assert localtrack.wait_for_sync(0, to=mlflow_server.url)
    again = localtrack.sync(mlflow_server.url)
    assert (again.complete, again.delivered) == (True, result.delivered)


def test_runs_go_where_they_were_meant_to_go(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """set_tracking_uri(http...) is enough, for sync and for waiting; a second remote that is away changes nothing."""
    localtrack.set_tracking_uri(mlflow_server.url)
    try:
        localtrack.set_experiment(made.experiment)
        with localtrack.start_run() as here:
            localtrack.log_metric("m", 1.0)
        localtrack.set_tracking_uri("http://127.0.0.1:9")
        with localtrack.start_run() as nowhere:
            localtrack.log_metric("m", 2.0)
        result = localtrack.sync(patience=0.2)
        assert [(one.remote, one.complete) for one in result.remotes] == [
            (mlflow_server.url, True),
            ("http://127.0.0.1:9", False),
        ]
        assert localtrack.wait_for_sync(0, run_id=here.info.run_id)
        assert not localtrack.wait_for_sync(0, run_id=nowhere.info.run_id)
        assert not localtrack.wait_for_sync(0)
    finally:
        localtrack.set_tracking_uri(None)
    assert compared(made, mlflow_reader, mlflow_server.url, [here.info.run_id]) == []


def test_sync_while_training_goes_on(made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader) -> None:
    """Another thread logs at the same time: nothing is lost, and a last sync brings the rest."""
    client, url = made.client, mlflow_server.url
    run_id = client.create_run(made.experiment_id).info.run_id

    def train() -> None:
        for step in range(3000):
            client.log_metric(run_id, "loss", step / 2, step=step)
        client.set_terminated(run_id)

    with ThreadPoolExecutor() as pool:
        trainer = pool.submit(train)
        assert localtrack.sync(url).delivered > 0
        trainer.result()
    result = localtrack.sync(url)
    assert result.complete
    assert result.delivered > 3000
    assert compared(made, mlflow_reader, url) == []


@pytest.fixture
def other(made: World, proxy: FaultProxy) -> Iterator[tuple[subprocess.Popen[str], threading.Event]]:
    """A `localtrack sync` that is at work on a run of 2,000 points, and waits at its sixth request for the event."""
    made.run("one", 2000)
    go_on = threading.Event()

    def rule(seen: object) -> Pass:
        if getattr(seen, "index", 0) >= 5:
            assert go_on.wait(60)
        return Pass()

    proxy.rule = rule
    process = start_sync(made, proxy.url)
    try:
        wait_for(lambda: len(proxy.seen) > 5)
        yield process, go_on
    finally:
        go_on.set()
        process.kill()
        process.communicate(timeout=COMMAND_S)


def test_another_process_that_delivers_is_waited_for(
    made: World, proxy: FaultProxy, other: tuple[subprocess.Popen[str], threading.Event]
) -> None:
    """The result says who delivered; without patience it says what is owed, and who has the store."""
    process, go_on = other
    [busy] = localtrack.sync(proxy.url, patience=0.1).remotes
    assert (busy.by, busy.complete) == ("another process", False)
    assert busy.owed > 0
    assert f"process {process.pid} on " in busy.stopped
    with ThreadPoolExecutor() as pool:
        call = pool.submit(localtrack.sync, proxy.url, patience=60)
        waiting = pool.submit(localtrack.wait_for_sync, 60, to=proxy.url)
        assert not call.done()
        assert not waiting.done()
        go_on.set()
        result = call.result()
        assert waiting.result()
    assert result.complete
    assert result.owed == 0
    assert {one.by for one in result.remotes} <= {"another process", "this process"}
    assert made.store.path


def test_the_rest_of_one_that_died_is_delivered_here(
    made: World,
    proxy: FaultProxy,
    mlflow_reader: MlflowReader,
    other: tuple[subprocess.Popen[str], threading.Event],
) -> None:
    """The process that was waited for is killed in the middle: this one takes over, once everything."""
    process, go_on = other
    with ThreadPoolExecutor() as pool:
        call = pool.submit(localtrack.sync, proxy.url, patience=60)
        process.kill()
        process.wait(60)
        go_on.set()
        [result] = call.result().remotes
    assert (result.by, result.complete) == ("this process", True)
    proxy.rule = lambda _: Pass()
    assert compared(made, mlflow_reader, proxy.url) == []


def test_what_is_logged_during_a_wait_is_not_waited_for(made: World, mlflow_server: MlflowServer) -> None:
    """What was there at the call is delivered, newer points, params, tags and a new value are owed: True."""
    url, client = mlflow_server.url, made.client
    run_id = client.create_run(made.experiment_id).info.run_id
    client.log_batch(run_id, [Metric("m", 1.0, 1, step) for step in range(30)], tags=[RunTag("stage", "one")])
    with Catalog(made.store) as catalog:
        backlog = backlog_of(catalog, url)
        assert not backlog.delivered()
        replay_here(made, url)
        client.log_batch(run_id, [Metric("m", 2.0, 1, step) for step in range(30)])
        client.log_param(run_id, "late", 1)
        client.set_tag(run_id, "stage", "two")
        client.set_tag(run_id, "another", "x")
        client.set_terminated(run_id)
        newer = backlog_of(catalog, url)
        assert backlog.delivered()
        assert not newer.delivered()
        replay_here(made, url)
        assert newer.delivered()


def test_what_was_overwritten_need_not_arrive(made: World, mlflow_server: MlflowServer) -> None:
    """A tag and a status that were changed before anybody delivered them: the newer ones count for the wait."""
    url, client = mlflow_server.url, made.client
    run_id = client.create_run(made.experiment_id, tags={"stage": "one"}).info.run_id
    with Catalog(made.store) as catalog:
        backlog = backlog_of(catalog, url)
        client.set_tag(run_id, "stage", "two")
        client.set_terminated(run_id, "FAILED")
        assert not backlog.delivered()
        replay_here(made, url)
        assert backlog.delivered()


def test_the_tags_of_an_experiment_are_waited_for(made: World, mlflow_server: MlflowServer) -> None:
    """They belong to what was logged, also when every run is there."""
    url, client = mlflow_server.url, made.client
    made.run("one")
    assert localtrack.sync(url).complete
    assert localtrack.wait_for_sync(0, to=url)
    client.set_experiment_tag(made.experiment_id, "team", "b")
    client.set_experiment_tag("0", "of the built-in one", "x")
    assert not localtrack.wait_for_sync(0, to=url)
    assert localtrack.sync(url).complete
    assert localtrack.wait_for_sync(0, to=url)


def test_files_and_models_are_waited_for(
    made: World, mlflow_server: MlflowServer, modern_server: None, sql_server: None
) -> None:
    """A logged model, its status and a file belong to their run."""
    del modern_server, sql_server
    url, client = mlflow_server.url, made.client
    run_id, model_id = model_run(made)
    assert localtrack.sync(url).complete
    assert localtrack.wait_for_sync(0, run_id=run_id, to=url)
    client.log_text(run_id, "words", "notes.txt")
    assert not localtrack.wait_for_sync(0, run_id=run_id, to=url)
    assert localtrack.sync(url).complete
    client.set_logged_model_tags(model_id, {"late": "x"})
    assert not localtrack.wait_for_sync(0, run_id=run_id, to=url)
    assert localtrack.sync(url).complete
    assert localtrack.wait_for_sync(0, run_id=run_id, to=url)


def test_what_waiting_does_not_bring_is_not_waited_for(made: World, mlflow_server: MlflowServer) -> None:
    """A tag that somebody changed on the server, and a run that somebody deleted there: conflict and parked."""
    url, client = mlflow_server.url, made.client
    changed, deleted = made.run("changed"), made.run("deleted over there")
    ended = replay_here(made, url)
    remote = {one.run_id: one.remote_run_id for one in ended.accounts}
    outsider(url, "runs/set-tag", {"run_id": remote[changed], "key": "stage", "value": "mine"})
    outsider(url, "runs/delete", {"run_id": remote[deleted]})
    client.set_tag(changed, "stage", "ours")
    client.set_tag(deleted, "stage", "ours")
    assert not localtrack.wait_for_sync(0, to=url)
    result = localtrack.sync(url)
    assert (result.conflicts, result.owed) == (1, 0)
    assert result.parked > 0
    assert not result.complete
    assert localtrack.wait_for_sync(0, to=url)


def test_waiting_and_the_books_agree(made: World, proxy: FaultProxy) -> None:
    """Wherever a replay is cut off, a run waits for exactly as long as its account says that something is owed."""
    other = many_kinds(Path(made.store.path).with_name("many"))
    seen_open = seen_done = 0
    for requests in range(2, 24, 3):
        _replay_of(other, proxy, requests)
        with Catalog(other.store) as catalog:
            for entry in catalog.run_index():
                errand = Errand(parse_remote(proxy.url), (entry,))
                [account] = errand_accounts(catalog, errand)
                done = Backlog(catalog, Choice((errand,))).delivered()
                assert done == (account.owed == 0), (requests, account)
                seen_done, seen_open = seen_done + done, seen_open + (not done)
    assert seen_open > 10
    assert seen_done > 5


def _replay_of(made: World, proxy: FaultProxy, requests: int) -> None:
    """A replay after whose first requests the server is away."""
    last = len(proxy.seen) + requests
    proxy.rule = lambda seen: CutBefore() if seen.index >= last else Pass()
    replay_here(made, proxy.url, patience_s=0.0)


def test_a_run_without_a_remote_is_there_when_somebody_brought_it(made: World, mlflow_server: MlflowServer) -> None:
    """No remote is known for it: it waits until a `sync --to` by name has delivered it, in this process or another."""
    made.run("one")
    assert not localtrack.wait_for_sync(0)
    assert command(made, "sync", "--to", mlflow_server.url, "--settle", "0.5").returncode == 0
    assert localtrack.wait_for_sync(0)
    assert not is_held(parse_remote(mlflow_server.url).remote.lock_path(Store.at(made.store.path)))
