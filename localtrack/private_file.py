"""Files that SQLite will open, made by us: readable by the owner only, whatever the umask."""

from __future__ import annotations

import errno
import os
import stat


def make_private(path: str) -> None:
    """An empty file (0600) when there is none.

    One that exists is never opened here. POSIX locks belong to the process: closing any handle of the file would take
    SQLite's locks from this process's other connections. Another process that closes its own would then take itself for
    the last one and remove the -wal that ours still write to, which damages the database.

    Raises:
        OSError: it cannot be made, or is a link: whoever laid that may mean to lead us elsewhere.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
