"""Delivery state in memory: what the simulator and the engine's tests store records in. Pure."""

from __future__ import annotations

from typing import Any

from localtrack_sync.protocol.effects import Load, Save
from localtrack_sync.protocol.records import Record, key_of


class MemoryState:
    """Records by identity. `save` is one transaction: what a kill leaves behind is either all of it or nothing."""

    def __init__(self) -> None:
        self._scopes: dict[tuple[str, str], dict[tuple[Any, ...], Record]] = {}

    def save(self, save: Save) -> None:
        """Perform a `Save`."""
        for record in save.drops:
            self._of(record.scope, record.scope_id).pop(key_of(record), None)
        for record in save.puts:
            self._of(record.scope, record.scope_id)[key_of(record)] = record

    def load(self, load: Load) -> tuple[Record, ...]:
        """Answer a `Load`."""
        return tuple(self._of(load.scope, load.scope_id).values())

    def all(self) -> tuple[Record, ...]:
        """Every record."""
        return tuple(record for records in self._scopes.values() for record in records.values())

    def _of(self, scope: str, scope_id: str) -> dict[tuple[Any, ...], Record]:
        return self._scopes.setdefault((scope, scope_id), {})
