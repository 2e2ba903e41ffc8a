"""Delivery state in memory: what the simulator and the engine's tests store records in. Pure."""

from __future__ import annotations

from typing import Any

from localtrack_sync.effects import Load, Save
from localtrack_sync.records import Record, key_of


class MemoryState:
    """Records by identity. `save` is one transaction: what a kill leaves behind is either all of it or nothing."""

    def __init__(self) -> None:
        self._records: dict[tuple[Any, ...], Record] = {}

    def save(self, save: Save) -> None:
        """Perform a `Save`."""
        for record in save.drops:
            self._records.pop(key_of(record), None)
        for record in save.puts:
            self._records[key_of(record)] = record

    def load(self, load: Load) -> tuple[Record, ...]:
        """Answer a `Load`."""
        return tuple(r for r in self._records.values() if (r.scope, r.scope_id) == (load.scope, load.scope_id))

    def all(self) -> tuple[Record, ...]:
        """Every record."""
        return tuple(self._records.values())
