"""Hints that something was written, from the file system: watchdog's events where they exist. Never the only source."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import final

from watchdog.events import (
    DirCreatedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from localtrack.journal.mounts import on_network

#: What says that something was written; opening and closing for reading (our own) does not.
_WRITTEN: list[type[FileSystemEvent]] = [FileModifiedEvent, FileCreatedEvent, FileMovedEvent, DirCreatedEvent]
#: Artifact directories that are watched at once. Each costs a thread, and with older watchdogs one of the 128 inotify
#: instances that a user has for all programs; what is not watched is found by the scan.
MOST_DIRECTORIES = 16


def events_exist(path: str) -> bool:
    """Whether a file system tells of writes by other hosts too: a network file system does not."""
    return not on_network(path)


def chosen(wanted: Sequence[str], watched: Collection[str], exists: Callable[[str], bool]) -> set[str]:
    """Which directories to watch: those that are watched as long as they are wanted, then the first of the others.

    Args:
        wanted: the most important first. Their order changes with every value that is logged, what is watched does not.
        watched: those that are now.
        exists: whether a directory is there.
    """
    kept = [path for path in wanted if path in watched and exists(path)][:MOST_DIRECTORIES]
    new = (path for path in wanted if path not in watched and exists(path))
    return {*kept, *islice(new, MOST_DIRECTORIES - len(kept))}


@final
class Watch:
    """Tells when something is written to the journals or to some artifact directories.

    A busy journal makes an event with each commit, so whoever listens takes the watch off as soon as it told, and looks
    by the clock for as long as the store is busy.

    Args:
        journals: directory of the journals; it may not exist yet.
        logged: called, from watchdog's thread, when a journal was written to.
        filed: the same for an artifact directory.
        observer: makes what watches; watchdog's best for this system unless a test wants another.

    Attributes:
        trouble: why something cannot be watched, "" when all is.
    """

    def __init__(
        self,
        journals: str,
        logged: Callable[[], None],
        filed: Callable[[], None],
        observer: Callable[[], BaseObserver] = Observer,
    ) -> None:
        self._journals = journals
        self._make_observer = observer
        self._place: tuple[int, int] | None = None
        self._logged, self._filed = _Handler(logged), _Handler(filed)
        self._observer: BaseObserver | None = None
        self._armed: ObservedWatch | None = None
        self._directories: dict[str, ObservedWatch] = {}
        self.trouble = ""

    @property
    def armed(self) -> bool:
        """Whether a write to a journal would ring the bell: not when its directory is another one by now."""
        return self._armed is not None and self._place == _place_of(self._journals)

    def arm(self) -> bool:
        """Watch the journals; False where that cannot be done (`trouble` says why). Look once afterwards."""
        if not self.armed:
            self.disarm()
            self._place = _place_of(self._journals)
            self._armed = self._schedule(self._logged, self._journals, recursive=False)
        return self._armed is not None

    def disarm(self) -> None:
        """Do not watch the journals for now."""
        if self._armed is not None:
            self._unschedule(self._armed)
            self._armed = None

    def directories(self, wanted: list[str]) -> None:
        """Watch some of these artifact directories with all that is in them, as far as they exist, and no others.

        Args:
            wanted: all that are worth it, the most important first.
        """
        keep = chosen(wanted, self._directories.keys(), os.path.isdir)
        for path in self._directories.keys() - keep:
            self._unschedule(self._directories.pop(path))
        for path in sorted(keep - self._directories.keys()):
            watch = self._schedule(self._filed, path, recursive=True)
            if watch is None:
                return
            self._directories[path] = watch

    def close(self) -> None:
        """End watchdog's threads."""
        observer, self._observer = self._observer, None
        self._armed = None
        self._directories.clear()
        if observer is not None:
            observer.stop()
            observer.join(2.0)

    def _schedule(self, handler: FileSystemEventHandler, path: str, *, recursive: bool) -> ObservedWatch | None:
        try:
            if self._observer is None:
                observer = self._make_observer()
                observer.start()
                self._observer = observer
            watch = self._observer.schedule(handler, path, recursive=recursive, event_filter=_WRITTEN)
        except (OSError, RuntimeError) as error:  # no watches left (inotify's limits), or the directory went away
            self.trouble = f"{path} cannot be watched: {getattr(error, 'strerror', None) or error}"
            return None
        self.trouble = ""
        return watch

    def _unschedule(self, watch: ObservedWatch) -> None:
        if self._observer is not None:
            _quietly(lambda: self._observer.unschedule(watch) if self._observer is not None else None)


def _place_of(path: str) -> tuple[int, int] | None:
    """Device and inode of a directory, None when there is none."""
    try:
        about = os.stat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def _quietly(act: Callable[[], None]) -> None:
    try:
        act()
    except (KeyError, OSError):  # the directory went away, and the watch with it
        return


@final
class _Handler(FileSystemEventHandler):
    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell

    def on_any_event(self, event: FileSystemEvent) -> None:
        """See watchdog."""
        del event
        self._tell()
