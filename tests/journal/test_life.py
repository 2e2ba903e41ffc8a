"""Whether the process that writes a journal lives: real processes, stopped, forked and killed."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.journal.file import NO_FILE
from localtrack.journal.identity import Identity, Place
from localtrack.journal.life import Here, Life, Origin, Watch, judge, read_origin
from localtrack.journal.mounts import locks_reach_other_hosts
from localtrack.journal.writer import Journal
from localtrack.store import Store
from tests.journal.processes import start, wait_for
from tests.journal.samples import CREATE, RUN, journal_in

IDENTITY = Identity("ab" * 16, 1_700_000_000_000, "node7", 4711, "boot-1", "me")
MADE = Origin(IDENTITY, Place("ab" * 16, 64, 1000, "wal", "normal"), 64, 1000)
SAME, REBOOTED = Here("node7", "boot-1"), Here("node7", "boot-2")
OTHER, SHARED = Here("node8", "boot-8"), Here("node8", "boot-8", shared_locks=True)
OTHER_INODE, OTHER_DEVICE = replace(MADE, inode=1001), replace(MADE, device=65)
UNSAID = replace(MADE, place=Place("", 0, 0, "", "normal"))
NO_BOOT = replace(MADE, identity=replace(IDENTITY, boot_id=""))
LIVING, GONE, UNKNOWN = Life.LIVING, Life.GONE, Life.UNKNOWN


@pytest.mark.parametrize(
    ("origin", "here", "held", "life"),
    [
        (MADE, SAME, True, LIVING),
        (UNSAID, OTHER, True, LIVING),
        (OTHER_INODE, REBOOTED, True, LIVING),
        (MADE, SAME, False, GONE),
        (MADE, Here("a-container", "boot-1"), False, GONE),
        (MADE, SAME, None, UNKNOWN),
        (OTHER_DEVICE, SAME, False, UNKNOWN),
        (OTHER_INODE, SAME, False, UNKNOWN),
        (OTHER_INODE, REBOOTED, False, UNKNOWN),
        (UNSAID, SAME, False, UNKNOWN),
        (UNSAID, REBOOTED, None, UNKNOWN),
        (MADE, REBOOTED, False, GONE),
        (MADE, REBOOTED, None, GONE),
        (OTHER_DEVICE, REBOOTED, None, GONE),
        (MADE, OTHER, False, UNKNOWN),
        (MADE, OTHER, None, UNKNOWN),
        (MADE, SHARED, False, GONE),
        (MADE, SHARED, None, UNKNOWN),
        (OTHER_INODE, SHARED, False, UNKNOWN),
        (NO_BOOT, Here("node7", ""), False, GONE),
        (NO_BOOT, Here("node8", ""), False, UNKNOWN),
        (NO_BOOT, SAME, False, UNKNOWN),
    ],
)
def test_what_a_free_lock_proves(origin: Origin, here: Here, held: bool | None, life: Life) -> None:
    """A held lock is life; a free one is death only of a file that was made here and that only this kernel locks."""
    assert judge(origin, here, held=held) is life


def test_a_name_that_everybody_has_is_no_host() -> None:
    """Two boots of "localhost" are not taken for one machine that was started again."""
    anybody = replace(MADE, identity=replace(IDENTITY, host="localhost"))
    assert judge(anybody, Here("localhost", "boot-2"), held=False) is UNKNOWN


@pytest.mark.parametrize(
    ("kind", "options", "reach"),
    [
        ("nfs4", "rw,vers=4.2,local_lock=none", True),
        ("nfs", "rw,vers=3,nolock,local_lock=all", False),
        ("nfs", "rw,vers=3,local_lock=posix", False),
        ("lustre", "rw,flock,lazystatfs", True),
        ("lustre", "rw,localflock", False),
        ("ceph", "rw,acl", True),
        ("gpfs", "rw", True),
        ("9p", "rw,trans=virtio", False),
        ("fuse.sshfs", "rw", False),
        ("cifs", "rw,vers=3.1.1", False),
        ("ext4", "rw", False),
    ],
)
def test_where_locks_of_other_hosts_are_seen(tmp_path: Path, kind: str, options: str, reach: bool) -> None:
    """Only file systems that are known to show the locks of other hosts count, as they are mounted."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / /home rw - {kind} server:/home {options}\n")
    assert locks_reach_other_hosts("/home/me/store", str(mounts)) is reach
    assert not locks_reach_other_hosts("/elsewhere", str(mounts))
    assert not locks_reach_other_hosts("/home/me/store", str(tmp_path / "missing"))


