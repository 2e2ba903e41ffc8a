"""What may be concluded from what a cell shows."""

from __future__ import annotations

import pytest

from localtrack_sync.protocol.cells import Sight, after_write, before_write, is_quiet, is_settled, see, spelled
from localtrack_sync.protocol.records import Cell


def cell(base: str | None, *poss: str, unsettled: str = "", sure: bool = True) -> Cell:
    """A cell of some run."""
    return Cell("run", "a", "k", base, poss=poss, unsettled=unsettled, sure=sure)


@pytest.mark.parametrize(
    ("known", "shown", "want", "quiet", "sight"),
    [
        # Nothing is known: our own earlier values count as ours, everything else is somebody's.
        (None, None, "v", False, Sight.OURS),
        (None, "v", "v", False, Sight.SAME),
        (None, "old", "v", False, Sight.OURS),
        (None, "by hand", "v", False, Sight.OUTSIDE),
        # Everything has settled: only the base is ours.
        (cell("a"), "a", "b", True, Sight.OURS),
        (cell("a"), "b", "b", True, Sight.SAME),
        (cell("a"), "old", "b", True, Sight.OUTSIDE),
        (cell("a"), None, "b", True, Sight.OUTSIDE),
        (cell(None), None, "b", True, Sight.OURS),
        # A write is fresh: an older value of ours may be a late picture.
        (cell("b", "=a"), "a", "c", False, Sight.OURS),
        (cell("b", "=a"), "by hand", "c", False, Sight.OUTSIDE),
        # What we want was there before: seeing it does not prove that it is there now.
        (cell("b", "=a"), "a", "a", False, Sight.OURS),
        # An unanswered write of ours has arrived.
        (cell("a", unsettled="=b"), "b", "b", False, Sight.SAME),
        (cell("a", unsettled="=b"), "a", "b", False, Sight.OURS),
        (cell("a", unsettled="-"), None, None, False, Sight.SAME),
    ],
)
def test_what_a_look_shows(known: Cell | None, shown: str | None, want: str, quiet: bool, sight: Sight) -> None:
    """Ours, as wanted, or somebody else's: decided by what was there before and what may still be under way."""
    assert see(known, shown, want, ("old", "v"), quiet=quiet) is sight


def test_a_write_is_remembered_until_it_is_answered() -> None:
    """Before it is sent a write is unsettled; answered, it is the base, and the old value may still be seen."""
    blank = cell(None)
    pending = before_write(blank, cell("a"), "a", "b", quiet=False)
    assert (pending.base, pending.unsettled) == ("a", "=b")
    assert not is_settled(pending, "b")
    done = after_write(pending, "b", still_unsettled=False)
    assert is_settled(done, "b")
    assert set(done.poss) == {"=a"}


def test_a_repeated_write_does_not_hide_an_unanswered_one() -> None:
    """The same value sent twice, the first time without an answer: applied, yet the first may still be executed."""
    done = after_write(cell("a", unsettled="=b"), "b", still_unsettled=True)
    assert is_settled(done, "b")
    assert done.unsettled == "=b"
    assert not is_settled(done, "a")


def test_a_base_that_a_lost_write_may_have_replaced_settles_nothing() -> None:
    """A write was given up on before its outcome was known: the base is a memory, not knowledge."""
    assert not is_settled(cell("a", "=b", sure=False), "a")
    assert not is_quiet(cell("a", "=b", sure=False), wall_s=1e9, settle_s=120.0)


def test_absence_and_text_cannot_be_confused() -> None:
    """A tag that holds "-" is not an absent one."""
    assert spelled(None) != spelled("-")
    assert spelled("") != spelled(None)
