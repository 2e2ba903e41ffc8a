"""The bytes of a file: brought from one descriptor to another and hashed on the way, a piece at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import hashlib

#: Bytes in memory at a time.
PIECE = 1 << 20
#: Files from this size on are cloned where the file system can; smaller ones are copied as fast.
CLONE_FROM = 128 << 10
#: ioctl of linux/fs.h: the other file's blocks are shared until one of both is written to (btrfs, XFS, bcachefs).
_FICLONE = 0x40049409
#: What a file system, or a pair of them, answers that cannot clone.
_CANNOT_CLONE = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.EPERM}


class Content(NamedTuple):
    """Size in bytes and SHA-256 (64 hex digits) of a file."""

    size: int
    sha256: str


def copy(source: int, target: int) -> Content:
    """Copy a regular file into a new, empty one; what is returned is what lies in the new one.

    Blocks are shared where the file system can do that (then later writes to either do not show in the other); holes
    stay holes.

    Raises:
        OSError: reading or writing fails.
    """
    info = os.fstat(source)
    if info.st_size >= CLONE_FROM and _cloned(source, target):
        return content(target)
    digest, size = _sha256(), 0
    sparse = info.st_blocks * 512 < info.st_size
    length = min(PIECE, info.st_size + 1)
    while piece := os.read(source, length):
        digest.update(piece)
        size += len(piece)
        if sparse and not piece.strip(b"\0"):
            os.lseek(target, len(piece), os.SEEK_CUR)
        else:
            _write(target, piece)
    if sparse:
        os.ftruncate(target, size)
    return Content(size, digest.hexdigest())


def content(descriptor: int) -> Content:
    """Size and hash of an open file, from its beginning.

    Raises:
        OSError: reading fails.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    digest, size = _sha256(), 0
    length = min(PIECE, os.fstat(descriptor).st_size + 1)
    while piece := os.read(descriptor, length):
        digest.update(piece)
        size += len(piece)
    return Content(size, digest.hexdigest())


def _cloned(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _CANNOT_CLONE:
            return False
        raise
    return True


def _write(target: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(target, view) :]


def _sha256() -> hashlib._Hash:
    import hashlib  # loads OpenSSL: only who stores a file pays

    return hashlib.sha256(usedforsecurity=False)
