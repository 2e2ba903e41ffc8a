"""Files to a real MLflow server: many small ones and a large one, beside plain PUTs of the same bytes; memory of both.

BENCH_UPLOAD_FILES and BENCH_UPLOAD_BYTES change the sizes (5,368,709,120 bytes: a file of 5 GiB).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from localtrack import TrackingClient
from localtrack.journal import ops
from localtrack.journal.writer import journal_of
from localtrack.store import Store
from tests.servers.mlflow_server import MlflowServer

FILES = int(os.environ.get("BENCH_UPLOAD_FILES", "5000"))
BYTES = int(os.environ.get("BENCH_UPLOAD_BYTES", str(1 << 30)))
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
CHUNK = 1 << 20

SYNC = """
import resource, sys
from localtrack.cli import main
try:
    main()
finally:
    print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


class Synced(NamedTuple):
    """One `localtrack sync`: seconds without the start of the process, and peak memory in MB."""

    seconds: float
    peak: float


def rows() -> list[dict[str, Any]]:
    """The rows of this benchmark."""
    with tempfile.TemporaryDirectory() as directory, MlflowServer(Path(directory) / "server") as server:
        home = Path(directory)
        least = sync(small(home / "one", 1), server)
        many = sync(small(home / "many", FILES), server)
        bare_many = put([(f"bench/d{n % 10}/f{n}", str(n).encode()) for n in range(FILES)], server)
        store = sparse(home / "big", BYTES)
        big = sync(store, server)
        bare_big = put_file(next(store.rglob("big.bin")), server)
    return [
        _row(f"{FILES:,} files of a few bytes", FILES / many.seconds, FILES / bare_many, "files/s", "at least 0.5 x"),
        _row(
            f"one file of {BYTES / 2**20:,.0f} MB", BYTES / 2**20 / big.seconds, BYTES / 2**20 / bare_big, "MB/s",
            "at least 0.5 x",
        ),
        _memory(f"{FILES:,} files", many.peak, least.peak),
        _memory(f"one file of {BYTES / 2**20:,.0f} MB", big.peak, least.peak),
    ]  # fmt: skip


def _row(what: str, ours: float, yardstick: float, unit: str, target: str) -> dict[str, Any]:
    ratio = ours / yardstick
    return {
        "what": f"upload of {what} to mlflow server", "ours": ours, "yardstick": yardstick, "ratio": ratio,
        "target": target, "unit": unit, "met": ratio >= 0.5, "beside": "PUTs by http.client over one connection",
    }  # fmt: skip


def _memory(what: str, peak: float, least: float) -> dict[str, Any]:
    return {
        "what": f"memory of `localtrack sync` over that of one small file: {what}", "ours": round(peak - least, 1),
        "yardstick": None, "ratio": None, "target": "under 20 MB", "unit": "MB", "met": peak - least < 20,
    }  # fmt: skip


def _run(path: Path) -> tuple[Store, Path, str]:
    client = TrackingClient(str(path))
    experiment = client.create_experiment(f"uploads {path.name}")
    run_id = client.create_run(experiment).info.run_id
    root = path / "artifacts" / experiment / run_id / "artifacts"
    root.mkdir(parents=True, exist_ok=True)
    return Store.at(path), root, run_id


def small(path: Path, count: int) -> Path:
    """A store with one run of many small files in ten directories."""
    store, root, run_id = _run(path)
    journal = journal_of(store)
    for n in range(count):
        file, content = root / f"d{n % 10}" / f"f{n}", str(n).encode()
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        journal.append(ops.ArtifactStored(run_id, f"d{n % 10}/f{n}", len(content), digest))
    journal.close()
    return path


def sparse(path: Path, size: int) -> Path:
    """A store with one run of one large file, which takes no room on the disk."""
    store, root, run_id = _run(path)
    with (root / "big.bin").open("wb") as file:
        file.truncate(size)
    digest = hashlib.sha256()
    for start in range(0, size, CHUNK):
        digest.update(bytes(min(CHUNK, size - start)))
    os.utime(root / "big.bin")  # as if it had just been written: registered is what lies there
    journal_of(store).append(ops.ArtifactStored(run_id, "big.bin", size, digest.hexdigest()))
    journal_of(store).close()
    return path


def sync(path: Path, server: MlflowServer) -> Synced:
    """`localtrack sync` of a store, in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "LOCALTRACK_", "DATABRICKS_"))}
    ended = subprocess.run(
        [sys.executable, "-c", SYNC, "sync", "--to", server.url, "--json"],
        env={**kept, "LOCALTRACK_STORE": str(path), "NO_PROXY": "127.0.0.1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    facts = json.loads(ended.stdout)["remotes"][0]
    return Synced(facts["seconds"], int(ended.stderr.rpartition("PEAK ")[2]) / 1024)


def put(files: list[tuple[str, bytes]], server: MlflowServer) -> float:
    """Seconds for plain PUTs, one after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    began = time.perf_counter()
    for path, content in files:
        connection.request("PUT", f"{ARTIFACTS}/{path}", content)
        connection.getresponse().read()
    return time.perf_counter() - began


def put_file(file: Path, server: MlflowServer) -> float:
    """Seconds for a plain PUT of a large file, read once for its hash as well: what knowing it costs any client."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    began = time.perf_counter()
    digest = hashlib.sha256()
    with file.open("rb") as source:
        connection.putrequest("PUT", f"{ARTIFACTS}/bench/big.bin")
        connection.putheader("Content-Length", str(file.stat().st_size))
        connection.endheaders()
        while piece := source.read(CHUNK):
            digest.update(piece)
            connection.send(piece)
    connection.getresponse().read()
    return time.perf_counter() - began
