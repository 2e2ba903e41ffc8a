"""The catalog of a store: what its journals say, merged; the local read side and what replay works from."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from localtrack.catalog import database, desired_queries, files, queries
from localtrack.catalog.connections import Readers
from localtrack.catalog.desired import DesiredExperiment, DesiredRun, Point
from localtrack.catalog.entries import JournalEntry, RunEntry, Totals
from localtrack.catalog.files import Signature
from localtrack.catalog.importer import Importer
from localtrack.catalog.source import Source
from localtrack.catalog.upkeep import Upkeep, is_damage, is_unwritable
from localtrack.entities import Experiment, Metric, PagedList, Run
from localtrack.journal.mounts import on_network
from localtrack.journal.ops import COUNTER_BITS
from localtrack.journal.reader import JournalReader
from localtrack.store import Store

#: Stamps further ahead of our clock than this are not followed (localtrack.journal.writer holds the same number).
MAX_AHEAD_MS = 10 * 60 * 1000


class Catalog:
    """Read model of all journals of a store, in `<store>/catalog.db`.

    Thread-safe; any number of processes may use the same one. Every read first imports what any process has committed to its
    journal before (read-your-writes), unless it is told `refresh=False`.

    Where the catalog cannot be written (read-only medium, full disk), it is built in memory for this object: `read_only` says so.

    Args:
        store: the store.
        read_only: never touch the store; build the catalog in memory.
        open_source: opens a journal file (for tests).

    Raises of all methods:
        TooNewError: a newer localtrack made the catalog.
        StoreError: the catalog's file is something else, or whoever brings it up to date hangs.
        OSError: the journals directory cannot be read.
    """

    def __init__(
        self, store: Store, *, read_only: bool = False, open_source: Callable[[str], Source] = JournalReader
    ) -> None:
        self.store = store
        self.read_only = read_only
        self._open_source = open_source
        self._upkeep = Upkeep(store, open_source, network=on_network(store.path))
        self._readers = Readers(store.catalog)
        self._memory: sqlite3.Connection | None = None
        self._memory_lock = threading.RLock()
        self._settled: tuple[tuple[int, int] | None, Mapping[str, str], frozenset[str]] = (None, {}, frozenset())

    # --- bringing it up to date --------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Import what is new in all journals. Costs one directory listing when nothing is."""
        if self.read_only or not os.path.isdir(self.store.path):
            self._refresh_memory()
            return
        file, settled, finished = self._settled
        if file is not None and file != database.exists(self.store.catalog):
            file, settled, finished = None, {}, frozenset()
        seen = files.scan(self.store.journals, finished)
        if file is not None and _covers(settled, seen):
            return
        try:
            if not self._look_up(seen):
                self._upkeep.bring(seen, finished)
                self._look_up(seen)
        except (OSError, sqlite3.Error) as error:
            if not is_unwritable(error):
                raise
            self.read_only = True
            self._refresh_memory()

    def _look_up(self, seen: Mapping[str, Signature]) -> bool:
        """Learn from the catalog which files it has wholly imported; whether that is all of `seen`."""
        file = database.exists(self.store.catalog)
        if file is None or not os.path.getsize(self.store.catalog):
            return False
        try:
            with self._readers.lend() as connection:
                if not database.is_current(connection, self.store.catalog):
                    return False
                known, finished = desired_queries.files(connection)
        except sqlite3.DatabaseError as error:
            if is_damage(error) or "unable to open" in str(error):
                return False
            raise
        self._settled = (file, known, finished)
        return _covers(known, {name: each for name, each in seen.items() if name not in finished})

    def _refresh_memory(self) -> None:
        with self._memory_lock:
            importer = Importer(self._in_memory(), self.store.journals, self._open_source)
            importer.bring(files.scan(self.store.journals))

    def _in_memory(self) -> sqlite3.Connection:
        if self._memory is None:
            self._memory = database.open_to_write(database.MEMORY, network=False)
        return self._memory

    @contextmanager
    def _reading(self, *, refresh: bool) -> Iterator[sqlite3.Connection]:
        if refresh or (self._memory is None and self._settled[0] is None):
            self.refresh()
        if self.read_only or not os.path.isdir(self.store.path):
            with self._memory_lock:
                yield self._in_memory()
            return
        try:
            with self._readers.lend() as connection:
                yield connection
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                self._upkeep.heal()  # the next read builds it again
            raise

    def close(self) -> None:
        """Close what is open; another call opens it again."""
        self._readers.close()
        self._upkeep.close()
        with self._memory_lock:
            if self._memory is not None:
                self._memory.close()
                self._memory = None

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- local reads -------------------------------------------------------------------------------------------------

    def experiment(self, experiment_id: str, *, refresh: bool = True) -> Experiment | None:
        """An experiment by id, active or deleted; None when the store has none of that id. "0" always exists."""
        with self._reading(refresh=refresh) as connection:
            return queries.experiment(connection, self.store, experiment_id)

    def experiment_by_name(self, name: str, *, refresh: bool = True) -> Experiment | None:
        """An experiment by name: an active one before a deleted one, and of several the one that was created first."""
        with self._reading(refresh=refresh) as connection:
            return queries.experiment_by_name(connection, self.store, name)

    def experiments(
        self, view_type: int, max_results: int, page_token: str | None = None, *, refresh: bool = True
    ) -> PagedList[Experiment]:
        """A page of experiments, newest first, then by id (MLflow's default order).

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE for a bad view type, max_results (1 to 50,000) or page_token.
        """
        with self._reading(refresh=refresh) as connection:
            return queries.experiments(connection, self.store, view_type, max_results, page_token)

    def run(self, run_id: str, *, refresh: bool = True) -> Run | None:
        """A run by id, active or deleted; None when the store has none of that id."""
        with self._reading(refresh=refresh) as connection:
            return queries.run(connection, self.store, run_id)

    def runs(
        self,
        experiment_ids: Sequence[str],
        view_type: int,
        max_results: int,
        page_token: str | None = None,
        *,
        ascending: bool = False,
        refresh: bool = True,
    ) -> PagedList[Run]:
        """A page of the runs of some experiments, by start time (latest first), then by run id: MLflow's default order.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE for a bad view type, max_results (1 to 50,000) or page_token.
        """
        with self._reading(refresh=refresh) as connection:
            return queries.runs(
                connection, self.store, experiment_ids, view_type, max_results, page_token, ascending=ascending
            )

    def metric_history(
        self,
        run_id: str,
        key: str,
        max_results: int | None = None,
        page_token: str | None = None,
        *,
        refresh: bool = True,
    ) -> PagedList[Metric]:
        """The distinct points of one metric by (timestamp, step, value); empty for an unknown run or key.

        Args:
            max_results: None for all of them.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE for a bad max_results or page_token.
        """
        with self._reading(refresh=refresh) as connection:
            return queries.metric_history(connection, run_id, key, max_results, page_token)

    def latest(self, run_id: str, *, refresh: bool = True) -> list[Metric]:
        """The last point of each metric of a run, by key: greatest step, then timestamp, then value."""
        with self._reading(refresh=refresh) as connection:
            return queries.latest(connection, run_id)

    def max_stamp(self, now_ms: int | None = None, *, refresh: bool = True) -> int:
        """The greatest stamp of all journals, 0 for none; what a new writer must be later than.

        Args:
            now_ms: the wall clock, milliseconds since the epoch; None asks the system's. Journals whose clock is more than ten
                minutes ahead of it are left out.
        """
        wall = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        with self._reading(refresh=refresh) as connection:
            return desired_queries.max_stamp(connection, (wall + MAX_AHEAD_MS) << COUNTER_BITS)

    # --- for replay and status -----------------------------------------------------------------------------------------

    def desired_experiment(self, experiment_id: str, *, refresh: bool = True) -> DesiredExperiment | None:
        """The state of an experiment after all imported ops; None while its creation is not imported."""
        with self._reading(refresh=refresh) as connection:
            return desired_queries.desired_experiment(connection, experiment_id)

    def desired_run(self, run_id: str, *, refresh: bool = True) -> DesiredRun | None:
        """The state of a run after all imported ops, without its points; None while its creation is not imported."""
        with self._reading(refresh=refresh) as connection:
            return desired_queries.desired_run(connection, run_id)

    def points(
        self,
        run_id: str,
        after: Mapping[str, int],
        limit: int,
        upto: Mapping[str, int] | None = None,
        *,
        distinct: bool = False,
        refresh: bool = True,
    ) -> tuple[Point, ...]:
        """Recorded points of a run beyond the watermarks, by (incarnation, pos).

        Args:
            after: incarnation -> position of the last point that is not wanted; a journal that is not named starts at its
                beginning.
            limit: at most this many; the cost is O(limit).
            upto: incarnation -> position of the last point that is wanted; a journal that is not named is not read. None: all.
            distinct: leave out points that have an equal twin (key, step, time, value; NaN equals NaN) which lies at or before
                `after`, or comes earlier in what is read here.
        """
        with self._reading(refresh=refresh) as connection:
            return desired_queries.points(connection, run_id, after, limit, upto, distinct=distinct)

    def count_points(self, run_id: str, after: Mapping[str, int], *, refresh: bool = True) -> int:
        """How many recorded points of a run lie beyond the watermarks (see `points`)."""
        with self._reading(refresh=refresh) as connection:
            return desired_queries.count_points(connection, run_id, after)

    def run_index(self, *, refresh: bool = True) -> list[RunEntry]:
        """Every created run with its counts, oldest start first, then by id."""
        with self._reading(refresh=refresh) as connection:
            return desired_queries.run_index(connection)

    def journals(self, *, refresh: bool = True) -> list[JournalEntry]:
        """Every journal file with what is known about it, by name; then imported journals whose file is gone."""
        with self._reading(refresh=refresh) as connection:
            return desired_queries.journals(connection, set(files.scan(self.store.journals)))

    def totals(self, *, refresh: bool = True) -> Totals:
        """How many experiments, runs and points there are."""
        with self._reading(refresh=refresh) as connection:
            return desired_queries.totals(connection)


def _covers(known: Mapping[str, str], seen: Mapping[str, Signature]) -> bool:
    return all(known.get(name) == signature.text for name, signature in seen.items())
