"""Which journal files there are and whether they changed, without opening them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from localtrack.journal.connect import FORMAT

SUFFIX = ".db"
WAL_SUFFIX = "-wal"
#: A file changed this recently may change again without its time changing: the kernel's clock for files ticks every 1
#: to 10 ms. Such a signature is used, but not believed later. (The same trap as git's "racily clean" index entries.)
RACY_NS = 100_000_000


@dataclass(frozen=True, slots=True)
class Signature:
    """What a journal file looks like from outside.

    Attributes:
        text: changes when the file or its -wal changes.
        size: bytes of the file, without -wal.
        settled: whether an equal text later proves that nothing was written since.
    """

    text: str
    size: int
    settled: bool


class Settled(NamedTuple):
    """What is known to be imported: the catalog file it is in, signature by journal file, and sealed journals."""

    file: tuple[int, int] | None = None
    known: Mapping[str, str] = {}
    finished: frozenset[str] = frozenset()

    def covers(self, seen: Mapping[str, Signature]) -> bool:
        """Whether nothing was written to any of `seen` since."""
        if self.file is None:
            return False
        return all(name in self.finished or self.known.get(name) == each.text for name, each in seen.items())


def scan(directory: str, skip: frozenset[str] = frozenset()) -> dict[str, Signature]:
    """Signature of every journal file in `directory`, by file name; those in `skip` are not looked at.

    A directory that does not exist holds no journals.

    Raises:
        OSError: the directory cannot be read.
    """
    now = time.time_ns()
    mains: dict[str, os.stat_result] = {}
    wals: dict[str, os.stat_result] = {}
    try:
        entries = os.scandir(directory)
    except FileNotFoundError:
        return {}
    with entries:
        for entry in entries:
            name = entry.name
            found, main = (wals, name[: -len(WAL_SUFFIX)]) if name.endswith(WAL_SUFFIX) else (mains, name)
            if not main.endswith(SUFFIX) or main in skip or not _is_text(main):
                continue
            try:
                found[main] = entry.stat()
            except FileNotFoundError:
                continue  # a -wal that its writer removed just now
    return {name: _signature(stat, wals.get(name), now) for name, stat in mains.items()}


def _is_text(name: str) -> bool:
    """Whether a file name is UTF-8: ours are, and no other can be noted in a database."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _signature(main: os.stat_result, wal: os.stat_result | None, now: int) -> Signature:
    # With the format that this localtrack reads: after an upgrade a file that was too new is tried again.
    text = f"{FORMAT}:{main.st_dev}.{main.st_ino}.{main.st_size}.{main.st_mtime_ns}"
    newest = main.st_mtime_ns
    if wal is not None:
        text += f".{wal.st_ino}.{wal.st_size}.{wal.st_mtime_ns}"
        newest = max(newest, wal.st_mtime_ns)
    return Signature(text, main.st_size, settled=newest < now - RACY_NS)
