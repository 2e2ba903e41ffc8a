"""Network file systems: WAL without shared memory, held by one process, read by others when it is closed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localtrack.journal import ops
from localtrack.journal.mounts import on_network
from localtrack.journal.reader import HeldJournal, JournalReader
from localtrack.journal.writer import journal_of, open_source
from localtrack.store import Store
from tests.journal.processes import run
from tests.journal.samples import CREATE, RUN, journal_in, records


def test_an_exclusive_journal_makes_no_shared_memory(tmp_path: Path) -> None:
    """In exclusive mode no -shm file is made, others are told who holds the file, and after close they read it."""
    with journal_in(tmp_path, locking="exclusive") as journal:
        journal.append(CREATE, synced=True)
        for step in range(100):
            journal.append_metric(RUN, "loss", step, None, step)
        path = journal.path
        assert path is not None
        assert not os.path.exists(f"{path}-shm")
        script = """
from localtrack.journal.reader import HeldJournal, JournalReader
try:
    JournalReader(sys.argv[2])
except HeldJournal as error:
    print(error.hint)
"""
        assert "network file system" in run(script, tmp_path, path).stdout
        with pytest.raises(HeldJournal):
            JournalReader(path)
        own = journal.read_own(0, 1000)
        assert len(own) == 101
        assert journal.read_own(99) == own[99:]
    assert records(path)[:-1] == own


def test_its_own_process_reads_an_exclusive_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`open_source` reads our own held journal through the writer, and every other one as JournalReader does."""
    monkeypatch.setenv("LOCALTRACK_LOCKING", "exclusive")
    journal = journal_of(Store.at(tmp_path))
    journal.append(CREATE)
    path = journal.path
    assert path is not None
    source = open_source(path)
    assert [r.op for r in source.read(0) if isinstance(r, ops.Record)] == [CREATE]
    assert source.info.incarnation == journal.incarnation
    assert not source.sealed
    source.close()
    journal.append_metric(RUN, "loss", 1.0, None, 0)
    assert len(list(open_source(path).read(1))) == 1
    assert [type(item).__name__ for item in open_source(path).read_bulk(1)] == ["Points"]
    journal.close()
    reader = open_source(path)
    assert isinstance(reader, JournalReader)
    assert reader.sealed
    reader.close()


def test_exclusive_journals_survive_a_kill(tmp_path: Path) -> None:
    """Also in exclusive mode, what a killed process logged is read afterwards."""
    script = """
journal = Journal(store, locking="exclusive")
for step in range(100):
    journal.append_metric(RUN, "loss", 1.0, None, step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(script, tmp_path, status=-9)
    (path,) = (tmp_path / "journals").glob("*.db")
    assert len(records(str(path))) == 100


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /home rw,relatime shared:1 - {kind} server:/home rw,vers=4.2
31 30 0:41 / /home/me/local\\040disk rw - xfs /dev/sdb rw
32 22 0:42 / /homeless rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "fuse", "lustre", "gpfs", "beegfs", "ceph"]
)
def test_network_file_systems_are_recognised(tmp_path: Path, kind: str) -> None:
    """The mount that a path lies on decides, the deepest one, blanks in its name included."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(kind=kind))
    assert on_network("/home/me/store", str(mounts))
    assert on_network("/home", str(mounts))
    assert not on_network("/home/me/local disk/store", str(mounts))
    assert not on_network("/homeless/store", str(mounts))
    assert not on_network("/var/store", str(mounts))


def test_local_kinds_and_no_proc(tmp_path: Path) -> None:
    """ext4, xfs, btrfs, tmpfs and overlay are local; without /proc every path is taken for local."""
    mounts = tmp_path / "mountinfo"
    for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "fuseblk"):
        mounts.write_text(MOUNTS.format(kind=kind))
        assert not on_network("/home/me/store", str(mounts))
    assert not on_network("/home/me/store", str(tmp_path / "missing"))
