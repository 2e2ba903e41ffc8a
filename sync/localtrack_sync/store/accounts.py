"""The books of a store: for each remote and run, how many records are delivered, owed or stuck; sums that add up."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from localtrack import identity
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import ModelEntry, RunEntry
from localtrack.errors import ReplayError
from localtrack.settings import Settings, load
from localtrack.store import Store
from localtrack_sync.protocol.effects import Load
from localtrack_sync.protocol.history import models_in
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.protocol.records import Record, RunBinding
from localtrack_sync.protocol.request import PARENT_TAG
from localtrack_sync.remote.remotes import Address, Remote, is_remote, parse_remote
from localtrack_sync.store.books import RunAccount, account, ledger_of, model_account, untouched, untouched_model
from localtrack_sync.store.choice import Errand, Item
from localtrack_sync.store.state import StateReader, exists

__all__ = ["RemoteAccount", "RunAccount", "accounts_of"]


@dataclass(frozen=True, slots=True)
class RemoteAccount:
    """One remote (or none: runs that have no remote yet) and the runs that belong to it.

    Attributes:
        remote: None for runs that nobody has named a remote for.
        trusted: whether `localtrack sync` without --to may contact it.
        runs, models: newest first.
    """

    remote: Remote | None
    trusted: bool
    runs: tuple[RunAccount, ...] = ()
    models: tuple[RunAccount, ...] = ()

    @property
    def items(self) -> tuple[RunAccount, ...]:
        """Runs and models."""
        return self.runs + self.models

    @property
    def total(self) -> int:
        """All records of its runs and models."""
        return sum(run.total for run in self.items)

    @property
    def delivered(self) -> int:
        """Records that the remote has."""
        return sum(run.delivered for run in self.items)

    @property
    def owed(self) -> int:
        """Records that are still to be sent."""
        return sum(run.owed for run in self.items)

    @property
    def conflicts(self) -> int:
        """Records that collided with a value that is not ours to change."""
        return sum(run.conflicts for run in self.items)

    @property
    def rejected(self) -> int:
        """Records that the remote refused."""
        return sum(run.rejected for run in self.items)

    @property
    def parked(self) -> int:
        """Records that wait for something."""
        return sum(run.parked for run in self.items)

    @property
    def superseded(self) -> int:
        """Records that are not to be sent."""
        return sum(run.superseded for run in self.items)

    @property
    def bytes_owed(self) -> int:
        """Size of the files that are still to be sent."""
        return sum(run.bytes_owed for run in self.items)

    @property
    def oldest_owed_ms(self) -> int | None:
        """When the oldest owed record was logged, ms since the epoch; None when nothing is owed."""
        return min((run.oldest_owed_ms for run in self.items if run.oldest_owed_ms is not None), default=None)


class Loads(Protocol):
    """A delivery state that can be read."""

    @property
    def remote(self) -> Remote:
        """Whose it is."""

    def load(self, load: Load) -> tuple[Record, ...]:
        """The records of one scope."""


def accounts_of(store: Store, environ: Mapping[str, str] | None = None) -> list[RemoteAccount]:
    """The books of `store`: one account per remote it has or was ever asked to replay to; reads only, contacts nobody.

    Args:
        store: an existing store.
        environ: for LOCALTRACK_REMOTE, MLFLOW_TRACKING_URI, MLFLOW_WORKSPACE and the user's key; None: os.environ.

    Raises:
        StoreError: the catalog or a delivery state cannot be read.
    """
    environ = os.environ if environ is None else environ
    settings = load(environ)
    default = default_address(settings, environ)
    with Catalog(store) as catalog, ExitStack() as opened:
        index = catalog.run_index()
        states = [opened.enter_context(StateReader(path)) for path in state_paths(store)]
        readers = {state.remote: state for state in states}
        names = {entry.experiment_id: entry.experiment_name for entry in index}
        homes = _homes(index, catalog.model_index(refresh=False), states, default, environ)
        accounts = []
        for remote, entries in homes.items():
            ours = default is not None and default.remote == remote
            trusted = remote is not None and (ours or any(proven(entry, settings) for entry in entries if entry.remote))
            reader = readers.get(remote) if remote is not None else None
            settled = reader.settled() if reader is not None else {}
            runs = [entry for entry in reversed(entries) if isinstance(entry, RunEntry)]
            models = [entry for entry in reversed(entries) if isinstance(entry, ModelEntry)]
            accounts.append(
                RemoteAccount(
                    remote,
                    trusted,
                    tuple(run_account(catalog, reader, entry, settled) for entry in runs),
                    tuple(logged_model_account(catalog, reader, entry, settled, names) for entry in models),
                )
            )
    return accounts


def run_account(
    catalog: Catalog, state: Loads | None, entry: RunEntry, settled: Mapping[str, tuple[str, RunAccount]]
) -> RunAccount:
    """The account of one run in one delivery state (None: nothing was ever sent there)."""
    content, known = settled.get(entry.run_id, ("", None))
    if known is not None and content == entry.content:
        return known
    records = state.load(Load("run", entry.run_id)) if state is not None else ()
    if not records:
        return untouched(entry)
    assert state is not None
    desired = catalog.desired_run(entry.run_id, refresh=False)
    if desired is None:
        return untouched(entry)  # the catalog is being built again
    ledger = ledger_of("run", entry.run_id, records)
    after = {mark.incarnation: mark.upto for mark in ledger.watermarks.values()}
    beyond = catalog.count_points(entry.run_id, after, refresh=False)
    first = catalog.points(entry.run_id, after, 1, refresh=False) if beyond else ()
    parent = remote_id_in(state, "run", desired.tags.get(PARENT_TAG))
    named = {one: remote_id_in(state, "model", one) for one in models_in(desired.models_logged)}
    models = {one: remote_id for one, remote_id in named.items() if remote_id is not None}
    settings = ReplaySettings(dialect=state.remote.dialect)
    files = catalog.files(entry.run_id, refresh=False) if entry.files else ()
    first_ms = first[0].ts if first else None
    return account(entry, desired, records, parent, beyond, first_ms, settings, models, files)


def logged_model_account(
    catalog: Catalog,
    state: Loads | None,
    entry: ModelEntry,
    settled: Mapping[str, tuple[str, RunAccount]],
    experiments: Mapping[str, str],
) -> RunAccount:
    """The account of one logged model in one delivery state; `experiments` are names by id."""
    content, known = settled.get(entry.model_id, ("", None))
    if known is not None and content == entry.content:
        return known
    experiment = experiments.get(entry.experiment_id, entry.experiment_id)
    records = state.load(Load("model", entry.model_id)) if state is not None else ()
    if not records:
        return untouched_model(entry, experiment)
    desired = catalog.desired_model(entry.model_id, refresh=False)
    if desired is None:
        return untouched_model(entry, experiment)
    assert state is not None, "records come from a state"
    settings = ReplaySettings(dialect=state.remote.dialect)
    files = catalog.files(entry.model_id, refresh=False) if entry.files else ()
    return model_account(entry, experiment, desired, records, settings, files)


def item_account(
    catalog: Catalog,
    state: Loads | None,
    entry: Item,
    settled: Mapping[str, tuple[str, RunAccount]],
    experiments: Mapping[str, str],
) -> RunAccount:
    """The account of a run or logged model; arguments as for `logged_model_account`."""
    if isinstance(entry, RunEntry):
        return run_account(catalog, state, entry, settled)
    return logged_model_account(catalog, state, entry, settled, experiments)


def errand_accounts(catalog: Catalog, errand: Errand) -> list[RunAccount]:
    """The accounts of an errand's runs and models, from the delivery state on the disk."""
    path = errand.address.remote.state_path(catalog.store)
    names = {entry.experiment_id: entry.experiment_name for entry in errand.runs}
    with ExitStack() as opened:
        state = opened.enter_context(StateReader(path)) if exists(path) else None
        settled = state.settled() if state is not None else {}
        entries: list[Item] = [*errand.runs, *errand.models]
        return [item_account(catalog, state, entry, settled, names) for entry in entries]


