from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers.venv import mlflow_python

SCRIPT = Path(__file__).with_name("same_script.py")
#: Where localtrack answers otherwise, on purpose: (MLflow's error code, ours).
DIFFERENT = {
    # MLflow's client raises these two without a code, so its default INTERNAL_ERROR stands; the input is at fault.
    "start deleted run": ("INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"),
    "start under deleted run": ("INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"),
    "lists of unequal length": ("INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"),
}


def seen(python: Path, module: str, uri: str, home: Path) -> dict[str, Any]:
    """What the script saw under `module`."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "LOCALTRACK_", "PYTHON"))
    }
    done = subprocess.run(
        [str(python), str(SCRIPT), module, uri],
        env={**env, "HOME": str(home)},
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
def test_the_same_script_does_the_same(tmp_path: Path) -> None:
    """One script under `import mlflow` (SQLite store) and `import localtrack as mlflow`: equal runs, equal refusals."""
    theirs = seen(mlflow_python(), "mlflow", f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    ours = seen(Path(sys.executable), "localtrack", str(tmp_path / "store"), tmp_path)
    expected = dict(theirs["outcomes"])
    for name, (code, own) in DIFFERENT.items():
        assert expected[name] == code
        expected[name] = own
    assert ours["outcomes"] == expected
    assert ours["store"] == theirs["store"]
