"""Files replayed to a real server, through every fault: it ends with exactly what lies here, and a manifest of it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack_sync.uploads.manifest import MANIFEST
from tests.acceptance.files import local_root, mark_file, register, remote_root, store_file, tree, unlike, write_file
from tests.acceptance.harness import COMMAND, COMMAND_S, command, command_environment, compared, replay_here, uncounted
from tests.acceptance.worlds import World, world
from tests.servers import faults
from tests.servers.faults import CutBefore, CutHalf, DropReply, Fault, Later, Pass, Truncate, Twice
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Seen, on
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server

BIG = bytes(range(256)) * 4096
CASES: dict[str, tuple[str, Fault, tuple[int, ...]]] = {
    "cut half-way": ("big.bin", CutHalf(), (0,)),
    "cut half-way twice": ("big.bin", CutHalf(), (0, 1)),
    "cut before": ("plot.png", CutBefore(), (0,)),
    "reply dropped": ("big.bin", DropReply(), (0,)),
    "reply truncated": ("notes.txt", Truncate(), (0,)),
    "500 instead": ("big.bin", faults.Answer(500, b"oops"), (0, 1)),
    "500 after it was stored": ("plot.png", faults.Answer(500, b"oops", forward=True), (0,)),
    "503": ("plot.png", faults.unavailable(committed=False), (0,)),
    "login page": ("big.bin", faults.portal(), (0,)),
    "login page after it was stored": ("big.bin", faults.portal(committed=True), (0,)),
    "executed late": ("notes.txt", Later(0.3), (0,)),
    "executed twice": ("big.bin", Twice(), (0,)),
    "429": ("big.bin", faults.too_many("1"), (0,)),
    "manifest dropped": (MANIFEST, DropReply(), (0,)),
    "list dropped": ("GET /api/2.0/mlflow-artifacts/artifacts", DropReply(), (0, 1)),
}


def with_files(path: Path) -> tuple[World, str]:
    """A run with a few files of every kind."""
    made = world(path / "store", f"exp {path.name}")
    run_id = made.run("one", 3)
    store_file(made, run_id, "notes.txt", b"hello")
    store_file(made, run_id, "plots/plot.png", b"\x89PNG" * 100)
    store_file(made, run_id, "data/deep/big.bin", BIG)
    store_file(made, run_id, "data/empty", b"")
    store_file(made, run_id, "odd/größe & 100 %.txt", "≥".encode())
    store_file(made, run_id, "old/MLmodel", f"artifact_path: model\nrun_id: {run_id}\nflavors: {{}}\n".encode())
    return made, run_id


def as_sent(made: World, server: MlflowServer, reader: MlflowReader, run_id: str) -> list[str]:
    """What differs, with the one file whose ids become the remote's looked at apart."""
    remote = remote_root(made, server, reader, run_id)
    expected = f"artifact_path: model\nrun_id: {remote.parent.name}\nflavors: {{}}\n".encode()
    found = [line for line in unlike(made, server, reader, run_id) if line != "old/MLmodel: differs"]
    return found + ([] if tree(remote)["old/MLmodel"] == expected else ["MLmodel holds other ids"])


@pytest.mark.parametrize("hit", CASES.values(), ids=[*CASES])
def test_a_fault_in_an_upload_leaves_every_file_whole(
    tmp_path: Path,
    mlflow_server: MlflowServer,
    mlflow_reader: MlflowReader,
    proxy: FaultProxy,
    hit: tuple[str, Fault, tuple[int, ...]],
) -> None:
    """One replay through the fault delivers all files and the manifest, a second one sends nothing."""
    made, run_id = with_files(tmp_path)
    what, fault, nth = hit
    proxy.rule = on(what, fault, nth=nth)
    ended = replay_here(made, proxy.url)
    proxy.settle()
    assert len(proxy.faulted) == len(nth)
    assert ended.report.complete, ended.report
    assert as_sent(made, mlflow_server, mlflow_reader, run_id) == []
    assert uncounted(made, ended) == []
    puts = sum(seen.what.startswith("PUT") for seen in proxy.seen)
    assert replay_here(made, proxy.url).report.complete
    assert sum(seen.what.startswith("PUT") for seen in proxy.seen) == puts


