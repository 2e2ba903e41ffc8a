"""Which remotes to look at: those that `localtrack sync` would deliver to; of the others only that they are there."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from localtrack.catalog.catalog import Catalog
from localtrack.errors import LocaltrackError, ReplayError
from localtrack.settings import Settings
from localtrack.store import Store
from localtrack_sync.checkup.remote_look import Contact, RemoteLook, Trouble
from localtrack_sync.remote.remotes import Address, Remote, parse_remote
from localtrack_sync.shell.selection import Wanted, chosen
from localtrack_sync.store.accounts import default_address, state_paths
from localtrack_sync.store.choice import Choice, Left
from localtrack_sync.store.state import StateReader

_NAME_ONE = "Write it as http://127.0.0.1:5000"


@dataclass(slots=True)
class Targets:
    """What to look at.

    Attributes:
        addresses: to be contacted.
        others: not to be contacted, and why.
        homeless: runs name no remote, and there is no default.
    """

    addresses: list[Address] = field(default_factory=list)
    others: list[RemoteLook] = field(default_factory=list)
    homeless: bool = False

    def add(self, address: Address) -> None:
        """To be contacted; a remote that is there already stays as it is."""
        if address.remote not in self.remotes:
            self.addresses.append(address)

    @property
    def remotes(self) -> set[Remote]:
        """Those to be contacted."""
        return {address.remote for address in self.addresses}

    @property
    def empty(self) -> bool:
        """Whether there is no remote at all."""
        return not self.addresses and not self.others


def targets_of(store: Store, to: Address | None, settings: Settings, environ: Mapping[str, str]) -> Targets:
    """The remotes of a store, of the settings and of `--to`. Contacts nobody."""
    found = Targets()
    if to is not None:
        found.add(to)
    try:
        default = default_address(settings, environ)
    except ReplayError as error:
        found.others.append(_unusable("LOCALTRACK_REMOTE", error))
        default, settings = None, replace(settings, remote=None, tracking_uri=None)
    if default is not None:
        found.add(default)
    choice = _choice(store, settings, environ)
    for errand in choice.errands:
        found.add(errand.address)
    unusable = bool(found.others)  # LOCALTRACK_REMOTE
    found.homeless = to is None and not unusable and any(left.remote is None for left in choice.left)
    _add_left(found, choice.left, environ)
    _add_states(found, store)
    return found


def _choice(store: Store, settings: Settings, environ: Mapping[str, str]) -> Choice:
    try:
        with Catalog(store) as catalog:
            return chosen(catalog, Wanted(None, (), ()), settings, environ)
    except (LocaltrackError, OSError, sqlite3.Error):
        return Choice()  # the findings about the store say why


def _add_left(found: Targets, left: tuple[Left, ...], environ: Mapping[str, str]) -> None:
    """Remotes that runs name, and that a sync would not go to."""
    for one in left:
        if one.remote is None:
            continue
        try:
            remote = parse_remote(one.remote, environ).remote
        except ReplayError as error:
            found.others.append(_unusable(one.remote, error))
            continue
        if remote not in found.remotes:
            found.others.append(RemoteLook(remote.url, remote.workspace, remote.dialect, Contact.UNTRUSTED))


def _add_states(found: Targets, store: Store) -> None:
    """Remotes that were delivered to once, and that nothing names now."""
    told = {(look.url, look.workspace) for look in found.others}
    for path in state_paths(store):
        try:
            with StateReader(path) as state:
                remote = state.remote
        except LocaltrackError:
            continue  # the findings about the store say why
        if remote not in found.remotes and (remote.url, remote.workspace) not in told:
            found.others.append(RemoteLook(remote.url, remote.workspace, remote.dialect, Contact.UNNAMED))


def _unusable(name: str, error: ReplayError) -> RemoteLook:
    trouble = Trouble(error.message, error.hint or _NAME_ONE)
    return RemoteLook(name, contact=Contact.UNUSABLE, reason=trouble)
