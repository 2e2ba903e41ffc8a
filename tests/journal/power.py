"""Power cuts: a recording of what a program really asked the kernel to write, and what a disk may be left with.

The model is the usual pessimistic one: a write is sure to be on the disk only when an fsync of its file followed; of
the others any subset may be there, whole or torn between sectors. New and removed names are sure after an fsync of
their directory.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+|\?)")
_BYTES = re.compile(r"\\x([0-9a-f]{2})")


@dataclass
class File:
    """One file: what is surely on the disk, and writes that may be."""

    path: str
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)
    named: bool = False

    def write(self, at: int, data: bytes) -> None:
        self.pending.append((at, data))

    def truncate(self, size: int) -> None:
        # Kept simple and pessimistic enough: a truncation is seen at once, with or without the writes before it.
        self.pending = [(at, data) for at, data in self.pending if at < size]
        del self.durable[size:]

    def sync(self) -> None:
        for at, data in self.pending:
            _put(self.durable, at, data)
        self.pending = []

    def after_a_cut(self, rng: random.Random) -> bytes:
        """A state that the disk may be left in."""
        content = bytearray(self.durable)
        for at, data in self.pending:
            chance = rng.random()
            if chance < 0.4:
                _put(content, at, data)
            elif chance < 0.6:
                for sector in range(at // SECTOR, (at + len(data) - 1) // SECTOR + 1):
                    low, high = max(at, sector * SECTOR), min(at + len(data), (sector + 1) * SECTOR)
                    if rng.random() < 0.5:
                        _put(content, low, data[low - at : high - at])
        return bytes(content)


def _put(content: bytearray, at: int, data: bytes) -> None:
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


class Disk:
    """The files under one directory, as one process wrote them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.files: dict[str, File] = {}
        self.removed: dict[str, File] = {}
        self.open: dict[str, File | str] = {}

    def cut(self, rng: random.Random, target: Path) -> None:
        """Lay out under `target` what the disk may hold if the power goes now."""
        for path, file in self.files.items():
            if not file.named and rng.random() < 0.5:
                continue
            copy = target / os.path.relpath(path, self.root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.after_a_cut(rng))
        for path, file in self.removed.items():
            if path not in self.files and rng.random() < 0.5:
                copy = target / os.path.relpath(path, self.root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.after_a_cut(rng))

    def apply(self, call: str, arguments: str, result: str) -> str | None:
        """Follow one system call; returns the text of a mark, which is a write to standard output."""
        parts = arguments.split(", ")
        if call == "openat" and not result.startswith("-"):
            path = _text(parts[1])
            self.open[result] = path
            if path.startswith(self.root) and not os.path.isdir(path):
                created = "O_CREAT" in parts[2]
                self.open[result] = self.files.setdefault(path, File(path)) if created or path in self.files else path
        elif call == "write" and parts[0] == "1":
            return _text(parts[1])
        elif call in {"pwrite64", "write"}:
            self._write(parts)
        elif call in {"fsync", "fdatasync"}:
            self._sync(self.open.get(parts[0]))
        elif call == "ftruncate" and isinstance(file := self.open.get(parts[0]), File):
            file.truncate(int(parts[1]))
        elif call == "unlink" and (removed := self.files.pop(_text(parts[0]), None)):
            self.removed[removed.path] = removed
        return None

    def _write(self, parts: list[str]) -> None:
        file = self.open.get(parts[0])
        if isinstance(file, File):
            assert len(parts) == 4, "SQLite writes with pwrite64"
            file.write(int(parts[3]), _data(parts[1]))

    def _sync(self, target: File | str | None) -> None:
        if isinstance(target, File):
            target.sync()
        elif isinstance(target, str):
            for path, file in self.files.items():
                if os.path.dirname(path) == target.rstrip("/"):
                    file.named = True
            self.removed = {path: file for path, file in self.removed.items() if os.path.dirname(path) != target}


def _data(text: str) -> bytes:
    assert text.startswith('"'), text[:40]
    assert text.endswith('"'), "strace cut the data short"
    return bytes.fromhex("".join(_BYTES.findall(text)))


def _text(text: str) -> str:
    return os.fsdecode(_data(text))


def record(script: str, directory: Path, trace: Path) -> None:
    """Run a script (argv[1] is `directory`) and record its writes; one thread of it at a time is enough for us."""
    calls = "trace=openat,close,write,pwrite64,fsync,fdatasync,ftruncate,unlink"
    command = ["strace", "-f", "-xx", "-s", "10000000", "-e", calls, "-o", str(trace)]
    done = subprocess.run(
        [*command, sys.executable, "-c", script, str(directory)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def replay(trace: Path, disk: Disk, ignore: str = "") -> Iterator[str | None]:
    """Follow a recording on `disk` without the calls `ignore`; yields after every call the mark it printed, or None."""
    unfinished: dict[str, str] = {}
    with trace.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            pid, rest = line.split(maxsplit=1)
            if rest.rstrip().endswith("<unfinished ...>"):
                unfinished[pid] = rest.rsplit("<unfinished", 1)[0].rstrip()
                continue
            if rest.startswith("<... "):
                rest = unfinished.pop(pid) + rest.split("resumed>", 1)[1]
            if match := _CALL.match(f"{pid} {rest}"):
                yield None if match[1] == ignore else disk.apply(*match.groups())
