"""A home of its own for each test: no variable of the machine, no store but the test's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import localtrack
from localtrack.service import Service
from localtrack.settings import load
from localtrack.store import Store


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Environment of a new user; what code under test exports is undone too."""
    for name in {*os.environ, "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"}:
        if name.startswith(("MLFLOW_", "LOCALTRACK_", "XDG_")):
            monkeypatch.setenv(name, "")  # so that the value is restored, whatever happens to it
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def service(home: Path) -> Service:
    """A service on a store of its own, with a clock that stands still."""
    return Service(Store.at(home / "store"), load({"HOME": str(home)}), clock=lambda: 1_700_000_000_000)


@pytest.fixture
def store_path(home: Path) -> Iterator[str]:
    """The module functions log to this store; nothing is active before or after the test."""
    path = str(home / "store")
    localtrack.set_tracking_uri(path)
    yield path
    while localtrack.active_run() is not None:
        localtrack.end_run()
    localtrack.set_experiment("Default")
    localtrack.set_tracking_uri(None)
