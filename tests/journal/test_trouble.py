"""Trouble of the machine: training goes on, one warning, nothing is lost without being counted."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import JournalError
from localtrack.journal import ops
from localtrack.journal.file import JournalFile
from localtrack.journal.trouble import MAX_KEPT, Kept
from localtrack.journal.writer import Journal
from tests.journal.processes import run, wait_for
from tests.journal.samples import CREATE, RUN, all_metrics, files, journal_in, records

PARAMS = ops.LogBatch(RUN, (Metric("m", 1.0, 5, 0), Metric("m", 2.0, 6, 1)), (Param("p", "1"),), (RunTag("t", "x"),))
WITHOUT_METRICS = ops.LogBatch(RUN, (), PARAMS.params, PARAMS.tags)
END = ops.RunUpdate(RUN, "FINISHED", 7)


def break_store(directory: Path) -> None:
    """Put a file where the directory of the journals was: nothing can be written, also not by root."""
    shutil.rmtree(directory / "journals", ignore_errors=True)
    directory.mkdir(exist_ok=True)
    (directory / "journals").write_text("in the way")


def mend_store(directory: Path) -> None:
    """Take the file away again."""
    (directory / "journals").unlink()


def logged(directory: Path) -> list[ops.Op]:
    """The ops of all journals of a store but SEAL."""
    return [r.op for path in files(directory) for r in records(path) if not isinstance(r.op, ops.Seal)]


def test_trouble_from_the_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """While nothing can be written calls return None; then lifecycle, params and tags come first, then the counts."""
    break_store(tmp_path)
    with journal_in(tmp_path) as journal:
        assert journal.append(CREATE, synced=True) is None
        assert journal.append(PARAMS) is None
        for step in range(100):
            journal.append_metric(RUN, "loss", step, None, step)
        assert journal.append(END) is None
        assert journal.losses == {"metric": 102}
        assert not journal.flush(sync=True), "nothing is written, and metrics were lost"
        mend_store(tmp_path)
        assert journal.flush(sync=True)
        assert journal.losses == {}
        journal.append_metric(RUN, "loss", 1.0, 9, 9)
    found = logged(tmp_path)
    assert found[:3] == [CREATE, WITHOUT_METRICS, END]
    loss = found[3]
    assert isinstance(loss, ops.Loss)
    assert loss.counts == (("metric", 102),)
    assert loss.first_ms <= loss.last_ms
    assert "FileExistsError" in loss.reason
    assert found[4] == ops.LogBatch(RUN, (Metric("loss", 1.0, 9, 9),))
    assert capfd.readouterr().err.count("cannot write the journal") == 1


def test_kept_ops_keep_their_stamps(tmp_path: Path) -> None:
    """An op that waited in memory has the stamp of the time it was logged, so it loses to later writes elsewhere."""
    break_store(tmp_path)
    now = [1_700_000_000_000]
    with journal_in(tmp_path, clock=lambda: now[0] * 1_000_000) as journal:
        journal.append(WITHOUT_METRICS)
        now[0] += 60_000
        mend_store(tmp_path)
        assert journal.flush()
    (path,) = files(tmp_path)
    assert [ops.stamp_ms(r.stamp) for r in records(path)] == [1_700_000_000_000, 1_700_000_060_000]


def test_a_removed_directory_loses_nothing(tmp_path: Path) -> None:
    """When somebody removes the journals under a running process, what it logged moves to a new journal."""
    with journal_in(tmp_path) as journal:
        journal.append(CREATE)
        for step in range(50):
            journal.append_metric(RUN, "loss", step, None, step)
        stamps = [record.stamp for record in records(files(tmp_path)[0])]
        shutil.rmtree(tmp_path / "journals")
        journal.append_metric(RUN, "loss", 50, None, 50)
        assert journal.flush(sync=True)
    (path,) = files(tmp_path)
    found = records(path)
    assert [m.step for m in all_metrics(tmp_path)] == list(range(51))
    assert found[0].op == CREATE
    assert [record.stamp for record in found][: len(stamps)] == stamps


def test_a_removed_directory_is_noticed_in_the_background(tmp_path: Path) -> None:
    """Without any further call, the new journal appears within seconds."""
    with journal_in(tmp_path, retry_seconds=0.1) as journal:
        journal.append(CREATE)
        shutil.rmtree(tmp_path / "journals")
        wait_for(lambda: (tmp_path / "journals").is_dir() and bool(files(tmp_path)))
    assert CREATE in logged(tmp_path)


def test_a_moved_store_is_left_where_it_is(tmp_path: Path) -> None:
    """When the store is renamed, its journal stays whole there; logging goes on at the old place."""
    with journal_in(tmp_path / "store") as journal:
        journal.append(CREATE)
        (tmp_path / "store").rename(tmp_path / "moved")
        journal.flush(sync=True)
        journal.append(END)
        assert journal.flush()
    assert logged(tmp_path / "moved") == [CREATE]
    assert logged(tmp_path / "store") == [END]


def test_trouble_in_the_middle_and_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Trouble may come and go: all of it is told once, and every count is recorded."""
    with journal_in(tmp_path) as journal:
        for step in range(3):
            journal.append(ops.RunUpdate(RUN, end_time=step))
            break_store(tmp_path)
            journal.flush()
            journal.append_metric(RUN, "loss", 1.0, None, step)
            journal.append(ops.RunUpdate(RUN, end_time=step + 10))
            mend_store(tmp_path)
            journal.flush()
    updates = [op.end_time for op in logged(tmp_path) if isinstance(op, ops.RunUpdate)]
    assert updates == [0, 10, 1, 11, 2, 12]
    assert sum(dict(op.counts)["metric"] for op in logged(tmp_path) if isinstance(op, ops.Loss)) == 3
    assert capfd.readouterr().err.count("cannot write the journal") == 1


