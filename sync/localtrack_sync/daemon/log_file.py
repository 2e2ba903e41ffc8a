"""The daemon's log file: bounded in size, readable by its owner only; and reading the end of it."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import final

from localtrack.errors import StoreError
from localtrack.store import Store

#: A file of this size is put aside; so many of them are kept.
MAX_BYTES, KEPT = 5_000_000, 3
_BLOCK = 65_536
#: Seconds between two looks at a file that is followed.
_FOLLOW_S = 0.25


def state_home(environ: Mapping[str, str]) -> str:
    """Where this user's logs are: `localtrack` in XDG_STATE_HOME, by default `~/.local/state`."""
    home = environ.get("HOME") or os.path.expanduser("~")
    return os.path.join(environ.get("XDG_STATE_HOME") or os.path.join(home, ".local", "state"), "localtrack")


def default_log(environ: Mapping[str, str], store: Store, host: str = "") -> str:
    """The log file of a detached daemon whose first store is this one.

    Host and path of the store are in its name: hosts share home directories, and a path means another store there.
    """
    real = os.path.realpath(store.path)
    mark = hashlib.sha256(f"{host or socket.gethostname()}\0{real}".encode(errors="surrogateescape")).hexdigest()[:8]
    return os.path.join(state_home(environ), f"daemon-{os.path.basename(real) or 'root'}-{mark}.log")


@final
class LogFile:
    """An append-only file that is renamed to `.1`, `.2`, ... when it is full. Not for several threads at once."""

    def __init__(self, path: str, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        """Open it, or make it, with its directory.

        Raises:
            StoreError: it cannot be opened.
        """
        self._path = path
        self._max = max_bytes
        self._kept = kept
        self._handle: int | None = None
        self._torn = False
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            self._open()
        except OSError as error:
            raise StoreError(
                f"The log file {path} cannot be opened: {error.strerror or error}",
                "Name another one with --log-file, or another directory with XDG_STATE_HOME.",
            ) from error

    def write(self, line: bytes) -> None:
        """Append one line.

        Raises:
            OSError: it is not there, or not whole (a full disk); the next one begins on a line of its own.
        """
        handle = self._for(len(line))
        given = b"\n" + line if self._torn else line
        written = os.write(handle, given)
        self._torn = written < len(given) and (written > 0 or self._torn)
        if written < len(given):
            raise OSError(f"{self._path}: {written} of {len(given)} bytes were written")

    def close(self) -> None:
        """Close it; nothing happens when it is closed."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _for(self, size: int) -> int:
        """The file that the next line goes to: a new one when this one is full, or was moved or removed by others."""
        handle = self._open() if self._handle is None or not self._is_there(self._handle) else self._handle
        length = os.fstat(handle).st_size
        if length and length + size > self._max:
            with suppress(OSError):  # a directory that cannot be written makes the file longer, and loses no line
                self._rotate()
                handle = self._open()
        return handle

    def _is_there(self, handle: int) -> bool:
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _rotate(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            with suppress(FileNotFoundError):
                os.replace(f"{self._path}.{number}", f"{self._path}.{number + 1}")
        os.replace(self._path, f"{self._path}.1")

    def _open(self) -> int:
        new = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.close()
        self._handle = new
        return new


def last_lines(path: str, count: int) -> list[bytes]:
    """The last lines of a log, oldest first, without their ends; also those in the files that were put aside.

    Raises:
        FileNotFoundError: there is no such log.
    """
    lines = _tail(path, count)
    for number in range(1, KEPT + 1):
        with suppress(FileNotFoundError):
            lines = _tail(f"{path}.{number}", count - len(lines)) + lines
    return lines


def _tail(path: str, count: int) -> list[bytes]:
    if not count:
        return []
    with open(path, "rb") as file:
        place = file.seek(0, os.SEEK_END)
        text = b""
        while place and text.count(b"\n") <= count:
            step = min(_BLOCK, place)
            place = file.seek(place - step)
            text = file.read(step) + text
    return text.splitlines()[-count:]


def followed(path: str, pause: Callable[[float], object] = time.sleep) -> Iterator[bytes]:
    """What is added to a log from now on, piece by piece, also after it was put aside; never ends by itself.

    Args:
        path: the log; it may be missing for a while.
        pause: waits so many seconds.

    Returns:
        Pieces; an empty one when there is nothing new.
    """
    handle = _reading(path)
    if handle is not None:
        os.lseek(handle, 0, os.SEEK_END)
    try:
        while True:
            new = _reading(path)  # before the old one is read to its end: nothing is added to that one any more
            if handle is not None:
                yield from _pieces(handle)
            if new is not None and handle is not None and os.path.samestat(os.fstat(handle), os.fstat(new)):
                os.close(new)
                if os.lseek(handle, 0, os.SEEK_CUR) > os.fstat(handle).st_size:
                    os.lseek(handle, 0, os.SEEK_SET)  # somebody emptied it
            elif new is not None:
                if handle is not None:
                    os.close(handle)
                handle = new
                continue
            yield b""
            pause(_FOLLOW_S)
    finally:
        if handle is not None:
            os.close(handle)


def _pieces(handle: int) -> Iterator[bytes]:
    while piece := os.read(handle, _BLOCK):
        yield piece


def _reading(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
