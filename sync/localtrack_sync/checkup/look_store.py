"""Looks at a store: its files from outside, then what its journals and delivery states say."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace

from localtrack.catalog import database
from localtrack.catalog.catalog import Catalog
from localtrack.errors import LocaltrackError, ReplayError
from localtrack.journal.mounts import file_system, is_network
from localtrack.store import Store
from localtrack_sync.checkup.facts import Disk, FileLook, Owing, Seen, StoreLook
from localtrack_sync.store import state
from localtrack_sync.store.accounts import RemoteAccount, accounts_of, state_paths

#: What SQLite and our locks put beside a database.
_SIDES = ("-wal", "-shm", "-journal")
_DAEMON = "daemon."
#: Files that are looked at in one directory; a store with more is judged by these.
_MOST = 100_000
_TROUBLE = (LocaltrackError, OSError, sqlite3.Error)


def look_at_store(store: Store, environ: Mapping[str, str]) -> StoreLook:
    """What there is to see of a store. Brings the catalog up to date as `localtrack status` does; asks no server."""
    kind = file_system(store.path)
    look = StoreLook(store.path, file_system=kind, network=is_network(kind), disk=_disk(store.path))
    if not os.path.isdir(store.journals):
        return replace(look, exists=False)
    seen, leftovers = _files(store)
    look = replace(look, unwritable=_unwritable(store), seen=seen, leftovers=leftovers)
    look = replace(look, catalog=_catalog(store), states=tuple(_state(path) for path in state_paths(store)))
    return _contents(look, store, environ)


def _contents(look: StoreLook, store: Store, environ: Mapping[str, str]) -> StoreLook:
    try:
        with Catalog(store) as catalog:
            look = replace(look, journals=tuple(catalog.journals()))
    except _TROUBLE as error:
        return replace(look, trouble=_words(error))
    try:
        return replace(look, owing=tuple(_owing(account) for account in _accounts(store, environ)))
    except _TROUBLE as error:
        return replace(look, owing_trouble=_words(error))


def _accounts(store: Store, environ: Mapping[str, str]) -> list[RemoteAccount]:
    try:
        return accounts_of(store, environ)
    except ReplayError:  # LOCALTRACK_REMOTE is no address, which is told with the remotes
        return accounts_of(store, {**environ, "LOCALTRACK_REMOTE": "", "MLFLOW_TRACKING_URI": ""})


def _words(error: Exception) -> str:
    return error.message if isinstance(error, LocaltrackError) else str(error)


def _owing(account: RemoteAccount) -> Owing:
    stuck = account.conflicts + account.rejected + account.parked
    return Owing(str(account.remote or ""), account.owed, account.oldest_owed_ms, stuck)


def _disk(path: str) -> Disk | None:
    while not os.path.exists(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)  # a store that is yet to be made
    try:
        about = os.statvfs(path)
    except OSError:
        return None
    size = about.f_frsize
    return Disk(about.f_bavail * size, about.f_blocks * size, about.f_favail, about.f_files)


def _unwritable(store: Store) -> tuple[str, ...]:
    places = (store.path, store.journals, store.artifacts, store.sync)
    return tuple(one for one in places if os.path.isdir(one) and not os.access(one, os.W_OK | os.X_OK))


def _files(store: Store) -> tuple[tuple[Seen, ...], tuple[str, ...]]:
    """What there is of ours, and what is not."""
    me = os.geteuid()
    seen = []
    leftovers = []
    for path in ("", *_names(store)):
        try:
            about = os.lstat(os.path.join(store.path, path))
        except OSError:
            continue  # a -wal that its process has just removed
        if not _ours(path, store):
            leftovers.append(path)
        if not stat.S_ISLNK(about.st_mode):  # its mode says nothing
            seen.append(Seen(path, stat.S_IMODE(about.st_mode), about.st_uid == me))
    return tuple(seen), tuple(leftovers)


def _names(store: Store) -> Iterator[str]:
    for directory in ("", "journals", "sync"):
        try:
            with os.scandir(os.path.join(store.path, directory)) as entries:
                names = sorted(entry.name for entry, _ in zip(entries, range(_MOST), strict=False))
        except OSError:
            continue
        yield from (os.path.join(directory, name) for name in names)


def _ours(path: str, store: Store) -> bool:
    """Whether a path is one that localtrack makes and reads."""
    directory, name = os.path.split(path)
    for side in _SIDES:
        if name.endswith(".db" + side):  # the rest of a database that is gone is nobody's
            return os.path.exists(os.path.join(store.path, path.removesuffix(side)))
    if directory == "journals":
        return name.endswith(".db")
    if directory == "sync":
        return name.endswith((".db", ".lock")) or name.startswith(_DAEMON)
    return name in ("", "journals", "artifacts", "sync", "catalog.db", "catalog.lock")


def _catalog(store: Store) -> FileLook | None:
    if database.exists(store.catalog) is None or not os.path.getsize(store.catalog):
        return None
    known = database.FORMAT
    try:
        connection = database.open_to_read(store.catalog)
        try:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error as error:
        # A damaged one is set aside and built again by the next who reads; if that fails, `trouble` says so.
        return FileLook(store.catalog, 0, known, "" if "not a database" in str(error) else str(error))
    strange = application not in (0, database.APPLICATION_ID)
    return FileLook(store.catalog, version, known, "it is no catalog of localtrack" if strange else "")


def _state(path: str) -> FileLook:
    try:
        with state.StateReader(path) as reader:
            return FileLook(path, reader.version, state.FORMAT)
    except LocaltrackError as error:
        version = _version(path)
        newer = version > state.FORMAT
        return FileLook(path, version, state.FORMAT, "" if newer else error.message)


def _version(path: str) -> int:
    try:
        connection = database.open_to_read(path)
        try:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return 0
