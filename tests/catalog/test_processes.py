"""Many processes and threads on one catalog; deaths in the middle; forks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack.catalog import database
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.lock import WriteLock
from localtrack.entities import Metric, RunTag, ViewType
from localtrack.errors import StoreError
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store
from tests.catalog.dump import dump

MS = 1_700_000_000_000
DEADLINE_S = 60.0
spawn = multiprocessing.get_context("spawn")


def run_id(number: int) -> str:
    """A run id."""
    return f"{number:032x}"


def write_and_tell(path: str, number: int, count: int, told: object) -> None:
    """A writing process: after each committed point it tells how many there are."""
    journal = Journal(Store(path), strict=True)
    journal.append(ops.RunCreate(run_id(number), "7", "n", "me", MS))
    for step in range(count):
        journal.append_metric(run_id(number), "loss", float(step), MS + step, step)
        told.value = step + 1  # type: ignore[attr-defined]
    journal.close()


def read_after(path: str, tolds: list[object], enough: int, trouble: object) -> None:
    """A reading process: whatever was told before a read must be in it."""
    with Catalog(Store(path)) as catalog:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            before = [told.value for told in tolds]  # type: ignore[attr-defined]
            for number, least in enumerate(before):
                found = catalog.metric_history(run_id(number), "loss")
                if len(found) < least or [m.step for m in found] != list(range(len(found))):
                    trouble.put((number, least, len(found)))  # type: ignore[attr-defined]
                    return
            if min(before) >= enough:
                trouble.put(None)  # type: ignore[attr-defined]
                return
    trouble.put("too slow")  # type: ignore[attr-defined]


def test_eight_processes_refresh_while_four_write(store: Store) -> None:
    """Each reader sees at once what any writer had committed before, whole and once; the catalog ends sound."""
    count = 400
    tolds = [spawn.Value("i", 0) for _ in range(4)]
    trouble = spawn.Queue()
    processes = [spawn.Process(target=write_and_tell, args=(store.path, n, count, tolds[n])) for n in range(4)]
    processes += [spawn.Process(target=read_after, args=(store.path, tolds, count, trouble)) for _ in range(8)]
    for process in processes:
        process.start()
    answers = [trouble.get(timeout=DEADLINE_S * 2) for _ in range(8)]
    for process in processes:
        process.join(DEADLINE_S)
    assert answers == [None] * 8
    assert [process.exitcode for process in processes] == [0] * 12
    connection = sqlite3.connect(store.catalog)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*), count(DISTINCT run) FROM metric").fetchone() == (4 * count, 4)
    connection.close()


def content(store: Store) -> object:
    """Content of the catalog file."""
    connection = database.open_to_read(store.catalog)
    try:
        return dump(connection)
    finally:
        connection.close()


def test_threads_share_a_catalog(store: Store, catalog: Catalog) -> None:
    """Threads that log and read at once see their own writes, through one Catalog."""
    journal = Journal(store, strict=True)
    failed: list[object] = []

    def work(number: int) -> None:
        journal.append(ops.RunCreate(run_id(number), "7", "n", "me", MS))
        for step in range(60):
            journal.append_metric(run_id(number), "loss", float(step), MS, step)
            run = catalog.run(run_id(number))
            if run is None or run.data.metrics != {"loss": float(step)}:
                failed.append((number, step, run))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert failed == []


IMPORT_AND_DIE = """
import os, signal, sys
from localtrack.catalog.catalog import Catalog
from localtrack.journal.reader import JournalReader
from localtrack.store import Store
left = int(sys.argv[2])
class Deadly(JournalReader):
    def read_bulk(self, after, limit):
        global left
        for item in super().read_bulk(after, limit):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item
