"""The greatest record number in a write-ahead log, read without SQLite: whether SQLite stopped too early.

SQLite reads a log up to its first frame that is not whole, and says nothing. That is right after a kill or a power cut,
where nothing that follows was acknowledged and fenced; when a bit rotted in the middle it is silent loss. So the end of
the log is looked at: a record that stands there with a true checksum, two or more beyond what SQLite shows, was
committed and is out of reach. (One beyond may be a commit that is just being made.)

Only the `-wal` file is opened. Opening the database or `-shm` here would, when closed, drop the locks that SQLite holds
on them in this process. Layout: https://www.sqlite.org/walformat.html §2.1, https://www.sqlite.org/fileformat2.html
§1.6, §2.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from localtrack.journal import codec

_WAL_HEADER = struct.Struct(">8I")  # magic, version, page size, checkpoint number, two salts, two checksums
_FRAME_HEADER = struct.Struct(">6I")  # page, pages after commit (0: not a commit), two salts, two checksums
_LEAF = struct.Struct(">BHHHB")  # kind of page, first free block, cells, start of cells, fragments
_TABLE_LEAF = 13
#: Frames at the end that are looked at: the last ones of a large batch hold no beginning of a record.
_FRAMES = 16


def greatest_record(path: str, seed: int) -> int:
    """Greatest n of a record that stands, whole, in the last frames of the log of the journal at `path`; 0 for none.

    Args:
        path: of the journal, without `-wal`.
        seed: where its checksums start, see codec.seed_of.
    """
    try:
        with open(path + "-wal", "rb") as log:
            return max((n for page in _last_pages(log) for n in _records(page, seed)), default=0)
    except OSError:
        return 0  # there is no log, or it cannot be read: then SQLite says so itself


def _last_pages(log: BinaryIO) -> Iterator[bytes]:
    """Pages of the last frames of the present log; older frames may follow in the file, with other salts."""
    header = log.read(_WAL_HEADER.size)
    if len(header) < _WAL_HEADER.size:
        return
    page_size, salts = _WAL_HEADER.unpack(header)[2], header[16:24]
    size = _FRAME_HEADER.size + page_size

    def frame(number: int) -> bytes:
        log.seek(_WAL_HEADER.size + number * size)
        return log.read(size)

    low, high = 0, (log.seek(0, 2) - _WAL_HEADER.size) // size
    while low < high:  # frames of the present log are the first ones
        middle = (low + high) // 2
        low, high = (middle + 1, high) if frame(middle)[8:16] == salts else (low, middle)
    for number in range(max(0, low - _FRAMES), low):
        yield frame(number)[_FRAME_HEADER.size :]


def _records(page: bytes, seed: int) -> Iterator[int]:
    """Numbers of the records on a page whose checksums hold."""
    if len(page) < _LEAF.size or page[0] != _TABLE_LEAF:
        return
    cells = _LEAF.unpack_from(page)[2]
    for index in range(min(cells, (len(page) - _LEAF.size) // 2)):
        (at,) = struct.unpack_from(">H", page, _LEAF.size + 2 * index)
        length, at = _varint(page, at)
        n, at = _varint(page, at)
        header, _ = _varint(page, at)
        try:
            codec.opened(page[at + header : at + length], seed, n)
        except codec.BadBodyError:
            continue  # damaged, of another table, or longer than the page
        yield n


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number as SQLite writes it, and where the next one begins."""
    value = 0
    for count, byte in enumerate(data[at : at + 9], start=1):
        if count == 9:  # noqa: PLR2004 - the ninth byte counts whole
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the high bit says that more follows
            return value, at + count
    return 0, len(data)
