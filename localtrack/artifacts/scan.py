"""Finds files that others (MLflow itself) wrote straight into artifact directories, and registers them.

A file counts when it has settled: nobody changed it for a while. One that is changed after it was registered is
registered again, with its new content. Whoever delivers the store calls `register` before it looks at what is owed.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from localtrack.artifacts import copy, paths
from localtrack.artifacts.intake import TEMPORARY
from localtrack.artifacts.known_files import KnownFiles, Looks, Seen
from localtrack.artifacts.marks import fits
from localtrack.artifacts.place import MODELS, Owner, Place, owner_to_read
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.linked_queries import Registered
from localtrack.errors import TrackingError
from localtrack.journal.ops import ArtifactStored, stamp_ms
from localtrack.journal.writer import Journal
from localtrack.store import ATTACHED, Store

#: `intake` registers a file this soon after it has renamed it, if not at once: the directories are flushed in between.
_PROMPT_MS = 10_000
#: An op of this age is on the disk: its writer flushes within a second.
_FENCED_MS = 5_000
#: Temporary files of ours that nobody touched for a day are of processes that died.
_ABANDONED_MS = 24 * 60 * 60 * 1000
_NS = 1_000_000


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan did.

    Attributes:
        registered: files that got an op: new ones, and such whose content changed.
        waiting: files that have not settled yet, or could not be read: look again later.
    """

    registered: int
    waiting: int


def register(
    store: Store, catalog: Catalog, journal: Callable[[], Journal], wall_ms: int, settle_ms: int = 2000
) -> ScanResult:
    """Register the files in the artifact directories of known runs and logged models that are new or changed.

    Links, temporary files, names that are no path of an artifact, and directories of unknown runs are passed over. What
    localtrack stored itself is registered already and is not read again.

    Args:
        store: the store.
        catalog: its catalog; refreshed once.
        journal: gives the journal to append to; asked only when there is something to register.
        wall_ms: now, milliseconds since the epoch.
        settle_ms: a file that changed in the last so many milliseconds is left for later.

    Raises:
        OSError: the directory of the artifacts cannot be read.
        JournalError: the journal is strict, and cannot be written.
    """
    if not os.path.isdir(store.artifacts):
        return ScanResult(0, 0)
    catalog.refresh()
    known = KnownFiles(store.artifacts)
    try:
        scan = _Scan(store, catalog, journal, known, wall_ms, settle_ms)
        scan.run()
    finally:
        known.close()
    return ScanResult(scan.registered, scan.waiting)


