"""Whose files are delivered, and which of them are owed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from localtrack.catalog.desired import StoredFile
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.uploads.manifest import MANIFEST, manifest_of


@dataclass(frozen=True, slots=True)
class Place:
    """Whose files they are, here and there.

    Attributes:
        owner, remote_id: run or model id, here and on the remote.
        directory: artifact root here, below `<store>/artifacts`.
        root: artifact root on the remote, as it says itself.
        ids: see `mlmodel.rewritten`.
        fresh: made there by this very delivery state, so nothing lies there but what it sent.
        put_off: ("file", path) of what got parked in this pass; grows.
        most_tries: a file that was parked this often is left alone; None: never.
    """

    owner: str
    remote_id: str
    directory: str
    root: str
    ids: Mapping[str, str] = field(default_factory=dict)
    fresh: bool = False
    put_off: set[tuple[str, str]] = field(default_factory=set)
    most_tries: int | None = None


def owed_files(
    ledger: Ledger, files: Iterable[StoredFile], put_off: set[tuple[str, str]], most_tries: int | None = None
) -> list[StoredFile]:
    """Files that are neither delivered nor settled otherwise."""
    if ("file", "") in put_off:
        return []

    def tired(path: str) -> bool:
        parked = ledger.parked.get(("file", path)) or ledger.parked.get(("file", ""))
        return most_tries is not None and parked is not None and parked.tries >= most_tries

    return [f for f in files if file_open(ledger, f) and ("file", f.path) not in put_off and not tired(f.path)]


def file_open(ledger: Ledger, file: StoredFile) -> bool:
    """Whether the remote does not have this content, or something may still undo it, and nobody refused it."""
    rejected, record = ledger.rejected.get(("file", file.path)), ledger.files.get(file.path)
    if rejected is not None and rejected.value == file.sha256:
        return False
    return record is None or record.sha256 != file.sha256 or not set(record.unsettled) <= {record.sent_sha256}


def manifest_owed(ledger: Ledger, owner: str) -> bool:
    """Whether the manifest on the remote, as far as we know, does not say what has been delivered."""
    delivered = [record for record in ledger.files.values() if record.sha256 and record.path != MANIFEST]
    if not delivered:
        return False
    content = manifest_of(owner, ledger.files.values())
    return file_open(ledger, StoredFile(MANIFEST, len(content), hashlib.sha256(content).hexdigest()))
