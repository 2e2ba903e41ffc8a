"""Takes verified files out of the store, so that dying at any moment loses nothing and lies to nobody.

    hash the file  ->  note, on the disk  ->  rename aside  ->  is it the one that was hashed?  ->  unlink  ->  settle

The rename takes whatever has the name at that moment. If a process that logs has stored another file there meanwhile,
that one is put back; so no lock is needed that training would have to wait for. Whoever dies leaves the file in its
place, or aside with a note, and the next removal puts it back before it begins.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from localtrack.artifacts import copy, paths
from localtrack.artifacts.known_files import Looks
from localtrack.artifacts.place import Place, split
from localtrack.artifacts.removed import Copy, Note, RemovedFiles
from localtrack.catalog.desired import StoredFile
from localtrack.errors import TrackingError
from localtrack.store import Store

#: Names aside: nobody lists, registers or sweeps them (scans sweep the names of `intake` only).
ASIDE = f"{paths.TEMPORARY}removing-"
#: Files that are noted with one commit.
BATCH = 64
#: A file that changed this recently before it was hashed may change again without its times changing.
_RACY_NS = 2_000_000_000
CHANGED = "it is not what was registered"


class Kept(NamedTuple):
    """A file that stays, and why."""

    path: str
    reason: str


class Removed(NamedTuple):
    """What became of the files of one owner."""

    files: tuple[StoredFile, ...]
    kept: tuple[Kept, ...]


def _nothing(_step: str) -> None:
    """Nothing to do between two steps."""


def present(place: Place, files: Sequence[StoredFile]) -> list[StoredFile]:
    """Those of the registered files that lie in their place with the registered size; nothing is read."""
    found = []
    for file in files:
        with suppress(OSError, TrackingError):
            descriptor = place.open_file(file.path)
            size = os.fstat(descriptor).st_size
            os.close(descriptor)
            if size == file.size:
                found.append(file)
    place.close()
    return found


class Remover:
    """Removes files of one store. One process at a time: whoever makes one holds the lock of `localtrack gc`.

    Args:
        store: whose files.
        notes: open for writing.
        wall_ns: now, nanoseconds since the epoch.
        step: told the name of each step after it ("noted", "aside", "gone", "settled"); tests end the process there.
        random: bytes for names aside.
    """

    def __init__(
        self,
        store: Store,
        notes: RemovedFiles,
        wall_ns: Callable[[], int],
        step: Callable[[str], None] = _nothing,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._store = store
        self._notes = notes
        self._wall_ns = wall_ns
        self._step = step
        self._random = random

    def put_back(self) -> int:
        """Bring back what a process that died had moved aside; returns how many files.

        Raises:
            StoreError: the notes cannot be used.
            OSError: a file cannot be renamed.
        """
        found = 0
        for owner, note in self._notes.unfinished():
            with Place(self._store, owner) as place:
                found += self._bring_back(place, note)
        return found

    def _bring_back(self, place: Place, note: Note) -> bool:
        try:
            directory = place.directory(split(note.path)[0])
        except (FileNotFoundError, TrackingError):
            directory = -1
        back = directory >= 0 and _rename_back(note.aside, split(note.path)[1], directory)
        if back or (directory >= 0 and _exists(split(note.path)[1], directory)):
            self._notes.drop(place.owner.id, [note.path])
        else:
            self._notes.settle(place.owner.id, [note.path])
        return back

    def remove(self, place: Place, files: Sequence[StoredFile], copies: Sequence[Copy]) -> Removed:
        """Remove files that the remotes in `copies` have, byte by byte.

        A file that is not what was registered, or cannot be reached without following a link, stays.

        Raises:
            StoreError: the notes cannot be written; what was noted before stays noted.
        """
        gone: list[StoredFile] = []
        kept: list[Kept] = []
        for start in range(0, len(files), BATCH):
            self._batch(place, files[start : start + BATCH], tuple(copies), gone, kept)
            place.close()
        return Removed(tuple(gone), tuple(kept))

    def _batch(
        self,
        place: Place,
        files: Sequence[StoredFile],
        copies: tuple[Copy, ...],
        gone: list[StoredFile],
        kept: list[Kept],
    ) -> None:
        hashed: list[tuple[StoredFile, Note, Looks, bool]] = []
        for file in files:
            now_ns = self._wall_ns()
            looks = _looks_if_registered(place, file)
            if isinstance(looks, str):
                kept.append(Kept(file.path, looks))
                continue
            racy = max(looks.mtime_ns, looks.ctime_ns) > now_ns - _RACY_NS
            aside = ASIDE + self._random(8).hex()
            hashed.append((file, Note(*file, copies, now_ns // 1_000_000, aside), looks, racy))
        if not hashed:
            return
        self._notes.put(place.owner, [note for _, note, _, _ in hashed])
        self._step("noted")
        settled: list[str] = []
        for file, note, looks, racy in hashed:
            reason = self._one(place, file, note, looks, racy=racy)
            if reason:
                kept.append(Kept(file.path, reason))
            else:
                gone.append(file)
                settled.append(file.path)
        with suppress(OSError):
            place.sync()  # else a settled note could outlive, after power loss, the unlink that it stands for
        self._notes.drop(place.owner.id, [file.path for file, _, _, _ in hashed if file.path not in settled])
        self._notes.settle(place.owner.id, settled)
        self._step("settled")

    def _one(self, place: Place, file: StoredFile, note: Note, looks: Looks, *, racy: bool) -> str:
        """Remove one file; why not, "" when it is gone."""
        above, name = split(file.path)
        try:
            directory = place.directory(above)
            os.rename(name, note.aside, src_dir_fd=directory, dst_dir_fd=directory)
        except FileNotFoundError:
            return "it is not here any more"
        except (OSError, TrackingError) as error:
            return f"it cannot be removed: {error}"
        self._step("aside")
        place.changed(above)
        try:
            if _is_same(note.aside, directory, looks, file, racy=racy):
                os.unlink(note.aside, dir_fd=directory)
                self._step("gone")
                return ""
        except OSError as error:
            _rename_back(note.aside, name, directory)
            return f"it cannot be removed: {error}"
        _rename_back(note.aside, name, directory)
        return "it was stored again just now"


def _looks_if_registered(place: Place, file: StoredFile) -> Looks | str:
    """What a file looks like whose content is the registered one; else why it stays."""
    try:
        descriptor = place.open_file(file.path)
    except FileNotFoundError:
        return "it is not here any more"
    except (OSError, TrackingError) as error:
        return f"it cannot be read: {error}"
    try:
        before = Looks.of(os.fstat(descriptor))
        if before.size != file.size or copy.content(descriptor) != (file.size, file.sha256):
            return CHANGED
        return before if Looks.of(os.fstat(descriptor)) == before else CHANGED
    except OSError as error:
        return f"it cannot be read: {error}"
    finally:
        os.close(descriptor)


def _is_same(aside: str, directory: int, looks: Looks, file: StoredFile, *, racy: bool) -> bool:
    """Whether what was moved aside is what was hashed."""
    # Not ctime: the rename itself sets it.
    now = Looks.of(os.stat(aside, dir_fd=directory, follow_symlinks=False))
    if now._replace(ctime_ns=0) != looks._replace(ctime_ns=0):
        return False
    if not racy:
        return True
    descriptor = os.open(aside, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        return copy.content(descriptor) == (file.size, file.sha256)
    finally:
        os.close(descriptor)


def _rename_back(aside: str, name: str, directory: int) -> bool:
    """Give a file that was moved aside its name again, unless a newer one has it; whether it has it now."""
    try:
        os.link(aside, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        os.unlink(aside, dir_fd=directory)  # whoever stored the newer one would have replaced it too
        return False
    except FileNotFoundError:
        return False
    except OSError:  # a file system without links
        if _exists(name, directory):
            os.unlink(aside, dir_fd=directory)
            return False
        os.rename(aside, name, src_dir_fd=directory, dst_dir_fd=directory)
        return True
    os.unlink(aside, dir_fd=directory)
    return True


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