# --- real processes --------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A pipe by name: who opens it to read waits until the test is over."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    yield path
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # wakes those who wait to open it; closed, they read its end
    os.close(fd)


def journals(directory: Path) -> list[str]:
    """Paths of the journals of a store, oldest first."""
    return sorted(map(str, (directory / "journals").glob("*.db")))


def life(path: str, here: Here | None = None) -> Life:
    """What a first look says."""
    return Watch(here or Here.at(path)).life(path)


WAITING = """
journal = Journal(store, locking=sys.argv[3])
journal.append(CREATE)
print(journal.path, flush=True)
open(sys.argv[2]).read()
"""


def started(script: str, *arguments: object) -> tuple[subprocess.Popen[str], list[str]]:
    """A process of its own, and the words of the first line that it printed."""
    process = start(script, *arguments)
    assert process.stdout is not None
    return process, process.stdout.readline().split()


def killed(process: subprocess.Popen[str]) -> None:
    """SIGKILL to this process alone."""
    process.kill()
    process.wait(30)
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.parametrize("locking", ["normal", "exclusive"])
def test_a_process_lives_until_it_is_killed(tmp_path: Path, gate: Path, locking: str) -> None:
    """It lives while it runs and while it is stopped; killed, it is gone. One who looks again and again sees it."""
    process, (path,) = started(WAITING, tmp_path / "store", gate, locking)
    watch = Watch(Here.at(path))
    assert watch.life(path) is LIVING
    process.send_signal(signal.SIGSTOP)
    assert watch.life(path) is LIVING
    assert life(path, OTHER) is LIVING
    killed(process)
    assert watch.life(path) is GONE
    assert life(path) is GONE
    assert life(path, OTHER) is UNKNOWN
    assert life(path, replace(Here.at(path), boot_id="another boot")) is GONE


FORKED = """
journal = Journal(store)
journal.append(CREATE)
stop = threading.Event()
def fence():
    while not stop.is_set():
        journal.append_metric(RUN, "loss", 1.0, None, 0)
        journal.flush(sync=True)
threads = [threading.Thread(target=fence) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(6):
    if os.fork() == 0:
        open(sys.argv[2]).read()
        os._exit(0)
stop.set()
for thread in threads:
    thread.join()
print(journal.path, flush=True)
open(sys.argv[2]).read()
"""


def test_children_that_live_on_do_not_keep_their_parent_alive(tmp_path: Path, gate: Path) -> None:
    """Children forked in the middle of fences of other threads, as data loaders are, have no part in the lock."""
    process, (path,) = started(FORKED, tmp_path / "store", gate)
    assert life(path) is LIVING
    process.kill()
    process.wait(30)
    assert life(path) is GONE
    assert process.stdout is not None
    process.stdout.close()


def test_a_program_that_was_started_does_not_keep_its_parent_alive(tmp_path: Path, gate: Path) -> None:
    """The lock does not pass through exec, whatever the child is told to inherit."""
    script = """
import subprocess
journal = Journal(store)
journal.append(CREATE)
subprocess.Popen(["cat", sys.argv[2]], close_fds=False)
print(journal.path, flush=True)
open(sys.argv[2]).read()
"""
    process, (path,) = started(script, tmp_path / "store", gate)
    assert life(path) is LIVING
    killed(process)
    wait_for(lambda: life(path) is GONE)  # between fork and exec the child still has everything