Catalog(Store(sys.argv[1]), open_source=Deadly).refresh()
"""


def test_sigkill_in_the_middle_of_an_import_leaves_nothing_half_done(store: Store) -> None:
    """After kills all over an import, the next one continues to the same content as an import without a kill."""
    for number in range(3):
        journal = Journal(store, strict=True)
        journal.append(ops.RunCreate(run_id(number), "7", "n", "me", MS))
        for batch in range(70):
            rows = [Metric(f"k{i % 7}", float(i), MS + batch, batch * 1000 + i) for i in range(1000)]
            journal.append_batch(run_id(number), rows, [], [])
            journal.append_batch(run_id(number), [], [], [RunTag("batch", str(batch))])
        journal.close()
    with Catalog(store) as whole:
        whole.refresh()
    expected = content(store)
    database.discard(store.catalog)
    killed = 0
    for at in (1, 3, 60, 141, 300, 130, 150):
        command = [sys.executable, "-c", IMPORT_AND_DIE, store.path, str(at)]
        killed += subprocess.run(command, check=False, timeout=DEADLINE_S).returncode == -signal.SIGKILL
    assert killed >= 5
    with Catalog(store) as catalog:
        catalog.refresh()
    assert content(store) == expected


def test_a_forked_child_reads_and_the_parent_goes_on(store: Store, catalog: Catalog) -> None:
    """After a fork both sides read and import on their own, and the file stays sound."""
    journal = Journal(store, strict=True)
    journal.append(ops.RunCreate(run_id(1), "7", "n", "me", MS))
    assert catalog.run(run_id(1)) is not None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # in the child: nothing of pytest may run
        try:
            mine = Journal(store, strict=True)
            mine.append_metric(run_id(1), "child", 1.0, MS, 0)
            run = catalog.run(run_id(1))
            os.write(writing, b"ok" if run is not None and run.data.metrics.get("child") == 1.0 else b"no")
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent reports it
            os.write(writing, repr(error).encode())
        finally:
            os._exit(0)
    for step in range(50):
        journal.append_metric(run_id(1), "parent", float(step), MS, step)
        assert catalog.metric_history(run_id(1), "parent")[-1].step == step
    assert os.read(reading, 1000) == b"ok"
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    journal.close()
    run = catalog.run(run_id(1))
    assert run is not None
    assert run.data.metrics == {"child": 1.0, "parent": 49.0}


def test_forks_during_reads_and_imports_of_other_threads(store: Store, catalog: Catalog) -> None:
    """Children forked while other threads read and import work at once and do not hold the parent up."""
    journal = Journal(store, strict=True)
    journal.append(ops.RunCreate(run_id(1), "7", "n", "me", MS))
    stop = threading.Event()
    failed: list[BaseException] = []

    def busy(number: int) -> None:
        step = 0
        while not stop.is_set():
            step += 1
            try:
                journal.append_metric(run_id(1), f"k{number}", float(step), MS, step)
                assert catalog.metric_history(run_id(1), f"k{number}")[-1].step == step
            except BaseException as error:  # noqa: BLE001 - reported below
                failed.append(error)
                return

    threads = [threading.Thread(target=busy, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    statuses = []
    for _ in range(15):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if catalog.run(run_id(1)) is not None else 2
            finally:
                os._exit(code)
        statuses.append(os.waitpid(child, 0)[1])
    stop.set()
    for thread in threads:
        thread.join()
    journal.close()
    assert failed == []
    assert statuses == [0] * 15


def test_a_holder_of_the_lock_that_hangs_is_reported(store: Store) -> None:
    """A waiter gives up after its patience when the holder makes no progress, and waits on while it makes some."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with WriteLock(f"{store.path}/catalog.lock").held(lambda: 0):
            held.set()
            release.wait(DEADLINE_S)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(DEADLINE_S)
    waiter = WriteLock(f"{store.path}/catalog.lock")
    with pytest.raises(StoreError, match="no progress"), waiter.held(lambda: 0, patience_s=0.05):
        pass
    steps = iter(range(1000))

    def progress() -> int:
        step = next(steps)
        if step == 30:
            release.set()
        return step

    with waiter.held(progress, patience_s=0.05) as waited:
        assert waited
    thread.join()


def test_a_lock_dies_with_its_holder(store: Store, tmp_path: Path) -> None:
    """SIGKILL of a process that holds the lock frees it, also when a child that it forked lives on."""
    script = tmp_path / "hold.py"
    script.write_text(
        "import os, sys, time\n"
        "from localtrack.catalog.catalog import Catalog\n"
        "from localtrack.store import Store\n"
        "catalog = Catalog(Store(sys.argv[1]))\n"
        "lock = catalog._upkeep._lock\n"
        "with lock.held(lambda: 0):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        print(os.getpid(), flush=True)\n"
        "        time.sleep(60)\n"
        "        os._exit(0)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, str(script), store.path], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            with WriteLock(f"{store.path}/catalog.lock").held(lambda: 0, patience_s=5):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_deleting_the_catalog_under_live_readers_rebuilds_it(
    store: Store, catalog: Catalog, open_journal: Callable[[int], Journal]
) -> None:
    """Only catalog.db is removed while this process has it open: the next read builds it again, with equal content."""
    journal = open_journal(MS)
    for number in range(20):
        journal.append(ops.RunCreate(run_id(number), "7", "n", "me", MS + number))
        journal.append_metric(run_id(number), "loss", 1.0, MS, number)
    assert len(catalog.runs(["7"], ViewType.ALL, 100)) == 20
    expected = content(store)
    os.unlink(store.catalog)
    with Catalog(store) as other:
        assert len(other.runs(["7"], ViewType.ALL, 100)) == 20
        journal.append(ops.RunCreate(run_id(99), "7", "n", "me", MS))
        assert len(catalog.runs(["7"], ViewType.ALL, 100)) == 21
        assert len(other.runs(["7"], ViewType.ALL, 100)) == 21
    database.discard(store.catalog)
    assert len(catalog.runs(["7"], ViewType.ALL, 100)) == 21
    assert content(store) != expected


def test_another_process_that_ends_does_not_take_the_log_away(tmp_path: Path) -> None:
    """A catalog that is open for reading and writing keeps its -wal when others open theirs, import and close."""
    store = Store(str(tmp_path))
    script = "import sys; from localtrack.catalog.catalog import Catalog; from localtrack.store import Store\n"
    script += "with Catalog(Store(sys.argv[1])) as catalog: print(catalog.totals().points)"

    def points_elsewhere() -> int:
        return int(subprocess.run([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, check=True).stdout)

    journal = Journal(store, strict=True)
    journal.append(ops.RunCreate(run_id(1), "7", "n", "me", MS))
    with Catalog(store) as catalog:
        catalog.refresh()
    for step in range(1, 4):
        with Catalog(store) as catalog:  # reads first, then opens a second connection to write
            log = store.catalog + "-wal"
            journal.append_metric(run_id(1), "loss", 1.0, MS, step)
            catalog.refresh()
            inode = os.stat(log).st_ino
            assert points_elsewhere() == step
            assert os.stat(log).st_ino == inode, "another process removed the log that this one writes to"
    journal.close()
