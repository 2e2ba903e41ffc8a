"""A real `mlflow server` on 127.0.0.1, as a value that can be started, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import final

from tests.servers.venv import MLFLOW_VERSION, mlflow_python

#: Seconds until a server must answer; the first start also makes some forty database tables.
START_TIMEOUT = 120.0
STOP_TIMEOUT = 15.0

#: What our own machine's settings must not change, and what a test server must not do.
_SERVER_ENV = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "PYTHONUNBUFFERED": "1",
}
_DROPPED_PREFIXES = ("MLFLOW_", "DATABRICKS_", "LOCALTRACK_", "PYTHONPATH", "PYTHONHOME")


def server_environment() -> dict[str, str]:
    """The environment for MLflow's programs: this process's, without settings of trackers."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_DROPPED_PREFIXES)}
    return {**kept, **_SERVER_ENV, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@final
class MlflowServer:
    """One `mlflow server`; a context manager.

    Attributes:
        url: `http://127.0.0.1:PORT`, the same after every restart.
        home: directory of the database (`mlflow.db`) or the file store (`mlruns`), the artifacts and the log
            (`server.log`).
        backend: "sqlite", "file", or the URL of an empty database.
    """

    def __init__(
        self, home: Path, *, version: str = MLFLOW_VERSION, backend: str = "sqlite", port: int | None = None
    ) -> None:
        self.home = home
        self.backend = backend
        self.version = version
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> Path:
        """The SQLite file of the server."""
        return self.home / "mlflow.db"

    @property
    def store(self) -> str:
        """The backend store, as MLflow's --backend-store-uri names it."""
        own = {"sqlite": f"sqlite:///{self.database}", "file": str(self.home / "mlruns")}
        return own.get(self.backend, self.backend)

    @property
    def log(self) -> Path:
        """What the server wrote to its terminal."""
        return self.home / "server.log"

    def start(self) -> MlflowServer:
        """Start it and return when it answers.

        Raises:
            RuntimeError: it ended, or did not answer within START_TIMEOUT; the end of its log is in the message.
        """
        assert self._process is None, "already started"
        self.home.mkdir(parents=True, exist_ok=True)
        extras = ("psycopg2-binary",) if self.backend.startswith("postgresql") else ()
        python = mlflow_python(self.version, extras=extras)
        command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.store]
        command += ["--artifacts-destination", str(self.home / "artifacts")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.home,
                env={**server_environment(), "MLFLOW_ALLOW_FILE_STORE": "true"},  # 3.13 and newer refuse it otherwise
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that the workers end with it
            )
        self._wait_until_it_answers()
        return self

    def stop(self) -> None:
        """End it in good order; kill what does not end within STOP_TIMEOUT. Stopping twice is fine."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL the server and its workers: nothing is flushed, no connection is closed in good order."""
        self._end(signal.SIGKILL)

    def restart(self) -> MlflowServer:
        """Start it again on the same port and file (after `stop` or `kill`)."""
        return self.start()

    def __enter__(self) -> MlflowServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process.pid, how)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait(STOP_TIMEOUT)
        _signal_group(process.pid, signal.SIGKILL)  # workers that outlived it

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT
        pause = threading.Event()  # never set: a pause between two looks
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if _healthy(self.url):
                return
            pause.wait(0.1)
        end = self.log.read_text(errors="replace")[-3000:]
        self.kill()
        raise RuntimeError(f"mlflow server {self.version} did not answer on {self.url}:\n{end}")


def _healthy(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _signal_group(pid: int, how: signal.Signals) -> None:
    try:
        os.killpg(pid, how)
    except ProcessLookupError:
        return
