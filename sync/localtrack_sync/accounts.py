"""The books: for each remote and run, how many records are delivered, owed or stuck. The sums always add up."""

from __future__ import annotations

from dataclasses import dataclass

from localtrack.store import Store
from localtrack_sync.remotes import Remote


@dataclass(frozen=True, slots=True)
class RunAccount:
    """One run and one remote: every record of the run is in exactly one of the columns.

    A record is one metric point, one param, one tag, or the run itself (its creation, status, times and life).

    Attributes:
        run_id, name, experiment_id, experiment: the local run.
        remote_run_id: id of the run there, or None when it is not there yet.
        total: delivered + owed + conflicts + rejected + parked + superseded.
        delivered: the remote has it.
        owed: to be sent.
        conflicts: the remote holds another value that is not ours to change (params, tags edited by somebody else).
        rejected: the remote refused it, with the reason kept.
        parked: waits for something (a run deleted over there, credentials, ...).
        superseded: need not be sent any more.
        oldest_owed_ms: when the oldest record that is still owed was logged, ms since the epoch, or None.
        reasons: why records are stuck, one line each.
    """

    run_id: str
    name: str
    experiment_id: str
    experiment: str
    remote_run_id: str | None
    total: int
    delivered: int
    owed: int
    conflicts: int = 0
    rejected: int = 0
    parked: int = 0
    superseded: int = 0
    oldest_owed_ms: int | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteAccount:
    """One remote (or none: runs that have no remote yet) and the runs that belong to it.

    Attributes:
        remote: None for runs that nobody has named a remote for.
        trusted: whether `localtrack sync` without --to may contact it.
        runs: newest first.
    """

    remote: Remote | None
    trusted: bool
    runs: tuple[RunAccount, ...] = ()

    @property
    def total(self) -> int:
        """All records of its runs."""
        return sum(run.total for run in self.runs)

    @property
    def delivered(self) -> int:
        """Records that the remote has."""
        return sum(run.delivered for run in self.runs)

    @property
    def owed(self) -> int:
        """Records that are still to be sent."""
        return sum(run.owed for run in self.runs)

    @property
    def conflicts(self) -> int:
        """Records that collided with a value that is not ours to change."""
        return sum(run.conflicts for run in self.runs)

    @property
    def rejected(self) -> int:
        """Records that the remote refused."""
        return sum(run.rejected for run in self.runs)

    @property
    def parked(self) -> int:
        """Records that wait for something."""
        return sum(run.parked for run in self.runs)

    @property
    def superseded(self) -> int:
        """Records that need not be sent any more."""
        return sum(run.superseded for run in self.runs)

    @property
    def oldest_owed_ms(self) -> int | None:
        """When the oldest owed record was logged, ms since the epoch; None when nothing is owed."""
        return min((run.oldest_owed_ms for run in self.runs if run.oldest_owed_ms is not None), default=None)


def accounts_of(store: Store) -> list[RemoteAccount]:
    """The books of `store`: one account per remote it has or was ever asked to replay to; reads only, contacts nobody.

    Raises:
        StoreError: the catalog or a delivery state cannot be read.
    """
    raise NotImplementedError(store)
