"""The daemon against a real server: live, through outages, kills and stops; everything is there once."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from localtrack_sync.daemon.facts import Standing
from localtrack_sync.daemon.signals import GRACE_S
from localtrack_sync.remote.remotes import parse_remote
from tests.acceptance.daemons import (
    PATIENCE_S,
    VARIABLES,
    delivered,
    end,
    facts,
    loop,
    owed,
    process,
    remote_facts,
    stands,
    start,
    status,
    train,
    until,
)
from tests.acceptance.harness import command, compared
from tests.acceptance.test_kills import many_kinds
from tests.acceptance.worlds import NOW, World, model_run, world
from tests.servers.faults import CutBefore, DropReply, Fault, Pass, portal
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Seen
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server

#: Kills of one test, each at a later request of its own attempt; every second one after the server has executed it.
KILLS = 10


def fresh(path: Path) -> World:
    """An empty store with an experiment of its own."""
    return world(path / "store", f"exp {path.name}", {"team": "a"})


@pytest.mark.usefixtures("modern_server")
def test_what_is_logged_is_on_the_server_at_once(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Value by value while training goes on, then runs of every kind; a quiet daemon asks nothing."""
    made = fresh(tmp_path)
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url) as one:
        run_id = made.client.create_run(made.experiment_id, start_time=NOW, run_name="live").info.run_id
        for step in range(5):
            before = proxy.count("runs/log-batch")
            made.client.log_metric(run_id, "loss", 1.0 / (step + 1), timestamp=NOW + step, step=step)
            until(lambda before=before: proxy.count("runs/log-batch") > before, "the value on its way")  # type: ignore[misc]
        made.client.set_terminated(run_id, "FINISHED", NOW + 60)
        made.odd_run()
        made.family()
        made.deleted_run()
        model_run(made)
        until(lambda: delivered(made.store, proxy.url), "all of it")

        def rests() -> bool:  # it speaks once a second: what it said last may be of before
            said = remote_facts(made.store, proxy.url)
            return said is not None and said.standing is Standing.IDLE and said.delivered > 250

        until(rests, "rest")
        told = remote_facts(made.store, proxy.url)
        assert told is not None
        assert told.lag_s == 0.0
        assert told.last_success is not None
        assert told.trouble == ""
        assert one.signs > 0
        assert one.is_ready
    assert compared(made, mlflow_reader, mlflow_server.url) == []
    assert one.code == 0
    assert facts(made.store) is None, "nobody says anything of a daemon that has ended"
    assert one.lines[-1] == "up to date with 1 remote"
    assert not [line for line in one.said if line[0] != "info"]


