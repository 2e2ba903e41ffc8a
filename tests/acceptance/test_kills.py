"""Programs that die in the middle: the real `localtrack sync`, and the server. Nothing is missing, nothing doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import COMMAND, COMMAND_S, command, command_environment, compared, replay_here
from tests.acceptance.worlds import World, world
from tests.servers.faults import CutBefore, DropReply, Fault, Pass
from tests.servers.kinds import Kind
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Seen
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server

#: Kills of one test, each at a later request of its own attempt; every second one after the server has executed it.
KILLS = 14


def many_kinds(path: Path) -> World:
    """Runs of every kind: nested, deleted, with odd values."""
    made = world(path / "store", f"exp {path.name}", {"team": "a"})
    made.run("one", 60)
    made.odd_run()
    made.family()
    made.deleted_run()
    return made


def start_sync(made: World, url: str, *arguments: str) -> subprocess.Popen[str]:
    """Start the real command."""
    return subprocess.Popen(
        [*COMMAND, "sync", "--to", url, "--settle", "0.5", *arguments],
        env=command_environment(made.store.path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.fixture
def own_server(tmp_path: Path, server_kind: Kind) -> Iterator[MlflowServer]:
    """A server that a test may kill."""
    with server_kind.server(tmp_path / "server") as server:
        yield server


def test_a_killed_sync_goes_on_where_it_was(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """SIGKILL at the first request, at the second of the next attempt, ...: at the end everything is there once."""
    made = many_kinds(tmp_path)
    for kill in range(KILLS):
        _sync_killed_at(made, proxy, kill, DropReply() if kill % 2 else CutBefore())
    proxy.rule = lambda _: Pass()
    last = command(made, "sync", "--to", proxy.url, "--settle", "0.5")
    assert last.returncode == 0, last.stdout + last.stderr
    assert compared(made, mlflow_reader, mlflow_server.url) == []
    assert len(proxy.faulted) >= KILLS - 2, "the kills came too late to mean anything"


def _sync_killed_at(made: World, proxy: FaultProxy, number: int, then: Fault) -> None:
    """Start a sync, SIGKILL it when its request of that number has come; `then`: what becomes of that request."""
    begin, ready, process = len(proxy.seen), threading.Event(), list[subprocess.Popen[str]]()

    def rule(seen: Seen) -> Fault:
        if seen.index != begin + number:
            return Pass()
        assert ready.wait(10)
        process[0].kill()
        return then

    proxy.rule = rule
    process.append(start_sync(made, proxy.url))
    ready.set()
    process[0].communicate(timeout=COMMAND_S)
    assert process[0].returncode in (-signal.SIGKILL, 0)


def test_a_server_that_is_killed_and_comes_back_gets_everything(
    tmp_path: Path, own_server: MlflowServer, mlflow_reader: MlflowReader, server_kind: Kind
) -> None:
    """SIGKILL of the server in the middle of a replay; it comes back on its file while the replay waits."""
    if server_kind.backend == "file":
        pytest.skip("a SIGKILL leaves half-written files in MLflow's file store, which it then answers 500 for")
    made = many_kinds(tmp_path)
    restarts: list[threading.Thread] = []
    with FaultProxy(own_server.port) as proxy:

        def rule(seen: Seen) -> Fault:
            if seen.index == 9:
                own_server.kill()
                restarts.append(threading.Thread(target=own_server.restart))
                restarts[-1].start()
                return CutBefore()
            return Pass()

        proxy.rule = rule
        ended = replay_here(made, proxy.url, patience_s=600)
        for restart in restarts:
            restart.join(60)
    assert ended.report.complete, ended.report
    assert len(restarts) == 1
    assert compared(made, mlflow_reader, own_server.url) == []


def test_a_server_that_is_away_is_waited_for_and_then_left(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """Nobody listens: the command ends with 3, says why and what to run, and a later one delivers."""
    made = world(tmp_path / "store", f"exp {tmp_path.name}")
    made.run("one", 5)
    with FaultProxy(mlflow_server.port) as proxy:
        with proxy.refusing():
            away = command(made, "sync", "--to", proxy.url, "--patience", "0.5")
        assert away.returncode == 3, away.stderr
        assert "owed" in away.stdout
        assert "localtrack sync" in away.stdout
        back = command(made, "sync", "--to", proxy.url)
    assert back.returncode == 0, back.stdout + back.stderr


def test_ctrl_c_ends_a_sync_in_good_order(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """SIGINT in the middle: the open request is waited for, the exit code is 3, the next sync completes the rest."""
    made = many_kinds(tmp_path)
    reached, process = threading.Event(), list[subprocess.Popen[str]]()

    def rule(seen: Seen) -> Fault:
        if seen.index == 8:
            assert reached.wait(10)
            process[0].send_signal(signal.SIGINT)
        return Pass()

    proxy.rule = rule
    process.append(start_sync(made, proxy.url))
    reached.set()
    output, _ = process[0].communicate(timeout=COMMAND_S)
    assert process[0].returncode == 3, output
    assert "Stopped" in output
    assert len(proxy.seen) < 14, "it went on"
    assert command(made, "sync", "--to", proxy.url, "--settle", "0.5").returncode == 0
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_second_sync_is_refused_with_the_name_of_the_first(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Two syncs of one store and remote at once: the second ends with 1 and names the first; nothing is doubled."""
    made = many_kinds(tmp_path)
    running, release = threading.Event(), threading.Event()

    def rule(seen: Seen) -> Fault:
        if seen.index == 4:
            running.set()
            assert release.wait(COMMAND_S)
        return Pass()

    proxy.rule = rule
    first = start_sync(made, proxy.url)
    try:
        assert running.wait(30)
        second = command(made, "sync", "--to", proxy.url)
        assert second.returncode == 1
        assert f"process {first.pid}" in second.stderr
        assert os.uname().nodename in second.stderr
    finally:
        release.set()
        output, _ = first.communicate(timeout=COMMAND_S)
    assert first.returncode == 0, output
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_lost_delivery_state_costs_no_duplicate(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """The files in <store>/sync are deleted: the next replay reads back what is there, and sends nothing twice."""
    made = many_kinds(tmp_path)
    assert replay_here(made, proxy.url).report.complete
    for file in Path(made.store.sync).iterdir():
        file.unlink()
    creates = proxy.count("runs/create")
    again = replay_here(made, proxy.url)
    assert again.report.complete
    assert proxy.count("runs/create") == creates
    assert compared(made, mlflow_reader, mlflow_server.url) == []
