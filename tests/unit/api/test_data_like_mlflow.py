from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.servers.venv import mlflow_python

SCRIPT = Path(__file__).with_name("same_data.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.server
def test_datasets_are_mlflows(tmp_path: Path) -> None:
    """Digest, schema, profile and source of 29 data frames and arrays are to the letter those that MLflow computes."""
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
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["ours"] == answer["theirs"]
    assert len(answer["ours"]) == 29
