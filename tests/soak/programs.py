"""The programs of a soak as real processes: the daemon, watched all its life, and the trainers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import final

from tests.acceptance.harness import command_environment
from tests.soak.samples import Life, Sample

#: Seconds between two looks at the daemon.
_LOOK_S = 1.0
#: Seconds after which a program that was asked to end must have done so; far above what it takes on a busy machine.
END_S = 90.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@final
class DaemonProcess:
    """`localtrack daemon run` that may be killed and started again; its log goes to one file.

    Args:
        stores: paths.
        environ: whole environment.
        log: what it writes to stderr, of all its lives.
        clock: seconds since the soak began.

    Attributes:
        lives: one for each process.
        trouble: what it did that no daemon may do.
    """

    def __init__(self, stores: Sequence[Path], environ: Mapping[str, str], log: Path, begun: float) -> None:
        self.log = log
        self.lives: list[Life] = []
        self.trouble: list[str] = []
        self._stores, self._environ, self._begun = stores, dict(environ), begun
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample_always, daemon=True)
        self._sampler.start()

    def start(self) -> None:
        """Start one."""
        options = [word for store in self._stores for word in ("--store", str(store))]
        with self.log.open("ab") as log, self._turn:
            process = subprocess.Popen(
                [sys.executable, "-m", "localtrack", "daemon", "run", *options],
                env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
            self._process = process
            self.lives.append(Life(process.pid, time.monotonic() - self._begun))

    @property
    def pid(self) -> int | None:
        """Of the one that lives."""
        return None if self._process is None else self._process.pid

    def end(self, how: str) -> None:
        """End it: "kill" by SIGKILL, "stop" by SIGTERM; nothing if it has ended by itself, which is trouble."""
        with self._turn:
            process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is not None:
            self._ended_by_itself(process)
            return
        process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
        self.lives[-1].end = how
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.trouble.append(f"the daemon did not end within {END_S:g} s after SIGTERM")
            return
        if how == "stop" and code not in (0, -signal.SIGTERM):  # it may not have got so far as to listen
            self.trouble.append(f"the daemon ended with {code} after SIGTERM")

    def close(self) -> None:
        """Kill it, and look no more."""
        self._over.set()
        self._sampler.join()
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _ended_by_itself(self, process: subprocess.Popen[bytes]) -> None:
        self.trouble.append(f"the daemon ended by itself with {process.returncode}")

    def _sample_always(self) -> None:
        while not self._over.wait(_LOOK_S):
            with self._turn:
                process = self._process
                if process is None:
                    continue
                if process.poll() is not None:
                    self._process = None
                    self._ended_by_itself(process)
                    continue
                sample = look(process.pid, time.monotonic() - self._begun)
                if sample is not None:
                    self.lives[-1].samples.append(sample)


def look(pid: int, at: float) -> Sample | None:
    """A process as /proc shows it; None where there is no /proc, or no such process."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            memory = int(file.read().split()[1]) * _PAGE
        return Sample(at, memory, len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Orders:
    """What a trainer is told.

    Attributes:
        account: file for what it was told is logged.
        resume: a run to go on with.
        step: where it goes on.
        pause_s: seconds between two steps.
    """

    store: str
    experiment: str
    name: str
    seed: str
    account: str
    pause_s: float
    resume: str | None = None
    step: int = 0


@dataclass(slots=True)
class Logged:
    """What a trainer's account says of a run.

    Attributes:
        steps: number -> how often it was logged (again after a kill that came before it was written down).
        ended: it was ended in good order.
        deaths: how many processes were killed while it was open.
    """

    store: Path
    steps: Counter[int] = field(default_factory=Counter)
    files: set[str] = field(default_factory=set)
    ended: bool = False
    deaths: int = 0


@final
class Trainer:
    """One trainer after the other, all logging to one store.

    Attributes:
        ends: how many were ended in each way (`timetable.LIVES`).
    """

    def __init__(self, number: int, store: Path, experiment: str, home: Path, seed: int, pause_s: float) -> None:
        self.ends: Counter[str] = Counter()
        self.trouble: list[str] = []
        self.experiment = experiment
        self._number, self._store = number, store
        self._home, self._seed, self._pause_s = home, seed, pause_s
        self._process: subprocess.Popen[bytes] | None = None
        self._accounts: list[Path] = []
        self._killed: list[bool] = []

    def start(self, *, resume: bool = False) -> None:
        """Start the next one; `resume`: it goes on with the run that the last one left open."""
        last = self._last_open() if resume else None
        count = len(self._accounts)
        account = self._home / f"trainer-{self._number}-{count}"
        orders = Orders(
            str(self._store), self.experiment, f"run of {self._number}.{count}", f"{self._seed} {self._number} {count}",
            str(account), self._pause_s, *(last or ()),
        )  # fmt: skip
        self._accounts.append(account)
        self._killed.append(False)
        with (self._home / "trainers.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.trainer", json.dumps(asdict(orders))],
                env=command_environment(str(self._store)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def end(self, how: str) -> None:
        """End it: "stop" by SIGTERM, anything else by SIGKILL."""
        process, self._process = self._process, None
        if process is None:
            return
        self.ends[how] += 1
        self._killed[-1] = how != "stop"
        if process.poll() is not None:
            self.trouble.append(f"trainer {self._number} ended by itself with {process.returncode}, see trainers.log")
            return
        process.send_signal(signal.SIGTERM if how == "stop" else signal.SIGKILL)
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.trouble.append(f"trainer {self._number} did not end within {END_S:g} s after SIGTERM")
            return
        if how == "stop" and code not in (0, -signal.SIGTERM):  # it may not have got so far as to listen
            self.trouble.append(f"trainer {self._number} ended with {code}, see trainers.log")

    def close(self) -> None:
        """Kill it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()

    def logged(self) -> dict[str, Logged]:
        """What all of them wrote down, by run."""
        runs: dict[str, Logged] = {}
        for account, killed in zip(self._accounts, self._killed, strict=True):
            here = _read(account, self._store, runs)
            for run_id in here:
                runs[run_id].deaths += killed and not runs[run_id].ended
        return runs

    def _last_open(self) -> tuple[str, int] | None:
        """The outermost run that the last trainer left open, and the step after its last."""
        runs: dict[str, Logged] = {}
        for run_id in _read(self._accounts[-1], self._store, runs):
            if not runs[run_id].ended:
                earlier = self.logged()[run_id].steps
                return run_id, max(earlier, default=-1) + 1
        return None


def _read(account: Path, store: Path, into: dict[str, Logged]) -> list[str]:
    """Add one trainer's account; the runs that it names, in their order."""
    named: dict[str, None] = {}
    lines = account.read_text(encoding="ascii").split("\n")[:-1] if account.exists() else []
    for line in lines:  # what a kill cut in the middle has no end of line, and was not believed yet
        word, run_id, *rest = line.split(" ", 2)
        run = into.setdefault(run_id, Logged(store))
        named[run_id] = None
        if word == "run":
            run.ended = False
        elif word == "step":
            run.steps[int(rest[0])] += 1
        elif word == "file":
            run.files.add(rest[0])
        elif word == "end":
            run.ended = True
    return list(named)
