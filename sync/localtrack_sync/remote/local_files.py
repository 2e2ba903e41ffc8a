"""Files of the store for uploads: opened without following links, streamed, and never sent whole when they changed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import BinaryIO

from localtrack.artifacts.removed import notes_of
from localtrack.errors import StoreError
from localtrack.store import ATTACHED, Store
from localtrack_sync.protocol.effects import Upload
from localtrack_sync.uploads.artifact_root import refused

#: Bytes in memory at once.
CHUNK_BYTES = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Not blocking: a named pipe in the place of a file must not hold up the replay.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LocalFileError(Exception):
    """A file of the store cannot be sent; the words are for people."""


class LocalFiles:
    """The artifacts of one store."""

    def __init__(self, base: str, explain: Callable[[Upload], str] = lambda _upload: "") -> None:
        """Opens nothing.

        Args:
            base: directory of the artifacts.
            explain: why a file is not there, in words; "" when nobody knows.
        """
        self._base = base
        self._explain = explain

    def chunks(self, upload: Upload) -> Iterator[bytes]:
        """The bytes of an upload, a piece at a time; before the last piece of a whole file its hash is known.

        Raises:
            LocalFileError: it is missing, no plain file, or not what it was when it was registered.
        """
        whole = upload.length < 0
        digest = hashlib.sha256()
        with closing(self._open(upload)) as file:
            file.seek(upload.offset)
            left = upload.sent
            held = b""
            while left:
                piece = _read(file, min(CHUNK_BYTES, left))
                left -= len(piece)
                if whole:
                    digest.update(piece)
                if held:
                    yield held
                held = piece
            if whole and digest.hexdigest() != upload.sha256:
                raise LocalFileError("the file has changed since it was registered")
            if held:
                yield held

    def content(self, upload: Upload) -> bytes | None:
        """All of a small file; None when it is not what it was when it was registered."""
        try:
            return b"".join(self.chunks(upload))
        except LocalFileError:
            return None

    def check(self, upload: Upload) -> None:
        """Read a file and compare it with its hash.

        Raises:
            LocalFileError: see `chunks`.
        """
        for _ in self.chunks(replace(upload, offset=0, length=-1)):
            pass

    def _open(self, upload: Upload) -> BinaryIO:
        """Open a file part by part, so that no link on the way leads out of the store."""
        reason = refused(upload.directory) or refused(upload.path)
        if reason:
            raise LocalFileError(reason)
        try:
            at = os.open(self._base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            *directories, name = [*self._directory(upload).split("/"), *upload.path.split("/")]
            for part in directories:
                at = _step(at, part, _DIRECTORY)
            handle = _step(at, name, _FILE)
        except OSError as error:
            why = self._explain(upload) if error.errno == errno.ENOENT else ""
            raise LocalFileError(why or f"the file cannot be read here: {error.strerror}") from error
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != upload.size:
            os.close(handle)
            raise LocalFileError(f"the file has changed since it was registered: {facts.st_size} bytes")
        return os.fdopen(handle, "rb", buffering=0)

    def _directory(self, upload: Upload) -> str:
        """Where the owner's files lie: as it says, or where they were put while its experiment was not known."""
        unknown = f"{ATTACHED}/{upload.directory.partition('/')[2]}"
        there = [os.path.isdir(os.path.join(self._base, one)) for one in (upload.directory, unknown)]
        return unknown if there == [False, True] else upload.directory


def removed_by_gc(store: Store, upload: Upload) -> str:
    """Why a file is not there, when `localtrack gc` removed it; "" else."""
    owner = upload.directory.split("/")[-2:-1]
    try:
        note = notes_of(store, owner[0]).get(upload.path) if owner else None
    except StoreError:
        return ""
    if note is None or note.sha256 != upload.sha256:
        return ""
    where = " and ".join(one.remote for one in note.copies)
    return f"`localtrack gc` removed the file here, when {where} had it: it cannot be sent from here"


def _step(at: int, name: str, flags: int) -> int:
    """Open a name in an open directory, which is closed."""
    try:
        return os.open(name, flags, dir_fd=at)
    finally:
        os.close(at)


def _read(file: BinaryIO, size: int) -> bytes:
    try:
        piece = file.read(size)
    except OSError as error:
        raise LocalFileError(f"the file cannot be read here: {error.strerror}") from error
    if not piece:
        raise LocalFileError("the file has changed since it was registered: it is shorter")
    return piece
