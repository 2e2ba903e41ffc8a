"""Runs of trainers that were really killed: ended when nobody writes them any more, and never before."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack.entities import Metric, Run
from localtrack.journal import ops
from localtrack.journal.life import Here
from localtrack.journal.ops import ENDED_BY_TAG
from localtrack.journal.writer import Journal
from localtrack.store import Store
from localtrack_sync.daemon.dead_trainers import MEMORY_FILE, DeadTrainers
from tests.daemon.trainers import Trainer

GRACE = 600_000


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Daemon:
    """The part of a daemon that is tested here, with its own journal, and what a user sees of the store."""

    def __init__(self, store: Path, here: Here | None = None) -> None:
        self.store = Store.at(store)
        self.catalog = Catalog(self.store)
        self.journal = Journal(self.store)
        self.dead = DeadTrainers(self.catalog, self.journal, here)
        self.began = now_ms()

    def looks(self, after_ms: int = 0) -> list[str]:
        """A look, so many milliseconds after the beginning; returns the runs that it ended."""
        return self.dead.end(self.began + after_ms, GRACE)

    def run(self, run_id: str) -> Run:
        """A run as the store has it now."""
        run = self.catalog.run(run_id)
        assert run is not None
        return run

    def status(self, run_id: str) -> str:
        """The status of a run now."""
        return self.run(run_id).info.status


@contextmanager
def daemon(store: Path, here: Here | None = None) -> Iterator[Daemon]:
    """A daemon at work on a store."""
    one = Daemon(store, here)
    try:
        yield one
    finally:
        one.journal.close()
        one.catalog.close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where the store will be."""
    return tmp_path / "store"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A pipe by name: who opens it to read waits until the test is over."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    yield path
    os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))


def test_the_run_of_a_killed_trainer_is_ended(store: Path) -> None:
    """After the grace, once: KILLED, ended at its last record, with a tag that says so; a living one never."""
    with Trainer(store) as first, Trainer(store) as second, daemon(store) as one:
        dead, living = first.starts(), second.starts()
        assert one.looks(10 * GRACE) == []
        assert (one.dead.living, one.dead.waiting) == (2, 0)
        first.kill()
        assert one.looks() == []
        assert (one.dead.living, one.dead.waiting) == (1, 1)
        assert one.looks(GRACE - 1) == []
        assert one.status(dead) == "RUNNING"
        last = one.catalog.run_index()[0].newest_ms
        assert one.looks(GRACE) == [dead]
        assert one.looks(2 * GRACE) == []
        assert one.dead.waiting == 0
        run = one.run(dead)
        assert (run.info.status, run.info.end_time) == ("KILLED", last)
        assert f"gone (host {os.uname().nodename}, last record " in run.data.tags[ENDED_BY_TAG]
        assert run.data.metrics == {"loss": 1.0}
        assert one.status(living) == "RUNNING"
        second.ends()
        assert (one.status(living), one.run(living).data.tags.get(ENDED_BY_TAG)) == ("FINISHED", None)


def test_a_stopped_trainer_lives(store: Path) -> None:
    """SIGSTOP is no death, however long; nor is it when the trainer is killed after all before the grace is over."""
    with Trainer(store) as trainer, daemon(store) as one:
        run_id = trainer.starts()
        trainer.process.send_signal(signal.SIGSTOP)
        assert one.looks(0) == one.looks(10 * GRACE) == []
        trainer.kill()
        assert one.looks(20 * GRACE) == one.looks(21 * GRACE - 1) == []
        assert one.looks(21 * GRACE) == [run_id]


def test_children_that_live_on(store: Path, gate: Path) -> None:
    """Forked children that do not log keep nothing open; one that logs to the run keeps it as long as it lives."""
    with Trainer(store) as quiet, Trainer(store) as shared, daemon(store) as one:
        run_of_quiet, run_of_shared = quiet.starts(), shared.starts()
        child = f"[os.fork() or (open({str(gate)!r}).read(), os._exit(0)) for _ in range(3)]"
        quiet.does(child)
        logs = f"localtrack.MlflowClient().log_metric({run_of_shared!r}, 'child', 1.0), os.write(w, b'x')"
        shared.does(f"r, w = os.pipe(); pid = os.fork() or ({logs}, open({str(gate)!r}).read(), os._exit(0))")
        pid = int(shared.does("os.read(r, 1); print(pid)"))
        quiet.kill()
        shared.kill()
        assert one.looks() == []
        assert one.looks(GRACE) == [run_of_quiet]
        assert one.looks(9 * GRACE) == []
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while one.looks(10 * GRACE) == [] and one.dead.living:
            assert time.monotonic() < deadline, "the child does not die"
        assert one.looks(11 * GRACE) == [run_of_shared]


