"""Trainers as processes of their own, which do what they are told line by line, and die when they are killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.acceptance.harness import command_environment

_SCRIPT = """
import os, sys
import localtrack
localtrack.set_tracking_uri(sys.argv[1])
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Trainer:
    """A process that logs to a store through the public functions; a context manager that kills it in the end.

    Args:
        store: path of the store.
    """

    def __init__(self, store: Path | str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(store)], env=command_environment(str(store)), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def does(self, line: str) -> str:
        """Have it run one line; returns what that printed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        printed = []
        while (said := self.process.stdout.readline()) != "done\n":
            assert said, "the trainer died"
            printed.append(said.strip())
        return "".join(printed)

    def starts(self, run_id: str = "") -> str:
        """Have it start a run, or go on with one, and log a point; returns the run's id."""
        self.does(f"run = localtrack.start_run(run_id={run_id or None!r})")
        self.does("localtrack.log_metric('loss', 1.0, step=0)")
        return self.does("print(run.info.run_id)")

    def kill(self) -> None:
        """SIGKILL, to this process alone."""
        self.process.kill()
        self._reap()

    def ends(self) -> None:
        """It comes to the end of its script: its runs end, its journal is closed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._reap()

    def _reap(self) -> None:
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def __enter__(self) -> Trainer:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.kill()
