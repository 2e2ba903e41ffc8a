"""A new journal file in a store: its name, its locking, its place on the disk."""

from __future__ import annotations

import os
import sys

from localtrack import attention
from localtrack.journal import connect, mounts
from localtrack.journal.file import JournalFile
from localtrack.journal.identity import Identity
from localtrack.store import Store


def make_file(store: Store, locking: str, now_ms: int, random: bytes, process: str) -> JournalFile:
    """A new file, known to nobody yet, whose name survives power loss.

    Args:
        store: where.
        locking: `auto`, `normal` or `exclusive`.
        now_ms: milliseconds since the epoch.
        random: 16 bytes for the incarnation.
        process: incarnation of the first journal that this process made in this store; "": this one.

    Raises:
        OSError, sqlite3.Error: the file could not be made; what was made of it is removed again.
    """
    store.make()
    for words in store.exposures():
        attention.warn_once(words, words)
    identity = Identity.here(now_ms, random)
    path = os.path.join(store.journals, identity.file_name)
    network = mounts.on_network(path)
    exclusive = locking == "exclusive" or (locking == "auto" and network)
    version = str(sys.modules["localtrack"].__dict__.get("__version__", ""))
    file = JournalFile(path, identity, version, exclusive=exclusive, locks=not network, process=process)
    try:
        connect.fsync_directory(store.path)
        connect.fsync_directory(os.path.dirname(store.path))
    except OSError:
        file.close()
        connect.remove(path)
        raise
    return file
