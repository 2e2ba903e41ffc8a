"""Findings about a machine, a store and a daemon, from what was seen of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from localtrack.catalog.entries import JournalEntry
from localtrack.journal.ops import Damage
from localtrack_sync.checkup.daemon_checks import daemon_findings
from localtrack_sync.checkup.facts import (
    DaemonLook,
    Disk,
    FileLook,
    KeyLook,
    MachineLook,
    Owing,
    Seen,
    StoreLook,
)
from localtrack_sync.checkup.finding import Finding, exit_code
from localtrack_sync.checkup.machine_checks import has_wal_bug, machine_findings
from localtrack_sync.checkup.store_checks import store_findings
from localtrack_sync.store.lock import NAMELESS, Holder

MACHINE = MachineLook("0.1.0", (3, 11, 7), (3, 51, 3), 1024, KeyLook("/k", exists=True))
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
GB = 1_000_000_000
CLOSED = (Seen("", 0o700), Seen("journals", 0o700), Seen("journals/a.db", 0o600))
STORE = StoreLook(
    "/s",
    file_system="ext4",
    seen=CLOSED,
    disk=Disk(50 * GB, 100 * GB, 900, 1000),
    catalog=FileLook("/s/catalog.db", 2, 2),
    states=(FileLook("/s/sync/a.db", 2, 2),),
    journals=(JournalEntry("a.db", "i1", sealed=True),),
)
DAEMON = DaemonLook("/s/sync/daemon.lock", directories=10, watches=65536, instances=128)


def ids(findings: list[Finding]) -> set[str]:
    """Ids of the findings that are not simply in order."""
    return {finding.kind.id for finding in findings if finding.kind.why}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"python": (3, 14, 0)}, {"python-untested"}),
        ({"python": (3, 10, 0)}, set()),
        ({"sqlite": (3, 36, 0)}, {"sqlite-too-old"}),
        ({"sqlite": (3, 37, 0)}, {"sqlite-wal-reset"}),
        ({"sqlite": (3, 51, 2)}, {"sqlite-wal-reset"}),
        ({"open_files": 256}, {"open-files-low"}),
        ({"open_files": None}, set()),
        ({"key": KeyLook("/k", exists=True, sound=False)}, {"identity-key-open"}),
        ({"key": KeyLook("/k")}, set()),
    ],
)
def test_machine(changes: dict[str, object], expected: set[str]) -> None:
    """Each thing that is amiss on a machine is found, and nothing else."""
    assert ids(machine_findings(replace(MACHINE, **changes))) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "has_it"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_versions_with_the_wal_reset_bug(version: tuple[int, ...], *, has_it: bool) -> None:
    """3.7.0 to 3.51.2, but for the older lines that it was repaired in."""
    assert has_wal_bug(version) is has_it


def journal(**changes: object) -> tuple[JournalEntry, ...]:
    """One journal that is not in order."""
    return (replace(STORE.journals[0], **changes),)  # type: ignore[arg-type]


def owing(days: float, stuck: int = 0) -> tuple[Owing, ...]:
    """Ten records that have waited for so many days."""
    return (Owing("http://a", 10, NOW_MS - int(days * DAY_MS), stuck), Owing("", 0))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"exists": False}, {"store-missing"}),
        ({"unwritable": ("/s",)}, {"store-not-writable"}),
        ({"seen": (Seen("", 0o755), Seen("journals", 0o700))}, {"store-readable-by-others"}),
        ({"seen": (Seen("", 0o770),)}, {"store-writable-by-others"}),
        ({"seen": (*CLOSED, Seen("catalog.db", 0o644))}, {"store-loose-files"}),
        ({"seen": (*CLOSED, Seen("catalog.db", 0o666))}, {"store-loose-files"}),
        ({"seen": (*CLOSED, Seen("catalog.db", 0o600, mine=False))}, {"store-foreign-owner"}),
        ({"disk": Disk(GB - 1, 10 * GB, 900, 1000)}, {"disk-space-low"}),
        ({"disk": Disk(4 * GB, 100 * GB, 900, 1000)}, {"disk-space-low"}),
        ({"disk": Disk(50 * GB, 100 * GB, 10, 1000)}, {"disk-inodes-low"}),
        ({"disk": Disk(50 * GB, 100 * GB, 0, 0)}, set()),
        ({"disk": None}, set()),
        ({"file_system": "nfs4", "network": True}, {"network-file-system"}),
        ({"file_system": ""}, set()),
        ({"catalog": None}, set()),
        ({"catalog": FileLook("/s/catalog.db", 3, 2)}, {"catalog-newer"}),
        ({"catalog": FileLook("/s/catalog.db", 1, 2)}, {"catalog-older"}),
        ({"catalog": FileLook("/s/catalog.db", 2, 2, "it is no catalog")}, {"catalog-unusable"}),
        ({"trouble": "disk I/O error"}, {"catalog-unusable"}),
        ({"states": (FileLook("/s/sync/a.db", 3, 2),)}, {"delivery-state-newer"}),
        ({"states": (FileLook("/s/sync/a.db", 1, 2),)}, {"delivery-state-older"}),
        ({"states": (FileLook("/s/sync/a.db", 0, 2, "malformed"),)}, {"delivery-state-unusable"}),
        ({"owing_trouble": "no such table"}, {"owed-unknown"}),
        ({"owing_trouble": "x", "states": (FileLook("/s/sync/a.db", 3, 2),)}, {"delivery-state-newer"}),
        ({"journals": journal(damage=(Damage(3, 4, "checksum of records 3 to 4"),))}, {"journal-damaged"}),
        ({"journals": journal(losses={"metric": 3})}, {"journal-losses"}),
        ({"journals": journal(losses={"metric": 0})}, set()),
        ({"journals": journal(unknown_ops=2)}, {"journal-newer"}),
        (
            {"journals": journal(incarnation=None, error="journal a.db cannot be read: malformed")},
            {"journal-unreadable"},
        ),
        ({"journals": journal(error="journal /s/a.db is held by the process that writes it")}, set()),
        (
            {"journals": journal(error="journal a has format 9; this version of localtrack reads up to 1")},
            {"journal-newer"},
        ),
        ({"owing": owing(0.5)}, set()),
        ({"owing": owing(2)}, {"owed-for-a-day"}),
        ({"owing": owing(8)}, {"owed-for-a-week"}),
        ({"owing": owing(0.1, stuck=3)}, {"records-stuck"}),
        ({"leftovers": ("catalog.db.damaged",)}, {"leftovers"}),
    ],
)
def test_store(changes: dict[str, object], expected: set[str]) -> None:
    """Each thing that is amiss in a store is found, and nothing else."""
    assert ids(store_findings(replace(STORE, **changes), NOW_MS)) == expected  # type: ignore[arg-type]


def test_what_is_listed_is_short() -> None:
    """Three names, and how many more there are."""
    seen = tuple(Seen(f"journals/{number}.db", 0o644) for number in range(10))
    [found] = [f for f in store_findings(replace(STORE, seen=(*CLOSED, *seen)), NOW_MS) if f.kind.why]
    assert found.detail == "journals/0.db, journals/1.db, journals/2.db and 7 more."
    assert found.advice == "chmod -R go-rwx /s"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"daemon-stopped"}),
        ({"holder": Holder(7, "node7", "noon", "localtrack daemon run")}, set()),
        ({"trouble": "Permission denied."}, {"daemon-unknown"}),
        ({"watches": 1000}, {"daemon-stopped", "inotify-watches-low"}),
        ({"directories": 40_000}, {"daemon-stopped", "inotify-watches-low"}),
        ({"instances": 8}, {"daemon-stopped", "inotify-instances-low"}),
        ({"watches": 1000, "events": False}, {"daemon-stopped"}),
        ({"watches": None, "instances": None}, {"daemon-stopped"}),
        ({"systemd": True}, {"daemon-stopped", "linger-off"}),
        ({"systemd": True, "service": True}, {"daemon-stopped", "linger-off-service"}),
        ({"systemd": True, "service": True, "linger": True}, {"daemon-stopped"}),
    ],
)
def test_daemon(changes: dict[str, object], expected: set[str]) -> None:
    """Each thing that a daemon lacks is found, and nothing else."""
    assert ids(daemon_findings(replace(DAEMON, **changes))) == expected  # type: ignore[arg-type]


def test_a_running_daemon_is_named() -> None:
    """Process, host, time and command, as far as its lock file tells them."""
    [found] = daemon_findings(replace(DAEMON, holder=Holder(7, "node7", "noon", "localtrack daemon run"), watches=None))
    assert found.detail == "it runs as process 7 on node7 since noon (localtrack daemon run)"
    [found] = daemon_findings(replace(DAEMON, holder=NAMELESS, watches=None))
    assert found.detail == "it runs"


def test_only_warnings_and_problems_need_attention() -> None:
    """Notes leave the exit code at 0."""
    assert exit_code(machine_findings(replace(MACHINE, sqlite=(3, 40, 1)))) == 0
    assert exit_code(machine_findings(replace(MACHINE, sqlite=(3, 36, 0)))) == 4
    assert exit_code(machine_findings(replace(MACHINE, open_files=256))) == 4
