"""The delivery state of one run or experiment while its job runs: records by kind, changed only by `Save`. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from localtrack_sync.effects import Load, Save
from localtrack_sync.records import (
    Cell,
    Conflict,
    ExperimentBinding,
    FileDelivered,
    Intent,
    ParamDelivered,
    Parked,
    PartialUpload,
    Record,
    Rejected,
    RunBinding,
    Watermark,
)
from localtrack_sync.steps import Part


class Ledger:
    """Records of one scope.

    Attributes:
        scope, scope_id: whose records these are.
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

    def _put(self, record: Record) -> None:  # noqa: C901 - one case for each kind
        match record:
            case RunBinding():
                self.run = record
            case ExperimentBinding():
                self.experiment = record
            case Intent():
                self.intents[record.kind] = record
            case Watermark():
                self.watermarks[record.incarnation] = record
            case ParamDelivered():
                self.params[record.key] = record
            case Cell():
                self.cells[record.key] = record
            case FileDelivered():
                self.files[record.path] = record
            case PartialUpload():
                self.partial[record.path] = record
            case Conflict():
                self.conflicts[record.kind, record.key] = record
            case Rejected():
                self.rejected[record.kind, record.key] = record
            case Parked():
                self.parked[record.kind, record.key] = record
            case _:
                raise AssertionError(f"{record!r} belongs to no run or experiment")

    def _drop(self, record: Record) -> None:  # noqa: C901 - one case for each kind
        match record:
            case RunBinding():
                self.run = None
            case ExperimentBinding():
                self.experiment = None
            case Intent():
                self.intents.pop(record.kind, None)
            case Watermark():
                self.watermarks.pop(record.incarnation, None)
            case ParamDelivered():
                self.params.pop(record.key, None)
            case Cell():
                self.cells.pop(record.key, None)
            case FileDelivered():
                self.files.pop(record.path, None)
            case PartialUpload():
                self.partial.pop(record.path, None)
            case Conflict():
                self.conflicts.pop((record.kind, record.key), None)
            case Rejected():
                self.rejected.pop((record.kind, record.key), None)
            case Parked():
                self.parked.pop((record.kind, record.key), None)
            case _:
                raise AssertionError(f"{record!r} belongs to no run or experiment")
