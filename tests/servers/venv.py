"""A virtual environment with one version of MLflow, made once and kept under `.cache/` (demo and tests use it)."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

#: The version that the promises are tested against.
MLFLOW_VERSION = "3.17.2"
CACHE = Path(__file__).resolve().parents[2] / ".cache"
#: Seconds: a download over a slow line, not a hang.
INSTALL_TIMEOUT = 1200
#: 2.22 with a SQL store fails to import with SQLAlchemy 2.1.
EXTRA_PINS = {"2.22.0": ("sqlalchemy<2.1",)}


def mlflow_python(version: str = MLFLOW_VERSION, cache: Path = CACHE, extras: Sequence[str] = ()) -> Path:
    """Path of the Python that has `mlflow==version`; makes the virtual environment when it is missing (about 70 s).

    Several processes may ask at once: one makes it, the others wait for it.

    Args:
        version: of MLflow.
        cache: where the virtual environments are.
        extras: further packages, installed when they are missing.

    Raises:
        RuntimeError: pip failed; its last lines are in the message.
    """
    home = cache / f"mlflow-{version}"
    python, ready = home / "bin" / "python", home / ".ready"
    missing = [extra for extra in extras if not (home / f".ready-{extra}").exists()]
    if ready.exists() and not missing:
        return python
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"mlflow-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(home, ignore_errors=True)  # what an interrupted earlier try left behind
            _run([sys.executable, "-m", "venv", str(home)])
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, f"mlflow=={version}", *EXTRA_PINS.get(version, ())])
            ready.touch()
        for extra in missing:
            _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", extra])
            (home / f".ready-{extra}").touch()
    return python


def _run(command: list[str]) -> None:
    env = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}:\n{last}")
