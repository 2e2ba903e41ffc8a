"""The manifest beside the files on the remote: what was delivered, with hashes. Pure.

It lets anybody check the files, and lets a replay that lost its delivery state take for delivered what is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from localtrack_sync.protocol.records import FileDelivered

#: Its name below the artifact root; no file of a user may have it.
MANIFEST = "localtrack-manifest.json"
FORMAT = 1


def manifest_of(owner: str, records: Iterable[FileDelivered]) -> bytes:
    """The manifest of the files that are delivered: the same bytes for the same files."""
    files = {r.path: {"size": r.sent_size, "sha256": r.sent_sha256} for r in records if r.sha256 and r.path != MANIFEST}
    content = {"localtrack_manifest": FORMAT, "owner": owner, "files": files}
    return json.dumps(content, ensure_ascii=False, sort_keys=True, indent=0).encode() + b"\n"


def listed(body: Mapping[str, Any], owner: str) -> dict[str, tuple[int, str]]:
    """Path -> (size, SHA-256) of the files in a manifest; nothing of one that is not ours, or makes no sense."""
    files = body.get("files")
    if body.get("localtrack_manifest") != FORMAT or body.get("owner") != owner or not isinstance(files, dict):
        return {}
    return {
        path: (entry["size"], entry["sha256"])
        for path, entry in files.items()
        if isinstance(entry, dict) and isinstance(entry.get("size"), int) and isinstance(entry.get("sha256"), str)
    }
