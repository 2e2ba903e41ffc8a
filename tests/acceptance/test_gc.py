"""`localtrack gc` against a real server: only what it provably has is removed here, and nobody is told otherwise."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localtrack import TrackingClient
from localtrack.artifacts.removed import notes_of
from localtrack.errors import RemovedError
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.store.lock import Holder, ReplayLock
from tests.acceptance.files import local_root, remote_root, tree
from tests.acceptance.harness import COMMAND_S, command, command_environment, outsider, replay_here
from tests.acceptance.worlds import NOW, World, model_run, world
from tests.servers.faults import Fault, Pass
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Seen
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server

BIG = bytes(range(256)) * 4096
FILES = {
    "notes.txt": b"hello",
    "data/deep/big.bin": BIG,
    "data/empty": b"",
    "odd/größe & 100 %.txt": "≥".encode(),
}


def log_files(made: World, run_id: str, files: dict[str, bytes], source: Path) -> None:
    """Log files with a run, as training code does."""
    for path, content in files.items():
        local = source / path
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(content)
        made.client.log_artifact(run_id, local, os.path.dirname(path) or None)


def run_with_files(made: World, name: str, source: Path, files: dict[str, bytes] | None = None) -> str:
    """An ended run with files; returns its id."""
    run_id = made.client.create_run(made.experiment_id, start_time=NOW, run_name=name).info.run_id
    made.client.log_param(run_id, "lr", "0.1")
    log_files(made, run_id, FILES if files is None else files, source / name)
    made.client.set_terminated(run_id, "FINISHED", NOW + 1000)
    return run_id


@pytest.fixture
def made(tmp_path: Path) -> World:
    """A store with one experiment."""
    return world(tmp_path / "store", f"exp {tmp_path.name}")


def gc(made: World, url: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `localtrack gc --older-than 0 --json`."""
    done = command(made, "gc", "--older-than", "0", "--json", *arguments, LOCALTRACK_REMOTE=url)
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode, done.stderr
    return done.returncode, document


