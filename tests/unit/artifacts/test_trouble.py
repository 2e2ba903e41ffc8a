from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localtrack.artifacts.scan import register
from localtrack.catalog.catalog import Catalog
from localtrack.errors import StoreError
from localtrack.journal.ops import ArtifactStored, Loss
from localtrack.journal.writer import Journal
from localtrack.service import Service
from localtrack.settings import load
from localtrack.store import Store
from tests.unit.api.journals import ops_in
from tests.unit.artifacts.stored import on_disk, registered


def lost(store_path: str) -> int:
    """How many artifacts the journals count as lost."""
    losses = [op for op in ops_in(store_path) if isinstance(op, Loss)]
    return sum(count for op in losses for kind, count in op.counts if kind == "artifact")


def services(where: Path, **env: str) -> tuple[Service, str]:
    """A service on a store there, with a run."""
    service = Service(Store.at(where / "store"), load({"HOME": str(where), **env}))
    return service, service.create_run("0").info.run_id


def test_a_full_disk(small_disk: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files that the disk does not take are counted, those that fit are stored; one warning; nothing raises."""
    service, run_id = services(small_disk)
    source = tmp_path / "src"
    source.mkdir()
    for name in ("a-small", "b-large", "c-small", "d-large"):
        (source / name).write_bytes(os.urandom(8 << 20 if "large" in name else 1000))
    with caplog.at_level(logging.WARNING, "localtrack"):
        service.log_artifacts(run_id, source)
        assert not service.flush()
        service.log_artifact(run_id, source / "b-large")
        with (source / "b-large").open("rb") as stream:
            service.log_stream(run_id, stream, "stream")
    assert sum("cannot store artifact" in record.getMessage() for record in caplog.records) == 1
    # The disk may have been full at the moment of a record too: then that one is kept, and written when there is room.
    assert any(service.flush() for _ in range(10))
    assert set(registered(service.store.path)) == {"a-small", "c-small"}
    assert set(on_disk(service.store.artifacts)) == {f"0/{run_id}/artifacts/{name}" for name in ("a-small", "c-small")}
    assert lost(service.store.path) == 4


def test_a_full_disk_with_strict(small_disk: Path, tmp_path: Path) -> None:
    """With strict the same is a StoreError at the call, and nothing half is left."""
    service, run_id = services(small_disk, LOCALTRACK_STRICT="1")
    (tmp_path / "large").write_bytes(os.urandom(8 << 20))
    with pytest.raises(StoreError, match="No space left"):
        service.log_artifact(run_id, tmp_path / "large")
    assert on_disk(service.store.artifacts) == {}


def test_artifacts_that_cannot_be_made(home: Path) -> None:
    """Where the directory of the artifacts is a plain file, every file is counted and nothing raises."""
    service, run_id = services(home)
    place = Path(service.store.artifacts)
    place.rmdir()
    place.write_text("in the way")
    (home / "x").write_text("x")
    service.log_artifact(run_id, home / "x")
    service.log_text(run_id, "x", "t.txt")
    assert lost(service.store.path) == 2


def test_what_a_writer_refuses_is_the_callers(home: Path) -> None:
    """An error of the library that writes the file, without the disk's doing, reaches the caller."""
    service, run_id = services(home)

    class Broken:
        def read(self, _: int) -> bytes:
            raise OSError("cannot write mode RGBA as JPEG")

    with pytest.raises(OSError, match="RGBA"):
        service.log_stream(run_id, Broken(), "x.bin")  # type: ignore[arg-type] # it can read
    assert (on_disk(service.store.artifacts), lost(service.store.path)) == ({}, 0)


def test_missing_libraries_are_named(home: Path) -> None:
    """Where a library is missing, the error says which one to install; nothing is stored."""
    service, run_id = services(home)
    script = (
        "import sys\n"
        "for name in ('yaml', 'pandas'): sys.modules[name] = None\n"
        "import localtrack\n"
        "localtrack.set_tracking_uri(sys.argv[1])\n"
        "for call in (lambda: localtrack.log_dict({}, 'a.yaml'), lambda: localtrack.load_table('a.json'),\n"
        "             lambda: localtrack.log_table({'a': [1]}, 'a.parquet')):\n"
        "    try: call()\n"
        "    except ModuleNotFoundError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, service.store.path], capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["PyYAML", "pandas", "pandas"]
    assert registered(service.store.path) == {}
    assert run_id


_TRAINER = """
import os, sys
import localtrack
store, source = sys.argv[1:]
localtrack.set_tracking_uri(store)
localtrack.start_run()
print("ready", flush=True)
for i in range(1000):
    localtrack.log_artifacts(source, f"round{i}")
    localtrack.log_text("x" * i, f"text{i}.txt")
    print(i, flush=True)
"""


@pytest.mark.parametrize("seed", range(6))
def test_killed_in_the_middle(tmp_path: Path, seed: int) -> None:
    """After SIGKILL at any moment every registered file is whole and in place, and what returned is registered.

    What was renamed and not registered is registered by the next scan, which leaves nothing out.
    """
    source, store = tmp_path / "src", Store(str(tmp_path / "store"))
    source.mkdir()
    for i in range(40):
        (source / f"{i}").write_bytes(os.urandom(1 + i * 5000))
    command = [sys.executable, "-c", _TRAINER, store.path, str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as trainer:
        assert trainer.stdout is not None
        trainer.stdout.readline()
        deadline = time.monotonic() + random.Random(seed).uniform(0.05, 1.0)
        last = -1
        while time.monotonic() < deadline:
            last = int(trainer.stdout.readline())
        os.killpg(trainer.pid, signal.SIGKILL)
        last = max([last, *(int(line) for line in trainer.stdout.read().split())])
    files = {path.partition("/artifacts/")[2]: found for path, found in on_disk(store.artifacts).items()}
    whole = {path: found for path, found in files.items() if ".artifact.uploading." not in path}
    ops = [op for op in ops_in(store.path) if isinstance(op, ArtifactStored)]
    for op in ops:
        assert files[op.path] == (op.size, op.sha256)
    names = {op.path for op in ops}
    for i in range(last + 1):
        assert {f"text{i}.txt", *(f"round{i}/{k}" for k in range(40))} <= names
    register(store, Catalog(store), lambda: Journal(store), time.time_ns() // 1_000_000 + 60_000)
    assert registered(store.path) == {path: found for path, found in whole.items() if path}