def test_an_fsync_error_ends_the_use_of_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """After a failed fsync the handle is not trusted: the op is written again into a new journal, with its stamp."""
    with journal_in(tmp_path) as journal:
        journal.append(CREATE)
        first = journal.path
        break_fsync(journal)
        assert journal.append(END, synced=True) is None
        assert journal.flush(sync=True)
        assert journal.path != first
    ends = [r for path in files(tmp_path) for r in records(path) if r.op == END]
    assert len({r.stamp for r in ends}) == 1
    assert len(ends) in {1, 2}, "also in the old file, which may not survive, unless the thread met the error first"
    assert "cannot write the journal" in capfd.readouterr().err


def break_fsync(journal: Journal) -> None:
    """Make the next fence fail with a real error of the system: a pipe cannot be fsynced."""
    file = journal._current.file
    assert isinstance(file, JournalFile)
    read_end, write_end = os.pipe()
    assert file._log is not None
    os.dup2(write_end, file._log.fd)
    os.close(read_end)
    os.close(write_end)


def test_strict_raises_and_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With strict every call that cannot be recorded raises JournalError with a hint and keeps nothing."""
    break_store(tmp_path)
    with journal_in(tmp_path, strict=True) as journal:
        for call in (
            lambda: journal.append(CREATE),
            lambda: journal.append_metric(RUN, "loss", 1.0, None, 0),
            lambda: journal.append_batch(RUN, [Metric("a", 1.0, 0, 0)]),
            lambda: journal.flush(sync=True),
        ):
            with pytest.raises(JournalError, match="cannot write the journal") as caught:
                call()
            assert "disk space" in caught.value.hint
        mend_store(tmp_path)
        assert journal.append(CREATE) is not None
        assert journal.flush()
        break_fsync(journal)
        with pytest.raises(JournalError):
            journal.append(END, synced=True)
        assert journal.losses == {}
    assert logged(tmp_path) in ([CREATE], [CREATE, END]), "END failed before or after it was written"
    assert capfd.readouterr().err == ""


FULL_DISK = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(store, retry_seconds=0.05)
journal.append(CREATE)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
steps = 0
while journal.path is not None and steps < 100_000:
    journal.append_metric(RUN, "loss", steps, None, steps)
    steps += 1
assert journal.path is None, "the limit was not reached"
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
for i in range(500):
    journal.append_metric(RUN, "loss", steps + i, None, steps + i)
    assert journal.append(ops.LogBatch(RUN, (), (Param(f"p{i}", "1"),))) is None
assert journal.flush() is False
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
lost = journal.losses["metric"]
while not journal.flush():
    pass
journal.append_metric(RUN, "loss", -1, None, -1)
journal.close()
print(steps + 500, lost)
"""


