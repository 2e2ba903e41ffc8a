"""Before a replay looks at what is owed: files that others wrote straight into the store are registered."""

from __future__ import annotations

import time
from dataclasses import dataclass

from localtrack.artifacts.scan import register
from localtrack.catalog.catalog import Catalog
from localtrack.errors import JournalError
from localtrack.journal.writer import journal_of


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the artifact directories left open.

    Attributes:
        waiting: files that are still being written, or could not be read: they are not registered, and so not owed yet.
        trouble: why the directories could not be looked through, "" when they could.
        registered: files that were new, or had changed.
    """

    waiting: int = 0
    trouble: str = ""
    registered: int = 0


def find_files(catalog: Catalog) -> Found:
    """Register new and changed files; trouble is told, and stops nothing: what is registered can be delivered."""
    store = catalog.store
    try:
        result = register(store, catalog, lambda: journal_of(store), round(time.time() * 1000))
    except (OSError, JournalError) as error:
        return Found(trouble=f"the artifacts of the store could not be looked through: {error}")
    return Found(result.waiting, registered=result.registered)