def test_a_requeued_job_takes_the_end_back(store: Path) -> None:
    """Resumed, the run is RUNNING without end time and tag, here and for its own process; it ends as it ends."""
    with Trainer(store) as first, Trainer(store) as second, daemon(store) as one:
        run_id = first.starts()
        first.kill()
        assert one.looks() == []
        assert one.looks(GRACE) == [run_id]
        second.starts(run_id)
        seen = second.does("print(sorted(run.data.tags), run.info.status, run.info.end_time)")
        assert ENDED_BY_TAG not in seen
        assert seen.endswith("RUNNING None")
        run = one.run(run_id)
        assert (run.info.status, run.info.end_time, run.data.tags.get(ENDED_BY_TAG)) == ("RUNNING", None, None)
        assert one.looks(9 * GRACE) == []
        second.kill()
        assert one.looks(10 * GRACE) == []
        assert one.looks(11 * GRACE) == [run_id]
        with Trainer(store) as third:
            third.starts(run_id)
            third.ends()
        run = one.run(run_id)
        assert (run.info.status, run.data.tags.get(ENDED_BY_TAG)) == ("FINISHED", None)


def test_a_job_that_comes_back_within_the_grace_is_not_disturbed(store: Path) -> None:
    """A run that another process resumed before the grace was over is that process's run."""
    with Trainer(store) as first, Trainer(store) as second, daemon(store) as one:
        run_id = first.starts()
        first.kill()
        assert one.looks() == []
        second.starts(run_id)
        assert one.looks(GRACE) == one.looks(9 * GRACE) == []
        assert one.status(run_id) == "RUNNING"


def test_whoever_writes_after_the_look_wins(store: Path) -> None:
    """An end is as old as the look that led to it: a resume in between is later, whoever is written down first."""
    with Trainer(store) as first, daemon(store) as one:
        run_id = first.starts()
        first.kill()
        stamp = one.journal.next_stamp()
        with Trainer(store) as second:
            second.starts(run_id)
            one.journal.append(ops.RunUpdate(run_id, "KILLED", 5, ended_by="late"), stamp=stamp)
            run = one.run(run_id)
            assert (run.info.status, run.info.end_time, run.data.tags.get(ENDED_BY_TAG)) == ("RUNNING", None, None)


def test_a_copied_store_kills_nobody(store: Path, tmp_path: Path) -> None:
    """In a copy of a store nothing is ended, also when the copy was made on this very machine; in a moved one it is."""
    with Trainer(store) as trainer:
        run_id = trainer.starts()
        shutil.copytree(store, tmp_path / "copy")
        trainer.kill()
    with daemon(tmp_path / "copy") as one:
        assert one.status(run_id) == "RUNNING"
        assert one.looks(0) == one.looks(99 * GRACE) == []
    os.rename(store, tmp_path / "moved")
    with daemon(tmp_path / "moved") as one:
        assert one.looks() == []
        assert one.looks(GRACE) == [run_id]


def test_after_a_restart_of_the_machine_everybody_is_gone(store: Path) -> None:
    """Another boot of the same host ends it, another host does not."""
    with Trainer(store) as trainer:
        run_id = trainer.starts()
        trainer.kill()
    here = Here.at(str(store))
    with daemon(store, replace(here, host="another", boot_id="its boot")) as one:
        assert one.looks(0) == one.looks(99 * GRACE) == []
    with daemon(store, replace(here, boot_id="the next boot")) as one:
        assert one.looks() == []
        assert one.looks(GRACE) == [run_id]


def test_a_run_that_was_left_open_on_purpose_stays_open(store: Path) -> None:
    """A launcher that creates a run and ends in good order hands it on: the death of a worker does not end it."""
    with Trainer(store) as launcher, Trainer(store) as worker, daemon(store) as one:
        run_id = launcher.does("run = localtrack.MlflowClient().create_run('0'); print(run.info.run_id)")
        launcher.ends()
        worker.does(f"localtrack.MlflowClient().log_metric({run_id!r}, 'loss', 1.0)")
        worker.kill()
        assert one.looks(0) == one.looks(9 * GRACE) == []
        assert one.status(run_id) == "RUNNING"


