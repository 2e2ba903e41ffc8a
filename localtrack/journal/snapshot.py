"""A consistent copy of a journal that is being written, made without a lock: for forked children (connect.never_open).

A plain copy of a database and its log takes them at two moments. This one is whole because the log was not begun anew
in between: its header (with the salts that change when it is) is the same before and after. Then every page that a
checkpoint was just writing into the database, perhaps half copied by us, also stands in the log that we copied, and
SQLite takes it from there; and a frame that was just being appended fails its checksum and ends the log, as after a
crash.
"""

from __future__ import annotations

import os
import sqlite3

_HEADER_BYTES = 32
_TRIES = 20


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
    """Copy database and log; whether the copy is consistent."""
    import shutil

    before, header = _state(path), _log_header(path)
    shutil.copyfile(path, copy)
    if header is None:
        return _log_header(path) is None and _state(path) == before
    try:
        shutil.copyfile(path + "-wal", copy + "-wal")
    except FileNotFoundError:
        return False
    return header == _log_header(copy) == _log_header(path)


def _state(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns


def _log_header(path: str) -> bytes | None:
    try:
        with open(path + "-wal", "rb") as file:
            return file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None
