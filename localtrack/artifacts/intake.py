"""Files on their way into the store: whole in a temporary name, on the disk, then renamed, then registered.

    copy to .artifact.uploading.*  ->  fsync  ->  rename  ->  fsync of the directories  ->  ArtifactStored op

So whoever reads sees a whole file or none, a registered file is there after power loss too, and a process that dies in
between leaves at most a temporary file (swept by `scan`) or a file that the next scan registers.

One fsync a file is what costs; file systems serve several that wait at once with one commit (measured on ext4: 2 ms
each one by one, 0.25 ms with eight), so the files of one call are copied by a few threads.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import NamedTuple, TypeAlias

from localtrack.artifacts import copy, paths
from localtrack.artifacts.marks import mark
from localtrack.artifacts.place import Place, split
from localtrack.errors import TrackingError
from localtrack.journal.ops import ArtifactStored
from localtrack.rules import shown

#: Our own temporary names; the first part is MLflow's, so that MLflow does not list them either.
TEMPORARY = f"{paths.TEMPORARY}localtrack-"
_THREADS = 8
#: Files that are on their way at once: each may need a directory of its own held open.
_BATCH = 128
_WANT_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FROM = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


class Incoming(NamedTuple):
    """A file to bring in.

    Attributes:
        local: where it is.
        path: checked path of the artifact.
        ours: localtrack made it in the store and nobody else knows it: it is moved, not copied.
    """

    local: str
    path: str
    ours: bool = False


class _Staged(NamedTuple):
    """A whole file under a temporary name (None: it lies at its place already) in an open directory."""

    temporary: str | None
    content: copy.Content


class Failure(NamedTuple):
    """A file that the machine did not let us store."""

    path: str
    error: OSError


class _SourceError(Exception):
    """What is wrong is the caller's file: `__cause__` says what."""


#: What became of a file of a batch: the directory where it shall lie, what is wrong, a staged file; None: placed.
_Outcome: TypeAlias = "int | Exception | _Staged | None"


