"""The delivery state of one run, model or experiment while its job runs: changed only by `Save`. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localtrack_sync.protocol.effects import Load, Save
from localtrack_sync.protocol.records import (
    CLASSES,
    Cell,
    Conflict,
    ExperimentBinding,
    FileDelivered,
    Intent,
    Linked,
    ParamDelivered,
    Parked,
    PartialUpload,
    Record,
    Rejected,
    RunBinding,
    Watermark,
)
from localtrack_sync.protocol.steps import Part


class Ledger:
    """Records of one scope.

    Attributes:
        scope, scope_id: whose records these are.
        run: the binding of the run, or of the logged model.
        unknown: cell key -> when a write to it became unknown (engine's clock); cells that were loaded unsettled count
            from the engine's start.
        unknown_files: the same for files, by path.
    """

    def __init__(self, scope: str, scope_id: str) -> None:
        self.scope = scope
        self.scope_id = scope_id
        self.run: RunBinding | None = None
        self.experiment: ExperimentBinding | None = None
        self.intents: dict[str, Intent] = {}
        self.watermarks: dict[str, Watermark] = {}
        self.params: dict[str, ParamDelivered] = {}
        self.linked: dict[tuple[str, str], Linked] = {}
        self.cells: dict[str, Cell] = {}
        self.files: dict[str, FileDelivered] = {}
        self.partial: dict[str, PartialUpload] = {}
        self.conflicts: dict[tuple[str, str], Conflict] = {}
        self.rejected: dict[tuple[str, str], Rejected] = {}
        self.parked: dict[tuple[str, str], Parked] = {}
        self.unknown: dict[str, float] = {}
        self.unknown_files: dict[str, float] = {}

    def load(self) -> Part[None]:
        """Fill from the delivery state."""
        records: tuple[Record, ...] = yield Load(self.scope, self.scope_id)
        for record in records:
            self._put(record)

    def save(self, *puts: Record, drops: Iterable[Record] = ()) -> Part[None]:
        """One transaction; nothing is asked for when there is nothing to change."""
        gone = tuple(drops)
        if not puts and not gone:
            return
        yield Save(puts, gone)
        for record in gone:
            self._drop(record)
        for record in puts:
            self._put(record)

    def is_stuck(self, kind: str, key: str) -> bool:
        """Whether a record is rejected or parked."""
        return (kind, key) in self.rejected or (kind, key) in self.parked

    def whole_parked(self) -> Parked | None:
        """The record that parks all of it, if any."""
        return self.parked.get((self.scope, ""))

    def everything(self) -> list[Record]:
        """All records, of every kind."""
        held = vars(self).values()
        tables = [one.values() if isinstance(one, dict) else (one,) for one in held]
        return [record for table in tables for record in table if isinstance(record, CLASSES)]

    def _put(self, record: Record) -> None:
        if isinstance(record, RunBinding):
            self.run = record
        elif isinstance(record, ExperimentBinding):
            self.experiment = record
        else:
            self._book(record)[_key(record)] = record

    def _drop(self, record: Record) -> None:
        if isinstance(record, RunBinding):
            self.run = None
        elif isinstance(record, ExperimentBinding):
            self.experiment = None
        else:
            self._book(record).pop(_key(record), None)

    def _book(self, record: Record) -> dict[Any, Any]:
        """The records of one class."""
        books: dict[type[Record], dict[Any, Any]] = {
            Intent: self.intents,
            Watermark: self.watermarks,
            ParamDelivered: self.params,
            Linked: self.linked,
            Cell: self.cells,
            FileDelivered: self.files,
            PartialUpload: self.partial,
            Conflict: self.conflicts,
            Rejected: self.rejected,
            Parked: self.parked,
        }
        return books[type(record)]


def _key(record: Record) -> Any:
    """What identifies a record within its scope and class: one name, or several."""
    names = tuple(getattr(record, name) for name in record.KEY[2:])
    return names[0] if len(names) == 1 else names
