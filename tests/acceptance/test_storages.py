"""Artifact roots beside the plain proxy: parts, signed addresses, directories, clouds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from localtrack_sync.protocol.effects import Load
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.protocol.records import PartialUpload
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.store.state import StateReader
from localtrack_sync.uploads.manifest import MANIFEST
from tests.acceptance.files import local_root, remote_root, store_file, tree, unlike, write_file
from tests.acceptance.harness import COMMAND_S, command_environment, outsider, replay_here
from tests.acceptance.worlds import World, world
from tests.servers.mlflow_server import MlflowServer
from tests.servers.reader import MlflowReader
from tests.servers.storage import Storage

pytestmark = pytest.mark.server

BIG = bytes(range(256)) * 1000
SMALL_PARTS = ReplaySettings(multipart_from=100_000, part_bytes=60_000)  # five parts
TOKEN = {"MLFLOW_TRACKING_TOKEN": "secret-token"}


def with_big(path: Path) -> tuple[World, str]:
    """A run with a large file and a small one."""
    made = world(path / "store", f"exp {path.name}")
    run_id = made.run("one", 3)
    store_file(made, run_id, "data/big file.bin", BIG)
    store_file(made, run_id, "notes.txt", b"hello")
    return made, run_id


def in_parts(server: MlflowServer) -> Storage:
    """A storage that puts what is complete where the server lists it."""
    return Storage(server.port, server.home / "artifacts")


@pytest.mark.usefixtures("modern_server")
@pytest.mark.parametrize("fault", [{}, {"PUT part 3": 2}, {"create": 1}, {"PUT part 1": 1, "PUT part 5": 1}], ids=str)
def test_a_large_file_goes_up_in_parts(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, fault: dict[str, int]
) -> None:
    """Parts of equal size, each sent once unless it was cut, no credentials of ours with them; then it is whole."""
    made, run_id = with_big(tmp_path)
    with in_parts(mlflow_server) as storage:
        storage.faults = dict(fault)
        ended = replay_here(made, storage.url, tuning=SMALL_PARTS, environ=TOKEN)
    assert ended.report.complete, ended.report
    assert unlike(made, mlflow_server, mlflow_reader, run_id) == []
    assert storage.refusals == []
    for number in range(1, 6):
        assert storage.log.count(f"PUT part {number}") == 1 + fault.get(f"PUT part {number}", 0)
    assert storage.log.count("complete") == 1


@pytest.mark.usefixtures("modern_server")
def test_a_lost_complete_is_proven_by_the_list(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """The request that puts the parts together is cut: it is sent again, the parts are not."""
    made, run_id = with_big(tmp_path)
    with in_parts(mlflow_server) as storage:
        storage.faults = {"complete": 1}
        assert replay_here(made, storage.url, tuning=SMALL_PARTS).report.complete
    assert unlike(made, mlflow_server, mlflow_reader, run_id) == []
    assert (storage.log.count("PUT part 1"), storage.log.count("complete")) == (1, 2)


#: The real command, with parts small enough for a test.
SYNC = """
from functools import partial
import localtrack_sync.commands.sync_command as command
command.ReplaySettings = partial(command.ReplaySettings, multipart_from=100_000, part_bytes=60_000)
from localtrack.cli import main
main()
"""


@pytest.mark.usefixtures("modern_server")
def test_an_upload_in_parts_goes_on_after_a_kill(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """SIGKILL while the fourth part is under way: the next process sends the parts that are missing, and only those."""
    made, run_id = with_big(tmp_path)
    with in_parts(mlflow_server) as storage:
        storage.faults = {"PUT part 4": 100}
        process = subprocess.Popen(
            [sys.executable, "-c", SYNC, "sync", "--to", storage.url, "--settle", "0.5"],
            env=command_environment(made.store.path), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert storage.reached("PUT part 4", COMMAND_S)
        process.send_signal(signal.SIGKILL)
        process.wait(COMMAND_S)
        storage.faults = {}
        state = parse_remote(storage.url).remote.state_path(made.store)
        with StateReader(state) as reader:
            partial = [r for r in reader.load(Load("run", run_id)) if isinstance(r, PartialUpload)]
        assert len(partial) == 1
        assert len(partial[0].etags) == 3
        assert os.stat(state).st_mode & 0o077 == 0, "the addresses are for the owner's eyes"
        before = len(storage.log)
        assert replay_here(made, storage.url, tuning=SMALL_PARTS).report.complete
        again = [line for line in storage.log[before:] if line.startswith("PUT part")]
    assert again == ["PUT part 4", "PUT part 5"]
    assert unlike(made, mlflow_server, mlflow_reader, run_id) == []


@pytest.mark.usefixtures("modern_server")
def test_a_file_that_changes_between_its_parts_is_not_put_together(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """The hash of the whole is looked at before the parts are joined: the upload is given up, the file parked."""
    made, run_id = with_big(tmp_path)
    write_file(made, run_id, "data/big file.bin", BIG[:-1] + b"x")
    with in_parts(mlflow_server) as storage:
        ended = replay_here(made, storage.url, tuning=SMALL_PARTS)
    assert ended.accounts[0].parked == 1
    assert "changed" in " ".join(ended.accounts[0].reasons)
    assert ("abort" in storage.log, "complete" in storage.log) == (True, False)
    assert "data/big file.bin" not in tree(remote_root(made, mlflow_server, mlflow_reader, run_id))


def test_a_server_that_takes_no_parts_gets_it_whole(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader
) -> None:
    """The real server, whose storage is a directory, answers 501 to the first part: one plain PUT follows."""
    made, run_id = with_big(tmp_path)
    with Storage(mlflow_server.port, mlflow_server.home / "artifacts", offers=False) as storage:
        assert replay_here(made, storage.url, tuning=SMALL_PARTS).report.complete
    assert unlike(made, mlflow_server, mlflow_reader, run_id) == []


def located(path: Path, server: MlflowServer, root: str) -> tuple[World, str]:
    """A run with files in an experiment that somebody made on the server, with its artifacts at `root`."""
    made = world(path / "store", f"exp {path.name}")
    outsider(server.url, "experiments/create", {"name": made.experiment, "artifact_location": root})
    run_id = made.run("one", 3)
    store_file(made, run_id, "data/big file.bin", BIG)
    store_file(made, run_id, "notes.txt", b"hello")
    return made, run_id


@pytest.mark.parametrize("fault", [{}, {"PUT object notes.txt": 1}, {"PUT object data/big file.bin": 2}], ids=str)
def test_signed_addresses_need_no_credentials_of_ours(
    tmp_path: Path, mlflow_server: MlflowServer, fault: dict[str, int]
) -> None:
    """An s3 root whose server signs uploads: each file goes to its address with the signed headers, none of ours."""
    made, run_id = located(tmp_path, mlflow_server, "s3://bucket/below")
    with Storage(mlflow_server.port, tmp_path) as storage:
        storage.faults = dict(fault)
        ended = replay_here(made, storage.url, environ=TOKEN)
        assert ended.report.complete, ended.report
        again = replay_here(made, storage.url, environ=TOKEN)
    assert again.report.progress.files == 0
    assert storage.refusals == []
    held = {path.partition("/")[2]: data for path, data in storage.objects.items()}
    manifest = json.loads(held.pop(MANIFEST))
    assert held == tree(local_root(made, run_id))
    assert set(manifest["files"]) == set(held)


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("s3://bucket/below", "pip install boto3"),
        ("gs://bucket/below", "pip install gcsfs"),
    ],
)
def test_a_cloud_without_its_library_parks_the_files_and_nothing_else(
    tmp_path: Path, mlflow_server: MlflowServer, root: str, words: str
) -> None:
    """A server that signs nothing, and no library here: files are parked with what to install, the run is delivered."""
    made, _ = located(tmp_path, mlflow_server, root)
    with Storage(mlflow_server.port, tmp_path, offers=False) as storage:
        account = replay_here(made, storage.url).accounts[0]
    assert account.parked == 2, account
    assert account.delivered == account.total - 2
    assert words in " ".join(account.reasons)


def test_a_directory_of_this_machine_is_written_to(tmp_path: Path, mlflow_server: MlflowServer) -> None:
    """A file: root, the remote at 127.0.0.1, its directory here: files appear there, and the server lists them."""
    root = tmp_path / "shared"
    root.mkdir()
    made, run_id = located(tmp_path, mlflow_server, f"file://{root}")
    ended = replay_here(made, mlflow_server.url)
    assert ended.report.complete, ended.report
    (remote,) = root.iterdir()
    held = tree(remote / "artifacts")
    assert set(json.loads(held.pop(MANIFEST))["files"]) == set(held)
    assert held == tree(local_root(made, run_id))


@pytest.mark.parametrize("case", ["missing", "tunnel"])
def test_a_directory_of_another_machine_is_not_written_to(
    tmp_path: Path, mlflow_server: MlflowServer, case: str
) -> None:
    """A file: root that is not this machine's: parked with the reason; a tunnel shows at the first file."""
    root = tmp_path / "theirs" if case == "tunnel" else tmp_path / "no" / "such" / "place"
    if case == "tunnel":
        root.mkdir()
    made, _ = located(tmp_path, mlflow_server, f"file://{root}")
    with Storage(mlflow_server.port, tmp_path) as storage:  # lists only what it holds itself: as at a tunnel's end
        url = mlflow_server.url if case == "missing" else storage.url
        account = replay_here(made, url).accounts[0]
    assert (account.parked, account.owed) == (2, 0), account
    assert str(root) in account.reasons[0]
    written = [path for path in root.rglob("*") if path.is_file()]
    assert len(written) == (1 if case == "tunnel" else 0), written
