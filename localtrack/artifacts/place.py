"""Directories of artifacts below the store, opened part by part and never through a link.

    <store>/artifacts/<experiment_id>/<run_id>/artifacts/...             files of a run
    <store>/artifacts/<experiment_id>/models/<model_id>/artifacts/...    files of a logged model

Where the experiment is not known (a run that was attached to, or a catalog that cannot be read) its part is "attached".
Only `<store>/artifacts` itself may be a link: where a store lies is its owner's choice.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from localtrack.artifacts import paths
from localtrack.errors import TrackingError
from localtrack.rules import shown
from localtrack.store import ATTACHED, Store

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BELOW = DIRECTORY | os.O_NOFOLLOW
#: Directory of the logged models in that of their experiment.
MODELS = "models"
#: Not blocking: a pipe that somebody put there must not stop us.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
#: What a link, or a file where a directory should be, answers.
NO_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)


class Owner(NamedTuple):
    """Whose files they are.

    Attributes:
        id: run id, or model id.
        experiment_id: "" when it is not known.
        model: whether it is a logged model.
    """

    id: str
    experiment_id: str
    model: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The directory below `<store>/artifacts`, checked.

        Raises:
            TrackingError: an id that is no name of a directory (from a foreign journal).
        """
        experiment = paths.part(self.experiment_id or ATTACHED)
        return (experiment, *((MODELS,) if self.model else ()), paths.part(self.id), "artifacts")


class Entry(NamedTuple):
    """What lies in a directory: name, whether it is a directory, bytes; the remote that has what gc removed here."""

    name: str
    is_dir: bool
    size: int
    removed_to: str | None = None


def root(store: Store, owner: Owner) -> str:
    """The artifact directory of `owner`, an absolute path; it need not exist."""
    return os.path.join(store.artifacts, *owner.parts)


def owner_to_read(store: Store, owner: Owner) -> Owner:
    """Where the files of `owner` lie: as it says, or where they were put while its experiment was not known."""
    unknown = owner._replace(experiment_id="")
    return unknown if not os.path.isdir(root(store, owner)) and os.path.isdir(root(store, unknown)) else owner


def no_directory(path: str) -> TrackingError:
    """The error for a path that leads through a file or a link."""
    return TrackingError(f"Invalid artifact path: {shown(path)}: a file or a link is in the way of a directory")


class Place:
    """The artifact directory of one owner; a context manager, because it holds directories open.

    Args:
        store: the store.
        owner: whose directory.
    """

    def __init__(self, store: Store, owner: Owner) -> None:
        self.store = store
        self.owner = owner
        self._parts = owner.parts
        self._open: dict[str, int] = {}
        self._unsynced: set[tuple[str, ...]] = set()

    def __enter__(self) -> Place:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directories; asking for one opens it again."""
        while self._open:
            os.close(self._open.popitem()[1])

    def directory(self, path: str = "", *, make: bool = False) -> int:
        """The descriptor of a directory below the artifact directory; it stays open until `close`.

        Args:
            path: checked path of an artifact, or "" for the artifact directory itself.
            make: make what is missing, for the owner of the process only (0700).

        Raises:
            FileNotFoundError: it does not exist, and is not to be made.
            TrackingError: a file or a link is in the way.
            OSError: the file system refuses.
        """
        found = self._open.get(path)
        if found is None:
            try:
                found = self._open[path] = self._reach(self._parts_of(path), make=make)
            except OSError as error:
                if error.errno in NO_DIRECTORY:
                    raise no_directory(path) from error
                raise
        return found

    def _parts_of(self, path: str) -> tuple[str, ...]:
        return (*self._parts, *path.split("/")) if path else self._parts

    def _reach(self, parts: tuple[str, ...], *, make: bool = False) -> int:
        """Open a directory below `<store>/artifacts`, each part on its own: the kernel must not follow any of them."""
        if make and not os.path.isdir(self.store.artifacts):
            self.store.make()
        descriptor = os.open(self.store.artifacts, DIRECTORY)
        for depth, part in enumerate(parts):
            try:
                if make and _made(part, descriptor):
                    self._unsynced.add(parts[:depth])
                below = os.open(part, _BELOW, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def changed(self, path: str) -> None:
        """Note that a name appeared in a directory, for `sync`."""
        self._unsynced.add(self._parts_of(path))

    def sync(self) -> None:
        """Make the names that were made in directories survive power loss.

        Raises:
            OSError: the file system refuses.
        """
        for parts in self._unsynced:
            descriptor = self._reach(parts)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._unsynced.clear()

    def open_file(self, path: str) -> int:
        """A descriptor of a stored file, for reading; who gets it closes it.

        Args:
            path: any text: what is no path of an artifact is refused.

        Raises:
            FileNotFoundError: there is none, or it is a directory.
            TrackingError: no path of an artifact, or it leads through a link, or to what is no file.
            OSError: the file system refuses.
        """
        above, name = split(paths.checked(path))
        try:
            descriptor = os.open(name, _FILE, dir_fd=self.directory(above))
        except OSError as error:
            if error.errno in NO_DIRECTORY:
                raise no_directory(path) from error
            raise
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode):
            return descriptor
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise TrackingError(f"Artifact {shown(path)} is not a regular file")

    def entries(self, path: str = "") -> Iterator[Entry]:
        """What lies in a directory, in no order; nothing if there is none.

        Left out: links, and files on their way in.
        """
        try:
            descriptor = self.directory(path)
        except (FileNotFoundError, TrackingError):
            return
        with os.scandir(descriptor) as found:
            for entry in found:
                is_dir = entry.is_dir(follow_symlinks=False)
                if not (is_dir or entry.is_file(follow_symlinks=False)) or entry.name.startswith(paths.TEMPORARY):
                    continue
                try:
                    size = 0 if is_dir else entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
                yield Entry(entry.name, is_dir, size)


def _made(name: str, above: int) -> bool:
    """Make a directory; whether there was none."""
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except FileExistsError:
        return False
    return True


def split(path: str) -> tuple[str, str]:
    """Directory ("" for none) and name of a path."""
    above, _, name = path.rpartition("/")
    return above, name
