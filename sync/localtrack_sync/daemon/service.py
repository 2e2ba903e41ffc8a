"""The daemon's loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.shell.replay import Stop


class Log(Protocol):
    """Where the daemon says what changes: one line per change of state."""

    def __call__(self, level: str, event: str, **facts: object) -> None:
        """Say it; `level` is info, warning or error, `event` a short fixed text, `facts` what varies."""


class Supervisor(Protocol):
    """Whoever watches over the daemon (systemd)."""

    def ready(self) -> None:
        """Called once, when the loop runs."""

    def alive(self) -> None:
        """Called about once a second by the loop, as long as no part of it hangs."""

    def status(self, line: str) -> None:
        """Called when the one-line summary changes."""


def serve(settings: DaemonSettings, environ: Mapping[str, str], log: Log, stop: Stop, supervisor: Supervisor) -> int:
    """Deliver until somebody calls `stop.request()`; returns the exit code.

    It takes no process lock, installs no signal handler and writes no log file: whoever calls it does. It takes the
    replay lock of each store and remote, and writes `<store>/sync/daemon.json` (see `facts`).
    """
    raise NotImplementedError
