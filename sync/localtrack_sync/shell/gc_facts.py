"""What `localtrack gc` knows before it decides: whose files lie here, and which remotes they belong to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from localtrack.artifacts.known_files import FILE as SCAN_FILE
from localtrack.artifacts.place import Owner, Place, owner_to_read
from localtrack.artifacts.removal import present
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import ModelEntry, RunEntry
from localtrack.errors import TrackingError
from localtrack.journal.ops import stamp_ms
from localtrack.settings import Settings
from localtrack.store import Store
from localtrack_sync.remote.remotes import Address, Remote
from localtrack_sync.shell.selection import Wanted, chosen
from localtrack_sync.store.accounts import accounts_of, default_address
from localtrack_sync.store.choice import Item
from localtrack_sync.store.disposable import ENDED, Holder, Home, reason_to_stop, removable

#: A run or a logged model: its kind and id.
Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Survey:
    """The store at one moment.

    Attributes:
        blocked: why nothing may be removed at all, "" when nothing stands against it.
        holders: what has files here that could go, as far as it was asked for.
        homes: the remotes of each.
        items: the same as the catalog lists them.
    """

    blocked: str
    holders: tuple[Holder, ...]
    homes: Mapping[Key, tuple[Home, ...]]
    items: Mapping[Key, Item]


def addresses(
    catalog: Catalog, to: Sequence[Address], settings: Settings, environ: Mapping[str, str]
) -> dict[Remote, Address]:
    """The remotes that this user named: in the settings, in runs that are provably theirs, or with --to."""
    choice = chosen(catalog, Wanted(None, (), ()), settings, environ)
    default = default_address(settings, environ)
    named = [errand.address for errand in choice.errands] + ([default] if default is not None else [])
    return {address.remote: address for address in (*named, *to)}


def survey(
    catalog: Catalog,
    wanted: Callable[[Item], bool],
    known: Mapping[Remote, Address],
    environ: Mapping[str, str],
) -> Survey:
    """Look at the store; contacts nobody, changes nothing.

    Args:
        catalog: of the store; brought up to date.
        wanted: which runs and models are asked for.
        known: the remotes that may be asked, see `addresses`.
        environ: as in `accounts_of`.

    Raises:
        StoreError: the catalog or a delivery state cannot be read.
    """
    catalog.refresh()
    runs = catalog.run_index(refresh=False)
    models = catalog.model_index(refresh=False)
    # After the index: books that are as new as the content that is compared later.
    homes: dict[Key, list[Home]] = {}
    for one in accounts_of(catalog.store, environ):
        for account in one.items:
            named = one.remote is not None and one.remote in known
            homes.setdefault((account.kind, account.run_id), []).append(Home(one.remote, named, account))
    by_id = {run.run_id: run for run in runs}
    names = {run.experiment_id: run.experiment_name for run in runs}
    holders: list[Holder] = []
    items: dict[Key, Item] = {}
    listed: list[Item] = [*runs, *models]
    for item in listed:
        if item.files and wanted(item):
            holder = _holder(catalog, item, by_id, names)
            if holder.files:
                holders.append(holder)
                items[holder.kind, holder.id] = item
    blocked = reason_to_stop(catalog.journals(refresh=False), in_memory=catalog.read_only)
    return Survey(blocked, tuple(holders), {key: tuple(found) for key, found in homes.items()}, items)


def owner_of(holder: Holder, store: Store) -> Owner:
    """Where its files lie."""
    return owner_to_read(store, Owner(holder.id, holder.experiment_id, holder.kind == "model"))


def _holder(catalog: Catalog, item: Item, runs: Mapping[str, RunEntry], names: Mapping[str, str]) -> Holder:
    registered = catalog.registered(_id(item), refresh=False)
    newest = max((stamp_ms(one.stamp) for one in registered.values()), default=0)
    if isinstance(item, RunEntry):
        kind, active, newest = "run", item.status not in ENDED, max(newest, item.newest_ms)
        experiment = item.experiment_name
    else:
        source = runs.get(item.source_run_id or "")
        kind, newest = "model", max(newest, item.creation_ms, item.updated_ms)
        active = item.status not in ENDED or (source is not None and source.status not in ENDED)
        experiment = names.get(item.experiment_id, item.experiment_id)
    bare = Holder(
        kind, _id(item), item.name, item.experiment_id, experiment, active, item.deleted, newest, item.content, (),
        len(registered),
    )  # fmt: skip
    files = removable(catalog.files(bare.id, refresh=False))
    try:
        with Place(catalog.store, owner_of(bare, catalog.store)) as place:
            here = tuple(present(place, files))
    except TrackingError:  # an id that is no name of a directory: nothing of it can lie here
        here = ()
    return Holder(
        kind, bare.id, bare.name, bare.experiment_id, experiment, active, bare.deleted, newest, bare.content, here,
        bare.registered,
    )  # fmt: skip


def _id(item: Item) -> str:
    return item.model_id if isinstance(item, ModelEntry) else item.run_id


def bytes_of_artifacts(store: Store) -> int:
    """Bytes of all files below the store's artifacts, but what scans remember of them; no link is followed."""
    total = 0
    for top, _, names, descriptor in os.fwalk(store.artifacts, follow_symlinks=False):
        ours = {name for name in names if name.startswith(SCAN_FILE)} if top == store.artifacts else set[str]()
        for name in (name for name in names if name not in ours):
            with suppress(OSError):  # removed while we looked
                total += os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_size
    return total
