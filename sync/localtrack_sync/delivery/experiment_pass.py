"""One experiment on its way to the remote in this pass: what is wanted, what is known, what is still owed. Pure."""

from __future__ import annotations

from localtrack.catalog.desired import DesiredExperiment
from localtrack_sync.delivery.item_pass import DELETED, is_reserved
from localtrack_sync.delivery.repair import NAME
from localtrack_sync.protocol.cells import is_settled
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.places import placed
from localtrack_sync.protocol.records import Cell, ExperimentBinding
from localtrack_sync.protocol.steps import Desk


class ExperimentPass:
    """What the parts of an experiment's job share."""

    def __init__(self, desk: Desk, ledger: Ledger, desired: DesiredExperiment) -> None:
        self.desk = desk
        self.ledger = ledger
        self.desired = self.local = desired

    def settle_in(self) -> None:
        """Where names are paths, `desired` has the names that the remote knows (`local` is as the store has it)."""
        if self.desk.limits.names_are_paths:
            cell = self.ledger.cells.get(NAME)
            there = cell.base if cell is not None and self.ledger.experiment is not None else None
            self.desired = placed(self.local, self.desk.folder, there)

    @property
    def binding(self) -> ExperimentBinding:
        """The binding, once bound."""
        assert self.ledger.experiment is not None, "used before it was bound"
        return self.ledger.experiment

    def tags(self) -> dict[str, str | None]:
        """Tags as the remote should hold them; None: to be absent."""
        limits = self.desk.limits
        wanted: dict[str, str | None] = dict.fromkeys(self.desired.dropped_tags)
        wanted.update({k: v[: limits.experiment_tag_value] for k, v in self.desired.tags.items()})
        return {k: v for k, v in wanted.items() if not is_reserved(k) and k not in limits.skip_tags}

    def cell(self, key: str, base: str | None) -> Cell:
        """A cell that nothing is known of but what it holds."""
        return Cell("experiment", self.desired.experiment_id, key, base, wrote_wall_s=self.desk.wall_s)

    def suspect(self) -> bool:
        """Whether a lost delivery state may have sent writes that are still under way."""
        return not self.binding.virgin and self.desk.now < self.desk.started + self.desk.settle_s

    def owed(self) -> list[str]:
        """Keys of registers and tags that are not as wanted."""
        if self.ledger.experiment is None:
            return [NAME]
        wanted: dict[str, str | None] = {**self.tags(), NAME: self.desired.name}
        wanted[DELETED] = "1" if self.desired.deleted else "0"
        return [k for k, v in wanted.items() if not self._ended(k, v)]

    def _ended(self, key: str, want: str | None) -> bool:
        cell, rejected = self.ledger.cells.get(key), self.ledger.rejected.get(("tag", key))
        if rejected is not None and rejected.value == (want or ""):
            return True
        return cell is not None and (cell.pinned or is_settled(cell, want))
