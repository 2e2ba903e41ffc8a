"""What was seen of this machine, a store and its daemon, as values. Pure; `look_...` modules make them."""

from __future__ import annotations

from dataclasses import dataclass

from localtrack.catalog.entries import JournalEntry
from localtrack_sync.store.lock import Holder


@dataclass(frozen=True, slots=True)
class KeyLook:
    """The file of the user's identity key.

    Attributes:
        sound: it is believed: the user's own, and closed to others. True also when there is none yet.
    """

    path: str
    exists: bool = False
    sound: bool = True


@dataclass(frozen=True, slots=True)
class MachineLook:
    """This machine.

    Attributes:
        localtrack: version.
        python, sqlite: version numbers; `sqlite` is that of the library that Python is linked with.
        open_files: how many files a process may have open; None: no limit, or not known.
    """

    localtrack: str
    python: tuple[int, ...]
    sqlite: tuple[int, ...]
    open_files: int | None
    key: KeyLook


@dataclass(frozen=True, slots=True)
class Seen:
    """A file or directory of the store.

    Attributes:
        path: from the store's root; "" is the root.
        mode: permission bits.
        mine: it belongs to this user.
    """

    path: str
    mode: int
    mine: bool = True


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system: bytes and inodes that this user may have, and all; 0 in all: it does not tell."""

    free: int
    total: int
    free_inodes: int
    inodes: int


@dataclass(frozen=True, slots=True)
class FileLook:
    """A SQLite file of the store.

    Attributes:
        path: absolute.
        version: its format.
        known: the newest format that this version of localtrack knows.
        trouble: why it cannot be used, "" when it can.
    """

    path: str
    version: int = 0
    known: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Owing:
    """What is owed to one remote.

    Attributes:
        remote: in words; "" for runs that name none.
        oldest_ms: when the oldest owed record was logged, milliseconds since the epoch.
        stuck: conflicts, rejected and parked records.
    """

    remote: str
    owed: int
    oldest_ms: int | None = None
    stuck: int = 0


@dataclass(frozen=True, slots=True)
class StoreLook:
    """A store.

    Attributes:
        file_system: kind, "" when it is not known; `network`: it is one of the network.
        unwritable: directories that cannot be written.
        seen: directories and files of localtrack's own (not what lies below `artifacts`).
        disk: None when the system does not tell.
        catalog: None: there is none yet.
        trouble: why the catalog, and with it the journals, could not be read, "" when they could.
        owing_trouble: why what is owed could not be read.
        leftovers: paths, from the store's root.
    """

    path: str
    exists: bool = True
    file_system: str = ""
    network: bool = False
    unwritable: tuple[str, ...] = ()
    seen: tuple[Seen, ...] = ()
    disk: Disk | None = None
    catalog: FileLook | None = None
    states: tuple[FileLook, ...] = ()
    journals: tuple[JournalEntry, ...] = ()
    owing: tuple[Owing, ...] = ()
    trouble: str = ""
    owing_trouble: str = ""
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DaemonLook:
    """The daemon of a store, and what it would need.

    Attributes:
        lock: path of its lock.
        holder: None when no daemon runs.
        trouble: why that cannot be told, "".
        events: the store's file system has events.
        directories: that would be watched; at least as many, when counting took too long.
        watches, instances: what this user may have of inotify; None: there is none on this system.
        systemd: the machine is run by systemd.
        linger: user services outlive logins.
        service: a user service of localtrack is installed.
    """

    lock: str
    holder: Holder | None = None
    trouble: str = ""
    events: bool = True
    directories: int = 0
    watches: int | None = None
    instances: int | None = None
    systemd: bool = False
    linger: bool = False
    service: bool = False
