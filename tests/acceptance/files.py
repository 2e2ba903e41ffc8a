"""Files in a store and on a real server's disk, for tests of their replay."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from localtrack.artifacts.marks import mark
from localtrack.artifacts.paths import TEMPORARY
from localtrack.journal import ops
from localtrack_sync.uploads.manifest import MANIFEST
from tests.acceptance.worlds import World
from tests.servers.mlflow_server import MlflowServer
from tests.servers.reader import MlflowReader


def store_file(world: World, run_id: str, path: str, content: bytes) -> None:
    """Lay a file into a run's directory and register it, as `log_artifact` does."""
    digest = hashlib.sha256(content).hexdigest()
    mark_file(write_file(world, run_id, path, content), digest)
    register(world, run_id, path, len(content), digest)


def write_file(world: World, run_id: str, path: str, content: bytes) -> Path:
    """Lay a file into a run's directory."""
    target = local_root(world, run_id) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def mark_file(path: Path, sha256: str) -> None:
    """Mark a file as one that localtrack stored, as `log_artifact` does: no scan waits for it to settle."""
    with path.open("rb") as file:
        mark(file.fileno(), sha256)


def register(world: World, run_id: str, path: str, size: int, sha256: str) -> None:
    """Write into the journal that a file is there."""
    world.client._service.journal.append(ops.ArtifactStored(run_id, path, size, sha256))


def local_root(world: World, run_id: str) -> Path:
    """Directory of a run's files."""
    return Path(world.store.artifacts) / world.experiment_id / run_id / "artifacts"


def remote_root(world: World, server: MlflowServer, reader: MlflowReader, run_id: str) -> Path:
    """Directory of a run's files on the server's disk."""
    found = reader.dump(server.url, [world.experiment])[world.experiment]
    remote = [r["run_id"] for r in found["runs"] if r["tags"]["localtrack.uid"] == run_id]
    assert len(remote) == 1, remote
    return Path(server.home, "artifacts", found["experiment_id"], remote[0], "artifacts")


def tree(root: Path) -> dict[str, bytes]:
    """Path -> content of all files below a directory; not what a server hides until a file is whole."""
    found = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.name.startswith(TEMPORARY)]
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def unlike(world: World, server: MlflowServer, reader: MlflowReader, run_id: str) -> list[str]:
    """What differs between a run's files here and on the server; its manifest is compared with what lies there."""
    here, there = tree(local_root(world, run_id)), tree(remote_root(world, server, reader, run_id))
    manifest = json.loads(there.pop(MANIFEST, b'{"files": {}}'))["files"]
    found = [f"{path}: differs" for path in here if there.get(path) != here[path]]
    found += [f"{path}: from nowhere" for path in there if path not in here]
    listed = {path: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for path, data in there.items()}
    return found + ([] if manifest == listed else ["the manifest says something else"])