def test_trains_while_the_server_is_away(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Offline with so many pending; then the server comes up and everything is there, exactly once: verify says so."""
    made = fresh(tmp_path)
    with process(made.store, LOCALTRACK_REMOTE=proxy.url) as child:
        with proxy.refusing():
            made.run("offline", 20)
            made.family()
            until(lambda: stands(made.store, proxy.url, Standing.OFFLINE), "an outage")
            shown = command(made, "status", LOCALTRACK_REMOTE=proxy.url, **VARIABLES)
            assert shown.returncode == 0, shown.stderr
            pending = owed(made.store, proxy.url)
            assert f"{proxy.url}  offline, {pending} pending" in shown.stdout
            assert "localtrack sync" not in shown.stdout, "it needs no help"
            [told] = status(made, LOCALTRACK_REMOTE=proxy.url)["remotes"]
            assert told["owed"] == pending
            assert told["delivery"]["state"] == "offline"
            assert "refused" in told["delivery"]["trouble"]
            assert told["delivery"]["lag_s"] > 0
        until(lambda: delivered(made.store, proxy.url), "all of it")
        until(lambda: stands(made.store, proxy.url, Standing.IDLE), "rest")
        creates = proxy.count("runs/create")
        assert end(child) == 0
    assert creates == 3
    verified = command(made, "verify", "--to", proxy.url, LOCALTRACK_REMOTE=proxy.url)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_killed_daemon_goes_on_where_it_was(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """SIGKILL at the first request, at the second of the next daemon, ...: at the end everything is there once."""
    made = many_kinds(tmp_path)
    for kill in range(KILLS):
        _daemon_killed_at(made, proxy, kill, DropReply() if kill % 2 else CutBefore())
    proxy.rule = lambda _: Pass()
    with process(made.store, LOCALTRACK_REMOTE=proxy.url) as child:
        until(lambda: delivered(made.store, proxy.url), "all of it")
        assert end(child) == 0
    assert compared(made, mlflow_reader, mlflow_server.url) == []
    assert len(proxy.faulted) >= KILLS, "the kills came too late to mean anything"


def _daemon_killed_at(made: World, proxy: FaultProxy, number: int, then: Fault) -> None:
    """Start a daemon, SIGKILL it when its request of that number has come; `then`: what becomes of that request."""
    begin, ready, child = len(proxy.seen), threading.Event(), list[subprocess.Popen[str]]()

    def rule(seen: Seen) -> Fault:
        if seen.index != begin + number:
            return Pass()
        assert ready.wait(10)
        child[0].kill()
        return then

    proxy.rule = rule
    child.append(start("--store", made.store.path, store=made.store, LOCALTRACK_REMOTE=proxy.url))
    ready.set()
    try:
        until(lambda: child[0].poll() is not None or delivered(made.store, proxy.url), "the kill")
    finally:
        child[0].kill()
    assert child[0].wait(PATIENCE_S) == -signal.SIGKILL


def test_a_stop_does_not_wait_for_a_request_that_hangs(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """SIGTERM while the server does not answer: it ends within its bound; nothing is lost, nothing doubled."""
    made = many_kinds(tmp_path)
    hangs, release = threading.Event(), threading.Event()

    def rule(seen: Seen) -> Fault:
        if seen.what.endswith("runs/log-batch"):
            hangs.set()
            release.wait(PATIENCE_S)
        return Pass()

    proxy.rule = rule
    try:
        with process(made.store, LOCALTRACK_REMOTE=proxy.url, LOCALTRACK_DAEMON_STOP_SECONDS="1") as child:
            assert hangs.wait(PATIENCE_S)
            began = time.monotonic()
            code = end(child)
            took = time.monotonic() - began
    finally:
        release.set()
    assert code == 0
    assert took < 1 + GRACE_S + 5
    proxy.rule = lambda _: Pass()
    with process(made.store, LOCALTRACK_REMOTE=proxy.url) as child:
        until(lambda: delivered(made.store, proxy.url), "all of it")
        assert end(child) == 0
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_it_outlives_the_trainer(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """A trainer is killed while the server is away; what it had logged arrives all the same."""
    made = fresh(tmp_path)
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url):
        with proxy.refusing():
            assert train(made.store, made.experiment, 200, "killed") == -signal.SIGKILL
            until(lambda: stands(made.store, proxy.url, Standing.OFFLINE), "an outage")
        until(lambda: delivered(made.store, proxy.url), "all of it")
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_one_remote_that_is_away_does_not_hold_up_another(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Two stores, each with runs for two servers, in one daemon: what can be delivered is, the rest follows."""
    stores = [fresh(tmp_path / "a"), fresh(tmp_path / "b")]
    home = str(tmp_path / "home")
    with FaultProxy(mlflow_server.port) as away, loop(*(made.store for made in stores), HOME=home) as one:
        with away.refusing():
            for made in stores:
                for to, points in ((proxy.url, 5), (away.url, 7)):
                    assert train(made.store, made.experiment, points, MLFLOW_TRACKING_URI=to, HOME=home) == 0
            for made in stores:
                until(lambda made=made: delivered(made.store, proxy.url), "what can be delivered")  # type: ignore[misc]
                until(lambda made=made: stands(made.store, away.url, Standing.OFFLINE), "an outage")  # type: ignore[misc]
                assert stands(made.store, proxy.url, Standing.IDLE)
                assert owed(made.store, away.url)
            assert one.lines[-1].startswith("offline: ")
        for made in stores:
            until(lambda made=made: delivered(made.store, away.url), "the rest")  # type: ignore[misc]
    for made in stores:
        assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_sync_beside_the_daemon_is_told_that_it_is_not_needed(tmp_path: Path, proxy: FaultProxy) -> None:
    """The lock names the daemon, and the hint fits."""
    made = many_kinds(tmp_path)
    with process(made.store, LOCALTRACK_REMOTE=proxy.url) as child:
        until(lambda: remote_facts(made.store, proxy.url), "a lane")
        until(lambda: delivered(made.store, proxy.url), "all of it")
        done = command(made, "sync", "--to", proxy.url)
        assert done.returncode == 1
        assert f"process {child.pid}" in done.stderr
        assert "(localtrack daemon)" in done.stderr
        assert "delivers by itself" in done.stderr
        assert "localtrack status" in done.stderr


def test_a_daemon_waits_for_a_sync_and_takes_over(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """While a sync holds the lock the daemon stands busy and names it; then it delivers what came meanwhile."""
    made = fresh(tmp_path)
    made.run("one", 10)
    running, release = threading.Event(), threading.Event()

    def rule(seen: Seen) -> Fault:
        if seen.index == 3:
            running.set()
            release.wait(PATIENCE_S)
        return Pass()

    proxy.rule = rule
    done: list[subprocess.CompletedProcess[str]] = []
    sync = threading.Thread(target=lambda: done.append(command(made, "sync", "--to", proxy.url, "--settle", "0.5")))
    sync.start()
    try:
        assert running.wait(PATIENCE_S)
        with loop(made.store, LOCALTRACK_REMOTE=proxy.url):
            until(lambda: stands(made.store, proxy.url, Standing.BUSY), "the lock")
            told = remote_facts(made.store, proxy.url)
            assert told is not None
            assert "localtrack sync" in told.trouble
            assert told.next_attempt is not None
            made.run("two", 10)
            release.set()
            sync.join(PATIENCE_S)
            until(lambda: delivered(made.store, proxy.url), "all of it")
            until(lambda: stands(made.store, proxy.url, Standing.IDLE), "rest")
    finally:
        release.set()
        sync.join(PATIENCE_S)
    assert done[0].returncode == 0, done[0].stdout + done[0].stderr
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_captive_portal_is_an_outage(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """HTML with 200 in the server's place is offline and no delivery; the server itself then gets everything."""
    made = many_kinds(tmp_path)
    proxy.rule = lambda _: portal()
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url):
        until(lambda: stands(made.store, proxy.url, Standing.OFFLINE), "an outage")
        assert owed(made.store, proxy.url)
        proxy.rule = lambda _: Pass()
        until(lambda: delivered(made.store, proxy.url), "all of it")
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_lost_delivery_state_costs_no_duplicate(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Its file is deleted under the daemon: a new one is made, what is there is read back, nothing is sent twice."""
    made = many_kinds(tmp_path)
    state = Path(parse_remote(proxy.url).remote.state_path(made.store))
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url):
        until(lambda: delivered(made.store, proxy.url), "all of it")
        creates = proxy.count("runs/create")
        for file in state.parent.glob(f"{state.name}*"):
            file.unlink()
        made.run("later", 3)
        until(lambda: state.exists() and delivered(made.store, proxy.url), "all of it, again")
    assert proxy.count("runs/create") == creates + 1
    assert compared(made, mlflow_reader, mlflow_server.url) == []
