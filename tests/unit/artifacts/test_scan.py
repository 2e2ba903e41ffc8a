from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest

from localtrack.artifacts.scan import ScanResult, register
from localtrack.catalog.catalog import Catalog
from localtrack.journal.ops import ArtifactStored, ModelCreate
from localtrack.journal.writer import Journal
from localtrack.service import Service
from localtrack.settings import load
from localtrack.store import Store
from tests.journal.processes import wait_for
from tests.unit.api.journals import ops_in
from tests.unit.artifacts.stored import on_disk, registered

#: A minute after anything that these tests write, by the machine's clock.
LATER = 60_000
MODEL = "m-" + "1" * 32


class Scanner:
    """Scans a store as a process of its own would."""

    def __init__(self, path: str) -> None:
        self.store = Store(path)
        self.catalog = Catalog(self.store)
        self.journal = Journal(self.store)
        self.asked = 0

    def scan(self, after_ms: int = LATER, settle_ms: int = 2000) -> ScanResult:
        """One scan, `after_ms` after now."""
        now = max(info.st_mtime_ns for info in map(os.stat, [self.store.path])) // 1_000_000
        for place, below, names in os.walk(self.store.artifacts):
            newest = [os.lstat(os.path.join(place, name)).st_ctime_ns // 1_000_000 for name in (*below, *names)]
            now = max([now, *newest])
        return register(self.store, self.catalog, self._asked, now + after_ms, settle_ms)

    def _asked(self) -> Journal:
        self.asked += 1
        return self.journal


@pytest.fixture
def run_id(service: Service) -> str:
    """A run."""
    return service.create_run("0").info.run_id


@pytest.fixture
def scanner(service: Service) -> Scanner:
    """A scanner of the service's store."""
    return Scanner(service.store.path)


def write(service: Service, run_id: str, path: str, text: str) -> Path:
    """What another program writes straight into the run's artifact directory."""
    place = Path(os.path.normpath(os.path.join(service.get_artifact_uri(run_id), path)))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    return place


def test_files_of_others_are_registered_once(service: Service, run_id: str, scanner: Scanner) -> None:
    """Files that another program wrote get one op each, with size and hash; a second scan finds nothing to do."""
    write(service, run_id, "a.txt", "a")
    write(service, run_id, "deep/er/b.txt", "b" * 1000)
    assert scanner.scan() == ScanResult(2, 0)
    assert registered(service.store.path) == on_disk(service.get_artifact_uri(run_id))
    assert scanner.scan() == ScanResult(0, 0)
    assert sum(isinstance(op, ArtifactStored) for op in ops_in(service.store.path)) == 2


def test_a_file_that_is_being_written_waits(service: Service, run_id: str, scanner: Scanner) -> None:
    """A file is not registered until nobody has changed it for the settle time."""
    place = write(service, run_id, "a.txt", "first half")
    assert scanner.scan(after_ms=1999) == ScanResult(0, 1)
    place.write_text("first half, second half")
    assert scanner.scan(after_ms=1999) == ScanResult(0, 1)
    assert registered(service.store.path) == {}
    assert scanner.scan(after_ms=2001) == ScanResult(1, 0)
    assert registered(service.store.path) == on_disk(service.get_artifact_uri(run_id))


def test_a_copy_with_an_old_time_waits_too(service: Service, run_id: str, scanner: Scanner) -> None:
    """A program that sets the file's time back while it writes does not make it look settled."""
    os.utime(write(service, run_id, "a.txt", "x"), (1_000_000_000, 1_000_000_000))
    assert scanner.scan(after_ms=100) == ScanResult(0, 1)


def test_a_time_in_the_future_does_not_wait_for_it(service: Service, run_id: str, scanner: Scanner) -> None:
    """A file whose time is ahead of our clock counts once it was seen unchanged for the settle time."""
    os.utime(write(service, run_id, "a.txt", "x"), (4_000_000_000, 4_000_000_000))
    assert scanner.scan(after_ms=0) == ScanResult(0, 1)
    assert scanner.scan(after_ms=1000) == ScanResult(0, 1)
    assert scanner.scan(after_ms=2500) == ScanResult(1, 0)


def test_a_changed_file_is_registered_again(service: Service, run_id: str, scanner: Scanner) -> None:
    """A registered file that changes gets another op, also one that localtrack stored, of the same size and mtime."""
    service.log_text(run_id, "mine", "mine.txt")
    theirs = write(service, run_id, "theirs.txt", "one")
    assert scanner.scan() == ScanResult(1, 0)
    theirs.write_text("two")
    mine = Path(service.get_artifact_uri(run_id, "mine.txt"))
    before = mine.stat()
    wait_for(lambda: ticked(scanner.store, before.st_ctime_ns + 20_000_000))
    mine.write_text("ours")
    os.utime(mine, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scanner.scan() == ScanResult(2, 0)
    assert registered(service.store.path) == on_disk(service.get_artifact_uri(run_id))


def test_a_scan_wins_over_a_clock_that_is_ahead(service: Service, run_id: str, scanner: Scanner) -> None:
    """A change found by a scan counts, although the registration before it has the stamp of a clock 5 min ahead."""
    ahead = Journal(service.store, clock=lambda: time.time_ns() + 300 * 1_000_000_000)
    place = write(service, run_id, "a.txt", "changed")
    ahead.append(ArtifactStored(run_id, "a.txt", 3, "0" * 64))
    assert scanner.scan() == ScanResult(1, 0)
    assert registered(service.store.path) == on_disk(place.parent)


def ticked(store: Store, time_ns: int) -> bool:
    """Whether the clock for files is past a time; it ticks every 1 to 10 ms."""
    probe = Path(store.path, "probe")
    probe.write_text("x")
    return probe.stat().st_ctime_ns > time_ns


def test_a_change_within_the_tick_of_the_registration(service: Service, run_id: str, scanner: Scanner) -> None:
    """Files changed right after they were stored, at the same size and by the same reading of the clock, are found."""
    for i in range(200):
        service.log_text(run_id, "mine", f"{i}.txt")
        Path(service.get_artifact_uri(run_id), f"{i}.txt").write_text("ours")
    assert scanner.scan() == ScanResult(200, 0)
    assert registered(service.store.path) == on_disk(service.get_artifact_uri(run_id))


def test_what_localtrack_stored_is_not_read_again(home: Path, scanner: Scanner) -> None:
    """Files that localtrack stored need nothing from the scan: it asks for no journal, and would not see a lie."""
    service = Service(scanner.store, load({"HOME": str(home)}))
    run_id = service.create_run("0").info.run_id
    service.log_text(run_id, "x", "x.txt")
    (stored,) = service.catalog.files(run_id)
    # The same op with another end of the hash, right behind it: a scan that read the file would contradict it.
    service.journal.append(ArtifactStored(run_id, "x.txt", stored.size, stored.sha256[:32] + "0" * 32))
    assert scanner.scan() == ScanResult(0, 0)
    assert scanner.asked == 0


def test_what_is_passed_over(service: Service, run_id: str, scanner: Scanner, home: Path) -> None:
    """Links, temporary names, pipes, names that are no paths, and directories of unknown runs get no op."""
    (home / "secret").write_text("secret")
    good = write(service, run_id, "good.txt", "good")
    directory = good.parent
    (directory / "link").symlink_to(home / "secret")
    (directory / "linked").symlink_to(home)
    os.mkfifo(directory / "pipe")
    (directory / ".artifact.uploading.abc").write_text("half")
    (directory / "back\\slash").write_text("x")
    (directory / "new\nline").write_text("x")
    write(service, run_id, f"../../{'f' * 32}/artifacts/x", "of nobody")
    Path(service.store.artifacts, "0", "linked-run").symlink_to(home)
    Path(service.store.artifacts, "stray.txt").write_text("x")
    assert scanner.scan() == ScanResult(1, 0)
    assert set(registered(service.store.path)) == {"good.txt"}


def test_files_of_models_are_registered(service: Service, scanner: Scanner) -> None:
    """Files in the directory of a logged model are registered under the model's id."""
    service.journal.append(ModelCreate(MODEL, "0", "net"))
    place = Path(service.store.artifacts, "0", "models", MODEL, "artifacts", "MLmodel")
    place.parent.mkdir(parents=True)
    place.write_text("x")
    assert scanner.scan() == ScanResult(1, 0)
    assert [op.owner for op in ops_in(service.store.path) if isinstance(op, ArtifactStored)] == [MODEL]


def test_files_of_attached_runs(service: Service, scanner: Scanner) -> None:
    """Files of a run that was attached to have their place too, are listed, and are found by the scan."""
    run_id = service.attach_run("e" * 32).info.run_id
    service.log_text(run_id, "mine", "mine.txt")
    write(service, run_id, "theirs.txt", "theirs")
    assert scanner.scan() == ScanResult(1, 0)
    assert set(registered(service.store.path)) == {"mine.txt", "theirs.txt"}
    assert [info.path for info in service.list_artifacts(run_id)] == ["mine.txt", "theirs.txt"]
    assert service.get_artifact_uri(run_id) == service.get_run(run_id).info.artifact_uri


def test_files_put_aside_while_the_experiment_was_unknown(service: Service, run_id: str, scanner: Scanner) -> None:
    """What was stored beside the experiments, because the catalog could not be read, is found under the run."""
    place = Path(service.store.run_artifacts("", run_id), "a.txt")
    place.parent.mkdir(parents=True)
    place.write_text("aside")
    assert scanner.scan() == ScanResult(1, 0)
    assert [info.path for info in service.list_artifacts(run_id)] == ["a.txt"]
    assert Path(service.download_artifacts(run_id, "a.txt")).read_text() == "aside"


def test_a_run_in_the_wrong_experiment_is_passed_over(service: Service, run_id: str, scanner: Scanner) -> None:
    """A directory of a known run below another experiment is not that run's."""
    write(service, run_id, f"../../../9/{run_id}/artifacts/x", "x")
    assert scanner.scan() == ScanResult(0, 0)


@pytest.mark.parametrize("trouble", ["removed", "damaged", "held"])
def test_the_memory_may_go(service: Service, run_id: str, scanner: Scanner, trouble: str) -> None:
    """Without its memory, with a damaged one, or with one that another scan holds, a scan registers nothing twice."""
    write(service, run_id, "a.txt", "a")
    scanner.scan()
    memory = Path(service.store.artifacts, ".scan.db")
    holder = sqlite3.connect(memory)
    if trouble == "removed":
        memory.unlink()
    elif trouble == "damaged":
        memory.write_bytes(b"no database" * 1000)
    else:
        holder.execute("BEGIN EXCLUSIVE")
    write(service, run_id, "b.txt", "b")
    assert scanner.scan() == ScanResult(1, 0)
    holder.close()
    assert registered(service.store.path) == on_disk(service.get_artifact_uri(run_id))


def test_abandoned_temporaries_are_swept(service: Service, run_id: str, scanner: Scanner) -> None:
    """Temporary files and directories of ours that nobody touched for a day are removed; MLflow's are not ours."""
    directory = write(service, run_id, "a.txt", "a").parent
    (directory / ".artifact.uploading.localtrack-1").write_text("half")
    (directory / ".artifact.uploading.theirs").write_text("half")
    staging = Path(service.store.artifacts, ".artifact.uploading.localtrack-2")
    staging.mkdir()
    (staging / "half").write_text("x")
    scanner.scan()
    assert staging.exists()
    scanner.scan(after_ms=25 * 60 * 60 * 1000)
    assert not staging.exists()
    assert sorted(os.listdir(directory)) == [".artifact.uploading.theirs", "a.txt"]


def test_a_store_without_artifacts(tmp_path: Path) -> None:
    """A store that does not exist has nothing to register, and is not made."""
    scanner = Scanner(str(tmp_path / "none"))
    assert register(scanner.store, scanner.catalog, scanner._asked, 0) == ScanResult(0, 0)
    assert not (tmp_path / "none").exists()


def test_five_thousand_files(service: Service, run_id: str, scanner: Scanner) -> None:
    """5,000 files are registered in one scan, and the next one opens none of them."""
    for i in range(5000):
        write(service, run_id, f"d{i % 10}/{i}", str(i))
    assert scanner.scan() == ScanResult(5000, 0)
    assert registered(service.store.path) == on_disk(service.get_artifact_uri(run_id))
    before = scanner.asked
    assert scanner.scan() == ScanResult(0, 0)
    assert scanner.asked == before
