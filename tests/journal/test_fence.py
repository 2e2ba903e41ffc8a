"""Power loss: what was fenced survives, what survives is a prefix, and nothing older than a second is unfenced."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from localtrack.errors import JournalError
from localtrack.journal import ops
from localtrack.journal.file import FENCE_SECONDS
from localtrack.journal.reader import EmptyJournal, JournalReader
from tests.journal.power import Disk, record, replay
from tests.journal.processes import run, wait_for
from tests.journal.samples import journal_in

CUTS = 1500

PROGRAM = """
import os, sys
from localtrack.entities import Metric
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store
journal = Journal(Store.at(sys.argv[1]))
n = 0
def mark(what):
    os.write(1, f"{what} {n}".encode())
for round in range(6):
    for step in range(12):
        if step % 5 == 0:
            journal.append_batch("r", [Metric(f"k{i}", 1.0, step, step) for i in range(30)])
        else:
            journal.append_metric("r", f"loss{round % 2}", float(step), None, step)
        n += 1
    if round % 3 == 0:
        journal.append(ops.RunUpdate("r", "RUNNING"), synced=True)
        n += 1
    else:
        journal.flush(sync=True)
    mark("fenced")
    if round in (1, 3):
        with journal._current.lock:
            journal._current.file.checkpoint()
        mark("checkpointed")
    for step in range(5):
        journal.append_metric("r", "after", 1.0, None, step)
        n += 1
journal.close()
n += 1
mark("sealed")
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What a program that logs, fences and checkpoints asked the kernel to do; skipped without strace."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace, to see what is really written and fsynced")
    directory = tmp_path_factory.mktemp("power")
    store, trace = directory / "store", directory / "trace"
    record(PROGRAM, store, trace)
    return trace, str(store)


def survivors(directory: Path) -> int | None:
    """How many records a reader finds, all whole and without a hole; None when there is no journal."""
    paths = sorted(directory.glob("journals/*.db"))
    if not paths:
        return None
    (path,) = paths
    try:
        with JournalReader(str(path)) as reader:
            found = list(reader.read(0, 1 << 40))
    except EmptyJournal:
        return None
    if found and isinstance(damage := found[-1], ops.Damage):  # commits behind one that the cut took are named, as lost
        assert "power cut" in damage.reason, damage
        assert damage.first_n == len(found)
        found.pop()
    assert [item.n for item in found if isinstance(item, ops.Record)] == list(range(1, len(found) + 1)), found
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return len(found)


def test_no_fenced_record_is_lost_to_a_power_cut(recording: tuple[Path, str], tmp_path: Path) -> None:
    """After each of 1,500 power cuts all fenced records are read, and what is read is a whole prefix."""
    trace, store = recording
    moments = sum(1 for _ in replay(trace, Disk(store)))
    chosen = random.Random(1)
    cuts = [0] * moments
    for _ in range(CUTS):
        cuts[chosen.randrange(moments)] += 1
    disk = Disk(store)
    fenced, seen_fences, tried, lost_some = 0, 0, 0, 0
    for moment, mark in enumerate(replay(trace, disk)):
        if mark is not None and (match := re.match(r"(fenced|sealed) (\d+)", mark)):
            fenced = int(match[2])
            seen_fences += 1
        for cut in range(cuts[moment]):
            target = tmp_path / "cut"
            disk.cut(random.Random(moment * 1000 + cut), target)
            try:
                found = survivors(target)
            except (JournalError, AssertionError, sqlite3.Error) as error:
                pytest.fail(f"cut {moment}/{cut}: {error!r}")
            assert (found or 0) >= fenced, f"cut {moment}/{cut}: {found} of {fenced} fenced records survive"
            lost_some += found is not None and found > fenced
            tried += 1
            shutil.rmtree(target, ignore_errors=True)
    assert (tried, seen_fences) == (CUTS, 7)
    assert lost_some > 50, "the model cuts between fences too"


