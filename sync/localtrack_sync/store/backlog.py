"""What was logged up to a moment, and whether the remotes have it: read from the delivery states, time and again.

One question costs little, however much is owed: what is delivered is forgotten, and only the first thing that is not is
looked at. The catalog is not brought up to date for it: whoever delivers has imported what it delivers.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.desired import DesiredExperiment, DesiredModel, DesiredRun, StoredFile
from localtrack.catalog.entries import RunEntry
from localtrack.entities import RunStatus
from localtrack_sync.protocol.effects import Load
from localtrack_sync.protocol.history import models_in
from localtrack_sync.protocol.request import PARENT_TAG
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.accounts import id_of, remote_id_in, state_paths
from localtrack_sync.store.books import ledger_of
from localtrack_sync.store.choice import Choice, Item
from localtrack_sync.store.open_records import (
    Open,
    desk_of,
    open_in_experiment,
    open_in_model,
    open_in_run,
    points_open,
)
from localtrack_sync.store.state import EmptyStateError, StateReader


@dataclass(frozen=True, slots=True)
class _Seen:
    """One thing as the catalog has it at a moment."""

    desired: DesiredRun | DesiredModel | DesiredExperiment
    files: tuple[StoredFile, ...] = ()


@dataclass(slots=True)
class _Waiting:
    """One run, logged model or experiment that was not delivered when we looked.

    Attributes:
        scope: "run", "model" or "experiment".
        id: local id.
        remote: where it goes; None: nowhere by itself, but somebody may deliver it by name (`sync --to`).
        then: how it was at the call. What has ended by itself is taken as it is when its turn comes: it hardly changes.
    """

    scope: str
    id: str
    remote: Remote | None
    then: _Seen | None = None


@dataclass(slots=True)
class _States:
    """Delivery states that are open for one question: all of them show one moment."""

    opened: ExitStack
    by_path: dict[str, StateReader | None] = field(default_factory=dict)

    def at(self, path: str) -> StateReader | None:
        """The state at `path`; None when there is none yet."""
        if path not in self.by_path:
            try:
                found = self.opened.enter_context(StateReader(path)) if os.path.exists(path) else None
            except EmptyStateError:
                found = None
            self.by_path[path] = found
        return self.by_path[path]


class Backlog:
    """What was to be delivered when this was made."""

    def __init__(self, catalog: Catalog, choice: Choice) -> None:
        """Note it; the catalog is up to date.

        Raises:
            StoreError: the catalog or a delivery state cannot be read.
        """
        self._catalog = catalog
        self._waiting: deque[_Waiting] = deque()
        with ExitStack() as opened:
            states = _States(opened)
            for errand in choice.errands:
                self._note(states, errand.address.remote, (*errand.runs, *errand.models), errand.experiments)
            for left in choice.left:
                self._note(states, None, (*left.runs, *left.models), ())

    def _note(
        self, states: _States, remote: Remote | None, entries: Iterable[Item], experiments: Iterable[str]
    ) -> None:
        state = states.at(remote.state_path(self._catalog.store)) if remote is not None else None
        settled = state.settled() if state is not None else {}
        for one in experiments:
            self._add(_Waiting("experiment", one, remote), live=True)
        for entry in entries:
            content, _ = settled.get(id_of(entry), ("", None))
            if content and content == entry.content:
                continue
            if isinstance(entry, RunEntry):
                self._add(_Waiting("run", entry.run_id, remote), live=not RunStatus.is_terminated(entry.status))
            else:
                self._add(_Waiting("model", entry.model_id, remote), live=entry.status == "PENDING")

    def _add(self, one: _Waiting, *, live: bool) -> None:
        if live:
            one.then = self._look(one)
        self._waiting.append(one)

    @property
    def remotes(self) -> frozenset[Remote | None]:
        """Whom something waits for; None among them: for nobody in particular."""
        return frozenset(one.remote for one in self._waiting)

    def delivered(self) -> bool:
        """Whether all of it is there, or stuck as parked, rejected or conflict.

        Raises:
            StoreError: the catalog or a delivery state cannot be read.
        """
        if self._catalog.read_only:
            self._catalog.refresh()  # ours is in memory, and hears of nothing by itself
        with ExitStack() as opened:
            states = _States(opened)
            while self._waiting:
                if self._is_open(states, self._waiting[0]):
                    return False
                self._waiting.popleft()
        return True

    def _is_open(self, states: _States, one: _Waiting) -> bool:
        store = self._catalog.store
        if one.remote is not None:
            state = states.at(one.remote.state_path(store))
            return state is None or self._is_open_in(state, one)
        known = [state for path in state_paths(store) if (state := states.at(path)) is not None]
        bound = [state for state in known if remote_id_in(state, one.scope, one.id) is not None]
        return not bound or any(self._is_open_in(state, one) for state in bound)

    def _is_open_in(self, state: StateReader, one: _Waiting) -> bool:
        # First what is delivered, then what is wanted: whatever the state tells of is in the catalog by then.
        ledger = ledger_of(one.scope, one.id, state.load(Load(one.scope, one.id)))
        now = self._look(one)
        one.then = then = one.then or now
        if now is None or then is None:
            return False  # its journal was deleted: nobody can deliver it
        desk = desk_of(state.remote.dialect)

        def what(seen: _Seen) -> Open:
            desired = seen.desired
            if isinstance(desired, DesiredRun):
                parent = remote_id_in(state, "run", desired.tags.get(PARENT_TAG))
                named = {model: remote_id_in(state, "model", model) for model in models_in(desired.models_logged)}
                models = {model: remote_id for model, remote_id in named.items() if remote_id is not None}
                return open_in_run(desk, ledger, desired, parent, models, seen.files)
            if isinstance(desired, DesiredModel):
                return open_in_model(desk, ledger, desired, seen.files)
            return open_in_experiment(desk, ledger, desired)

        # What was changed again since need not arrive as it was.
        if what(then) & what(now):
            return True
        return isinstance(then.desired, DesiredRun) and points_open(ledger, then.desired.head)

    def _look(self, one: _Waiting) -> _Seen | None:
        catalog = self._catalog
        desired: DesiredRun | DesiredModel | DesiredExperiment | None
        if one.scope == "experiment":
            desired = catalog.desired_experiment(one.id, refresh=False)
            return None if desired is None else _Seen(desired)
        if one.scope == "run":
            desired = catalog.desired_run(one.id, refresh=False)
        else:
            desired = catalog.desired_model(one.id, refresh=False)
        return None if desired is None else _Seen(desired, catalog.files(one.id, refresh=False))
