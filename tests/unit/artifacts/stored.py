"""What tests see of files in a store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from localtrack.journal.ops import ArtifactStored
from tests.unit.api.journals import ops_in


def registered(store_path: str) -> dict[str, tuple[int, str]]:
    """Path -> (size, SHA-256) of the last op about it, over all owners."""
    return {op.path: (op.size, op.sha256) for op in ops_in(store_path) if isinstance(op, ArtifactStored)}


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
