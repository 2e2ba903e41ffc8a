"""A daemon that a training process has started: it outlives its job, finishes the work, and ends by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack_sync.daemon.running import running
from tests.acceptance.daemons import VARIABLES, until
from tests.acceptance.harness import command_environment, compared
from tests.acceptance.worlds import world
from tests.servers.mlflow_server import MlflowServer
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server

JOB = """
import signal
import localtrack
localtrack.autostart(linger=3.0)
localtrack.set_experiment("experiment")
with localtrack.start_run(run_name="cut short"):
    for step in range(200):
        localtrack.log_metric("loss", 1.0 / (step + 1), step=step)
    print("logged", flush=True)
    signal.pause()
"""


def test_a_job_that_is_killed_with_its_whole_group(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """The daemon that it started delivers the rest, ends the run as KILLED, and then ends itself."""
    made = world(tmp_path / "store", "experiment")
    environ = {
        **command_environment(made.store.path),
        **VARIABLES,
        "HOME": str(tmp_path),
        "LOCALTRACK_REMOTE": mlflow_server.url,
        "LOCALTRACK_DAEMON_DEAD_RUN_GRACE_SECONDS": "1",
    }
    job = subprocess.Popen(
        [sys.executable, "-c", JOB], env=environ, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with job:
        assert job.stdout is not None
        assert job.stdout.readline() == "logged\n"
        until(lambda: running(made.store) is not None, "the daemon")
        os.killpg(job.pid, signal.SIGKILL)
    until(lambda: running(made.store) is None, "its end", 90)
    with Catalog(made.store) as catalog:
        [run] = catalog.run_index()
    assert (run.status, run.points) == ("KILLED", 200)
    assert compared(made, mlflow_reader, mlflow_server.url) == []
    log = Path(made.store.sync) / "daemon.log"
    assert "idle" in log.read_text(encoding="utf-8")
    assert log.stat().st_mode & 0o777 == 0o600
