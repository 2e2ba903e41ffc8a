"""Where a running daemon says how it stands: `<store>/sync/daemon.json`, for `localtrack status`."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, fields
from typing import Any, TypeVar

from localtrack.store import Store
from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing

#: Version of the file; a reader that does not know it shows nothing.
FORMAT = 1
#: More than any daemon writes: hundreds of bytes for each remote.
_MOST_CHARACTERS = 4_000_000
#: What a field of that annotation may be; JSON's whole numbers are floats too.
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "int | None": (int, type(None)),
    "float | None": (float, int, type(None)),
}

T = TypeVar("T", RemoteFacts, DaemonFacts)


def path_of(store: Store) -> str:
    """The file of a store."""
    return os.path.join(store.sync, "daemon.json")


def write(store: Store, facts: DaemonFacts) -> None:
    """Replace the file, in one step: a reader sees the old one or the new one.

    Raises:
        OSError: the disk refuses.
    """
    path = path_of(store)
    document = {"format": FORMAT, **asdict(facts)}
    for remote, each in zip(document["remotes"], facts.remotes, strict=True):
        remote["standing"] = each.standing.name.lower()
    handle = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.replace(path + ".new", path)


def read(store: Store) -> DaemonFacts | None:
    """What the last daemon wrote, which may have ended since; None when there is nothing that can be read."""
    try:
        with open(path_of(store), encoding="utf-8") as file:
            document: Any = json.loads(file.read(_MOST_CHARACTERS))
        if document.pop("format") != FORMAT:
            return None
        remotes = tuple(
            _checked(RemoteFacts(**{**remote, "standing": Standing[remote["standing"].upper()]}))
            for remote in document.pop("remotes")
        )
        return _checked(DaemonFacts(**document, remotes=remotes))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # there is none, or somebody else wrote it: nothing depends on it


def _checked(facts: T) -> T:
    """The facts, if each of them is what it should be.

    Raises:
        TypeError: one is not.
    """
    for each in fields(facts):
        if not isinstance(getattr(facts, each.name), _TYPES.get(str(each.type), object)):
            raise TypeError(each.name)
    return facts


def remove(store: Store) -> None:
    """Take the file away, at the end."""
    for path in (path_of(store), path_of(store) + ".new"):
        with suppress(OSError):
            os.unlink(path)
