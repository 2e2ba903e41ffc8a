"""What tests see of files in a store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from localtrack.journal.ops import ArtifactStored
from tests.unit.api.journals import journals_in, records_in


def registered(store_path: str) -> dict[str, tuple[int, str]]:
    """Path -> (size, SHA-256) of the op about it that wins, over all owners.

    Raises:
        AssertionError: a record is damaged.
    """
    found: dict[str, tuple[int, tuple[int, str]]] = {}
    for record in (record for path in journals_in(store_path) for record in records_in(path)):
        op = record.op
        if isinstance(op, ArtifactStored):
            found[op.path] = max(found.get(op.path, (0, (0, ""))), (record.stamp, (op.size, op.sha256)))
    return {path: content for path, (_, content) in found.items()}


def on_disk(directory: str | Path) -> dict[str, tuple[int, str]]:
    """The same of every file below a directory, links and memories of the scan aside."""
    found = {}
    for place, _, names in os.walk(directory):
        for name in names:
            path = Path(place, name)
            if path.is_symlink() or name == ".scan.db":
                continue
            data = path.read_bytes()
            found[str(path.relative_to(directory))] = (len(data), hashlib.sha256(data).hexdigest())
    return found
