"""A script that uses every operation offline, replayed twice; `localtrack verify` reads all of it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import COMMAND, command_environment
from tests.servers.mlflow_server import MlflowServer

ROOT = Path(__file__).parents[2]
#: Seconds: thousands of points, some fifty files.
TIMEOUT = 240


def logged(tmp_path: Path) -> str:
    """A store in which demo/everything.py has used every operation."""
    store = str(tmp_path / "store")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "demo.everything"],
        env={**command_environment(store), "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "sync")])},
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return store


def told(store: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a command."""
    done = subprocess.run(
        [*COMMAND, *arguments, "--json"], env=command_environment(store), capture_output=True, text=True,
        timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.server
@pytest.mark.usefixtures("modern_server", "sql_server")
def test_everything_that_was_logged_offline_arrives_and_verify_says_so(
    tmp_path: Path, mlflow_server: MlflowServer
) -> None:
    """Every operation, offline: replayed twice, the second time with nothing new, and `verify` finds all equal."""
    store = logged(tmp_path)
    code, first = told(store, "sync", "--to", mlflow_server.url)
    assert code == 0, first
    code, second = told(store, "sync", "--to", mlflow_server.url)
    assert (code, second["remotes"][0]["new"]["records"]) == (0, 0)
    code, read = told(store, "verify", "--to", mlflow_server.url)
    assert code == 0, read
    assert read["remotes"][0]["different"] == read["remotes"][0]["unverified"] == 0
    assert read["remotes"][0]["equal"] == len(read["remotes"][0]["runs"]) >= 14


@pytest.mark.server
def test_everything_but_logged_models_arrives_on_a_server_without_them(tmp_path: Path) -> None:
    """On MLflow 2.22 what needs logged models is parked, by name and with the reason; everything else is equal."""
    store = logged(tmp_path)
    with MlflowServer(tmp_path / "server", version="2.22.0") as server:
        code, first = told(store, "sync", "--to", server.url)
        assert code == 3, first
        code, second = told(store, "sync", "--to", server.url)
        assert (code, second["remotes"][0]["new"]["records"]) == (3, 0)
        code, read = told(store, "verify", "--to", server.url)
    assert code == 4, read
    assert read["remotes"][0]["different"] == read["remotes"][0]["unverified"] == 0
    found = [one for run in read["remotes"][0]["runs"] for one in run["findings"] if one["standing"] == "known"]
    assert found
    assert all("no logged models" in one["reason"] for one in found), found
