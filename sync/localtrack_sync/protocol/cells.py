"""Places on the remote that can be overwritten: what we may conclude from what we see there. Pure.

The rule: a value that localtrack did not write is never overwritten. The difficulty: a write without an answer may
    still be
executed, and a read may show an older state, both for as long as the settle time. So a cell remembers

    base        what the remote held when we last knew for sure (an answered write, or a read that proves it),
    poss        older values of ours that a late read may still show,
    unsettled   the value of a write that was sent and not answered,

and until the unsettled one can no longer be executed, no other value is written to the cell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import Enum

from localtrack_sync.protocol.records import Cell


class Sight(Enum):
    """What a look at a cell shows."""

    SAME = "the remote holds what we want"
    OURS = "it holds something of ours (or nothing): write"
    OUTSIDE = "somebody else wrote it: hands off"


def spelled(value: str | None) -> str:
    """A value, or its absence, as text that cannot be confused."""
    return "-" if value is None else "=" + value


def is_settled(cell: Cell | None, want: str | None) -> bool:
    """Whether the cell holds what we want, and nothing can change that any more but others."""
    return cell is not None and cell.sure and cell.base == want and cell.unsettled in ("", spelled(want))


def is_quiet(cell: Cell, wall_s: float, settle_s: float) -> bool:
    """Whether all writes of ours have settled, so that a read shows the present state."""
    return cell.sure and not cell.unsettled and wall_s >= cell.wrote_wall_s + settle_s


def see(cell: Cell | None, shown: str | None, want: str | None, ever: Iterable[str], *, quiet: bool) -> Sight:
    """What to make of a cell that shows `shown`.

    Args:
        cell: what we know, None for nothing.
        shown: what the remote holds, None for nothing.
        want: what it should hold.
        ever: values that localtrack ever logged for the cell; they count as ours only while we know nothing better.
        quiet: see `is_quiet`.
    """
    if cell is None:
        if shown == want:
            return Sight.SAME
        return Sight.OURS if shown is None or shown in ever else Sight.OUTSIDE
    if quiet:
        if shown == want:
            return Sight.SAME
        return Sight.OURS if shown == cell.base else Sight.OUTSIDE
    if shown == want and spelled(want) not in cell.poss:
        return Sight.SAME
    known = {spelled(cell.base), cell.unsettled, *cell.poss, spelled(want)}
    return Sight.OURS if spelled(shown) in known else Sight.OUTSIDE


def before_write(blank: Cell, cell: Cell | None, shown: str | None, want: str | None, *, quiet: bool) -> Cell:
    """The cell as it is saved before a write is sent: whatever becomes of us, the write is remembered as unsettled.

    Args:
        blank: a cell with scope, key and time filled in, for a cell that we know nothing of.
        cell: what we know.
        shown: what the remote showed.
        want: what will be written.
        quiet: see `is_quiet`.
    """
    if cell is None or quiet:
        return replace(blank, base=shown, unsettled=spelled(want))
    poss = set(cell.poss) | ({spelled(shown)} if spelled(shown) != spelled(want) else set())
    return replace(cell, poss=tuple(sorted(poss)), unsettled=spelled(want), wrote_wall_s=blank.wrote_wall_s)


def after_write(cell: Cell, want: str | None, *, still_unsettled: bool) -> Cell:
    """The cell once a write is known to be applied.

    Args:
        cell: as saved before the write.
        want: what was written.
        still_unsettled: an earlier write of the same value was never answered and may still be executed.
    """
    poss = {*cell.poss, spelled(cell.base)} - {spelled(want)} if cell.base != want else set(cell.poss)
    return replace(
        cell,
        base=want,
        poss=tuple(sorted(poss)),
        unsettled=spelled(want) if still_unsettled else "",
        sure=True,
        pinned=False,
    )
