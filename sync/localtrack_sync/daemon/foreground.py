"""The daemon as a process in the foreground: settings, locks, signals, log, and the loop between them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeAlias, final

from localtrack.errors import LocaltrackError
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.log import DaemonLog
from localtrack_sync.daemon.notify import Notifier
from localtrack_sync.daemon.running import DaemonLocks
from localtrack_sync.daemon.service import Log, Supervisor
from localtrack_sync.daemon.signals import Signals
from localtrack_sync.shell.replay import Stop

#: The loop: `service.serve`, or what stands in for it.
Serve: TypeAlias = Callable[[DaemonSettings, Mapping[str, str], Log, Stop, Supervisor], int]


@final
class Watched:
    """The loop's supervisor: hands on to systemd, and lets the log say in time what it held back."""

    def __init__(self, log: DaemonLog, notifier: Notifier) -> None:
        self._log = log
        self._notifier = notifier

    def ready(self) -> None:
        """The loop runs."""
        self._notifier.ready()

    def alive(self) -> None:
        """No part of the loop hangs."""
        self._notifier.alive()
        self._log.tick()

    def status(self, line: str) -> None:
        """The one-line summary."""
        self._notifier.status(line)


@dataclass(frozen=True, slots=True)
class Daemon:
    """What a daemon process is put together from.

    Attributes:
        load: reads the settings: at the beginning, and again after SIGHUP.
        environ: of this process.
        log: where it says what changes.
        notifier: tells systemd.
        locks: none of them held yet.
        serve: the loop.
    """

    load: Callable[[], DaemonSettings]
    environ: Mapping[str, str]
    log: DaemonLog
    notifier: Notifier
    locks: DaemonLocks
    serve: Serve


def run(daemon: Daemon, begun: Callable[[], None] = lambda: None) -> int:
    """Run until SIGTERM or SIGINT, or until the loop ends by itself; in the main thread only.

    The first of these signals ends it in good order within `stop_seconds` (and signals.GRACE_S), the second at once.
    SIGHUP ends the loop in good order, reads the settings again and goes on; settings that cannot be used are said in
    the log, and the old ones stay. After the locks are taken nothing is raised: it stands in the log.

    Args:
        daemon: its parts.
        begun: called once all locks are held.

    Returns:
        The exit code: of the loop; 1 when it failed.

    Raises:
        LocaltrackError: the settings cannot be used, or another daemon has a lock (BusyError).
    """
    with (
        daemon.locks,
        Signals(_told(daemon), lambda: daemon.log("error", "did not end in time, ended at once")) as asked,
    ):
        settings = daemon.load()
        stop = asked.round(settings.stop_seconds)  # before anybody can see us, and signal us
        daemon.log.form(settings.log_format)
        made = daemon.locks.hold(settings.stores)
        _say_began(daemon, made)
        begun()
        code = _rounds(daemon, settings, asked, stop)
        asked.wait_told()
        daemon.log("info" if code == 0 else "error", "daemon ended", code=code)
        daemon.log.close()
        return code


def _rounds(daemon: Daemon, settings: DaemonSettings, asked: Signals, stop: Stop) -> int:
    watched = Watched(daemon.log, daemon.notifier)
    while True:
        try:
            code = daemon.serve(settings, daemon.environ, daemon.log, stop, watched)
        except Exception as error:  # noqa: BLE001 - the process ends with it, and the log is where people look
            _say_failed(daemon.log, error)
            return 1
        if asked.ending or not asked.again:
            return code
        daemon.notifier.reloading()
        stop = asked.round(settings.stop_seconds)
        settings = _again(daemon, settings)


def _again(daemon: Daemon, old: DaemonSettings) -> DaemonSettings:
    try:
        settings = daemon.load()
        made = daemon.locks.hold(settings.stores)
    except LocaltrackError as error:
        daemon.log("error", "settings stay as they were", reason=error.message, hint=error.hint)
        return old
    daemon.log.form(settings.log_format)
    daemon.log("info", "settings read again", stores=", ".join(daemon.locks.stores))
    _say_made(daemon.log, made)
    return settings


def _told(daemon: Daemon) -> Callable[[str], None]:
    def told(signal_name: str) -> None:
        daemon.notifier.stopping()
        daemon.log("info", "stopping", signal=signal_name)

    return told


def _say_began(daemon: Daemon, made: tuple[str, ...]) -> None:
    stores = ", ".join(daemon.locks.stores)
    daemon.log("info", "daemon began", pid=os.getpid(), version=version("localtrack"), stores=stores)
    _say_made(daemon.log, made)


def _say_made(log: DaemonLog, made: tuple[str, ...]) -> None:
    for store in made:
        log("info", "this store is new, nothing has been logged to it", store=store)


def _say_failed(log: DaemonLog, error: Exception) -> None:
    if isinstance(error, LocaltrackError):
        log("error", "daemon failed", reason=error.message, hint=error.hint)
    else:
        log("error", "daemon failed", reason=f"{type(error).__name__}: {error}")
        log("error", "this is a mistake in localtrack", traceback="".join(traceback.format_exception(error))[-1900:])