def everything(made: World) -> dict[str, tuple[int, int, bytes]]:
    """All of the store but the catalog: path -> inode, mtime, content."""
    found = [path for path in sorted(Path(made.store.path).rglob("*")) if path.is_file()]
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in found
        if not path.name.startswith("catalog.") and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_dry_run_touches_nothing(made: World, mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """It says what would go, in words and as JSON, and every file of the store is the same afterwards."""
    run_id = run_with_files(made, "one", tmp_path)
    assert replay_here(made, mlflow_server.url).report.complete
    before = everything(made)
    code, told = gc(made, mlflow_server.url)
    assert (code, told["dry_run"], told["files"], told["bytes"]) == (0, True, 4, sum(map(len, FILES.values())))
    assert told["runs"][0]["run_id"] == run_id
    said = command(made, "gc", "--older-than", "0", LOCALTRACK_REMOTE=mlflow_server.url)
    assert "Would be removed:" in said.stdout
    assert "this was a dry run" in said.stdout
    assert everything(made) == before


def test_what_was_removed_is_told_truthfully(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Files go; lists still show them, downloads say where they are, verify is equal, sync and its scan do nothing."""
    url = proxy.url
    run_id = run_with_files(made, "one", tmp_path)
    assert replay_here(made, url).report.complete
    whole = tree(remote_root(made, mlflow_server, mlflow_reader, run_id))
    code, told = gc(made, url, "--delete")
    assert (code, told["files"], told["runs"][0]["remotes"]) == (0, 4, [url])
    assert tree(local_root(made, run_id)) == {}
    assert tree(remote_root(made, mlflow_server, mlflow_reader, run_id)) == whole
    client = TrackingClient(made.store.path)
    assert [(one.path, one.is_dir, one.removed_to) for one in client.list_artifacts(run_id)] == [
        ("data", True, None), ("notes.txt", False, url), ("odd", True, None),
    ]  # fmt: skip
    assert [(one.path, one.file_size) for one in client.list_artifacts(run_id, "data/deep")] == [
        ("data/deep/big.bin", len(BIG))
    ]
    for path in ("notes.txt", "data", ""):
        with pytest.raises(RemovedError, match=url) as raised:
            client.download_artifacts(run_id, path)
        assert "mlflow artifacts download" in raised.value.hint
        assert raised.value.error_code == "INVALID_STATE"
    with pytest.raises(ValueError, match="No such artifact"):
        client.download_artifacts(run_id, "never/there")
    assert command(made, "verify", "--to", url).returncode == 0
    puts = [seen.what for seen in proxy.seen if not seen.what.startswith("GET")]
    again = command(made, "sync", "--to", url)
    assert (again.returncode, "0 new records delivered" in again.stdout) == (0, True)
    assert [seen.what for seen in proxy.seen if seen.what.startswith("PUT")] == [
        what for what in puts if what.startswith("PUT")
    ]
    code, told = gc(made, url, "--delete")
    assert (code, told["files"], told["runs"]) == (0, 0, [])


def test_a_file_that_was_tampered_with_stays_here(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, tmp_path: Path
) -> None:
    """One byte is changed on the server, size and manifest are not: all files of that run stay, the other's go."""
    url = mlflow_server.url
    changed, other = run_with_files(made, "changed", tmp_path), run_with_files(made, "other", tmp_path)
    assert replay_here(made, url).report.complete
    target = remote_root(made, mlflow_server, mlflow_reader, changed) / "data/deep/big.bin"
    target.write_bytes(b"\xff" + BIG[1:])
    assert command(made, "verify", "--to", url).returncode == 0, "a list and the manifest do not show it"
    code, told = gc(made, url, "--delete")
    assert code == 0
    assert tree(local_root(made, changed)) == FILES
    assert tree(local_root(made, other)) == {}
    reasons = {run["run_id"]: run["reason"] for run in told["runs"]}
    assert "data/deep/big.bin" in reasons[changed]
    target.write_bytes(BIG + b"longer")
    assert gc(made, url, "--delete")[1]["files"] == 0


def test_nothing_owed_running_young_or_changed_goes(made: World, mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A run that runs, one that is owed, one with a conflict, one of an unknown remote and changed files stay."""
    url, client = mlflow_server.url, made.client
    running = client.create_run(made.experiment_id, start_time=NOW, run_name="running").info.run_id
    log_files(made, running, FILES, tmp_path / "running")
    owed, fine = run_with_files(made, "owed", tmp_path), run_with_files(made, "fine", tmp_path)
    deleted = run_with_files(made, "deleted", tmp_path)
    client.delete_run(deleted)
    assert replay_here(made, url).report.complete
    log_files(made, owed, {"late.txt": b"late"}, tmp_path / "late")
    (local_root(made, fine) / "notes.txt").write_bytes(b"other")  # no scan has seen it
    link = local_root(made, fine) / "odd"
    (link / "größe & 100 %.txt").rename(tmp_path / "elsewhere.txt")
    link.rmdir()
    link.symlink_to(tmp_path)
    assert command(made, "gc", "--json", "--delete", LOCALTRACK_REMOTE=url).returncode == 0
    assert command(made, "gc", "--json", "--delete", "--older-than", "0").returncode == 0, "nobody named a remote here"
    assert tree(local_root(made, owed)) == {**FILES, "late.txt": b"late"}
    code, told = gc(made, url, "--delete")
    assert code == 0
    reasons = {run["run_id"]: run["reason"] for run in told["runs"]}
    assert reasons[running] == "it has not ended"
    assert "owed" in reasons[owed]
    assert "deleted" in reasons[deleted]
    for run_id in (running, deleted):
        assert tree(local_root(made, run_id)) == FILES
    assert (local_root(made, fine) / "notes.txt").read_bytes() == b"other"
    assert (tmp_path / "elsewhere.txt").exists()


def test_the_oldest_go_first_until_the_store_is_below_its_cap(
    made: World, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """With --max-bytes the oldest run goes, and the newer one stays as soon as the size is below."""
    url = mlflow_server.url
    first = run_with_files(made, "first", tmp_path, {"a.bin": b"a" * 3000})
    second = run_with_files(made, "second", tmp_path, {"b.bin": b"b" * 3000})
    assert replay_here(made, url).report.complete
    code, told = gc(made, url, "--max-bytes", "9kB")
    assert (code, told["files"]) == (0, 0)
    code, told = gc(made, url, "--max-bytes", "4kB", "--delete")
    assert (code, told["total_bytes"], told["files"], told["bytes"]) == (0, 6000, 1, 3000)
    assert tree(local_root(made, first)) == {}
    assert tree(local_root(made, second)) == {"b.bin": b"b" * 3000}


def test_a_server_that_is_away_keeps_everything(made: World, mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """Nothing is removed, the exit code is 3, and the reason names the server."""
    run_id = run_with_files(made, "one", tmp_path)
    assert replay_here(made, mlflow_server.url).report.complete
    mlflow_server.kill()
    try:
        code, told = gc(made, mlflow_server.url, "--delete", "--patience", "0")
    finally:
        mlflow_server.start()
    assert (code, told["files"], told["away"][0]["remote"]) == (3, 0, mlflow_server.url)
    assert tree(local_root(made, run_id)) == FILES


def test_a_damaged_journal_stops_all_of_it(made: World, mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """A journal that cannot be read may hold anything: nothing is removed, and the exit code is 1."""
    run_id = run_with_files(made, "one", tmp_path)
    assert replay_here(made, mlflow_server.url).report.complete
    Path(made.store.journals, "broken.db").write_bytes(b"not a journal" * 100)
    code, told = gc(made, mlflow_server.url, "--delete")
    assert (code, "broken.db" in told["blocked"]) == (1, True)
    assert tree(local_root(made, run_id)) == FILES


def test_a_repair_says_that_it_cannot_send_what_is_gone(
    made: World, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, tmp_path: Path
) -> None:
    """The server loses a file after it was removed here: it is parked with the reason, the rest stays."""
    url = mlflow_server.url
    run_id = run_with_files(made, "one", tmp_path)
    assert replay_here(made, url).report.complete
    gc(made, url, "--delete")
    (remote_root(made, mlflow_server, mlflow_reader, run_id) / "notes.txt").unlink()
    assert command(made, "verify", "--to", url).returncode == 5
    ended = replay_here(made, url, tuning=ReplaySettings(repair=True))
    assert ended.accounts[0].parked == 1, ended.report
    assert "localtrack gc` removed the file here" in " ".join(command(made, "conflicts").stdout.split())
    there = tree(remote_root(made, mlflow_server, mlflow_reader, run_id))
    assert there["data/deep/big.bin"] == BIG


_KILLED = """
import os, signal, sys
from localtrack.catalog.catalog import Catalog
from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.shell.replay import Silent
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.store.lock import Holder, ReplayLock
from localtrack_sync.shell.gc_facts import addresses
from localtrack_sync.shell.gc_session import GcSettings, collect
from localtrack_sync.shell.replay import Stop
from localtrack_sync.shell.selection import transport_settings
from localtrack_sync.shell.session import SyncSettings
left = int(sys.argv[1])
def step(name):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
with Catalog(Store.at(os.environ["LOCALTRACK_STORE"])) as catalog:
    known = addresses(catalog, [], load(os.environ), os.environ)
    how = SyncSettings(ReplaySettings(), transport_settings(os.environ), os.environ)
    collect(catalog, GcSettings(True, 0.0, None, known, lambda item: True), how, Silent(), Stop(), step)
print("whole")
"""


def test_a_gc_that_is_killed_at_any_step_lies_to_nobody_and_goes_on(
    made: World, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """SIGKILL after each step in turn: every file is here or said to be on the server, and at the end all are gone."""
    url = mlflow_server.url
    content = {"a.txt": b"a", "b/c.txt": b"c"}
    run_id = run_with_files(made, "one", tmp_path, content)
    assert replay_here(made, url).report.complete
    environ = command_environment(made.store.path, LOCALTRACK_REMOTE=url)
    kills = 0
    for nth in range(1, 20):
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(nth)], env=environ, capture_output=True, text=True,
            timeout=COMMAND_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        here, notes = tree(local_root(made, run_id)), notes_of(made.store, run_id)
        client = TrackingClient(made.store.path)
        for path, data in content.items():
            if path in here:
                assert Path(client.download_artifacts(run_id, path)).read_bytes() == data
            else:
                assert notes[path].sha256 == hashlib.sha256(data).hexdigest()
                with pytest.raises(RemovedError):
                    client.download_artifacts(run_id, path)
        if "whole" in done.stdout:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
    assert kills >= 2
    assert list(local_root(made, run_id).rglob("*.*")) == [], "nothing is left aside either"
    assert command(made, "verify", "--to", url).returncode == 0


@pytest.mark.usefixtures("modern_server")
def test_files_of_models_and_of_other_roots_are_read_back_too(
    made: World, mlflow_server: MlflowServer, tmp_path: Path
) -> None:
    """A logged model's files go and its MLmodel stays; a root that is a directory is read back through the server."""
    url, root = mlflow_server.url, tmp_path / "roots"
    root.mkdir()
    outsider(url, "experiments/create", {"name": made.experiment, "artifact_location": str(root)})
    run_id, model_id = model_run(made)
    (tmp_path / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    (tmp_path / "weights.bin").write_bytes(BIG)
    for name in ("MLmodel", "weights.bin"):
        made.client.log_model_artifact(model_id, tmp_path / name)
    log_files(made, run_id, FILES, tmp_path / "files")
    ended = replay_here(made, url)
    assert ended.report.complete, [result.reason for result in ended.report.results.values()]
    here = Path(made.store.artifacts)
    there = [path for path in root.rglob("weights.bin") if path.is_file()]
    there[0].write_bytes(b"\x01" + BIG[1:])
    code, told = gc(made, url, "--delete")
    assert (code, told["files"], told["models"][0]["files"]) == (0, 4, 0), told
    assert tree(local_root(made, run_id)) == {}
    there[0].write_bytes(BIG)
    code, told = gc(made, url, "--delete", "--run", run_id)
    assert (code, told["files"], told["models"][0]["model_id"]) == (0, 1, model_id), told
    assert [path.name for path in here.rglob("*") if path.is_file() and path.name[0] != "."] == ["MLmodel"]
    client = TrackingClient(made.store.path)
    listed = client.list_logged_model_artifacts(model_id)
    assert [(one.path, one.removed_to) for one in listed] == [("MLmodel", None), ("weights.bin", url)]
    assert command(made, "verify", "--to", url).returncode == 0
    shown = command(made, "show", run_id)
    assert "4 files" in shown.stdout


def test_a_run_that_is_resumed_while_it_is_read_back_stays(
    made: World, mlflow_server: MlflowServer, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Something is logged between the first look and the removal: nothing of that run is removed."""
    run_id = run_with_files(made, "one", tmp_path)
    assert replay_here(made, proxy.url).report.complete
    proxy.rule = _resume_at_download(lambda: made.client.log_metric(run_id, "late", 1.0))
    code, told = gc(made, proxy.url, "--delete")
    assert (code, told["files"]) == (0, 0)
    assert told["runs"][0]["reason"] == "it changed while it was read back"
    assert tree(local_root(made, run_id)) == FILES
    assert mlflow_server.url != proxy.url


def _resume_at_download(act: Callable[[], object]) -> Callable[[Seen], Fault]:
    """A rule that does something once, when the first file is read back."""
    waiting = [act]

    def rule(seen: Seen) -> Fault:
        if waiting and seen.what.startswith("GET") and seen.what.endswith("notes.txt"):
            waiting.pop()()
        return Pass()

    return rule


def test_a_second_gc_is_refused(made: World, mlflow_server: MlflowServer, tmp_path: Path) -> None:
    """While one is at work in the store, another one removes nothing and names the first."""
    run_id = run_with_files(made, "one", tmp_path)
    assert replay_here(made, mlflow_server.url).report.complete
    with ReplayLock(str(Path(made.store.path) / "gc.lock"), Holder(7, "h", "now", "gc")):
        done = command(made, "gc", "--delete", "--older-than", "0", LOCALTRACK_REMOTE=mlflow_server.url)
        assert (done.returncode, "process 7 on h" in " ".join(done.stderr.split())) == (1, True)
        with ReplayLock(parse_remote(mlflow_server.url).remote.lock_path(made.store), Holder(8, "h", "now", "sync")):
            assert gc(made, mlflow_server.url)[1]["files"] == 4, "a dry run, and a replay that is open, need no lock"
    assert tree(local_root(made, run_id)) == FILES