def test_a_child_has_a_life_of_its_own(tmp_path: Path, gate: Path) -> None:
    """A child that logs lives by its own journal, which says that it is another process."""
    script = """
journal = Journal(store)
journal.append(CREATE)
if os.fork() == 0:
    journal.append_metric(RUN, "loss", 1.0, None, 0)
    print(journal.path, flush=True)
    open(sys.argv[2]).read()
    os._exit(0)
open(sys.argv[2]).read()
"""
    process, (childs,) = started(script, tmp_path / "store", gate)
    (parents,) = set(journals(tmp_path / "store")) - {childs}
    assert (life(parents), life(childs)) == (LIVING, LIVING)
    killed(process)
    assert (life(parents), life(childs)) == (GONE, LIVING)
    origins = [read_origin(path) for path in (parents, childs)]
    assert [one.place.process == one.identity.incarnation for one in origins if one] == [True, True]


def test_copies_are_not_believed(tmp_path: Path, gate: Path) -> None:
    """Of a copy a free lock says nothing, with its log or without, also after a restart; a moved file is itself."""
    process, (path,) = started(WAITING, tmp_path / "store", gate, "normal")
    killed(process)
    copy = str(tmp_path / "copy.db")
    for suffix in ("", "-wal"):
        shutil.copy2(path + suffix, copy + suffix)
    rebooted = replace(Here.at(path), boot_id="another boot")
    assert (life(copy), life(copy, rebooted)) == (UNKNOWN, UNKNOWN)
    os.unlink(copy + "-wal")
    assert life(copy) is UNKNOWN
    for suffix in ("", "-wal"):
        os.rename(path + suffix, copy + suffix)
    assert life(copy) is GONE


def test_without_its_log_a_journal_tells_nothing(tmp_path: Path, gate: Path) -> None:
    """When somebody folded the log of a dead process away there is no lock to ask for: only a restart proves it."""
    process, (path,) = started(WAITING, tmp_path / "store", gate, "normal")
    killed(process)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT count(*) FROM record").fetchone()
    assert not os.path.exists(path + "-wal")
    assert life(path) is UNKNOWN
    assert life(path, replace(Here.at(path), boot_id="another boot")) is GONE


def test_older_journals_tell_nothing(tmp_path: Path, gate: Path) -> None:
    """A journal whose header lacks the keys is read as ever, and nothing is concluded from its lock."""
    process, (path,) = started(WAITING, tmp_path / "store", gate, "normal")
    killed(process)
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True)
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("DELETE FROM meta WHERE key IN ('process', 'device', 'inode', 'lock')")
    connection.commit()
    connection.close()
    found = read_origin(path)
    assert found is not None
    assert found.place == Place("", 0, 0, "", "normal")
    assert life(path) is UNKNOWN


def test_what_cannot_be_read_is_unknown(tmp_path: Path) -> None:
    """Neither a missing file nor one that is no journal makes a look fail."""
    assert life(str(tmp_path / "missing.db")) is UNKNOWN
    (tmp_path / "text.db").write_text("no journal")
    assert life(str(tmp_path / "text.db")) is UNKNOWN
    assert read_origin(str(tmp_path / "text.db")) is None


def test_a_process_goes_on_in_a_new_journal(tmp_path: Path) -> None:
    """The next journal of a process says which one was its first, and while there is none the old lock is kept."""
    with journal_in(tmp_path) as journal:
        journal.append(CREATE)
        first, name = journal.path, journal.incarnation
        assert first is not None
        current = journal._current
        with current.lock:
            current.fail(current.file, OSError("as if the disk were full"))  # type: ignore[arg-type]
            assert current.file is NO_FILE
            current._close_retired()
        assert life(first) is not GONE
        assert journal.flush()
        journal.append_metric(RUN, "loss", 1.0, None, 0)
        second = journal.path
        assert second is not None
        assert second != first
        origin = read_origin(second)
        assert origin is not None
        assert origin.place.process == name
        assert life(second) is LIVING
    assert life(second) is UNKNOWN  # sealed: nobody asks


def test_the_lock_costs_no_journal(tmp_path: Path) -> None:
    """Where a lock cannot be had the journal works without, and says so."""
    journal = Journal(Store.at(tmp_path))
    journal.append(CREATE)
    assert journal.path is not None
    origin = read_origin(journal.path)
    assert origin is not None
    assert origin.place.lock == "wal"
    journal.close()
