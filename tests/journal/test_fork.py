"""Forks, spawned workers, threads, many processes: each process writes its own journal, and nothing is lost."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from localtrack.journal import ops
from localtrack.journal.reader import JournalReader
from tests.journal.processes import run, start, wait_for
from tests.journal.samples import all_metrics, files, items, records


def steps_of(directory: Path, key: str) -> list[int]:
    """Steps of all metrics of a key, sorted."""
    return sorted(metric.step for metric in all_metrics(directory) if metric.key == key)


def intact(directory: Path) -> None:
    """Every journal of the store is a sound database."""
    for path in files(directory):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("end", ["sys.exit(0)", "os._exit(0)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_parent_and_child_log_on(tmp_path: Path, end: str) -> None:
    """A forked child logs into a journal of its own, however it ends, and its parent goes on in the old one."""
    script = f"""
journal = journal_of(store)
for step in range(100):
    journal.append_metric(RUN, "parent", 1.0, None, step)
for child in range(3):
    if os.fork() == 0:
        assert journal_of(store) is journal
        assert journal.path is None
        for step in range(100):
            journal.append_metric(RUN, "child", 1.0, None, child * 100 + step)
        {end}
    for step in range(100, 120):
        journal.append_metric(RUN, "parent", 1.0, None, child * 20 + step)
    os.wait()
journal.append_metric(RUN, "parent", 1.0, None, 160)
journal.close()
"""
    run(script, tmp_path)
    assert len(files(tmp_path)) == 4
    assert steps_of(tmp_path, "parent") == list(range(161))
    assert steps_of(tmp_path, "child") == list(range(300))
    intact(tmp_path)


def test_the_parent_dies_first(tmp_path: Path) -> None:
    """A child whose parent was killed logs on, ends in good order, and the parent's records stay."""
    script = """
journal = journal_of(store)
for step in range(100):
    journal.append_metric(RUN, "parent", 1.0, None, step)
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
while os.getppid() == int(sys.argv[2]):
    pass
for step in range(100):
    journal.append_metric(RUN, "child", 1.0, None, step)
open(sys.argv[3], "w").close()
"""
    done = tmp_path / "done"
    command = f"import os; sys.argv[2:2] = [str(os.getpid())]\n{script}"
    process = start(command, tmp_path / "store", done)
    assert process.wait(60) == -signal.SIGKILL
    assert process.stdout is not None
    wait_for(done.exists)
    process.stdout.read()  # ends when the child has ended
    process.stdout.close()
    assert steps_of(tmp_path / "store", "parent") == list(range(100))
    assert steps_of(tmp_path / "store", "child") == list(range(100))
    intact(tmp_path / "store")


def test_an_idle_child_harms_nobody(tmp_path: Path) -> None:
    """A child that inherits an open journal, never logs and ends in every way leaves its parent's log alone."""
    script = """
import gc
journal = journal_of(store)
journal.append(CREATE)
for how in ("exit", "_exit", "collect"):
    if os.fork() == 0:
        if how == "collect":
            del journal
            gc.collect()
        sys.exit(0) if how == "exit" else os._exit(0)
    assert os.wait()[1] == 0
    assert os.path.exists(journal.path + "-wal"), how
    journal.append_metric(RUN, "loss", 1.0, None, 1)
journal.close()
"""
    run(script, tmp_path)
    assert len(all_metrics(tmp_path)) == 3
    intact(tmp_path)


def test_a_child_reads_its_parents_journal(tmp_path: Path) -> None:
    """A child may read the journal that it inherited open while its parent logs on and seals it; nothing is lost."""
    # SQLite in the child would believe that it holds the parent's locks, so the reader takes a snapshot.
    script = """
from localtrack.journal.reader import JournalReader
journal = journal_of(store)
for step in range(200):
    journal.append_metric(RUN, "loss", 1.0, None, step)
path = journal.path
if os.fork() == 0:
    seen = 200
    while seen < 3000 + 200 + 1:
        with JournalReader(path) as reader:
            found = [item.n for item in reader.read(0, 1 << 40)]
        assert found == list(range(1, len(found) + 1)), found[-5:]
        assert len(found) >= seen
        seen = len(found)
    os._exit(0)
for step in range(200, 3200):
    journal.append_metric(RUN, "loss", 1.0, None, step)
    if step % 500 == 0:
        with journal._current.lock:
            journal._current.file.checkpoint()
journal.close()
assert os.wait()[1] == 0
"""
    run(script, tmp_path)
    assert steps_of(tmp_path, "loss") == list(range(3200))
    intact(tmp_path)


def test_forks_while_threads_log(tmp_path: Path) -> None:
    """Forks in the middle of logging threads neither hang nor lose: no thread is in SQLite at that moment."""
    script = """
journal = journal_of(store)
stop = threading.Event()
counts = [0, 0]
def log(which):
    while not stop.is_set():
        journal.append_metric(RUN, f"thread{which}", 1.0, None, counts[which])
        counts[which] += 1
threads = [threading.Thread(target=log, args=(which,)) for which in range(2)]
for thread in threads:
    thread.start()
for child in range(15):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        for step in range(5):
            journal.append_metric(RUN, "child", 1.0, None, child * 5 + step)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
journal.close()
print(*counts)
"""
    counts = list(map(int, run(script, tmp_path).stdout.split()))
    for which in range(2):
        assert steps_of(tmp_path, f"thread{which}") == list(range(counts[which]))
    assert steps_of(tmp_path, "child") == list(range(75))
    intact(tmp_path)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_workers(tmp_path: Path, method: str) -> None:
    """Workers of multiprocessing, started in any way, log into journals that they seal when they end."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import multiprocessing, sys
from localtrack.journal.writer import journal_of
from localtrack.store import Store
def work(path, worker):
    for step in range(50):
        journal_of(Store.at(path)).append_metric("r", "worker", 1.0, None, worker * 50 + step)
if __name__ == "__main__":
    path = sys.argv[1]
    journal_of(Store.at(path)).append_metric("r", "main", 1.0, None, 0)
    context = multiprocessing.get_context("{method}")
    workers = [context.Process(target=work, args=(path, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
"""
    )
    run_program(program, tmp_path / "store")
    assert steps_of(tmp_path / "store", "worker") == list(range(150))
    assert len(files(tmp_path / "store")) == 4
    for path in files(tmp_path / "store"):
        with JournalReader(path) as reader:
            assert reader.sealed


