"""Real daemon processes for tests: each test has a home and stores of its own, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from localtrack.store import Store
from localtrack_sync.daemon.running import running
from localtrack_sync.store.lock import Holder
from tests.daemon.stand_in import PROGRAM
from tests.journal.processes import wait_for


class House:
    """A home directory, and the daemons that live in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home = path / "home"
        self.home.mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOCALTRACK", "MLFLOW", "XDG"))}
        self.environ = {**kept, "HOME": str(self.home), "LOCALTRACK_STORE": str(path / "store")}
        self._seen: set[int] = set()

    def store(self, name: str = "store") -> Store:
        """One of its stores."""
        return Store.at(self.path / name)

    def holder(self, name: str = "store") -> Holder | None:
        """The daemon of a store."""
        found = running(self.store(name))
        if found is not None and found.pid:
            self._seen.add(found.pid)
        return found

    def said(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """`localtrack daemon ...`, to its end."""
        done = subprocess.run(
            [*PROGRAM, "daemon", *arguments],
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for name in [path.name for path in self.path.iterdir() if (path / "sync").is_dir()]:
            self.holder(name)
        return done

    @contextmanager
    def foreground(self, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
        """`localtrack daemon run`, once it holds its lock; killed in the end."""
        with subprocess.Popen(
            [*PROGRAM, "daemon", "run", *arguments],
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            try:
                wait_for(lambda: child.poll() is not None or self.holder())
                yield child
            finally:
                child.kill()

    def clear(self) -> None:
        """No daemon is left."""
        for pid in self._seen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
