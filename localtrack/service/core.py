"""What the operations of the service stand on: the journal to write to, the catalog to ask, what this process knows."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from localtrack import attention, replay_side, rules
from localtrack.entities import PagedList, Run
from localtrack.errors import StoreError, TrackingError
from localtrack.journal.writer import Journal, journal_of
from localtrack.service.known import KnownRun, known_of
from localtrack.settings import Settings
from localtrack.store import Store

if TYPE_CHECKING:
    from localtrack.catalog.catalog import Catalog

T = TypeVar("T")

#: Seconds that a check before a write may spend on importing what other processes wrote.
CHECK_SECONDS = 1.0
#: Seconds for which further checks do not try again, so that the start of a run waits once.
BEHIND_SECONDS = 10.0


def now_ms() -> int:
    """Wall clock, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def cut_long(what: str, text: str, limit: int) -> str:
    """The policy for long values that MLflow's client has: cut, and say so."""
    attention.warn(f"{what} has {len(text)} characters and is cut to the {limit} that servers keep")
    return text[:limit]


def missing_run(run_id: str) -> TrackingError:
    """The error for a run that the store does not have."""
    return TrackingError(f"Run with id={run_id} not found", "RESOURCE_DOES_NOT_EXIST")


class Core:
    """One store as one user of it sees it.

    Attributes:
        store: the store directory.
        settings: as read at the edge.
        remote: default remote that new runs carry, or None.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        *,
        remote: str | None = None,
        clock: Callable[[], int] = now_ms,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.store = store
        self.settings = settings
        self.remote = remote
        self.known = known_of(store)
        self._clock = clock
        self._random = random
        self._long = cut_long if settings.truncate_long_values else rules.refuse_long
        self._catalog: Catalog | None = None
        self._behind_until = 0.0

    @property
    def journal(self) -> Journal:
        """The journal of this process."""
        return journal_of(self.store, strict=self.settings.strict)

    @property
    def catalog(self) -> Catalog:
        """The catalog, opened at its first use: a process that only logs needs none."""
        if self._catalog is None:
            from localtrack.catalog.catalog import Catalog

            self._catalog = Catalog(self.store)
        return self._catalog

    def want_daemon(self) -> None:
        """With LOCALTRACK_AUTOSTART, have a daemon deliver this store: asked at every start of a run, done once."""
        if self.settings.autostart:
            replay_side.want_daemon_once(self.store)

    def _read(self, question: Callable[[Catalog], T]) -> T:
        """The catalog's answer, with everything that any process had written before.

        Raises:
            StoreError: the catalog cannot be read.
        """
        try:
            self.catalog.refresh()
            return self._answer(question)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"The catalog of store {self.store.path} cannot be read: {error}") from error

    def _answer(self, question: Callable[[Catalog], T]) -> T:
        answer = question(self.catalog)
        # What is written after this read must win over what it saw, also when another machine's clock is ahead.
        self.journal.observe(self.catalog.max_stamp(refresh=False))
        return answer

    def _ask(self, question: Callable[[Catalog], T], otherwise: T) -> T:
        """The catalog's answer, or `otherwise` when it cannot be read: a check before a write must not stop training.

        Nor may it hold training up: when other processes have written so much that importing it takes longer than
        CHECK_SECONDS, what is imported by then must do, and what is not found in it is `otherwise`.

        Raises:
            StoreError: the catalog cannot be read, and `strict` is set.
        """
        try:
            whole = self._catch_up()
            answer = self._answer(question) if self.catalog.built else None
            return otherwise if answer is None and not whole else answer  # type: ignore[return-value] # whole: T
        except TrackingError:
            raise
        except Exception as error:
            # Not only what disks do: a damaged catalog may fail in any way, and the training is not about that.
            why = f"The catalog of store {self.store.path} cannot be read: {error}"
            if self.settings.strict:
                raise StoreError(why) from error
            attention.warn_once(f"catalog {self.store.path}", f"{why}. Logging goes on without it.")
            return otherwise

    def _catch_up(self) -> bool:
        """Bring the catalog up to date in CHECK_SECONDS at most; whether it is. Who is behind stays so for a while."""
        if time.monotonic() < self._behind_until:
            return False
        whole = self.catalog.refresh_within(CHECK_SECONDS)
        if not whole:
            self._behind_until = time.monotonic() + BEHIND_SECONDS
        return whole

    def _run(self, run_id: object) -> KnownRun:
        """The run, from memory if this process knows it, else from the catalog.

        Raises:
            TrackingError: not a run id (INVALID_PARAMETER_VALUE), or no such run (RESOURCE_DOES_NOT_EXIST).
        """
        known = self.known.runs.get(run_id) if type(run_id) is str else None
        if known is not None:
            return known
        wanted = rules.run_id(run_id)
        # With an unreadable catalog the caller's word is taken: training goes on, and the merge has the last word.
        unread: Run | None = KnownRun(wanted, "", "", "unknown", 0, "").run()
        found = self._ask(lambda catalog: catalog.run(wanted, refresh=False), unread)
        if found is None:
            raise missing_run(wanted)
        return self.known.runs.setdefault(wanted, KnownRun.found(found))

    def _run_to_write_to(self, run_id: object) -> KnownRun:
        return self._run(run_id)

    def _active_run(self, run_id: object) -> KnownRun:
        """The run, if it may be written to.

        Raises:
            TrackingError: as for `_run`, or the run is deleted.
        """
        run = self.known.runs.get(run_id) if type(run_id) is str else None
        if run is None:
            run = self._run_to_write_to(run_id)
        if run.deleted:
            raise TrackingError(f"The run {run.run_id} must be in the 'active' state. Current state is deleted.")
        return run


def pages(page: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """All items of a paged read, one page at a time."""
    token: str | None = None
    while True:
        items = page(token)
        yield from items
        token = items.token
        if not token:
            return
