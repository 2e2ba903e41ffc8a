"""`localtrack query` on real stores, and the clock of the command line."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlite_utils
from freezegun import freeze_time

from localtrack import TrackingClient
from localtrack.catalog.catalog import Catalog
from localtrack.cli.entry import run
from localtrack.store import Store

START_MS = 1_700_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with one run."""
    client = TrackingClient(str(tmp_path / "store"))
    run_id = client.create_run("0", run_name="first", start_time=START_MS).info.run_id
    client.log_param(run_id, "lr", 0.1)
    client.set_terminated(run_id, "FINISHED", START_MS + 90_000)
    return tmp_path / "store"


def test_a_question_sees_what_was_logged_just_now(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The catalog is brought up to date before it is asked."""
    assert run(["query", "SELECT name, status FROM run", "--store", str(store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == [{"name": "first", "status": "FINISHED"}]


def test_a_table_for_people(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json rows come as a table, and no rows as nothing."""
    assert run(["query", "SELECT name, NULL AS empty, 5 AS five FROM run", "--store", str(store)]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["name", "empty", "five"],
        ["first", "5"],
    ]
    assert run(["query", "SELECT name FROM run WHERE 0", "--store", str(store)]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("sql", ["DELETE FROM run", "SELEC", "", "DROP TABLE run", "SELECT 1; SELECT 2"])
def test_nothing_but_a_question_is_answered(store: Path, sql: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no SELECT, or no SQL, is an error with advice, and changes nothing."""
    assert run(["query", sql, "--store", str(store)]) == 1
    assert "docs/catalog.md" in capsys.readouterr().err
    with Catalog(Store.at(store)) as catalog:
        assert len(catalog.run_index()) == 1


def test_other_tools_read_the_catalog(store: Path) -> None:
    """The catalog is an ordinary SQLite file: sqlite-utils lists its tables and reads them."""
    run(["query", "SELECT 1", "--store", str(store)])
    database = sqlite_utils.Database(store / "catalog.db")
    assert {"run", "experiment", "metric"} <= set(database.table_names())
    assert [row["name"] for row in database["run"].rows] == ["first"]
    database.close()


def test_ages_are_told_by_the_clock(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`status` says how long the oldest owed record has waited, by the clock of the one who asks."""
    half_an_hour_on = datetime.now(tz=timezone.utc) + timedelta(minutes=30, seconds=5)
    with freeze_time(half_an_hour_on):
        assert run(["status", "--store", str(store)]) == 0
    assert "oldest 30 min ago" in capsys.readouterr().out
