"""Programs of their own for the journal tests: real processes, bounded waits."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

_PRELUDE = """
import os, signal, sys, threading, time
from localtrack.entities import Metric, Param, RunTag
from localtrack.journal import ops
from localtrack.journal.writer import Journal, journal_of
from localtrack.store import Store
RUN = "0123456789abcdef0123456789abcdef"
CREATE = ops.RunCreate(RUN, "0", "a run", "someone", 1_700_000_000_000)
store = Store.at(sys.argv[1])
"""


def run(
    script: str, *arguments: object, options: tuple[str, ...] = (), status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a script that logs into the store argv[1]; `status` is what it must end with."""
    command = [sys.executable, *options, "-c", _PRELUDE + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a script in a process group of its own; its stdout is a pipe."""
    command = [sys.executable, "-c", _PRELUDE + script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition: Callable[[], object], seconds: float = 30.0, what: str = "") -> None:
    """Look until it holds; fail after `seconds`; `what` names it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what or condition} did not happen in time"
        time.sleep(0.01)  # a bounded look at another process, not a guess how long it takes
