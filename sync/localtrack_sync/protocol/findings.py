"""What a verification found: one value for each thing in which a remote differs from the store. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """What a finding means for the question whether the remote has what the store has."""

    DIFFERENT = "different"  # something is missing, doubled, or not what was logged
    KNOWN = "known"  # a conflict, or a rejected or parked record: named elsewhere, with a reason
    FOREIGN = "foreign"  # others added it; nothing of ours is missing


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the store and the remote.

    Attributes:
        kind: "run", "model", "experiment", "name", "user", "status", "time", "lifecycle", "type", "source run",
            "param", "tag", "metric", "dataset", "model_input", "output", "log_model" or "file".
        key: which one; "" when there is only one.
        what: "missing" (not there), "extra" (not here), "different", "twice", or (before `localtrack gc`, files only)
            "unread": it could not be read back.
        ours: what the store has, as text; None: nothing.
        theirs: what the remote has, as text; None: nothing.
        count: how many records are meant (metric points), at least.
        standing: see `Standing`.
        reason: why it is known or foreign, "" when nothing explains it.
    """

    kind: str
    key: str
    what: str
    ours: str | None = None
    theirs: str | None = None
    count: int = 1
    standing: Standing = Standing.DIFFERENT
    reason: str = ""


def verdict_of(findings: tuple[Finding, ...]) -> str:
    """Word for a run or experiment that was read back whole: "different", "known" or "equal"."""
    standings = {finding.standing for finding in findings}
    if Standing.DIFFERENT in standings:
        return "different"
    return "known" if Standing.KNOWN in standings else "equal"
