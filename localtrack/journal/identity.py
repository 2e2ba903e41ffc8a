"""Who writes a journal: what the header of the file says."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from localtrack.journal import ops
from localtrack.json_text import loaded

_INCARNATION_BYTES = 16


@dataclass(frozen=True)
class Identity:
    """Who writes a journal, as `meta` keeps it.

    Attributes:
        incarnation: 32 hex digits, random.
        created_ms: milliseconds since the epoch.
    """

    incarnation: str
    created_ms: int
    host: str
    pid: int
    boot_id: str
    user: str

    @classmethod
    def here(cls, now_ms: int, random: bytes) -> Identity:
        """This process now; `random` is 16 bytes."""
        return cls(random.hex(), now_ms, os.uname().nodename, os.getpid(), boot_id(), _user())

    def info(self, version: int) -> ops.JournalInfo:
        """As the header of a journal file of this format."""
        return ops.JournalInfo(self.incarnation, self.created_ms, self.host, self.pid, self.user, version)

    def second_copy(self) -> tuple[bytes, int]:
        """Text and checksum of the row of `name` that repeats the header."""
        text = json.dumps(self.__dict__).encode()
        return text, zlib.crc32(text)

    @property
    def file_name(self) -> str:
        """`<time>-<host>-<pid>-<rand>.db`: sorts by time, readable by people."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self.created_ms / 1000))
        host = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "_" for c in self.host)[:40]
        return f"{stamp}-{host}-{self.pid}-{self.incarnation[:8]}.db"


class Place(NamedTuple):
    """Which file a journal was made as, and what its process holds while it lives: more keys of `meta`.

    Attributes:
        process: incarnation of the first journal that this process made in this store.
        device, inode: of the file when it was made; 0: not known.
        lock: "wal" while a lock on the -wal file shows that the process lives; "" when there is none.
        locking: normal or exclusive.
    """

    process: str
    device: int
    inode: int
    lock: str
    locking: str


def boot_id() -> str:
    """Id of this boot of the machine: a pid means something only together with it. Empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _user() -> str:
    """Login name, as getpass would find it, without importing it; the uid where there is no name."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if name := os.environ.get(variable):
            return name
    return str(os.getuid())


def read_identity(connection: sqlite3.Connection) -> Identity:
    """Who wrote an open journal file, from either of its two places.

    Raises:
        ValueError: both are damaged.
    """
    try:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        return _identity_from(meta)
    except (sqlite3.DatabaseError, KeyError, ValueError, TypeError):
        pass
    try:
        text, crc = connection.execute("SELECT text, crc FROM name WHERE ref = 0").fetchone()
        return _identity_from(loaded(str(text, "utf-8")) if zlib.crc32(text) == crc else {})
    except (sqlite3.DatabaseError, KeyError, TypeError) as error:
        raise ValueError(f"its header is damaged ({error})") from error


def read_place(connection: sqlite3.Connection) -> Place:
    """Where an open journal file was made; of journals that do not say so (older ones, damaged ones) nothing is known.

    Raises:
        sqlite3.Error: the file cannot be read just now.
    """
    meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    numbers = [int(text) if (text := str(meta.get(key, ""))).isdigit() else 0 for key in ("device", "inode")]
    process, lock, locking = (str(meta.get(key, "")) for key in ("process", "lock", "locking"))
    return Place(process, numbers[0], numbers[1], lock, locking)


def _identity_from(meta: Mapping[str, Any]) -> Identity:
    incarnation = str(meta["incarnation"])
    if len(bytes.fromhex(incarnation)) != _INCARNATION_BYTES:
        raise ValueError("not an incarnation")
    created_ms, pid = int(meta["created_ms"]), int(meta["pid"])
    return Identity(incarnation, created_ms, meta["host"], pid, meta["boot_id"], meta["user"])