def test_the_model_finds_a_missing_fence(recording: tuple[Path, str], tmp_path: Path) -> None:
    """The same cuts find lost records when the fences are left out of the recording: the test can fail."""
    trace, store = recording
    disk = Disk(store)
    fenced = lost = 0
    for moment, mark in enumerate(replay(trace, disk, ignore="fdatasync")):
        if mark is not None and (match := re.match(r"fenced (\d+)", mark)):
            fenced = int(match[1])
            for cut in range(5):
                target = tmp_path / "cut"
                disk.cut(random.Random(moment * 1000 + cut), target)
                try:
                    lost += (survivors(target) or 0) < fenced
                except (JournalError, AssertionError, sqlite3.Error):
                    lost += 1
                shutil.rmtree(target, ignore_errors=True)
    assert lost > 0


def test_every_commit_is_fenced_within_a_second(tmp_path: Path) -> None:
    """A commit without any later call is fsynced by the background thread, once, and then the journal is left alone."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace, to see what is really fsynced")
    trace = tmp_path / "trace"
    script = """
import os, sys, time
from localtrack.journal.writer import Journal
from localtrack.store import Store
journal = Journal(Store.at(sys.argv[1]))
for step in range(3):
    journal.append_metric("r", "loss", 1.0, None, step)
os.write(1, b"logged")
time.sleep(2.5)
os.write(1, b"waited")
os._exit(0)
"""
    record(script, tmp_path / "store", trace)
    lines = trace.read_text(encoding="ascii").splitlines()
    logged, waited = (
        next(i for i, line in enumerate(lines) if _printed(line, word)) for word in (b"logged", b"waited")
    )
    between = [line for line in lines[logged + 1 : waited] if re.search(r"\b(fdatasync|fsync|pwrite64)\(", line)]
    assert len(between) == 1, between
    assert "fdatasync(" in between[0]
    assert FENCE_SECONDS < 1


def _printed(line: str, word: bytes) -> bool:
    return "".join(f"\\x{byte:02x}" for byte in word) in line and " write(1," in line


def test_an_idle_journal_wakes_nobody(tmp_path: Path) -> None:
    """When all is fenced the background thread sleeps: no context switch of it until the next commit."""
    script = """
journal = journal_of(store)
journal.append_metric(RUN, "loss", 1.0, None, 0)
main = threading.get_native_id()
def switches():
    (other,) = set(os.listdir("/proc/self/task")) - {str(main)}
    with open(f"/proc/self/task/{other}/status") as file:
        return [line for line in file if "ctxt_switches" in line]
deadline = time.monotonic() + 20
before = None
while before != (before := switches()) or time.monotonic() < deadline - 18:
    time.sleep(0.2)
time.sleep(1.5)
assert switches() == before, (before, switches())
os._exit(0)
"""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("needs /proc")
    run(script, tmp_path)


def test_a_checkpoint_comes_by_itself_and_the_log_stays_small(tmp_path: Path) -> None:
    """Logging faster than the background thread looks, the log is folded every 8 MiB and never reaches the limit."""
    with journal_in(tmp_path) as journal:
        for step in range(60_000):
            journal.append_metric("r", "loss", 1.0, None, step)
        path = journal.path
        assert path is not None
        wait_for(lambda: os.path.getsize(path) > 1_000_000)
        assert os.path.getsize(f"{path}-wal") < 64 << 20
        assert journal.path == path


def test_a_reader_that_never_ends_moves_logging_to_a_new_journal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A log that a reader holds grows to 64 MiB; then the process goes on in a new journal; nothing is lost."""
    with journal_in(tmp_path) as journal:
        journal.append_metric("r", "loss", 1.0, None, 0)
        first = journal.path
        assert first is not None
        reader = sqlite3.connect(f"file:{first}?mode=ro", uri=True)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM record").fetchone()
        step = 1
        while journal.path == first:
            journal.append_metric("r", "loss", 1.0, None, step)
            step += 1
            assert step < 1_000_000
        reader.close()
    steps = 0
    for path in sorted((tmp_path / "journals").glob("*.db")):
        with JournalReader(str(path)) as source:
            assert source.sealed
            steps += sum(isinstance(i, ops.Record) and isinstance(i.op, ops.LogBatch) for i in source.read(0, 1 << 40))
    assert steps == step
    assert "goes on in a new journal" in capfd.readouterr().err
