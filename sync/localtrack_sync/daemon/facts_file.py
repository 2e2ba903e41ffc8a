"""Where a running daemon says how it stands: `<store>/sync/daemon.json`, for `localtrack status`."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from localtrack.store import Store
from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing

#: Version of the file; a reader that does not know it shows nothing.
FORMAT = 1


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
            document: Any = json.load(file)
        if document.pop("format") != FORMAT:
            return None
        remotes = tuple(
            RemoteFacts(**{**remote, "standing": Standing[remote["standing"].upper()]})
            for remote in document.pop("remotes")
        )
        return DaemonFacts(**document, remotes=remotes)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # there is none, or somebody else wrote it: nothing depends on it


def remove(store: Store) -> None:
    """Take the file away, at the end."""
    for path in (path_of(store), path_of(store) + ".new"):
        with suppress(OSError):
            os.unlink(path)
