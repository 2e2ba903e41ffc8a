"""What came of a delivery that was asked for from code, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteResult:
    """One remote, and the records of the runs and logged models that were to go there.

    The counts say where things stood at the end, whoever delivered them. docs/cli.md says what a record is.

    Attributes:
        remote: its address; None for runs that no remote is known for.
        delivered: records that it has.
        owed: records that it does not have yet; a later delivery brings them.
        conflicts: records that collided with a value that is not ours to change.
        rejected: records that it refused.
        parked: records that wait for something over there (a run that was deleted, a server without logged models).
        seconds: how long it took.
        stopped: why the delivery ended before everything was there, one line for people; "" when nothing stopped it.
        by: who delivered: "this process"; "another process", which was at it already and was waited for; or "nobody",
            in a dry run and where records may not go.
        complete: everything that was asked for is there, except conflicts and rejected records.
    """

    remote: str | None
    delivered: int = 0
    owed: int = 0
    conflicts: int = 0
    rejected: int = 0
    parked: int = 0
    seconds: float = 0.0
    stopped: str = ""
    by: str = "nobody"
    complete: bool = False


@dataclass(frozen=True)
class SyncResult:
    """What came of `localtrack.sync()`.

    Attributes:
        remotes: one entry for each remote, in the order of delivery, then what goes nowhere, with the reason.
        dry_run: nothing was sent: this is what would have been.
        unreadable: names of journals that cannot be read, or not wholly: what is missing of them is not counted.
        unwritten: something that this process logged is in no journal, because of trouble with the disk.
    """

    remotes: tuple[RemoteResult, ...] = ()
    dry_run: bool = False
    unreadable: tuple[str, ...] = ()
    unwritten: bool = False

    @property
    def complete(self) -> bool:
        """Whether everything that was logged and asked for is delivered, except conflicts and rejected records.

        The same as an exit code of 0 or 4 of `localtrack sync`, but not while anything is unreadable or unwritten.
        """
        return not self.unreadable and not self.unwritten and all(one.complete for one in self.remotes)

    @property
    def delivered(self) -> int:
        """Records that the remotes have."""
        return sum(one.delivered for one in self.remotes)

    @property
    def owed(self) -> int:
        """Records that are still to be sent."""
        return sum(one.owed for one in self.remotes)

    @property
    def conflicts(self) -> int:
        """Records that collided; `localtrack conflicts` lists them."""
        return sum(one.conflicts for one in self.remotes)

    @property
    def rejected(self) -> int:
        """Records that a remote refused; `localtrack conflicts` lists them."""
        return sum(one.rejected for one in self.remotes)

    @property
    def parked(self) -> int:
        """Records that wait for something; `localtrack conflicts` lists them."""
        return sum(one.parked for one in self.remotes)
