"""What the replay side knows about delivery, asked by entry point: this package never imports localtrack_sync."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from localtrack.errors import LocaltrackError
from localtrack.store import Store

GROUP = "localtrack.delivery"
NAME = "accounts"


@dataclass(frozen=True)
class Delivery:
    """How far one run is on one remote.

    Attributes:
        remote: URL, or None when nobody named a remote for the run.
        link: the run's page on the remote, or None while it is not there.
        total, delivered, owed, conflicts, rejected, parked, superseded: records (docs/cli.md says what a record is).
        reasons: why records are stuck, one line each.
    """

    remote: str | None
    link: str | None
    total: int
    delivered: int
    owed: int
    conflicts: int
    rejected: int
    parked: int
    superseded: int
    reasons: tuple[str, ...]

    @property
    def short(self) -> str:
        """One or two words for a table: what needs a look comes first."""
        if self.conflicts or self.rejected:
            return f"{self.conflicts + self.rejected:,} to look at"
        if self.parked:
            return f"{self.parked:,} parked"
        if self.owed:
            return "owed" if not self.delivered else f"{self.owed:,} owed"
        return "delivered"


def deliveries(store: Store) -> tuple[dict[str, list[Delivery]], str]:
    """Run id -> its delivery on each remote; and why nothing is known ("" when it is)."""
    points = entry_points(group=GROUP, name=NAME)
    if not points:
        return {}, "the replay side (localtrack_sync) is not installed"
    try:
        accounts = next(iter(points)).load()(store)
    except ImportError as error:
        return {}, f"the replay side cannot be loaded: {error}"
    except LocaltrackError as error:
        return {}, error.message
    found: dict[str, list[Delivery]] = {}
    for account in accounts:
        for run in account.runs:
            found.setdefault(run.run_id, []).append(_delivery(account.remote, run))
    return found, ""


def _delivery(remote: Any, run: Any) -> Delivery:
    link = f"{remote.url}/#/runs/{run.remote_run_id}" if remote is not None and run.remote_run_id else None
    return Delivery(
        None if remote is None else str(remote), link, run.total, run.delivered, run.owed, run.conflicts, run.rejected,
        run.parked, run.superseded, tuple(run.reasons),
    )  # fmt: skip
