"""`localtrack doctor` on real stores, as people and programs call it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localtrack import TrackingClient
from localtrack.cli.entry import run
from localtrack.cli.table import cells
from localtrack.store import Store
from localtrack_sync.checkup.finding import Finder, Finding
from localtrack_sync.checkup.local_kinds import DAEMON, MACHINE, STORE
from localtrack_sync.checkup.look_daemon import held_by, look_at_daemon
from localtrack_sync.checkup.remote_kinds import REMOTE
from localtrack_sync.commands.doctor_report import report
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.state import StateDb
from tests.servers.mlflow_server import MlflowServer, free_port

TOKEN = "tok-0123456789abcdef"  # noqa: S105 - of a test
HOLD = """
import fcntl, json, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
who = {"pid": os.getpid(), "host": "node7", "since": "noon", "command": "localtrack daemon run"}
os.pwrite(handle, json.dumps(who).encode(), 0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with one run, in an environment that names no server."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "LOCALTRACK_", "DATABRICKS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LOCALTRACK_STORE", str(tmp_path / "store"))
    client = TrackingClient(str(tmp_path / "store"))
    one = client.create_run(client.create_experiment(f"doctor {tmp_path.name}"), run_name="first").info.run_id
    client.log_metric(one, "loss", 1.0)
    client.set_terminated(one)
    return tmp_path / "store"


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What `localtrack doctor --json` prints; the exit code is the one that it tells."""
    capsys.readouterr()
    code = run(["doctor", *arguments, "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == code
    return told


def amiss(capsys: pytest.CaptureFixture[str], *arguments: str) -> set[str]:
    """Ids of warnings and problems, but for those that depend on the machine that runs the tests."""
    ours = {"disk-space-low", "disk-inodes-low", "open-files-low", "inotify-watches-low", "inotify-instances-low"}
    found = document(capsys, *arguments)["findings"]
    return {one["id"] for one in found if one["level"] in ("warning", "problem")} - ours


def ids(capsys: pytest.CaptureFixture[str], *arguments: str) -> set[str]:
    """Ids of everything that is found."""
    return {one["id"] for one in document(capsys, *arguments)["findings"]}


@pytest.mark.usefixtures("store")
def test_a_store_that_nobody_has_touched_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """What localtrack makes is as it should be: closed to others, readable, without leftovers."""
    assert amiss(capsys) == set()
    found = ids(capsys)
    assert {"store-permissions", "journals", "catalog", "owed", "no-remote", "daemon-stopped", "versions"} <= found
    assert "leftovers" not in found


@pytest.mark.server
@pytest.mark.usefixtures("store")
def test_after_a_sync_the_server_needs_no_attention(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, mlflow_server: MlflowServer
) -> None:
    """A real server, all delivered: exit code 0; without --to a server that no run names is not contacted."""
    assert run(["sync", "--to", mlflow_server.url]) == 0
    assert "remote-unnamed" in ids(capsys)
    assert amiss(capsys, "--to", mlflow_server.url) == set()
    monkeypatch.setenv("LOCALTRACK_REMOTE", mlflow_server.url)
    found = ids(capsys)
    assert {"server", "reachable", "nothing-owed", "delivery-states"} <= found
    assert "remote-unnamed" not in found


@pytest.mark.usefixtures("store")
def test_a_server_that_is_away_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with 4, says that everything waits on this disk, and what to look at."""
    url = f"http://127.0.0.1:{free_port()}"
    assert amiss(capsys, "--to", url) == {"remote-away"}
    run(["doctor", "--to", url])
    told = capsys.readouterr().out
    assert "everything waits on this disk" in told
    assert "WARNING  The server does not answer." in told
    assert amiss(capsys, "--to", url, "--offline") == set()


@pytest.mark.usefixtures("store")
def test_a_token_never_appears(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it comes from does; neither form of output shows it, nor user and password of an address or a proxy."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", TOKEN)
    monkeypatch.setenv("HTTP_PROXY", f"http://someone:passw0rd@127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for arguments in (["--to", "http://tracking.invalid"], ["--to", f"http://ada:l0velace@127.0.0.1:{free_port()}"]):
        for form in ([], ["--json"], ["--offline"]):
            run(["doctor", *arguments, *form])
            told = "".join(capsys.readouterr())
            assert told
            assert [word for word in (TOKEN, "passw0rd", "l0velace") if word in told] == []
    run(["doctor", "--offline", "--to", "http://tracking.invalid"])
    assert "credentials from MLFLOW_TRACKING_TOKEN" in capsys.readouterr().out


def test_wrong_permissions_are_found_and_the_advice_cures_them(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Directories and files that are open to others are named; after the advice there is nothing to find."""
    store.chmod(0o755)
    (store / "catalog.db").touch(0o644)
    assert amiss(capsys) == {"store-readable-by-others"}
    (store / "journals").chmod(0o777)
    assert amiss(capsys) == {"store-writable-by-others"}
    [found] = [one for one in document(capsys)["findings"] if one["id"] == "store-writable-by-others"]
    assert "journals" in found["detail"]
    subprocess.run(found["advice"].split(), check=True)
    assert amiss(capsys) == set()


def test_a_store_that_does_not_exist_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped path ends with 4, and the rest is looked at all the same."""
    assert amiss(capsys, "--store", str(tmp_path / "nowhere"), "--offline") == {"store-missing"}
    assert not (tmp_path / "nowhere").exists()


def test_files_that_cannot_be_used_are_named(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A journal that is none, a newer catalog, delivery states that are damaged or newer, leftovers."""
    (store / "journals" / "broken.db").write_bytes(b"no journal" * 100)
    (store / "journals" / "notes.txt").write_text("mine")
    assert amiss(capsys) == {"journal-unreadable"}
    assert "leftovers" in ids(capsys)
    StateDb(str(store / "sync" / "a.db"), Remote("http://a")).close()
    (store / "sync" / "b.db").write_bytes(b"no database" * 100)
    assert amiss(capsys) == {"journal-unreadable", "delivery-state-unusable"}
    with sqlite3.connect(store / "sync" / "a.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert amiss(capsys) == {"journal-unreadable", "delivery-state-unusable", "delivery-state-newer"}
    with sqlite3.connect(store / "catalog.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert amiss(capsys) == {"catalog-newer", "delivery-state-unusable", "delivery-state-newer"}


@pytest.mark.usefixtures("store")
def test_a_remote_that_only_a_journal_names_is_not_contacted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `localtrack sync` refuses it: a run's server counts only when this user's key proves the choice."""
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    TrackingClient(url).create_run("0")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert amiss(capsys) == {"remote-away"}
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "another user"))
    assert amiss(capsys) == {"remote-untrusted"}
    assert amiss(capsys, "--to", url) == {"remote-away"}


@pytest.mark.usefixtures("store")
def test_addresses_that_are_none(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad LOCALTRACK_REMOTE is a finding, a bad --to an error, a bad setting an error; none shows a password."""
    monkeypatch.setenv("LOCALTRACK_REMOTE", "ftp://ada:l0velace@example")
    assert amiss(capsys) == {"remote-unusable"}
    run(["doctor"])
    assert "l0velace" not in "".join(capsys.readouterr())
    assert run(["doctor", "--to", "ftp://ada:l0velace@example"]) == 1
    assert "l0velace" not in "".join(capsys.readouterr())
    monkeypatch.setenv("LOCALTRACK_REMOTE", "")
    monkeypatch.setenv("LOCALTRACK_CONNECTIONS", "many")
    assert run(["doctor"]) == 2


def test_an_identity_key_that_is_open_to_others(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It proves nothing any more, which is said."""
    key = store.parent / "config" / "localtrack" / "identity.key"
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text("0" * 64)
    key.chmod(0o644)
    assert amiss(capsys) == {"identity-key-open"}


def test_a_running_daemon_is_seen_by_the_lock_that_it_holds(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While a real process holds the lock it is named; once it is killed there is none, whatever the file says."""
    lock = store / "sync" / "daemon.lock"
    assert held_by(str(lock)) == (None, "")
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        [found] = [one for one in document(capsys)["findings"] if one["id"] == "daemon-running"]
        assert found["detail"] == f"it runs as process {child.pid} on node7 since noon (localtrack daemon run)"
        child.kill()
    assert "daemon-stopped" in ids(capsys)
    assert b"node7" in lock.read_bytes()


def test_what_a_daemon_needs_of_the_system(store: Path, tmp_path: Path) -> None:
    """Limits of inotify, systemd, lingering and an installed unit are read where the system keeps them."""
    system, here = tmp_path / "system", Store.at(store)
    environ = {"HOME": str(tmp_path)}
    bare = look_at_daemon(here, environ, events=True, system=str(system))
    assert (bare.watches, bare.instances, bare.systemd, bare.linger, bare.service) == (None, None, False, False, False)
    inotify = system / "proc" / "sys" / "fs" / "inotify"
    for directory in (inotify, system / "run" / "systemd" / "system", tmp_path / ".config" / "systemd" / "user"):
        directory.mkdir(parents=True)
    (inotify / "max_user_watches").write_text("1234\n")
    (inotify / "max_user_instances").write_text("12\n")
    (tmp_path / ".config" / "systemd" / "user" / "localtrack.service").touch()
    found = look_at_daemon(here, environ, events=True, system=str(system))
    assert (found.watches, found.instances, found.systemd, found.linger, found.service) == (1234, 12, True, False, True)
    assert found.directories >= 2


@pytest.mark.parametrize("width", [60, 100])
def test_the_report_fits_the_width_and_ends_with_the_problems(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    """No line is wider, but for words that cannot be broken; warnings come after notes, problems after warnings."""
    values = {"path": "/a/store", "url": "http://a", "hint": "Do this.", "wanted": "1"}
    findings: list[Finding] = [
        Finder(kinds, remote)(kind, "What was seen, with a few particulars that make it long enough to wrap.", **values)
        for kinds, remote in ((MACHINE, ""), (STORE, ""), (DAEMON, ""), (REMOTE, "http://tracking.example:5000"))
        for kind in kinds
    ]
    report(findings, width)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if cells(line) > width and "MLFLOW_TRACKING_SERVER_CERT_PATH" not in line] == []
    kinds = [word for line in lines for word in ("note", "WARNING", "PROBLEM") if line.strip().startswith(word + "  ")]
    assert kinds == sorted(kinds, key=["note", "WARNING", "PROBLEM"].index)
    assert any("problems, " in line for line in lines[-2:]), "the sum stands last"
