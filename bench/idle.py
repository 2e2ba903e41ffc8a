"""What the daemon costs while nothing happens: 1,000 journals that were delivered long ago, half of them left open."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import backlog
from bench.daemons import DaemonProcess
from bench.null_server import NullServer
from bench.scale import row, until
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store

SEALED, KILLED, LIVING = 500, 495, 5
SECONDS = float(os.environ.get("BENCH_IDLE_SECONDS", "60"))
#: Seconds after the last delivery until all of it is noted in the delivery state, 20 runs a second.
NOTED_S = (SEALED + KILLED + LIVING) / 20 + 30.0
#: Seconds after the start of a daemon that has nothing to do, until it is quiet.
BEGUN_S = 20.0


def rows() -> list[dict[str, Any]]:
    """The rows of this benchmark."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIRECTORY")) as directory, NullServer() as server:
        store = Path(directory) / "store"
        backlog.write(store, SEALED, 20)
        _left_open(store, KILLED, die=True).wait()
        living = [_left_open(store, 1, die=False) for _ in range(LIVING)]
        try:
            with DaemonProcess(store, server.url) as daemon:
                until(lambda: server.told()["runs"] == SEALED + KILLED + LIVING, 0.5)
                until(lambda: _rests(daemon), 0.5)
                time.sleep(NOTED_S)
                found = _measured(daemon, "events")
            with DaemonProcess(store, server.url, LOCALTRACK_DAEMON_WATCH="polling") as daemon:
                time.sleep(BEGUN_S)
                return [*found, *_measured(daemon, "polling every 2 s")]
        finally:
            for process in living:
                process.kill()
                process.wait()


def _rests(daemon: DaemonProcess) -> bool:
    facts = daemon.facts()
    return facts is not None and bool(facts.remotes) and not any(remote.jobs for remote in facts.remotes)


def _measured(daemon: DaemonProcess, how: str) -> list[dict[str, Any]]:
    what = f"daemon, {SEALED + KILLED + LIVING:,} quiet journals ({KILLED + LIVING} open), {how}"
    share = daemon.cpu_share(SECONDS)
    return [
        row(f"{what}: CPU", share, "% of a core", "under 1 %", met=share < 1),
        row(f"{what}: memory", daemon.memory_mb("VmRSS"), "MB", "under 150 MB", met=daemon.memory_mb("VmRSS") < 150),
        row(f"{what}: open files", float(daemon.handles()), ""),
    ]


def _left_open(store: Path, runs: int, *, die: bool) -> subprocess.Popen[str]:
    """A process that begins runs and logs nothing more; it is there, or dead, when this returns."""
    command = [sys.executable, "-m", "bench.idle", str(store), str(runs), "die" if die else "live"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def _begin(path: str, runs: int, *, die: bool) -> None:
    journals = []
    for number in range(runs):
        journal = Journal(Store(path), strict=True)
        run_id = os.urandom(16).hex()
        journal.append(ops.RunCreate(run_id, backlog.EXPERIMENT, f"open {number}", "bench", backlog.NOW))
        for step in range(20):
            journal.append_metric(run_id, "loss", 1.0 / (step + 1), None, step)
        journals.append(journal)
    print("begun", flush=True)
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()


if __name__ == "__main__":
    _begin(sys.argv[1], int(sys.argv[2]), die=sys.argv[3] == "die")