def test_only_what_changed_is_sent_again(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """A file that was written again and a new one go out, the manifest before and after them, and nothing else."""
    made, run_id = with_files(tmp_path)
    assert replay_here(made, proxy.url).report.complete
    store_file(made, run_id, "notes.txt", b"other")
    store_file(made, run_id, "new.txt", b"new")
    before = len(proxy.seen)
    assert replay_here(made, proxy.url).report.complete
    sent = [seen.what.rpartition("/")[2] for seen in proxy.seen[before:] if seen.what.startswith("PUT")]
    assert sent[0] == sent[-1] == MANIFEST
    assert sorted(sent[1:-1]) == ["new.txt", "notes.txt"]
    assert as_sent(made, mlflow_server, mlflow_reader, run_id) == []


def test_a_lost_delivery_state_believes_manifest_and_list_together(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """With the delivery state gone, files that manifest and list agree on are not sent; one that was cut off is."""
    made, run_id = with_files(tmp_path)
    assert replay_here(made, proxy.url).report.complete
    (remote_root(made, mlflow_server, mlflow_reader, run_id) / "data/deep/big.bin").write_bytes(b"half")
    for file in Path(made.store.sync).iterdir():
        file.unlink()
    before = len(proxy.seen)
    assert replay_here(made, proxy.url).report.complete
    sent = [seen.what.rpartition("/")[2] for seen in proxy.seen[before:] if seen.what.startswith("PUT")]
    assert sent == [MANIFEST, "big.bin", MANIFEST]
    assert as_sent(made, mlflow_server, mlflow_reader, run_id) == []


def test_a_sync_that_is_killed_in_an_upload_goes_on(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """SIGKILL at the first, second, ... upload of each attempt: at the end every file is there, whole."""
    made, run_id = with_files(tmp_path)
    for kill in range(6):
        _sync_killed_at_put(made, proxy, kill % 3, CutHalf() if kill % 2 else DropReply())
    assert len(proxy.faulted) >= 4, "the kills came too late to mean anything"
    proxy.rule = lambda _: Pass()
    last = command(made, "sync", "--to", proxy.url, "--settle", "0.5")
    assert last.returncode == 0, last.stdout + last.stderr
    assert as_sent(made, mlflow_server, mlflow_reader, run_id) == []
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def _sync_killed_at_put(made: World, proxy: FaultProxy, number: int, then: Fault) -> None:
    begin, ready, process = len(proxy.seen), threading.Event(), list[subprocess.Popen[str]]()

    def rule(seen: Seen) -> Fault:
        puts = [one for one in proxy.seen[begin:] if one.what.startswith("PUT")]
        if not seen.what.startswith("PUT") or puts.index(seen) != number:
            return Pass()
        assert ready.wait(10)
        process[0].kill()
        return then

    proxy.rule = rule
    process.append(
        subprocess.Popen(
            [*COMMAND, "sync", "--to", proxy.url, "--settle", "0.5"], env=command_environment(made.store.path),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
    )  # fmt: skip
    ready.set()
    process[0].communicate(timeout=COMMAND_S)
    assert process[0].returncode in (-signal.SIGKILL, 0)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[MlflowServer]:
    """A server that a test may kill."""
    with MlflowServer(tmp_path / "server") as server:
        yield server


def test_a_server_that_is_killed_in_an_upload_gets_every_file(
    tmp_path: Path, own_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """SIGKILL of the server while a file arrives; it comes back on its disk while the replay waits."""
    made, run_id = with_files(tmp_path)
    restarts: list[threading.Thread] = []
    with FaultProxy(own_server.port) as proxy:

        def rule(seen: Seen) -> Fault:
            if seen.what.endswith("big.bin") and not restarts:
                own_server.kill()
                restarts.append(threading.Thread(target=own_server.restart))
                restarts[-1].start()
                return CutBefore()
            return Pass()

        proxy.rule = rule
        ended = replay_here(made, proxy.url, patience_s=600)
        restarts[0].join(60)
    assert ended.report.complete, ended.report
    assert as_sent(made, own_server, mlflow_reader, run_id) == []


def test_a_name_that_cannot_be_there_is_parked_and_holds_nothing_up(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Files where the remote has a directory, or below one of its files: parked after a few tries, the rest arrives."""
    made, run_id = with_files(tmp_path)
    assert replay_here(made, proxy.url).report.complete
    remote = remote_root(made, mlflow_server, mlflow_reader, run_id)
    (remote / "taken").mkdir()
    (remote / "taken" / "inside").write_bytes(b"theirs")
    (remote / "file").write_bytes(b"theirs")
    store_file(made, run_id, "taken", b"a file")
    for number in range(5):
        store_file(made, run_id, f"file/below{number}", b"below")
    store_file(made, run_id, "zz/fine", b"fine")
    before = len(proxy.seen)
    ended = replay_here(made, proxy.url)
    account = ended.accounts[0]
    assert not ended.report.complete
    assert (account.parked, account.owed) in ((4, 2), (6, 0))
    assert tree(remote)["zz/fine"] == b"fine"
    assert len(proxy.seen) - before < 60, "it went on trying"
    assert uncounted(made, ended) == []


def test_files_that_changed_or_went_away_are_parked_and_come_later(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """What is not here as it was registered is never sent; when it is registered anew it is."""
    made, run_id = with_files(tmp_path)
    write_file(made, run_id, "notes.txt", b"other")  # the same length
    write_file(made, run_id, "data/deep/big.bin", BIG[:-1] + b"x")
    (local_root(made, run_id) / "plots/plot.png").unlink()
    ended = replay_here(made, proxy.url)
    assert ended.accounts[0].parked == 3, ended.accounts
    there = tree(remote_root(made, mlflow_server, mlflow_reader, run_id))
    assert not {"notes.txt", "plots/plot.png", "data/deep/big.bin"} & set(there)
    store_file(made, run_id, "notes.txt", b"other")
    store_file(made, run_id, "data/deep/big.bin", BIG[:-1] + b"x")
    store_file(made, run_id, "plots/plot.png", b"again")
    assert replay_here(made, proxy.url).report.complete
    assert as_sent(made, mlflow_server, mlflow_reader, run_id) == []


EVIL = [
    *("../../../evil", "/etc/evil", "a/../../evil", "C:/evil", "a\\..\\evil", "a//b", "./a", "a/\x00b"),
    *("link/secret", "straight", ""),
]


def test_a_foreign_journal_leads_nowhere(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Paths that lead out of a run's directory, here or there, are neither read nor sent; the rest is delivered."""
    made, run_id = with_files(tmp_path)
    secret = tmp_path / "outside" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    os.symlink(secret.parent, local_root(made, run_id) / "link")
    os.symlink(secret, local_root(made, run_id) / "straight")
    for path in [*EVIL, MANIFEST]:
        register(made, run_id, path, 6, digest)
    before = {path for path in mlflow_server.home.rglob("*") if "evil" in path.name or "secret" in path.name}
    ended = replay_here(made, proxy.url)
    account = ended.accounts[0]
    assert account.rejected + account.parked == len(EVIL) + 1, account
    assert account.owed == 0
    assert all(seen.body != b"secret" for seen in proxy.seen)
    assert {path for path in mlflow_server.home.rglob("*") if "evil" in path.name or "secret" in path.name} == before
    there = tree(remote_root(made, mlflow_server, mlflow_reader, run_id))
    assert set(there) == {*tree(local_root(made, run_id)), MANIFEST} - {"straight", "link/secret"}


def test_many_small_files_and_their_books(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """300 files in a few directories: one request each, a list now and then; counted one by one in --json."""
    made = world(tmp_path / "store", f"exp {tmp_path.name}")
    run_id = made.run("one", 3)
    for number in range(300):
        store_file(made, run_id, f"d{number % 3}/f{number:03d}", str(number).encode())
    told = command(made, "sync", "--to", proxy.url, "--json")
    facts = json.loads(told.stdout)["remotes"][0]
    assert told.returncode == 0, facts
    assert facts["new"]["files"] == 300
    one = facts["runs"][0]
    assert (one["files"], one["files_delivered"], one["bytes_owed"]) == (300, 300, 0)
    assert sum(seen.what.startswith("PUT") for seen in proxy.seen) == 301
    assert sum(seen.what.startswith("GET /api/2.0/mlflow-artifacts") for seen in proxy.seen) <= 5
    assert unlike(made, mlflow_server, mlflow_reader, run_id) == []


MEASURED = """
import resource, sys
from localtrack.cli import main
try:
    main()
finally:
    print("RSS", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def test_a_big_file_needs_no_more_memory_than_a_small_one(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """100 MB go up in pieces: the process's memory grows by a few MB at most over that of a sync of 5 bytes."""
    peaks = []
    for size in (5, 100 << 20):
        made = world(tmp_path / f"store{size}", f"exp {tmp_path.name} {size}")
        run_id = made.run("one", 3)
        target = write_file(made, run_id, "big.bin", b"")
        os.truncate(target, size)
        digest = hashlib.sha256(bytes(size)).hexdigest()
        mark_file(target, digest)
        register(made, run_id, "big.bin", size, digest)
        ended = subprocess.run(
            [sys.executable, "-c", MEASURED, "sync", "--to", mlflow_server.url],
            env=command_environment(made.store.path), capture_output=True, text=True, timeout=COMMAND_S, check=True,
        )  # fmt: skip
        peaks.append(int(ended.stderr.rpartition("RSS ")[2]))
        assert (remote_root(made, mlflow_server, mlflow_reader, run_id) / "big.bin").stat().st_size == size
    assert peaks[1] - peaks[0] < 20_000, peaks


@pytest.mark.usefixtures("modern_server")
def test_a_logged_model_is_whole_before_it_is_ready(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Its files go to its own root with the remote's ids in MLmodel, through a cut; READY goes out after the last."""
    made = world(tmp_path / "store", f"exp {tmp_path.name}")
    run_id = made.run("one", 3)
    client = made.client
    model_id = client.create_logged_model(made.experiment_id, name="net", source_run_id=run_id).model_id
    root = Path(made.store.artifacts) / made.experiment_id / "models" / model_id / "artifacts"
    source = tmp_path / "model"
    (source / "data").mkdir(parents=True)
    (source / "data" / "weights.bin").write_bytes(BIG)
    text = "artifact_path: {}\nflavors: {{}}\nmodel_id: {}\nmodel_uuid: {}\nrun_id: {}\n"
    (source / "MLmodel").write_text(text.format(root, model_id, model_id, run_id))
    client.log_model_artifacts(model_id, str(source))
    client.finalize_logged_model(model_id, "READY")
    proxy.rule = on("weights.bin", CutHalf(), nth=(0, 1))
    ended = replay_here(made, proxy.url)
    assert ended.report.complete, ended.report
    assert [(one.files, one.files_delivered, one.owed) for one in ended.models] == [(2, 2, 0)]
    remote_run = ended.accounts[0].remote_run_id
    remote_model = ended.models[0].remote_run_id
    experiment = mlflow_reader.dump(mlflow_server.url, [made.experiment])[made.experiment]["experiment_id"]
    there = tree(mlflow_server.home / "artifacts" / experiment / "models" / str(remote_model) / "artifacts")
    new_root = f"mlflow-artifacts:/{experiment}/models/{remote_model}/artifacts"
    assert there["MLmodel"].decode() == text.format(new_root, remote_model, remote_model, remote_run)
    assert there["data/weights.bin"] == BIG
    files = [index for index, seen in enumerate(proxy.seen) if seen.what.startswith("PUT")]
    ready = [
        index for index, seen in enumerate(proxy.seen) if seen.what.startswith("PATCH") and "READY" in str(seen.body)
    ]
    assert ready
    assert max(files) < min(ready)


def finalizes(seen: Seen) -> bool:
    """Whether a request gives a logged model its status."""
    return seen.what.startswith("PATCH") and b"READY" in seen.body


@pytest.mark.usefixtures("modern_server")
def test_a_model_with_a_missing_file_does_not_become_ready(tmp_path: Path, proxy: FaultProxy) -> None:
    """A file that is gone is parked, the model stays PENDING there; when the file is back both are delivered."""
    made = world(tmp_path / "store", f"exp {tmp_path.name}")
    client = made.client
    model_id = client.create_logged_model(made.experiment_id, name="net").model_id
    (tmp_path / "weights.bin").write_bytes(BIG)
    client.log_model_artifact(model_id, str(tmp_path / "weights.bin"))
    client.finalize_logged_model(model_id, "READY")
    stored = Path(made.store.artifacts) / made.experiment_id / "models" / model_id / "artifacts" / "weights.bin"
    os.rename(stored, tmp_path / "away")
    ended = replay_here(made, proxy.url)
    assert not ended.report.complete
    assert ended.models[0].parked == 1
    assert not any(finalizes(seen) for seen in proxy.seen)
    os.rename(tmp_path / "away", stored)
    assert replay_here(made, proxy.url).report.complete
    assert any(finalizes(seen) for seen in proxy.seen)


def test_files_that_nobody_registered_are_found_and_delivered(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """What MLflow itself wrote into a run's directory goes along once it has settled; until then the exit code is 3."""
    made, run_id = with_files(tmp_path)
    written = write_file(made, run_id, "by mlflow/data.bin", b"written straight into the store")
    young = command(made, "sync", "--to", proxy.url, "--json")
    facts = json.loads(young.stdout)["remotes"][0]
    assert (young.returncode, facts["files_waiting"]) in ((3, 1), (0, 0))
    os.utime(written, (1_700_000_000, 1_700_000_000))
    deadline = threading.Event()
    deadline.wait(2.1)  # it settles: nobody changes it for two seconds (the time of the change itself cannot be set)
    assert command(made, "sync", "--to", proxy.url).returncode == 0
    assert tree(remote_root(made, mlflow_server, mlflow_reader, run_id))["by mlflow/data.bin"] == written.read_bytes()
