"""The daemon's loop: starts what follows the stores, says how things stand, ends when it is told to."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Protocol, final

from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.daemon import facts_file
from localtrack_sync.daemon.bell import Bell
from localtrack_sync.daemon.changes import Changes, summary
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.facts import DaemonFacts, Standing
from localtrack_sync.daemon.follower import Follower
from localtrack_sync.daemon.lane import Lane
from localtrack_sync.daemon.memory import resident_bytes
from localtrack_sync.daemon.metrics import Metrics
from localtrack_sync.shell.replay import Stop

#: Seconds between two statements while things change, and while they do not.
_TELL_S, _TELL_QUIET_S = 1.0, 30.0
#: Seconds without a sign of life of a thread after which the supervisor is told nothing any more, and restarts us.
_HANGS_S = 180.0
#: Seconds for the threads to end, beyond those for the requests that are open.
_END_S = 8.0


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
    """Deliver until somebody calls `stop.request()`.

    It takes no process lock, installs no signal handler and writes no log file: whoever calls it does. It takes the
    replay lock of each store and remote, and writes `<store>/sync/daemon.json` (see `facts`).

    Returns:
        The exit code: 0, or 1 when a part of it had to be left behind.

    Raises:
        TrackingError, SettingsError: the environment says what cannot be.
    """
    return _Service(settings, environ, log, stop, supervisor).run()


@final
class _Service:
    def __init__(
        self, settings: DaemonSettings, environ: Mapping[str, str], log: Log, stop: Stop, supervisor: Supervisor
    ) -> None:
        self._settings, self._log, self._stop, self._supervisor = settings, log, stop, supervisor
        self._bell = Bell()
        self._started = time.time()
        self._version = version("localtrack")  # read from a file
        self._busy_at = time.monotonic()
        shared = load(environ)
        self._followers = [
            Follower(Store.at(path), settings, shared, environ, stop, self._bell.ring)
            for path in {os.path.realpath(path): path for path in reversed(settings.stores)}.values()  # names of one
        ]
        self._changes = {follower.store: Changes() for follower in self._followers}
        self._line = ""
        self._told: dict[Store, tuple[float, DaemonFacts]] = {}
        self._metrics = Metrics(settings, environ, self._by_path, self._metrics_failed)

    def run(self) -> int:
        """From start to end."""
        self._metrics.start()
        for follower in self._followers:
            follower.start()
        self._supervisor.ready()
        with self._stop.waking(self._bell.ring):
            while not self._stop.wanted:
                self._bell.wait(_TELL_S)
                self._tell()
                if self._idle_for() > self._settings.idle_exit_seconds > 0:
                    self._log("info", "idle", seconds=self._settings.idle_exit_seconds)
                    self._stop.request()
                time.sleep(0.05)  # many rings in a row are one
        return self._end()

    def _end(self) -> int:
        until = time.monotonic() + self._settings.stop_seconds + _END_S
        self._metrics.close()
        ended = [follower.join(max(0.0, until - time.monotonic())) for follower in self._followers]
        for follower in self._followers:
            facts_file.remove(follower.store)
        if not all(ended):
            self._log("error", "parts of it did not end in time; what they had under way is found out later")
        return 0 if all(ended) else 1

    def _tell(self) -> None:
        now = time.monotonic()
        for follower in self._followers:
            facts = self._facts(follower)
            self._log_changes(follower, facts)
            at, old = self._told.get(follower.store, (float("-inf"), None))
            same = old is not None and facts == replace(old, written=facts.written, memory_bytes=facts.memory_bytes)
            if now < at + (_TELL_QUIET_S if same else _TELL_S):
                continue
            self._told[follower.store] = (now, facts)
            try:
                facts_file.write(follower.store, facts)
            except OSError as error:  # a full disk must not end what delivers, and so may free it
                self._log("warning", "status cannot be written", store=follower.store.path, reason=error.strerror)
        line = summary([facts for _, facts in self._told.values()])
        if line != self._line:
            self._line = line
            self._supervisor.status(line)
        if self._all_alive(now):
            self._supervisor.alive()

    def _log_changes(self, follower: Follower, facts: DaemonFacts) -> None:
        for run_id in follower.lives.take_ended():
            self._log("info", "run ended: its trainer is gone", store=follower.store.path, run=run_id)
        for level, event, what in self._changes[follower.store].of(facts, follower.left):
            self._log(level, event, store=follower.store.path, **what)

    def _facts(self, follower: Follower) -> DaemonFacts:
        return DaemonFacts(
            pid=os.getpid(),
            host=socket.gethostname(),
            version=self._version,
            started=self._started,
            written=time.time(),
            memory_bytes=resident_bytes(),
            watching=follower.watching,
            remotes=tuple(lane.facts for lane in follower.lanes),
            trouble=follower.trouble,
        )

    def _by_path(self) -> dict[str, DaemonFacts]:
        return {store.path: facts for store, (_, facts) in list(self._told.items())}

    def _metrics_failed(self, reason: str) -> None:
        self._log("warning", "metrics are not up to date", reason=reason)

    def _all_alive(self, now: float) -> bool:
        parts: list[Follower | Lane] = [*self._followers]
        parts += [lane for follower in self._followers for lane in follower.lanes]
        return all(now - part.beat < _HANGS_S for part in parts if part.alive)

    def _idle_for(self) -> float:
        """Seconds for which nothing was logged, delivered or owed, and no trainer lived or may come back."""
        now = time.monotonic()
        remotes = [lane.facts for follower in self._followers for lane in follower.lanes]
        busy = any(facts.standing is not Standing.IDLE or facts.lag_s for facts in remotes)
        if busy or any(follower.lives.busy or follower.trouble for follower in self._followers):
            self._busy_at = now
        return now - max([self._busy_at, *(follower.news_at for follower in self._followers)])
