"""What systemd wants to be told (sd_notify), with the standard library; silence where no systemd asked for it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import final

#: Variables by which systemd asks; not for other programs that a daemon's starter starts.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@final
class Notifier:
    """A `service.Supervisor` that tells systemd. It never raises, and never waits: a message may be lost."""

    def __init__(
        self, environ: Mapping[str, str], pid: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Sends nothing yet.

        Args:
            environ: with NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, when systemd asks.
            pid: of this process, by default as it is.
            clock: monotonic seconds.
        """
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._clock = clock
        self._every = _watchdog_s(environ, os.getpid() if pid is None else pid) / 2
        self._next = 0.0
        self._status = ""

    def ready(self) -> None:
        """The service is up; also after `reloading`."""
        self._send("READY=1")

    def alive(self) -> None:
        """Still alive: sent at half of WATCHDOG_USEC, however often it is called."""
        now = self._clock()
        if self._every and now >= self._next and self._send("WATCHDOG=1"):
            self._next = now + self._every

    def status(self, line: str) -> None:
        """One line for `systemctl status`; only sent when it is another one."""
        told = " ".join(line.split())
        if told != self._status and self._send(f"STATUS={told}"):
            self._status = told

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1")

    def reloading(self) -> None:
        """The settings are read again; `ready` says when that is done."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={self._clock() * 1_000_000:.0f}")

    def _send(self, message: str) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(0)
                sender.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError:  # nobody listens, or not now: no reason to end
            return False
        return True


def _address(given: str) -> str:
    """A path, or the name of an abstract socket, which begins with @ in the variable and with NUL in the call."""
    if given.startswith("@"):
        return "\0" + given[1:]
    return given if given.startswith("/") else ""


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float:
    """After how much silence systemd ends us; 0: never."""
    if environ.get("WATCHDOG_PID", "") not in ("", str(pid)):
        return 0.0
    try:
        return max(int(environ.get("WATCHDOG_USEC", "0")), 0) / 1_000_000
    except ValueError:
        return 0.0
