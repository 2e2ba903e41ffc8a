from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.servers.venv import mlflow_python

SCRIPT = Path(__file__).with_name("frame_script.py")
ROOT = Path(__file__).parents[3]


def seen(module: str, uri: str, home: Path) -> dict[str, Any]:
    """What the searches return under `module`."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "LOCALTRACK_", "PYTHON"))
    }
    done = subprocess.run(
        [str(mlflow_python()), str(SCRIPT), module, uri],
        env={**env, "HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.server
def test_frames_have_mlflows_columns(tmp_path: Path) -> None:
    """search_runs and search_logged_models return DataFrames by default, with MLflow's columns, types and values."""
    theirs = seen("mlflow", f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    ours = seen("localtrack", str(tmp_path / "store"), tmp_path)
    for found in (theirs, ours):
        for name in ("runs", "filtered"):
            # MLflow orders the params, metrics and tags by a set; and tags of the surroundings differ.
            found[name]["columns"] = [*found[name]["columns"][:6], *sorted(found[name]["columns"][6:])]
    assert ours == theirs
