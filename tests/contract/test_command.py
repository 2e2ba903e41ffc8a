"""`localtrack sync` where no server is needed: what it says, what it ends with, and whom it leaves alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import localtrack
from localtrack.catalog.entries import JournalEntry, in_trouble
from localtrack.cli.entry import run as localtrack_command
from localtrack.journal.ops import Damage
from localtrack.store import Store
from localtrack_sync.commands.summary import exit_code
from localtrack_sync.store.accounts import accounts_of
from localtrack_sync.store.choice import Choice
from tests.acceptance.worlds import World, world
from tests.servers.faults import Answer
from tests.servers.mlflow_server import free_port
from tests.servers.proxy import FaultProxy


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A store with one run, and an environment that knows nothing but it."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "LOCALTRACK_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOCALTRACK_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = world(tmp_path / "store", "exp")
    found.run("one", 10)
    return found


class Said:
    """What a command ended with and said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
        self.code = localtrack_command(arguments)
        self.out, self.err = capsys.readouterr()

    @property
    def document(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


def test_without_a_remote_it_asks_for_one(made: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has named a server: usage error with an example, nothing is made in the store."""
    said = Said(capsys, "sync")
    assert said.code == 2
    assert "--to http://" in said.err
    assert not list(Path(made.store.sync).glob("*"))


def test_a_dry_run_contacts_nobody(made: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It says per run what would be sent, leaves no trace, and ends with 0."""
    said = Said(capsys, "sync", "--to", f"http://127.0.0.1:{free_port()}", "--dry-run")
    assert said.code == 0
    assert "Nothing was sent" in said.out
    for word in ("one", "exp", "10", "3"):
        assert word in said.out
    assert not list(Path(made.store.sync).glob("*"))
    found = Said(capsys, "sync", "--to", "http://127.0.0.1:1", "--dry-run", "--json").document
    [run] = found["remotes"][0]["runs"]
    assert run["owed_by_kind"] == {"run": 1, "param": 3, "tag": 3, "metric": 10}


def test_a_server_that_is_not_there_leaves_everything_owed(made: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Connection refused: exit 3, what is owed, why, and what to run next; the JSON says the same."""
    url = f"http://127.0.0.1:{free_port()}"
    said = Said(capsys, "sync", "--to", url, "--patience", "0.1")
    assert said.code == 3
    for word in ("Still owed: 17 records", "away", "-> localtrack sync"):
        assert word in said.out
    found = Said(capsys, "sync", "--to", url, "--patience", "0.1", "--json")
    assert (found.code, found.document["exit_code"]) == (3, 3)
    assert found.document["remotes"][0]["runs"][0]["owed"] == 17
    assert found.document["remotes"][0]["new"]["records"] == 0
    [account] = accounts_of(made.store)
    assert (account.owed, account.total, account.delivered) == (17, 17, 0)
    assert str(account.remote) == url


def test_something_that_is_no_mlflow_server_is_left_at_once(made: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A web server without MLflow's API: nothing is sent to it twice, and the words say what it looks like."""
    with FaultProxy(free_port(), lambda _: Answer(404, b"<html>not here</html>")) as proxy:
        said = Said(capsys, "sync", "--to", proxy.url)
        assert said.code == 3
        assert "does not look like an MLflow server" in said.out
        assert not proxy.count("runs/create")
    assert made.store.path


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--to", "ftp://x"], 1, "http"),
        (["--to", "databricks"], 1, "no host is configured"),
        (["--run", "zzz", "--to", "http://127.0.0.1:1"], 2, "No run begins with"),
        (["--experiment", "zzz", "--to", "http://127.0.0.1:1"], 2, "No run belongs"),
        (["--connections", "0"], 2, "connections"),
        (["--nonsense"], 2, "nonsense"),
    ],
)
def test_mistakes_are_explained(
    made: World, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, word: str
) -> None:
    """Exit code 1 or 2, one message, no traceback."""
    del made
    said = Said(capsys, "sync", *arguments)
    assert said.code == code
    assert word in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", ["MLFLOW_HTTP_REQUEST_TIMEOUT", "LOCALTRACK_SETTLE_SECONDS", "LOCALTRACK_CONNECTIONS"])
def test_a_bad_setting_is_named(
    made: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A setting that is no number is an error that names it."""
    del made
    monkeypatch.setenv(name, "soon")
    said = Said(capsys, "sync", "--to", "http://127.0.0.1:1")
    assert said.code in (1, 2)
    assert name in said.err


def test_a_missing_store_is_an_error(
    made: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped path must not look like "all delivered"."""
    monkeypatch.setenv("LOCALTRACK_STORE", made.store.path + "x")
    said = Said(capsys, "sync", "--to", "http://127.0.0.1:1")
    assert said.code == 1
    assert "no store" in said.err


def log_for(tmp_path: Path, remote: str) -> str:
    """Log a run in a script that was written for a server; returns its id."""
    localtrack.set_tracking_uri(remote)
    with localtrack.start_run() as run:
        localtrack.log_metric("m", 1.0)
    localtrack.set_tracking_uri(None)
    del tmp_path
    return str(run.info.run_id)


def test_a_run_goes_where_its_script_meant_it_to(
    made: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """set_tracking_uri(http...) in the script is enough: `localtrack sync` needs no --to for that run."""
    remote = f"http://127.0.0.1:{free_port()}"
    run_id = log_for(tmp_path, remote)
    found = Said(capsys, "sync", "--dry-run", "--json").document
    assert [(one["remote"], [run["run_id"] for run in one["runs"]]) for one in found["remotes"]] == [(remote, [run_id])]
    assert [left["remote"] for left in found["left"]] == [None]
    assert {account.trusted for account in accounts_of(made.store) if account.remote} == {True}


def test_a_foreign_journal_does_not_direct_my_credentials(
    made: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that somebody else wrote names a server: it hears nothing from us without --to; the exit code is 3."""
    with FaultProxy(free_port(), lambda _: Answer(404, b"")) as thief:
        log_for(tmp_path, thief.url)
        monkeypatch.setenv("HOME", str(tmp_path / "another user"))
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
        said = Said(capsys, "sync", "--experiment", "Default")
        assert said.code == 3
        assert "not written by you" in " ".join(said.out.split())
        assert thief.url in said.out
        assert thief.seen == []
    assert [account.trusted for account in accounts_of(made.store) if account.remote] == [False]


def test_a_busy_remote_does_not_keep_another_waiting(
    made: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of two remotes is locked by another sync: the other one is served, and the exit code is 1."""
    from localtrack_sync.remote.remotes import parse_remote
    from localtrack_sync.store.lock import Holder, ReplayLock

    busy, other = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    log_for(tmp_path, busy)
    log_for(tmp_path, other)
    with ReplayLock(parse_remote(busy).remote.lock_path(made.store), Holder(1, "h", "s", "c")):
        said = Said(capsys, "sync", "--patience", "0.1")
    assert said.code == 1
    assert "process 1 on h" in said.err
    assert other in said.out


def test_what_cannot_be_read_is_not_called_delivered() -> None:
    """Damage and unreadable journals end a replay with 4; a journal that its process left empty does not."""
    trouble = [
        JournalEntry("a.db", "j", damage=(Damage(3, 4, "checksum"),)),
        JournalEntry("b.db", None, error="journal b.db cannot be read: file is not a database"),
    ]
    fine = [
        JournalEntry("c.db", "j", sealed=True),
        JournalEntry("d.db", None, error="journal d.db is empty: its process died before it logged anything"),
        JournalEntry("", "j", error="the file is gone"),
    ]
    assert [exit_code(Choice(), [], [one] if in_trouble(one) else []) for one in trouble] == [4, 4]
    assert not any(in_trouble(one) for one in fine)


def test_the_books_of_an_empty_store(tmp_path: Path) -> None:
    """A store without runs owes nothing to anybody."""
    assert accounts_of(Store.at(tmp_path / "none"), {}) == []
