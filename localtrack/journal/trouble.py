"""What happens to ops while no journal can be written: kept in memory or counted, never dropped without a trace.

Everything here runs under the Journal's lock, but a signal handler may log in the middle of any line.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping

from localtrack.journal import ops

#: Ops kept in memory at most; more are counted as lost: a disk that stays full must not eat the machine's memory.
MAX_KEPT = 100_000
#: Advice of the errors and of the warning.
HINT = "free disk space, or choose another store with LOCALTRACK_STORE"


def count_kinds(op: ops.Op) -> dict[str, int]:
    """How many values of each kind of LOSS an op holds."""
    if isinstance(op, ops.LogBatch):
        counts = {"metric": len(op.metrics), "param": len(op.params), "tag": len(op.tags) + len(op.deleted_tags)}
    elif isinstance(op, ops.ExperimentTagSet):
        counts = {"tag": 1}
    elif isinstance(op, ops.Loss | ops.Seal):
        counts = {}
    elif isinstance(op, ops.RunInputs | ops.RunOutputs):
        counts = {"input": len(op.models) + (len(op.datasets) if isinstance(op, ops.RunInputs) else 0)}
    elif isinstance(op, ops.RunModelLogged | ops.ModelTagsSet | ops.ModelParamsLogged):
        counts = {"model": 1}
    elif isinstance(op, ops.ArtifactStored):
        counts = {"artifact": 1}
    else:
        counts = {"lifecycle": 1}
    return {kind: count for kind, count in counts.items() if count}


class Kept:
    """Ops that wait for a journal, in the order of their stamps, and counts of what could not be kept.

    Attributes:
        waiting: (stamp, op) pairs: lifecycle, params, tags; never metrics, which come by the million.
        reason: the first error of this trouble, for people.
        lost_since_flush: whether something was counted as lost since `flush` was last asked.
    """

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, ops.Op]] = deque()
        self.reason = ""
        self.lost_since_flush = False
        self._lost: dict[str, int] = {}
        self._first_ms = 0
        self._last_ms = 0
        self._uncounted: deque[tuple[int, str, int]] = deque()
        self._counting = False

    def add(self, stamp: int, op: ops.Op, *, whole: bool = False) -> None:
        """Keep an op; its metrics are counted as lost, unless `whole`: then it waits for a moment only."""
        if isinstance(op, ops.LogBatch) and op.metrics and not whole:
            self.count(stamp, "metric", len(op.metrics))
            if not (op.params or op.tags or op.deleted_tags):
                return
            op = ops.LogBatch(op.run_id, (), op.params, op.tags, op.deleted_tags)
        if len(self.waiting) < MAX_KEPT:
            self.waiting.append((stamp, op))
            return
        for kind, count in count_kinds(op).items():
            self.count(stamp, kind, count)

    def count(self, stamp: int, kind: str, count: int) -> None:
        """Count values as lost."""
        self.lost_since_flush = True
        self._uncounted.append((stamp, kind, count))
        self._sum_up()

    def _sum_up(self) -> None:
        # A signal handler that comes in between only appends: adding to a sum is not one step, appending is.
        if self._counting:
            return
        self._counting = True
        try:
            while self._uncounted:
                stamp, kind, count = self._uncounted.popleft()
                self._lost[kind] = self._lost.get(kind, 0) + count
                self._last_ms = ops.stamp_ms(stamp)
                self._first_ms = self._first_ms or self._last_ms
        finally:
            self._counting = False

    @property
    def lost(self) -> Mapping[str, int]:
        """Kind -> count of values that are lost and that no LOSS record names yet."""
        self._sum_up()
        return dict(self._lost)

    def loss(self) -> ops.Loss | None:
        """The LOSS to record, or None when nothing was lost."""
        lost = self.lost
        return ops.Loss(tuple(sorted(lost.items())), self._first_ms, self._last_ms, self.reason) if lost else None

    def recorded(self, loss: ops.Loss) -> None:
        """This LOSS is in a journal: what it names is not owed any more."""
        for kind, count in loss.counts:
            self._lost[kind] -= count
        self._lost = {kind: count for kind, count in self._lost.items() if count}
        self._first_ms = 0

    def left(self) -> dict[str, int]:
        """Everything that no journal holds, by kind: what would be gone if the process ended now."""
        counts = dict(self.lost)
        for _, op in tuple(self.waiting):
            for kind, count in count_kinds(op).items():
                counts[kind] = counts.get(kind, 0) + count
        return counts


def tell(message: str) -> None:
    """Say it to people, through the logger "localtrack" and on stderr; never raises, not even under `-W error`."""
    try:
        import logging

        logger = logging.getLogger("localtrack")
        logger.warning(message)
        if logger.hasHandlers():
            # Without handlers logging itself writes to stderr; with handlers it may be in a file that nobody reads.
            sys.stderr.write(f"localtrack: {message}\n")
    except Exception:  # noqa: BLE001, S110 - training must not die of a handler or of a closed stderr
        pass


def in_words(counts: Mapping[str, int]) -> str:
    """`3 params, 1 lifecycle record`."""
    noun = {"metric": "metric", "param": "param", "tag": "tag", "lifecycle": "lifecycle record"}
    return ", ".join(
        f"{count} {noun.get(kind, kind)}{'s' if count != 1 else ''}" for kind, count in sorted(counts.items())
    )
