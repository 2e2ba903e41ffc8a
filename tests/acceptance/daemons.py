"""Daemons for acceptance tests: the loop in a thread of this process, or the real command; both with short pauses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from localtrack.store import Store
from localtrack_sync.daemon import facts_file
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing
from localtrack_sync.daemon.running import running
from localtrack_sync.daemon.service import serve
from localtrack_sync.shell.replay import Stop
from localtrack_sync.store.accounts import accounts_of
from tests.acceptance.harness import COMMAND, command_environment
from tests.acceptance.worlds import World
from tests.journal.processes import wait_for

#: Seconds that a test waits for something that has to come.
PATIENCE_S = 60.0
#: Pauses of the daemons of these tests, seconds.
SETTINGS = DaemonSettings((), poll_seconds=5.0, artifact_scan_seconds=1.0, retry_cap_seconds=1.0, stop_seconds=5.0)
#: The same for a process, and how long the remote may take to execute what was not answered.
VARIABLES = {
    "LOCALTRACK_DAEMON_POLL_SECONDS": "5",
    "LOCALTRACK_DAEMON_ARTIFACT_SCAN_SECONDS": "1",
    "LOCALTRACK_DAEMON_RETRY_CAP_SECONDS": "1",
    "LOCALTRACK_SETTLE_SECONDS": "0.5",
    "LOCALTRACK_CONFIG": os.devnull,
}

TRAINER = """
import os, signal, sys, time
import localtrack
client = localtrack.TrackingClient(os.environ.get("MLFLOW_TRACKING_URI"))
name, points, end = sys.argv[1], int(sys.argv[2]), sys.argv[3]
found = client.get_experiment_by_name(name)
experiment_id = found.experiment_id if found else client.create_experiment(name)
run_id = client.create_run(experiment_id, run_name="trained").info.run_id
for step in range(points):
    client.log_metric(run_id, "loss", 1.0 / (step + 1), timestamp=1_700_000_000_000 + step, step=step)
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
client.set_terminated(run_id, "FINISHED")
"""


def until(true: Callable[[], object], what: str = "", seconds: float = PATIENCE_S) -> None:
    """Wait until something is true; raises AssertionError when it is not, in time."""
    wait_for(true, seconds, what)


@dataclass
class Loop:
    """The daemon's loop in a thread; it is what the loop's log and supervisor are, too.

    Attributes:
        said: level, event and facts of each line.
        lines: summaries, as systemd would show them.
        code: what `serve` came back with, None before.
    """

    settings: DaemonSettings
    environ: Mapping[str, str]
    stop: Stop = field(default_factory=Stop)
    said: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    code: int | None = None
    signs: int = 0
    is_ready: bool = False

    def log(self, level: str, event: str, **facts: object) -> None:
        """One line."""
        self.said.append((level, event, facts))

    def ready(self) -> None:
        """The loop runs."""
        self.is_ready = True

    def alive(self) -> None:
        """A sign of life."""
        self.signs += 1

    def status(self, line: str) -> None:
        """A new summary."""
        self.lines.append(line)

    def run(self) -> None:
        """To its end."""
        self.code = serve(self.settings, self.environ, self.log, self.stop, self)


@contextmanager
def loop(*stores: Store, settings: DaemonSettings = SETTINGS, **environ: str) -> Iterator[Loop]:
    """A daemon's loop for these stores, told to stop at the end; its environment has nothing of this user's."""
    one = Loop(
        replace(settings, stores=tuple(store.path for store in stores)),
        {**command_environment(stores[0].path), **VARIABLES, **environ},
    )
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        yield one
    finally:
        one.stop.request()
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), "it does not stop"


@contextmanager
def process(*stores: Store, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """`localtrack daemon run`, once it holds its locks; killed at the end if it is still there."""
    options = [word for store in stores for word in ("--store", store.path)]
    with start(*options, store=stores[0], **environ) as child:
        try:
            until(lambda: child.poll() is not None or running(stores[0]), "a daemon")
            yield child
        finally:
            child.kill()


def start(*options: str, store: Store, **environ: str) -> subprocess.Popen[str]:
    """The real command, as it starts; its log goes to `daemon.log` beside the store."""
    with Path(store.path).with_name("daemon.log").open("a") as log:
        return subprocess.Popen(
            [*COMMAND, "daemon", "run", *options],
            env={**command_environment(store.path), **VARIABLES, **environ},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


def end(child: subprocess.Popen[str]) -> int:
    """SIGTERM; how it ended."""
    child.send_signal(signal.SIGTERM)
    return child.wait(PATIENCE_S)


def train(store: Store, experiment: str, points: int, how: str = "finished", **environ: str) -> int:
    """A training of its own, in a process that ends or is killed; its exit code."""
    environment = {**command_environment(store.path), "LOCALTRACK_CONFIG": os.devnull, **environ}
    return subprocess.run(
        [sys.executable, "-c", TRAINER, experiment, str(points), how], env=environment, check=False, timeout=PATIENCE_S
    ).returncode


def facts(store: Store) -> DaemonFacts | None:
    """What the daemon of a store says."""
    return facts_file.read(store)


def remote_facts(store: Store, url: str) -> RemoteFacts | None:
    """What it says of one remote."""
    told = facts(store)
    return next((one for one in told.remotes if one.url == url), None) if told is not None else None


def stands(store: Store, url: str, standing: Standing) -> bool:
    """Whether it says this of the remote."""
    told = remote_facts(store, url)
    return told is not None and told.standing is standing


def owed(store: Store, url: str) -> int | None:
    """Records that are owed to a remote; None: the store does not know it."""
    environ = {**command_environment(store.path), **VARIABLES, "LOCALTRACK_REMOTE": url}
    return next((a.owed for a in accounts_of(store, environ) if a.remote is not None and a.remote.url == url), None)


def delivered(store: Store, url: str) -> bool:
    """Whether the books say that nothing is owed."""
    return owed(store, url) == 0


def status(made: World, **environ: str) -> dict[str, Any]:
    """`localtrack status --json`."""
    done = subprocess.run(
        [*COMMAND, "status", "--json"], env={**command_environment(made.store.path), **VARIABLES, **environ},
        capture_output=True, text=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found