class _Scan:
    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        journal: Callable[[], Journal],
        known: KnownFiles,
        wall_ms: int,
        settle_ms: int,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._journal = journal
        self._known = known
        self._wall_ms = wall_ms
        self._settle_ms = settle_ms
        self.registered = 0
        self.waiting = 0

    def run(self) -> None:
        """Every owner's directory, one after the other."""
        for owner in self._owners():
            before = self.registered
            with Place(self._store, owner) as place:
                self._owner(owner, place)
            # The memory must not outlive an op that it stands for.
            if self.registered == before or self._journal().flush(sync=True):
                self._known.keep()
            else:
                self._known.forget()

    # --- which directories there are -------------------------------------------------------------------------------

    def _owners(self) -> Iterator[Owner]:
        """Whose directories there are, known or not."""
        top = self._store.artifacts
        for first in self._directories(top):
            for second in self._directories(os.path.join(top, first)):
                experiment_id = "" if first == ATTACHED else first
                if second == MODELS:
                    below = os.path.join(top, first, second)
                    yield from (Owner(third, experiment_id, model=True) for third in self._directories(below))
                else:
                    yield Owner(second, experiment_id)

    def _directories(self, path: str) -> Iterator[str]:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith(TEMPORARY):
                    self._sweep(entry)
                elif entry.is_dir(follow_symlinks=False) and paths.reason_against(entry.name) is None:
                    yield entry.name

    def _is_known(self, owner: Owner) -> bool:
        """Whether it is in the catalog and this is its directory."""
        if owner.model:
            model = self._catalog.model(owner.id, allow_deleted=True, refresh=False)
            experiment_id = None if model is None else model.experiment_id
        else:
            run = self._catalog.run(owner.id, refresh=False)
            experiment_id = None if run is None else run.info.experiment_id
        if experiment_id is None:
            return False
        return owner_to_read(self._store, owner._replace(experiment_id=experiment_id)) == owner

    # --- one owner -------------------------------------------------------------------------------------------------

    def _owner(self, owner: Owner, place: Place) -> None:
        registered: dict[str, Registered] | None = None
        for path, info in self._files(place):
            looks = Looks.of(info)
            seen = self._known.get(owner.id, path)
            if seen is not None and seen.settled and seen.looks == looks:
                continue
            if registered is None:  # asked only where something is new
                if not self._is_known(owner):
                    return
                registered = self._catalog.registered(owner.id, refresh=False)
            self._file(place, path, looks, seen, registered.get(path))

    def _files(self, place: Place) -> Iterator[tuple[str, os.stat_result]]:
        """Path and looks of every regular file, a directory at a time."""
        waiting = [""]
        while waiting:
            above = waiting.pop()
            try:
                descriptor = place.directory(above)
            except (OSError, TrackingError):
                continue  # removed, or replaced, while we looked
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    path = f"{above}/{entry.name}" if above else entry.name
                    if entry.name.startswith(TEMPORARY):
                        self._sweep(entry, descriptor)
                    elif entry.is_symlink() or paths.reason_against(path):
                        continue
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif entry.is_file(follow_symlinks=False) and (info := _stat(entry)) is not None:
                        yield path, info
            place.close()

    def _file(self, place: Place, path: str, looks: Looks, seen: Seen | None, now: Registered | None) -> None:
        owner = place.owner.id
        if now is not None and _is_ours(now, looks):
            if stamp_ms(now.stamp) < self._wall_ms - _FENCED_MS:
                self._known.put(owner, path, Seen(looks, settled=True, seen_ms=self._wall_ms))
            return
        since = seen.seen_ms if seen is not None and seen.looks == looks else self._wall_ms
        if not self._has_settled(looks, since):
            self._known.put(owner, path, Seen(looks, settled=False, seen_ms=since))
            self.waiting += 1
            return
        content = _content(place, path, looks)
        if content is None:
            self.waiting += 1
            return
        if now is None or (now.size, now.sha256) != content:
            self._append(ArtifactStored(owner, path, *content))
        self._known.put(owner, path, Seen(looks, settled=True, seen_ms=self._wall_ms))

    def _append(self, op: ArtifactStored) -> None:
        journal = self._journal()
        if not self.registered:
            # What is found now must win over what was registered before, also by a machine whose clock is ahead.
            journal.observe(self._catalog.max_stamp(refresh=False))
        journal.append(op)
        self.registered += 1

    def _has_settled(self, looks: Looks, since_ms: int) -> bool:
        """By the file's own time, or, where that is ahead of ours, by how long we have seen it like this."""
        changed_ms = max(looks.mtime_ns, looks.ctime_ns) // _NS
        return changed_ms <= self._wall_ms - self._settle_ms or since_ms < self._wall_ms - self._settle_ms

    # --- what died on its way in -----------------------------------------------------------------------------------

    def _sweep(self, entry: os.DirEntry[str], descriptor: int | None = None) -> None:
        """Remove a temporary file or directory of a process that died."""
        info = _stat(entry)
        if info is None or info.st_ctime_ns // _NS > self._wall_ms - _ABANDONED_MS:
            return
        try:
            if stat.S_ISDIR(info.st_mode) and descriptor is None:
                shutil.rmtree(entry.path, ignore_errors=True)
            elif descriptor is None:
                os.unlink(entry.path)
            else:
                os.unlink(entry.name, dir_fd=descriptor)
        except OSError:
            return


def _stat(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError:
        return None


def _is_ours(now: Registered, looks: Looks) -> bool:
    """Whether what lies there is what `intake` put there and registered, untouched since."""
    prompt = 0 <= stamp_ms(now.stamp) - looks.ctime_ns // _NS <= _PROMPT_MS
    return now.size == looks.size and prompt and fits(looks.mtime_ns, now.sha256)


def _content(place: Place, path: str, looks: Looks) -> copy.Content | None:
    """Size and hash of a file that stays as it looks while it is read; None if it does not, or cannot be read."""
    try:
        descriptor = place.open_file(path)
    except (OSError, TrackingError):
        return None
    try:
        content = copy.content(descriptor)
        return content if Looks.of(os.fstat(descriptor)) == looks else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
