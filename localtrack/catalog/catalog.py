"""The catalog of a store: what its journals say, merged; the local read side and what replay works from."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from localtrack.catalog import (
    bulk,
    database,
    desired_queries,
    files,
    history,
    linked_queries,
    listings,
    model_queries,
    open_runs,
    points,
    queries,
)
from localtrack.catalog.connections import Readers
from localtrack.catalog.desired import DesiredExperiment, DesiredModel, DesiredRun, Point, StoredFile
from localtrack.catalog.entries import JournalEntry, ModelEntry, OpenRuns, RunEntry, Totals
from localtrack.catalog.files import Settled
from localtrack.catalog.in_memory import InMemory
from localtrack.catalog.lock import LateError
from localtrack.catalog.news import Mark, News, news
from localtrack.catalog.search import reads
from localtrack.catalog.search.experiment_search import experiment_search
from localtrack.catalog.search.run_search import run_search
from localtrack.catalog.search.sql import Search
from localtrack.catalog.source import Source
from localtrack.catalog.upkeep import Upkeep, is_damage, is_unwritable
from localtrack.entities import Experiment, LoggedModel, Metric, PagedList, Run
from localtrack.journal.mounts import on_network
from localtrack.journal.ops import COUNTER_BITS
from localtrack.journal.writer import open_source as open_journal
from localtrack.store import Store

#: Stamps further ahead of our clock than this are not followed (localtrack.journal.writer holds the same number).
MAX_AHEAD_MS = 10 * 60 * 1000

T = TypeVar("T")


class Catalog:
    """Read model of all journals of a store, in `<store>/catalog.db`.

    Thread-safe; any number of processes may use the same one. Every read first imports what any process has committed
    to its journal before (read-your-writes), unless it is told `refresh=False`. A damaged catalog is built again.

    Where the catalog cannot be written (read-only medium, full disk), it is built in memory for this object, and
    `read_only` says so.

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
        self, store: Store, *, read_only: bool = False, open_source: Callable[[str], Source] = open_journal
    ) -> None:
        self.store = store
        self.read_only = self._never_writes = read_only
        self._upkeep = Upkeep(store, open_source, network=on_network(store.path))
        self._readers = Readers(store.catalog)
        self._memory = InMemory(store.journals, open_source)
        self._settled = Settled()

    # --- bringing it up to date -------------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether there is something to read without a refresh."""
        return self._settled.file is not None or self._is_in_memory()

    def refresh_within(self, seconds: float) -> bool:
        """As `refresh`, but stop soon after `seconds`: for who would rather read an older state than wait.

        Returns:
            Whether everything is imported.
        """
        try:
            self.refresh(time.monotonic() + seconds)
        except LateError:
            self._look_up()
            return False
        return True

    def refresh(self, until: float | None = None) -> None:
        """Import what is new in all journals. Costs one directory listing when nothing is.

        Args:
            until: reading of time.monotonic() after which to stop (see refresh_within); None never does.

        Raises:
            LateError: `until` has passed.
        """
        if self._is_in_memory():
            self._refresh_memory()
            return
        if self._settled.file != database.exists(self.store.catalog):
            self._settled = Settled()  # deleted, or built again
        settled = self._settled
        seen = files.scan(self.store.journals, settled.finished)
        if settled.covers(seen):
            return
        try:
            if not self._look_up().covers(seen):
                self._upkeep.bring(seen, settled.finished, until)
                self._look_up()
        except (OSError, sqlite3.Error) as error:
            if not is_unwritable(error):
                raise
            self.read_only = True
            self._refresh_memory()

    def write_again(self) -> bool:
        """Try whether the catalog can be written by now, where it could not (`read_only`): for whoever lives long.

        Costs an import of what the file lacks.

        Returns:
            Whether it is the file that is read from now on.
        """
        if self._never_writes or not self.read_only:
            return not self.read_only
        try:
            self._upkeep.bring(files.scan(self.store.journals), frozenset())
        except (OSError, sqlite3.Error) as error:
            if not is_unwritable(error):
                raise
            return False
        with self._memory.lock:
            self.read_only = False
            self._memory.drop()
        return True

    def _look_up(self) -> Settled:
        """Learn from the catalog which files it holds wholly: another process may have imported them."""
        file = database.exists(self.store.catalog)
        if file is None or not os.path.getsize(self.store.catalog):
            return Settled()
        try:
            with self._readers.lend() as connection:
                if not database.is_current(connection, self.store.catalog):
                    return Settled()
                self._settled = Settled(file, *listings.files(connection))
        except sqlite3.DatabaseError as error:
            if is_damage(error) or "unable to open" in str(error):
                return Settled()
            raise
        return self._settled

    def _is_in_memory(self) -> bool:
        return self.read_only or not os.path.isdir(self.store.path)

    def _refresh_memory(self) -> None:
        with self._memory.lock:
            if self._is_in_memory():
                self._memory.bring()

    def _file(self) -> tuple[int, int] | None:
        """Which catalog is read: another one numbers its journals differently."""
        return (-1, self._memory.made) if self._is_in_memory() else database.exists(self.store.catalog)

    def _ask(self, question: Callable[[sqlite3.Connection], T], *, refresh: bool) -> T:
        """The answer, from one state of the catalog; a damaged one is built again and asked once more."""
        if refresh or self._settled.file is None:
            in_memory = self._is_in_memory()
            self.refresh()
            if in_memory != self._is_in_memory():
                self.refresh()  # another process made the store while we looked: now it is the file that counts
        if self._is_in_memory():
            with self._memory.lock:
                if self._is_in_memory():
                    return question(self._memory.connection())
        try:
            with self._readers.lend() as connection:
                return question(connection)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        self._upkeep.heal()
        self.refresh()
        with self._readers.lend() as connection:
            return question(connection)

    def close(self) -> None:
        """Close what is open; another call opens it again."""
        self._readers.close()
        self._upkeep.close()
        with self._memory.lock:
            self._memory.drop()

    def __del__(self) -> None:
        # Users of the API have nothing to close, and Python 3.13 warns of connections that are left to the collector.
        try:  # noqa: SIM105 - suppress() may be gone
            self.close()
        except Exception:  # noqa: BLE001, S110 - at the end of the process half of what it needs is gone already
            pass

    def __enter__(self) -> Catalog:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- local reads ------------------------------------------------------------------------------------------------

    def experiment(self, experiment_id: str, *, refresh: bool = True) -> Experiment | None:
        """An experiment by id, active or deleted; None when the store has none of that id. "0" always exists."""
        return self._ask(lambda db: queries.experiment(db, self.store, experiment_id), refresh=refresh)

    def experiment_by_name(self, name: str, *, refresh: bool = True) -> Experiment | None:
        """An experiment by name: an active one before a deleted one, and of several the one that was created first."""
        return self._ask(lambda db: queries.experiment_by_name(db, self.store, name), refresh=refresh)

    def experiments(
        self, view_type: int, max_results: int, page_token: str | None = None, *, refresh: bool = True
    ) -> PagedList[Experiment]:
        """A page of experiments, newest first, then by id (MLflow's default order). Raises as `runs`."""
        found = experiment_search(None, None, queries.stages_of(view_type))
        return self.search(reads.experiments, found, max_results, page_token, refresh=refresh)

    def run(self, run_id: str, *, refresh: bool = True) -> Run | None:
        """A run by id, active or deleted; None when the store has none of that id."""
        return self._ask(lambda db: queries.run(db, self.store, run_id), refresh=refresh)

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
        if not experiment_ids:
            return PagedList([])
        order = ["start_time ASC"] if ascending else []
        found = run_search(experiment_ids, None, order, queries.stages_of(view_type), self.store.artifacts)
        return self.search(reads.runs, found, max_results, page_token, refresh=refresh)

    def search(
        self,
        page: Callable[[sqlite3.Connection, Store, Search, int, str | None], PagedList[T]],
        search: Search,
        max_results: int,
        page_token: str | None = None,
        *,
        refresh: bool = True,
    ) -> PagedList[T]:
        """A page of what a search finds; `page` is the function of `search.reads` for the kind. Raises as it."""
        return self._ask(lambda db: page(db, self.store, search, max_results, page_token), refresh=refresh)

    def runs_started_upto(self, experiment_id: str, ms: int, limit: int, *, refresh: bool = True) -> list[str]:
        """Ids of active runs of an experiment that started at `ms` or before, oldest first."""
        return self._ask(lambda db: bulk.started_upto(db, experiment_id, ms, limit), refresh=refresh)

    def runs_deleted_since(self, experiment_id: str, ms: int, limit: int, *, refresh: bool = True) -> list[str]:
        """Ids of deleted runs of an experiment that were deleted at `ms` or later, the last deleted first."""
        return self._ask(lambda db: bulk.deleted_since(db, experiment_id, ms, limit), refresh=refresh)

    def model(self, model_id: str, *, allow_deleted: bool = False, refresh: bool = True) -> LoggedModel | None:
        """A logged model by id; None when the store has none of that id, or it is deleted (unless allowed)."""
        return self._ask(
            lambda db: model_queries.model(db, self.store, model_id, allow_deleted=allow_deleted), refresh=refresh
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

        `max_results` is 1 to 50,000, or None for all of them.

        Raises:
            TrackingError: INVALID_PARAMETER_VALUE for a bad max_results or page_token.
        """
        return self._ask(lambda db: history.metric_history(db, run_id, key, max_results, page_token), refresh=refresh)

    def latest(self, run_id: str, *, refresh: bool = True) -> list[Metric]:
        """The last point of each metric of a run, by key: greatest step, then timestamp, then value."""
        return self._ask(lambda db: history.latest(db, run_id), refresh=refresh)

    def max_stamp(self, now_ms: int | None = None, *, refresh: bool = True) -> int:
        """The greatest stamp of all journals, 0 for none; what a new writer must be later than.

        Journals whose clock is more than ten minutes ahead of `now_ms` (milliseconds since the epoch; None: the
        system's clock) are left out.
        """
        wall = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        limit = (wall + MAX_AHEAD_MS) << COUNTER_BITS
        return self._ask(lambda db: listings.max_stamp(db, limit), refresh=refresh)

    # --- for replay and status --------------------------------------------------------------------------------------

    def desired_experiment(self, experiment_id: str, *, refresh: bool = True) -> DesiredExperiment | None:
        """The state of an experiment after all imported ops; None while its creation is not imported."""
        return self._ask(lambda db: desired_queries.desired_experiment(db, experiment_id), refresh=refresh)

    def desired_run(self, run_id: str, *, refresh: bool = True) -> DesiredRun | None:
        """The state of a run after all imported ops, without its points; None while its creation is not imported."""
        return self._ask(lambda db: desired_queries.desired_run(db, run_id), refresh=refresh)

    def desired_model(self, model_id: str, *, refresh: bool = True) -> DesiredModel | None:
        """The state of a logged model after all imported ops; None while its creation is not imported."""
        return self._ask(lambda db: model_queries.desired_model(db, model_id), refresh=refresh)

    def model_index(self, *, refresh: bool = True) -> list[ModelEntry]:
        """Every created logged model with its counts, oldest first, then by id."""
        return self._ask(model_queries.model_index, refresh=refresh)

    def files(self, owner: str, *, refresh: bool = True) -> tuple[StoredFile, ...]:
        """The registered files of a run or logged model (by its id), by path."""
        return self._ask(lambda db: linked_queries.files(db, owner), refresh=refresh)

    def registered(self, owner: str, *, refresh: bool = True) -> dict[str, linked_queries.Registered]:
        """Path -> what is registered of that file of a run or logged model, and when."""
        return self._ask(lambda db: linked_queries.registered(db, owner), refresh=refresh)

    def points(
        self,
        run_id: str,
        after: Mapping[str, int],
        limit: int,
        upto: Mapping[str, int] | None = None,
        *,
        distinct: bool = False,
        model_id: str | None = None,
        refresh: bool = True,
    ) -> tuple[Point, ...]:
        """Recorded points of a run beyond the watermarks, by (incarnation, pos).

        Args:
            run_id: the run.
            after: incarnation -> position of the last point that is not wanted; a journal that is not named starts at
                its beginning.
            limit: at most this many; the cost is O(limit).
            upto: incarnation -> position of the last point that is wanted; a journal that is not named is not read.
                None: all.
            distinct: leave out points that have an equal twin (key, step, time, value; NaN equals NaN) which lies at or
                before `after`, or comes earlier in what is read here.
            model_id: only points that were logged to this logged model, "": to any; None: all.
            refresh: import first what is new.
        """
        return self._ask(
            lambda db: points.points(db, run_id, after, limit, upto, distinct=distinct, model_id=model_id),
            refresh=refresh,
        )

    def count_points(self, run_id: str, after: Mapping[str, int], *, refresh: bool = True) -> int:
        """How many recorded points of a run lie beyond the watermarks (see `points`)."""
        return self._ask(lambda db: points.count_points(db, run_id, after), refresh=refresh)

    def run_index(self, *, refresh: bool = True) -> list[RunEntry]:
        """Every created run with its counts, oldest start first, then by id."""
        return self._ask(listings.run_index, refresh=refresh)

    def news(self, since: Mark, *, refresh: bool = True) -> News | None:
        """What may have changed since the mark of the last answer (`Mark()`: all); None when nothing was imported."""
        if refresh:
            self.refresh()
        file = self._file()
        return self._ask(lambda db: news(db, file, since), refresh=False)

    def journals(self, *, refresh: bool = True) -> list[JournalEntry]:
        """Every journal file with what is known about it, by name; then imported journals whose file is gone."""
        return self._ask(lambda db: listings.journals(db, set(files.scan(self.store.journals))), refresh=refresh)

    def open_runs(self, *, refresh: bool = True) -> OpenRuns:
        """The runs that have not ended, with the journals that wrote to them."""
        return self._ask(open_runs.open_runs, refresh=refresh)

    def totals(self, *, refresh: bool = True) -> Totals:
        """How many experiments, runs and points there are."""
        return self._ask(listings.totals, refresh=refresh)