@pytest.mark.parametrize("options", [(), ("-W", "error"), ("-X", "dev", "-W", "error")])
def test_a_full_disk(tmp_path: Path, options: tuple[str, ...]) -> None:
    """When files cannot grow, nothing raises (also with warnings as errors) and every metric is recorded or counted."""
    done = run(FULL_DISK, tmp_path, options=options)
    total, lost = map(int, done.stdout.split())
    found = logged(tmp_path)
    steps = [m.step for m in all_metrics(tmp_path)]
    assert len(steps) == len(set(steps))
    counted = sum(count for op in found if isinstance(op, ops.Loss) for _, count in op.counts)
    assert counted >= lost >= 500
    assert len(steps) - 1 + counted == total
    assert steps[-1] == -1
    params = [p.key for op in found if isinstance(op, ops.LogBatch) for p in op.params]
    assert params == [f"p{i}" for i in range(500)]
    assert done.stderr.count("cannot write the journal") == 1


def test_what_is_lost_at_the_end_is_said(tmp_path: Path) -> None:
    """A process that ends while nothing can be written says what is lost, and ends as it would have."""
    break_store(tmp_path)
    script = """
journal = journal_of(store)
journal.append(CREATE)
journal.append_metric(RUN, "loss", 1.0, None, 0)
journal.append_batch(RUN, [], [Param("p", "1"), Param("q", "1")])
sys.exit(7)
"""
    done = run(script, tmp_path, status=7)
    assert "lost 1 lifecycle record, 1 metric, 2 params" in done.stderr


def test_the_last_try_at_the_end(tmp_path: Path) -> None:
    """What was kept in memory is written at the end of the process when that works again by then."""
    break_store(tmp_path)
    script = """
journal = journal_of(store)
journal.append(CREATE)
os.unlink(store.journals)
"""
    done = run(script, tmp_path)
    assert [type(op) for op in logged(tmp_path)] == [ops.RunCreate]
    assert "lost" not in done.stderr.replace("counted as lost", "")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 KiB; skipped where this user may not mount."""
    where = tmp_path / "disk"
    where.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(where)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_really_full_file_system(small_disk: Path) -> None:
    """On a file system without space nothing raises; when space is freed the counts add up."""
    with journal_in(small_disk) as journal:
        journal.append(CREATE)
        steps = 0
        while not journal.losses:
            journal.append_metric(RUN, "loss", steps, None, steps)
            steps += 1
            assert steps < 100_000
        journal.append(END)
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        while not journal.flush():
            pass
    counted = sum(count for op in logged(small_disk) if isinstance(op, ops.Loss) for _, count in op.counts)
    assert len(all_metrics(small_disk)) + counted == steps
    assert END in logged(small_disk)


def test_memory_is_bounded() -> None:
    """Of endless params on a disk that stays full, 100,000 are kept and the others counted."""
    kept = Kept()
    op = ops.LogBatch(RUN, (), (Param("p", "1"),), (RunTag("t", "1"),))
    for stamp in range(MAX_KEPT + 10):
        kept.add(stamp << 16, op)
    assert len(kept.waiting) == MAX_KEPT
    assert kept.lost == {"param": 10, "tag": 10}
    assert kept.left() == {"param": MAX_KEPT + 10, "tag": MAX_KEPT + 10}
    loss = kept.loss()
    assert loss == ops.Loss((("param", 10), ("tag", 10)), MAX_KEPT, MAX_KEPT + 9, "")
    kept.recorded(loss)
    assert kept.loss() is None