class Intake:
    """Brings files to one place.

    Args:
        place: where; its owner's.
        register: appends the op to the journal.
        random: bytes for temporary names.

    Attributes:
        failures: what the machine did not let us store.
    """

    def __init__(
        self, place: Place, register: Callable[[ArtifactStored], object], random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._place = place
        self._register = register
        self._random = random
        self.failures: list[Failure] = []

    def bring(self, files: Iterable[Incoming]) -> None:
        """Store and register files, some at a time; those before a bad one are stored.

        What the machine does not let us store (disk full, read-only, ...) is added to `failures`; the rest is stored.

        Raises:
            TrackingError: a file or a link lies where a directory should be, a directory where the file should be, or
                what is to be stored is no regular file.
            OSError: the file to be stored cannot be opened.
        """
        rest = iter(files)
        while batch := list(islice(rest, _BATCH)):
            self._bring(batch)

    def _bring(self, batch: list[Incoming]) -> None:
        outcomes: list[_Outcome] = [self._directory(file) for file in batch]
        stored: list[ArtifactStored] = []
        try:
            self._stage_all(batch, outcomes)
            for index, file in enumerate(batch):
                op = self._placed(file, outcomes[index])
                if op is not None:
                    stored.append(op)
                    outcomes[index] = None
        except _SourceError as error:
            raise (error.__cause__ or error) from None
        finally:
            self._register_all(stored)
            self._sweep(batch, outcomes)
            self._place.close()

    # --- one file after the other, in this thread

    def _directory(self, file: Incoming) -> int | Exception:
        """The directory where the file shall lie."""
        try:
            return self._place.directory(split(file.path)[0], make=True)
        except (OSError, TrackingError) as error:
            return error

    def _placed(self, file: Incoming, outcome: _Outcome) -> ArtifactStored | None:
        """Give a staged file its name; None when the machine refuses."""
        try:
            if isinstance(outcome, Exception):
                raise outcome
            assert isinstance(outcome, _Staged)
            if outcome.temporary is not None:
                self._rename(outcome.temporary, file.path)
        except OSError as error:
            self.failures.append(Failure(file.path, error))
            return None
        return ArtifactStored(self._place.owner.id, file.path, *outcome.content)

    def _rename(self, temporary: str, path: str) -> None:
        above, name = split(path)
        directory = self._place.directory(above)
        try:
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except (IsADirectoryError, NotADirectoryError) as error:
            message = f"Invalid artifact path: {shown(path)}: a directory of that name is there"
            raise TrackingError(message) from error
        self._place.changed(above)

    def _register_all(self, stored: list[ArtifactStored]) -> None:
        try:
            self._place.sync()
        except OSError as error:
            self.failures += [Failure(op.path, error) for op in stored]
            return
        for op in stored:
            self._register(op)

    def _sweep(self, batch: list[Incoming], outcomes: list[_Outcome]) -> None:
        """Remove what was staged and got no name."""
        for file, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, _Staged) and outcome.temporary is not None:
                with suppress(OSError, TrackingError):
                    os.unlink(outcome.temporary, dir_fd=self._place.directory(split(file.path)[0]))

    # --- several at once

    def _stage_all(self, batch: list[Incoming], outcomes: list[_Outcome]) -> None:
        """Put in `outcomes` what became of each file, in place of its directory."""
        waiting = deque(index for index, outcome in enumerate(outcomes) if isinstance(outcome, int))

        def work() -> None:
            while True:
                try:
                    index = waiting.popleft()
                except IndexError:
                    return
                directory = outcomes[index]
                assert isinstance(directory, int)
                outcomes[index] = self._outcome(batch[index], directory)

        threads = list(_started(work, min(_THREADS, len(waiting)) - 1))
        try:
            work()
        finally:
            waiting.clear()
            for thread in threads:
                thread.join()
        self._try_alone(batch, outcomes)

    def _try_alone(self, batch: list[Incoming], outcomes: list[_Outcome]) -> None:
        """Try once more, one by one, what may have failed for want of the room that another file took and gave back."""
        for index, outcome in enumerate(outcomes):
            if len(batch) > 1 and isinstance(outcome, OSError) and outcome.errno in _WANT_OF_ROOM:
                directory = self._directory(batch[index])
                outcomes[index] = self._outcome(batch[index], directory) if isinstance(directory, int) else directory

    def _outcome(self, file: Incoming, directory: int) -> _Staged | Exception:
        try:
            return self._stage(file, directory)
        except Exception as error:  # noqa: BLE001 - raised or counted when its turn comes
            return error

    def _stage(self, file: Incoming, directory: int) -> _Staged:
        try:
            source = _open_source(file.local)
        except (OSError, TrackingError) as error:
            raise _SourceError from error
        try:
            if file.ours:
                moved = self._moved(file, source, directory)
                if moved is not None:
                    return moved
            elif _is_in_place(source, split(file.path)[1], directory):
                os.fsync(source)
                return _Staged(None, copy.content(source))
            return self._copied(source, directory)
        finally:
            os.close(source)

    def _moved(self, file: Incoming, source: int, directory: int) -> _Staged | None:
        """Take over a file of our own; None when it lies on another file system."""
        name = self._temporary()
        content = copy.content(source)
        os.fchmod(source, 0o600)
        mark(source, content.sha256)
        os.fsync(source)
        try:
            os.rename(file.local, name, dst_dir_fd=directory)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return None
            raise
        return _Staged(name, content)

    def _copied(self, source: int, directory: int) -> _Staged:
        name = self._temporary()
        target = os.open(name, _NEW, 0o600, dir_fd=directory)
        try:
            content = copy.copy(source, target)
            mark(target, content.sha256)
            os.fsync(target)
        except BaseException:
            os.unlink(name, dir_fd=directory)
            raise
        finally:
            os.close(target)
        return _Staged(name, content)

    def _temporary(self) -> str:
        return TEMPORARY + self._random(8).hex()


def _started(work: Callable[[], None], count: int) -> Iterator[threading.Thread]:
    for _ in range(count):
        thread = threading.Thread(target=work, name="localtrack-artifacts")
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending and starts no more threads: this one does it alone
            return
        yield thread


def _open_source(path: str) -> int:
    """The caller's file, links followed as MLflow follows them.

    Raises:
        OSError: it cannot be opened.
        TrackingError: no regular file: a pipe would have no end, a device no size.
    """
    descriptor = os.open(path, _FROM)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise TrackingError(f"Cannot log {shown(path)} as an artifact: it is not a regular file")


def _is_in_place(source: int, name: str, directory: int) -> bool:
    """Whether the caller's file is the very file at its place in the store."""
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(source), there)
