"""The daemon as a process of its own, and what the system says of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import final

from localtrack.store import Store
from localtrack_sync.daemon import facts_file
from localtrack_sync.daemon.facts import DaemonFacts

#: Seconds to wait for a daemon to begin, or to end.
START_S = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


@final
class DaemonProcess:
    """`localtrack daemon run --store PATH`; a context manager that ends it.

    Args:
        store: directory of the store.
        url: LOCALTRACK_REMOTE.
        environ: more variables.
    """

    def __init__(self, store: Path, url: str, **environ: str) -> None:
        self.store = Store.at(store)
        self.log = store.parent / f"{store.name}.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOCALTRACK", "MLFLOW"))}
        home = store.parent / "home"
        home.mkdir(exist_ok=True)
        self._environ = {**kept, "HOME": str(home), "LOCALTRACK_REMOTE": url, **environ}

    def __enter__(self) -> DaemonProcess:
        command = [sys.executable, "-m", "localtrack", "daemon", "run", "--store", self.store.path]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, env=self._environ, stdout=log, stderr=log)
        until = time.monotonic() + START_S
        while (facts := self.facts()) is None or facts.pid != self.pid:
            assert self._process.poll() is None and time.monotonic() < until, self.log.read_text()  # noqa: PT018
            time.sleep(0.02)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def facts(self) -> DaemonFacts | None:
        """What it says of itself, at most a second or two old."""
        return facts_file.read(self.store)

    def memory_mb(self, field: str = "VmHWM") -> float:
        """Resident memory: the most that there ever was (VmHWM), or now (VmRSS). Megabytes of 1,000,000 bytes."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024 / 1e6

    def cpu_s(self) -> float:
        """Seconds of a core that it has used."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def handles(self) -> int:
        """Files, sockets and pipes that it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_share(self, seconds: float) -> float:
        """Share of one core over the next seconds, in percent."""
        before, began = self.cpu_s(), time.monotonic()
        time.sleep(seconds)
        return 100 * (self.cpu_s() - before) / (time.monotonic() - began)
