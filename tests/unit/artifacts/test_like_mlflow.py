from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.servers.venv import mlflow_python

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("same_files.py")
#: Where localtrack answers otherwise, on purpose: (MLflow's code or class, ours).
DIFFERENT = {
    # MLflow raises these without a code, so its default INTERNAL_ERROR stands; the input is at fault.
    "traversal": ("INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"),
    "absolute": ("INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"),
    "not normal": ("INTERNAL_ERROR", "INVALID_PARAMETER_VALUE"),
    # A TrackingError is a ValueError too.
    "table ending": ("ValueError", "INVALID_PARAMETER_VALUE"),
}


def seen(module: str, uri: str, home: Path) -> dict[str, Any]:
    """What the script saw under `module`, in the Python that has MLflow, pandas, Pillow and matplotlib."""
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "LOCALTRACK_", "PYTHON"))
    }
    done = subprocess.run(
        [str(mlflow_python()), str(SCRIPT), module, uri, str(home)],
        env={**env, "HOME": str(home), "PYTHONPATH": str(ROOT), "GIT_PYTHON_REFRESH": "quiet"},
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
def test_the_same_script_leaves_the_same_files(tmp_path: Path) -> None:
    """One script under `import mlflow` and under `import localtrack`: equal names, bytes, tags, lists, refusals."""
    source = tmp_path / "src"
    (source / "a" / "b").mkdir(parents=True)
    (source / "x.txt").write_text("x")
    (source / "a" / "b" / "y.bin").write_bytes(bytes(range(256)) * 300)
    (source / "a" / "link.txt").symlink_to(source / "x.txt")
    (source / "a" / "b" / "cycle").symlink_to(source)
    theirs = seen("mlflow", f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    ours = seen("localtrack", str(tmp_path / "store"), tmp_path)
    for name, (code, own) in DIFFERENT.items():
        assert theirs["outcomes"].pop(name) == code
        assert ours["outcomes"].pop(name) == own
    for part in theirs:
        assert ours[part] == theirs[part], part