def default_address(settings: Settings, environ: Mapping[str, str]) -> Address | None:
    """Where runs go that name no remote: the setting `remote`, else MLFLOW_TRACKING_URI when it names a server.

    Raises:
        ReplayError: the setting is no address of a server.
    """
    if settings.remote:
        return parse_remote(settings.remote, environ)
    if settings.tracking_uri and is_remote(settings.tracking_uri):
        try:
            return parse_remote(settings.tracking_uri, environ)
        except ReplayError:  # Databricks, and this machine does not know its host: runs that name it say so
            return None
    return None


def proven(entry: Item, settings: Settings) -> bool:
    """Whether this user, and not whoever wrote the journal, chose the run's (or logged model's) remote."""
    return bool(entry.remote) and identity.verify(
        id_of(entry), entry.remote or "", entry.remote_proof, settings.identity_key
    )


def id_of(entry: Item) -> str:
    """Local id of a run or logged model."""
    return entry.run_id if isinstance(entry, RunEntry) else entry.model_id


def state_paths(store: Store) -> list[str]:
    """The delivery states of a store."""
    return sorted(filter(exists, glob.glob(os.path.join(glob.escape(store.sync), "*.db"))))


@dataclass(slots=True)
class _Homes:
    items: dict[Remote | None, list[Item]] = field(default_factory=dict)

    def add(self, remote: Remote | None, entry: Item) -> None:
        entries = self.items.setdefault(remote, [])
        if not entries or entries[-1] is not entry:
            entries.append(entry)


def _homes(
    index: list[RunEntry],
    models: list[ModelEntry],
    states: list[StateReader],
    default: Address | None,
    environ: Mapping[str, str],
) -> dict[Remote | None, list[Item]]:
    """Remote -> what belongs to it: what names it, and what somebody asked to be delivered there.

    A logged model belongs to where its source run does.
    """
    asked = [(state.remote, state.asked() | {b.scope_id for b in state.records(RunBinding)}) for state in states]
    homes = _Homes({remote: [] for remote, _ in asked})
    of_run: dict[str, list[Remote | None]] = {}
    entries: list[Item] = [*index, *models]
    for entry in entries:
        there: list[Remote | None] = [remote for remote, ids in asked if id_of(entry) in ids]
        source = of_run.get(entry.source_run_id or "") if isinstance(entry, ModelEntry) else None
        named = _named(entry.remote, environ) if entry.remote and source is None else None
        if named is not None and named not in there:
            there.append(named)
        there += [remote for remote in source or () if remote not in there]
        if not there:
            there.append(default.remote if default is not None else None)
        if isinstance(entry, RunEntry):
            of_run[entry.run_id] = there
        for remote in there:
            homes.add(remote, entry)
    return homes.items


def _named(uri: str, environ: Mapping[str, str]) -> Remote:
    try:
        return parse_remote(uri, environ).remote
    except ReplayError:
        return Remote(uri)  # an address that this machine cannot make sense of, such as an unknown profile


def remote_id_in(state: Loads, scope: str, local_id: str | None) -> str | None:
    """Id of a local run or logged model on the remote."""
    if local_id is None:
        return None
    bindings = [record for record in state.load(Load(scope, local_id)) if isinstance(record, RunBinding)]
    return bindings[0].remote_id or None if bindings else None
