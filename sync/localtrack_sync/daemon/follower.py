"""Follows one store: notices what is logged, finds files, ends dead runs, hands to the lanes what goes where."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from typing import final

from localtrack.catalog.catalog import Catalog
from localtrack.errors import LocaltrackError, StoreError
from localtrack.settings import Settings
from localtrack.store import Store
from localtrack_sync.daemon.bell import Bell
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.finder import Finder
from localtrack_sync.daemon.lane import Lane
from localtrack_sync.daemon.lanes import Lanes
from localtrack_sync.daemon.lives import Lives
from localtrack_sync.daemon.pace import AGAIN_CAP_S, BUSY_S, Pace, pause_after_failure
from localtrack_sync.daemon.watch import Watch, events_exist
from localtrack_sync.daemon.words import mistake_of, words_of
from localtrack_sync.shell.replay import Stop
from localtrack_sync.shell.selection import Following, Look

#: Seconds between two looks at everything, whatever the marks say.
_WHOLE_S = 600.0
#: Seconds without news after which a run's artifact directory is not watched: it may have died. Scans still see it.
_LIVELY_S = 600.0
#: Longest time without a sign of life, seconds.
_BEAT_S = 10.0
#: Seconds of an import after which what is imported so far is handed out: a backlog of days takes minutes to import.
IMPORT_S = 2.0


@final
class Follower:
    """One store, followed by a thread of its own until it is told to stop.

    Args:
        store: it is made if it does not exist.
        settings, shared, environ: as in `Lanes`.
        stop: looked at all the time.
        changed: called, from several threads, when there may be something new to tell.
        import_s: seconds of an import after which what is imported so far is handed out.

    Attributes:
        trouble: why the store cannot be followed, "" while it is.
        lives: of its trainers.
        left: reason -> runs that go nowhere for it.
        beat: monotonic time of the last sign of life.
        news_at: monotonic time of the last news.
    """

    def __init__(
        self,
        store: Store,
        settings: DaemonSettings,
        shared: Settings,
        environ: Mapping[str, str],
        stop: Stop,
        changed: Callable[[], None],
        import_s: float = IMPORT_S,
    ) -> None:
        self.store = store
        self.trouble = ""
        self.left: dict[str, int] = {}
        self.beat = self.news_at = time.monotonic()
        self._settings, self._shared, self._environ = settings, shared, environ
        self._stop, self._changed = stop, changed
        self._bell = Bell()
        self._made = self._deaf = False
        self._import_s = import_s
        self._catalog = Catalog(store)
        self._lanes = Lanes(self._catalog, settings, shared, environ, stop, changed)
        self._following = Following(self._catalog, shared, environ)
        self._finder = Finder(self._catalog, settings.artifact_scan_seconds, stop, self._bell.ring)
        self.lives = Lives(self._catalog, settings)
        self._pace = Pace(settings.poll_seconds, settings.poll_seconds_without_events)
        self._whole_at = self._mend_at = 0.0
        self._events = settings.watch != "polling" and (settings.watch == "events" or events_exist(store.path))
        self._thread = threading.Thread(target=self._work, name="localtrack-follow", daemon=True)

    @property
    def watching(self) -> str:
        """How it learns of news: "events" or "polling"."""
        return "events" if self._events and not self._deaf else "polling"

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Its lanes."""
        return self._lanes.all

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for its end and that of its lanes; whether it came."""
        until = time.monotonic() + timeout_s
        self._thread.join(timeout_s)
        self._finder.join(min(1.0, timeout_s))  # one that reads a large file is left behind: nothing depends on it
        ended = [lane.join(max(0.0, until - time.monotonic())) for lane in self.lanes]
        return not self._thread.is_alive() and all(ended)

    # --- the thread ---

    def _work(self) -> None:
        pause_s = 0.0
        with self._stop.waking(self._bell.ring):
            while not self._stop.wanted:
                began = time.monotonic()
                mistake = False
                try:
                    self._follow()
                except (LocaltrackError, OSError, sqlite3.Error) as error:
                    self._say(words_of(error))
                except Exception as error:  # noqa: BLE001 - an invariant broke: it is told, and tried again
                    self._say(mistake_of(error))
                    mistake = True
                self._whole_at = 0.0  # what the last look found may not have been handed out
                pause_s = AGAIN_CAP_S if mistake else pause_after_failure(pause_s, time.monotonic() - began)
                self._wait(pause_s)

    def _follow(self) -> None:
        """Until somebody wants it to stop, or something goes wrong."""
        if not self._made:
            self.store.make()
            self._made = True
        watch = Watch(self.store.journals, self._bell.ring, self._finder.hint)
        try:
            while not self._stop.wanted:
                self.beat = began = time.monotonic()
                self._check_there()
                self._mend_catalog(began)
                cpu_began = time.thread_time()
                imported = self._catalog.refresh_within(self._import_s)
                if imported:
                    self.lives.look(began)
                whole = imported and began >= self._whole_at
                look = self._following.look(whole=whole)
                if look is not None:
                    self._take(look, began, watch)
                if whole:
                    self._whole_at = began + _WHOLE_S
                if imported:
                    self._finder.start()  # when all is imported: the first look may take long
                self._say(self._finder.trouble)
                if imported:
                    # On a busy machine a look takes long and costs little: what others take is no reason to look less.
                    cost_s = time.thread_time() - cpu_began if self._events else time.monotonic() - began
                    self._rest(began, cost_s, watch)
        finally:
            watch.close()

    def _check_there(self) -> None:
        """A store that went away is not made again: it may lie on a disk that somebody took out."""
        if not os.path.isdir(self.store.journals):
            raise StoreError(f"The store {self.store.path} is gone; it is followed again when it is back.")

    def _mend_catalog(self, now: float) -> None:
        """A disk that was full may have room by now; until then the catalog is in memory."""
        if self._catalog.read_only and now >= self._mend_at:
            self._catalog.write_again()
            self._mend_at = time.monotonic() + self._settings.poll_seconds

    def _take(self, look: Look, now: float, watch: Watch) -> None:
        """Hand out what was found."""
        self._lanes.post(look)
        if look.whole:
            self.left = {left.reason: len(left.runs) + len(left.models) for left in look.choice.left}
        self.news_at = self._pace.news_at = now
        if self._events:
            since = (time.time() - _LIVELY_S) * 1000
            running = [run for run in self._following.runs.values() if run.status == "RUNNING" and not run.deleted]
            lively = [run for run in running if run.newest_ms >= since]
            lively.sort(key=lambda run: run.newest_ms, reverse=True)
            watch.directories([self.store.run_artifacts(run.experiment_id, run.run_id) for run in lively])

    def _rest(self, began: float, cost_s: float, watch: Watch) -> None:
        """Wait until it is time to look again. A busy store is looked at by the clock, a quiet one is listened to."""
        now = time.monotonic()
        if self._events and not self._pace.busy(now) and not watch.armed:
            self._deaf = not watch.arm()
            if not self._deaf:
                return  # what was written before the watch was there rang no bell: look once
        if self._pace.busy(now):
            watch.disarm()
        seconds = self._pace.next_look(now, cost_s, events=watch.armed)
        if self._wait(min(seconds, max(self.lives.next_at - now, BUSY_S))):
            watch.disarm()
            # One event is the first of many; a look that finds nothing listens again.
            self._wait(max(0.0, began + BUSY_S - time.monotonic()))

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self.trouble = trouble
            self._changed()

    def _wait(self, seconds: float) -> bool:
        """Wait for a ring, at most so long; whether it came."""
        until = time.monotonic() + seconds
        while not self._stop.wanted and (left := until - time.monotonic()) > 0:
            self.beat = time.monotonic()
            if self._bell.wait(min(left, _BEAT_S)):
                return True
        return False
