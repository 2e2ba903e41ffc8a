"""The files of a run or logged model, compared with what the remote lists. It writes nothing anywhere. Pure.

A list tells names and sizes. The manifest beside the files tells the hashes of what was sent, so a file of the right
size is told from another content as far as nobody else changed it. With the setting `reread` the bytes of every file
are read as well. `MLmodel` files, whose ids are made the remote's, are compared with what was sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from localtrack.catalog.desired import StoredFile
from localtrack_sync.delivery.item_pass import ItemPass
from localtrack_sync.protocol.effects import ReadFiles
from localtrack_sync.protocol.findings import Finding, Standing
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.steps import Ended, Part, Turn
from localtrack_sync.uploads.manifest import MANIFEST, listed
from localtrack_sync.uploads.mlmodel import is_model_file
from localtrack_sync.uploads.outlets import Outlet, outlet


def compare_files(p: ItemPass, remote_id: str, root: str) -> Part[list[Finding]]:
    """Compare every file that the store has of `p`.

    Args:
        p: whose files.
        remote_id: its id on the remote.
        root: its artifact root, as the remote says.

    Raises:
        Ended: what lies there cannot be read.
    """
    files: tuple[StoredFile, ...] = yield ReadFiles(p.uid)
    if not files:
        return []
    whole = p.ledger.parked.get(("file", ""))
    if whole is not None:
        ours = f"{len(files)} files"
        return [Finding("file", "", "missing", ours, None, len(files), Standing.KNOWN, f"parked: {whole.reason}")]
    way = outlet(p.desk, p.ledger, root, remote_id)
    if not isinstance(way, Outlet):
        raise Ended(Ending.PARKED, f"its files cannot be compared: {way}")
    return (yield from _compared(p, way, files))


def _compared(p: ItemPass, way: Outlet, files: Sequence[StoredFile]) -> Part[list[Finding]]:
    top = yield from _sizes(way, "")
    hashes = listed((yield from way.fetch(MANIFEST)), p.uid) if MANIFEST in top else {}
    found: list[Finding] = []
    for directory, group in groupby(
        sorted(files, key=lambda file: _split(file.path)), lambda file: _split(file.path)[0]
    ):
        there = (yield from _sizes(way, directory)) if directory else top
        for file in group:
            one = _difference(p, file, there.get(_split(file.path)[1]), hashes)
            if one is None and p.desk.settings.reread:
                one = yield from _reread(p, way, file)
            found += [_explained(p, one)] if one is not None else []
        yield Turn()
    return found


def _sizes(way: Outlet, directory: str) -> Part[dict[str, int]]:
    there = yield from way.sizes(directory)
    if isinstance(there, str):
        raise Ended(Ending.PARKED, there)
    return there


def _difference(
    p: ItemPass, file: StoredFile, shown: int | None, hashes: Mapping[str, tuple[int, str]]
) -> Finding | None:
    """In what a file differs; None: not at all."""
    size, sha256 = _expected(p, file)
    ours = f"{file.size} bytes"
    if shown is None:
        return Finding("file", file.path, "missing", ours, None)
    if size is not None and shown != size:
        return Finding("file", file.path, "different", f"{size} bytes", f"{shown} bytes")
    named = hashes.get(file.path)
    if named is not None and sha256 is not None and named != (shown, sha256):
        theirs = f"sha256 {named[1][:12]} by the manifest"
        return Finding("file", file.path, "different", f"sha256 {sha256[:12]}", theirs)
    return None


def _reread(p: ItemPass, way: Outlet, file: StoredFile) -> Part[Finding | None]:
    """In what the bytes of a file there differ from what was sent; None: not at all."""
    size, sha256 = _expected(p, file)
    if size is None or sha256 is None:
        return Finding(
            "file", file.path, "unread", f"{file.size} bytes", "ids inside are others; what was sent is not known"
        )
    theirs = yield from way.reread(file.path, size)
    if isinstance(theirs, str):
        return Finding("file", file.path, "unread", f"{size} bytes", theirs)
    if theirs == (size, sha256):
        return None
    told = f"sha256 {theirs[1][:12]}" if theirs[0] == size else f"{theirs[0]} bytes or more"
    return Finding("file", file.path, "different", f"sha256 {sha256[:12]}", told)


def _expected(p: ItemPass, file: StoredFile) -> tuple[int | None, str | None]:
    """Size and hash of what should lie there; None: not known, because ids inside were made the remote's."""
    record = p.ledger.files.get(file.path)
    if record is not None and record.sha256 == file.sha256:
        return record.sent_size, record.sent_sha256
    return (None, None) if is_model_file(file.path, file.size) else (file.size, file.sha256)


def _explained(p: ItemPass, one: Finding) -> Finding:
    for how, records in (("rejected", p.ledger.rejected), ("parked", p.ledger.parked)):
        record = records.get((one.kind, one.key))
        if record is not None:
            return replace(one, standing=Standing.KNOWN, reason=f"{how}: {record.reason}")
    return one


def _split(path: str) -> tuple[str, str]:
    directory, _, name = path.rpartition("/")
    return directory, name