def test_a_process_that_went_on_in_a_new_journal(store: Path) -> None:
    """A run that was opened in the first journal of a process lives and dies with the process, not with the file."""
    with Trainer(store) as trainer, daemon(store) as one:
        run_id = trainer.starts()
        trainer.does("from localtrack.journal.writer import journal_of; from localtrack.store import Store")
        trainer.does("journal_of(Store.at(sys.argv[1])).close()")
        trainer.does("localtrack.MlflowClient().create_experiment('another journal')")
        assert one.looks(0) == one.looks(9 * GRACE) == []
        trainer.kill()
        assert one.looks(10 * GRACE) == []
        assert one.looks(11 * GRACE) == [run_id]


def test_the_grace_goes_on_when_the_daemon_restarts(store: Path) -> None:
    """When a process was first seen gone is kept, for the owner only; a damaged note is begun anew."""
    with Trainer(store) as trainer:
        run_id = trainer.starts()
        trainer.kill()
    with daemon(store) as one:
        assert one.looks() == []
        began = one.began
    kept = store / "sync" / MEMORY_FILE
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert os.listdir(kept.parent) == [MEMORY_FILE]
    note = kept.read_text()
    kept.write_text("{")
    with daemon(store) as one:
        one.began = began
        assert one.looks(GRACE) == []
    kept.write_text(note)
    with daemon(store) as one:
        one.began = began
        assert one.looks(GRACE) == [run_id]
    with daemon(store) as one:
        assert one.looks() == []
        assert kept.read_text() == "{}"


def test_nothing_is_ended_that_cannot_be_written_down(store: Path, tmp_path: Path) -> None:
    """While the daemon's journal cannot be written the run stays open, and the next look tries again."""
    with Trainer(store) as trainer:
        run_id = trainer.starts()
        trainer.kill()
    (tmp_path / "no store").write_text("")
    with daemon(store) as one:
        assert one.looks() == []
        broken = DeadTrainers(one.catalog, Journal(Store.at(tmp_path / "no store")))
        assert broken.end(one.began + GRACE, GRACE) == broken.end(one.began + GRACE, GRACE) == []
        assert one.status(run_id) == "RUNNING"
        assert one.looks(GRACE) == [run_id]


def ahead_of_time(seconds: int) -> int:
    """A clock that is so many seconds ahead."""
    return time.time_ns() + seconds * 10**9


def test_a_clock_that_is_ahead(store: Path) -> None:
    """A run that a clock a few minutes ahead opened is ended all the same; one from the far future is left alone."""
    for run_id, seconds in {"a": 5 * 60, "b": 3600}.items():
        journal = Journal(Store.at(store), clock=partial(ahead_of_time, seconds))
        journal.append(ops.RunCreate(run_id * 32, "0", "n", "me", 1))
        journal._current.file.close()  # type: ignore[union-attr]  # as if its process had died: not sealed
        journal._current.start_empty()
    with daemon(store, replace(Here.at(str(store)), boot_id="the next boot")) as one:
        assert one.looks(0) == []
        assert one.looks(GRACE) == ["a" * 32]
        assert one.status("a" * 32) == "KILLED"
        assert one.looks(2 * GRACE) == []


def test_a_deleted_run_and_one_of_others_are_left_alone(store: Path) -> None:
    """Deleted runs are not ended, nor runs that were created elsewhere and only logged to."""
    with Trainer(store) as trainer, daemon(store) as one:
        deleted = trainer.starts()
        trainer.does(f"localtrack.MlflowClient().delete_run({deleted!r})")
        one.journal.append(ops.RunAttach("f" * 32, 5))
        one.journal.append_batch("f" * 32, [Metric("m", 1.0, 5, 0)])
        trainer.kill()
        assert one.looks(0) == one.looks(9 * GRACE) == []
        one.journal.append(ops.RunLifecycle(deleted, deleted=False))
        assert one.looks(10 * GRACE) == []
        assert one.looks(11 * GRACE) == [deleted]
