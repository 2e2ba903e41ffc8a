"""Read a real server through MLflow's own client, in a process of its own (the tests' venv has no MLflow)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, final

from tests.servers.mlflow_server import server_environment
from tests.servers.venv import MLFLOW_VERSION, mlflow_python


@final
class MlflowReader:
    """A running MLflow client; a context manager. `dump` may be asked as often as one likes, of any server."""

    def __init__(self, *, version: str = MLFLOW_VERSION) -> None:
        self._process = subprocess.Popen(
            [str(mlflow_python(version)), str(Path(__file__).with_name("dump_script.py"))],
            env=server_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def dump(self, url: str, experiments: list[str] | None = None) -> dict[str, Any]:
        """What the server at `url` holds, by experiment name (all experiments, or the named ones).

        {name: {experiment_id, lifecycle_stage, tags, runs: [RUN, ...]}}, where RUN is {run_id, name, user_id, status,
        start_time, end_time, lifecycle_stage, params, tags, latest: {key: repr(value)},
        points: {key: sorted [timestamp, step, repr(value)]}}.

        Raises:
            RuntimeError: MLflow's client raised; its words are in the message.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"url": url, "experiments": experiments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the reader process ended"}
        if "error" in answer:
            raise RuntimeError(f"reading {url} through MLflow's client: {answer['error']}")
        read: dict[str, Any] = answer["read"]
        return read

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)

    def __enter__(self) -> MlflowReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
