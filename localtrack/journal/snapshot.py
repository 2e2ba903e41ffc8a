"""A consistent copy of a journal, made without a lock: for files that must not or cannot be read in their place.

Used by forked children (connect.never_open), and for files with a rollback journal beside them (the process died while
it made or sealed the file), which SQLite has to roll back before it reads, and a reader does not write.

A plain copy of a database and its log takes them at two moments. This one is whole because the log was not begun anew
in between: its header (with the salts that change when it is) is the same before and after. Then every page that a
checkpoint was just writing into the database, perhaps half copied by us, also stands in the log that we copied, and
SQLite takes it from there; and a frame that was just being appended fails its checksum and ends the log, as after a
crash.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import nullcontext, suppress

_HEADER_BYTES = 32
_TRIES = 20
_BESIDE = ("-wal", "-journal")


def opened(path: str) -> sqlite3.Connection:
    """A connection to a private copy, whose files are gone already.

    Raises:
        OSError: no quiet moment was found, or the file cannot be read.
        sqlite3.Error: the copy cannot be opened.
    """
    import shutil
    import tempfile  # 30 modules that only a forked child needs: `import localtrack` stays light

    directory = tempfile.mkdtemp(prefix="localtrack-")
    try:
        copy = os.path.join(directory, "journal.db")
        for _ in range(_TRIES):
            if _copied(path, copy):
                break
        else:
            raise OSError(f"{path} is written so fast that no consistent copy could be made; try again")
        connection = sqlite3.connect(copy, isolation_level=None, check_same_thread=False)
        # Folds the log into the copy, so that its files can be unlinked while it is open.
        connection.execute("PRAGMA journal_mode=DELETE").fetchone()
        return connection
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copied(path: str, copy: str) -> bool:
    """Copy database, log and rollback journal; whether the copy is consistent."""
    import shutil

    before = _state(path)
    for suffix in ("", *_BESIDE):
        with suppress(FileNotFoundError):
            os.unlink(copy + suffix)
        with suppress(FileNotFoundError) if suffix else nullcontext():
            shutil.copyfile(path + suffix, copy + suffix)
    return before == _state(path) and before[0] == _first_bytes(copy + "-wal")


def _state(path: str) -> tuple[object, ...]:
    """What must stay as it is during the copy: the log's header; without a log, everything."""
    log = _first_bytes(path + "-wal")
    if log:
        return (log,)
    return (log, *(_size_and_time(path + suffix) for suffix in ("", *_BESIDE)))


def _size_and_time(path: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _first_bytes(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None
