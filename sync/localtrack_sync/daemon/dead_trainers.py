"""Ends the runs of trainers that died: KILLED, with a tag that says so, in the daemon's own journal.

From there the end goes the way of everything that is logged: the local read side shows it, and replay delivers it. It
loses against whatever anybody writes to the run after we looked: its stamp is that of the look.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress

from localtrack.catalog.catalog import MAX_AHEAD_MS, Catalog
from localtrack.catalog.entries import OpenJournal, OpenRuns
from localtrack.entities import RunStatus
from localtrack.journal.connect import HeldJournal
from localtrack.journal.life import Here, Life, Watch
from localtrack.journal.ops import COUNTER_BITS, RunUpdate
from localtrack.journal.writer import Journal
from localtrack.store import Store
from localtrack_sync.daemon.abandoned import Abandoned, Process, Writer, abandoned, gone_since, processes

#: File in `<store>/sync` that keeps when processes were first seen gone: the grace goes on when the daemon restarts.
MEMORY_FILE = "dead-trainers.json"
_GRACE_MS = 600_000
#: The better known life counts when a journal has several files.
_BETTER = (Life.LIVING, Life.GONE, Life.UNKNOWN)


class DeadTrainers:
    """Looks after the open runs of one store. Not thread-safe.

    Args:
        catalog: of the store.
        journal: of this process in that store: where ends are recorded.
        here: where we look from; None: this machine now.

    Attributes:
        living: how many processes that wrote to open runs live.
        waiting: how many are gone, and may still be replaced by a requeued job: their grace is not over.
    """

    def __init__(self, catalog: Catalog, journal: Journal, here: Here | None = None) -> None:
        self._catalog = catalog
        self._journal = journal
        self._store = catalog.store
        self._watch = Watch(here or Here.at(self._store.path))
        self._since = _remembered(self._store)
        self.living = 0
        self.waiting = 0

    def end(self, wall_ms: int, grace_ms: int = _GRACE_MS, *, refresh: bool = True) -> list[str]:
        """End the runs whose trainer has been gone for `grace_ms`; to be called about once a minute.

        Args:
            wall_ms: now, milliseconds since the epoch.
            grace_ms: how long a requeued job may take to go on with the run.
            refresh: bring the catalog up to date first; False for a caller that does so anyway. Before a run is ended
                it is brought up to date in any case.

        Returns:
            Ids of the runs that were ended. None are while the journal cannot be written.

        Raises:
            TooNewError, StoreError, OSError: the catalog cannot be read, see Catalog.
            JournalError: the journal cannot be written, and it is strict.
        """
        # Before the look: what anybody writes after it is later than the end that we may write.
        stamp = self._journal.next_stamp()
        found = self._catalog.open_runs(refresh=refresh)
        writers = self._writers(found)
        states = processes(writers)
        self._remember(gone_since(self._since, states, wall_ms))
        until_ms = wall_ms - grace_ms
        self.living = sum(state is Process.LIVING for state in states.values())
        self.waiting = sum(since > until_ms for since in self._since.values())
        if not self._abandoned(found, writers, until_ms, stamp):
            return []
        # A process may have written its last records and closed its journal between our two looks: a second look at
        # the catalog, after the one at the locks, has all that a process wrote that was gone then.
        stamp = self._journal.next_stamp()
        return self._end(self._abandoned(self._catalog.open_runs(), writers, until_ms, stamp), stamp)

    def _abandoned(self, found: OpenRuns, writers: list[Writer], until_ms: int, stamp: int) -> list[Abandoned]:
        sealed = {one.incarnation for one in found.journals if one.sealed}
        now = [one for one in writers if one.life is None or one.incarnation not in sealed]
        greatest = stamp + (MAX_AHEAD_MS << COUNTER_BITS)
        own = self._journal.incarnation
        return abandoned(found.runs, now, self._since, own=own, until_ms=until_ms, greatest_stamp=greatest)

    def _end(self, runs: list[Abandoned], stamp: int) -> list[str]:
        ended: list[str] = []
        for run in runs:
            if not self._journal.flush():
                break  # what is kept in memory would grow with every look
            end = RunUpdate(run.run_id, RunStatus.KILLED, run.last_ms, ended_by=words(run))
            if self._journal.append(end, synced=True, stamp=max(stamp, run.opened_stamp + 1)) is None:
                break
            ended.append(run.run_id)
        return ended

    # --- who lives ---

    def _writers(self, found: OpenRuns) -> list[Writer]:
        """The journals with what is known of their processes; asks only those that are not sealed."""
        own = self._journal.incarnation
        followed = _followed(found.journals)
        held = {_maker(name) for name in found.unread}
        writers, asked = [], set()
        for journal in found.journals:
            paths = [os.path.join(self._store.journals, name) for name in journal.files]
            life = None if journal.sealed else Life.LIVING if journal.incarnation == own else self._life(paths)
            if life is Life.GONE and held.intersection(map(_maker, journal.files)):
                life = Life.UNKNOWN  # its process may go on in a journal that it holds exclusively, which nobody reads
            asked.update(paths)
            # Sealed, and no other journal is near: it speaks for itself, and need not be opened.
            alone = journal.sealed and journal.incarnation not in followed
            process = journal.incarnation if alone else self._process(journal, paths)
            writers.append(Writer(journal.incarnation, process, journal.host, journal.created_ms, life))
        self._watch.forget_others(asked)
        return writers

    def _life(self, paths: list[str]) -> Life:
        lives = {self._watch.life(path) for path in paths}
        return next((life for life in _BETTER if life in lives), Life.UNKNOWN)

    def _process(self, journal: OpenJournal, paths: list[str]) -> str:
        """Incarnation of the first journal of its process; its own where that cannot be read (then it lives)."""
        for path in paths:
            with suppress(HeldJournal):
                origin = self._watch.origin(path)
                if origin is not None and origin.place.process:
                    return origin.place.process
        return journal.incarnation

    # --- since when ---

    def _remember(self, since: dict[str, int]) -> None:
        if since == self._since:
            return
        self._since = since
        with suppress(OSError):  # then the grace begins anew when the daemon does
            _keep(self._store, since)


def words(run: Abandoned) -> str:
    """What the tag says: the same, whoever ends the run."""
    last = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(run.last_ms / 1000))
    return f"localtrack: the process that logged it is gone (host {run.host}, last record {last})"


def _followed(journals: tuple[OpenJournal, ...]) -> set[str]:
    """Journals of which others may be the continuation: there is more than one of that host and pid."""
    by_process: dict[tuple[str, int], list[str]] = {}
    for journal in journals:
        by_process.setdefault((journal.host, journal.pid), []).append(journal.incarnation)
    return {incarnation for group in by_process.values() if len(group) > 1 for incarnation in group}


def _maker(name: str) -> str:
    """Host and pid in the name of a journal file, `<time>-<host>-<pid>-<rand>.db`."""
    return name.partition("-")[2].rpartition("-")[0]


def _remembered(store: Store) -> dict[str, int]:
    try:
        with open(os.path.join(store.sync, MEMORY_FILE), encoding="ascii") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {process: since for process, since in content.items() if isinstance(since, int)}


def _keep(store: Store, since: Mapping[str, int]) -> None:
    path = os.path.join(store.sync, MEMORY_FILE)
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            json.dump(since, file)
        os.replace(new, path)
    finally:
        with suppress(OSError):
            os.unlink(new)