def run_program(program: Path, *arguments: object) -> None:
    """Run a program file: spawned workers import their main module from it."""
    script = "import subprocess; sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], timeout=100).returncode)"
    run(script, program, *arguments)


def test_two_threads(tmp_path: Path) -> None:
    """Two threads that log at once lose nothing, and record numbers and stamps stay in order."""
    script = """
journal = journal_of(store)
def log(which):
    for step in range(5000):
        if step % 7 == 0:
            journal.append_batch(RUN, [Metric(f"thread{which}", 1.0, 5, step)], [Param(f"p{which}.{step}", "x")])
        else:
            journal.append_metric(RUN, f"thread{which}", 1.0, None, step)
threads = [threading.Thread(target=log, args=(which,)) for which in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    run(script, tmp_path)
    assert [steps_of(tmp_path, f"thread{which}") for which in range(2)] == [list(range(5000))] * 2
    found = records(files(tmp_path)[0])
    assert all(a.stamp < b.stamp for a, b in pairwise(found))


def test_eight_processes_at_once(tmp_path: Path) -> None:
    """Eight processes that log into one store at once lose nothing and see no error."""
    script = """
journal = journal_of(store, strict=True)
for step in range(2000):
    journal.append_metric(RUN, f"process{sys.argv[2]}", 1.0, None, step)
"""
    processes = [start(script, tmp_path, number) for number in range(8)]
    for process in processes:
        assert process.wait(100) == 0
        assert process.stdout is not None
        process.stdout.close()
    assert [steps_of(tmp_path, f"process{number}") for number in range(8)] == [list(range(2000))] * 8


def test_a_storm_of_signals(tmp_path: Path) -> None:
    """A signal handler that logs and flushes in the middle of logging calls tears nothing and hangs nothing."""
    script = """
journal = journal_of(store)
counts = {"main": 0, "handler": 0, "batch": 0}
depth = 0
def handler(number, frame):
    global depth
    if depth > 50:  # the disk is slow just now: handlers interrupt each other while the first one waits
        return
    depth += 1
    log_in_handler()
    depth -= 1
def log_in_handler():
    counts["handler"] += 1
    mine = counts["handler"]
    journal.append_metric(RUN, "handler", 1.0, None, mine)
    if mine % 5 == 0:
        counts["batch"] += 1
        journal.append_batch(RUN, [Metric(f"new{counts['batch']}", 1.0, 5, 0)], [Param(f"q{counts['batch']}", "1")])
    if mine % 20 == 0:
        journal.flush(sync=True)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0007)
end = time.monotonic() + 2
while time.monotonic() < end:
    counts["main"] += 1
    journal.append_metric(RUN, "main" if counts["main"] % 50 else f"main{counts['main']}", 1.0, None, counts["main"])
    if counts["main"] % 11 == 0:
        journal.append_batch(RUN, [Metric(f"b{counts['main']}", 1.0, 5, 0)], [Param(f"p{counts['main']}", "1")])
signal.setitimer(signal.ITIMER_REAL, 0)
journal.close()
print(counts["main"], counts["handler"], counts["batch"])
"""
    main, handler, batch = map(int, run(script, tmp_path).stdout.split())
    assert handler > 200
    assert steps_of(tmp_path, "handler") == list(range(1, handler + 1))
    keys = {metric.key: metric.step for metric in all_metrics(tmp_path)}
    assert all(keys[f"main{step}"] == step for step in range(50, main + 1, 50))
    assert steps_of(tmp_path, "main") == [step for step in range(1, main + 1) if step % 50]
    assert all(f"new{number}" in keys for number in range(1, batch + 1))
    assert all(f"b{number}" in keys for number in range(11, main + 1, 11))
    for path in files(tmp_path):
        found = items(path)
        assert [r.n for r in found if isinstance(r, ops.Record)] == list(range(1, len(found) + 1))
        stamps = [r.stamp for r in found if isinstance(r, ops.Record)]
        assert stamps == sorted(set(stamps))


def test_end_of_the_interpreter(tmp_path: Path) -> None:
    """What other exit handlers log, before ours and after it, is recorded too."""
    # registered before localtrack was imported: runs after our own handler
    early = """
import atexit, sys
late = []
atexit.register(lambda: late[0].append_metric("r", "after", 1.0, None, 1))
"""
    program = tmp_path / "program.py"
    program.write_text(
        early
        + """
from localtrack.journal.writer import journal_of
from localtrack.store import Store
journal = journal_of(Store.at(sys.argv[1]))
late.append(journal)
atexit.register(lambda: journal.append_metric("r", "before", 1.0, None, 1))
journal.append_metric("r", "main", 1.0, None, 1)
"""
    )
    run_program(program, tmp_path / "store")
    assert {metric.key for metric in all_metrics(tmp_path / "store")} == {"main", "before", "after"}
    assert os.path.isdir(tmp_path / "store")
