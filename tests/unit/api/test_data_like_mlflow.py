from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.servers.venv import mlflow_python

SCRIPT = Path(__file__).with_name("same_data.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the script saw, in MLflow's own interpreter."""
    tmp_path = tmp_path_factory.mktemp("data")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "LOCALTRACK_", "PYTHON"))}
    done = subprocess.run(
        [str(mlflow_python()), str(SCRIPT)],
        env={**env, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.server
def test_datasets_are_mlflows(answer: Any) -> None:
    """Digest, schema, profile and source of 29 data frames and arrays are to the letter those that MLflow computes."""
    assert answer["ours"] == answer["theirs"]
    assert len(answer["ours"]) == 29


@pytest.mark.server
def test_mlflows_own_objects_can_be_logged(answer: Any) -> None:
    """MLflow's datasets, inputs, outputs, metrics and statuses are taken by every call, and recorded as they are."""
    assert answer["recorded"] == answer["given"]
