"""The merge: which value wins. Pure: no I/O, no clock.

Everything here is a join (associative, commutative, idempotent), so the catalog is a function of the set of imported
records and not of the order in which they came:

- a register (tag, name, status, end time, lifecycle) keeps the value with the greatest OpId: last writer wins;
- a run that somebody else ended (RunUpdate.ended_by) has the tag and the end time of that as long as no later update
  sets its status;
- a creation keeps the smallest OpId: the first one counts;
- a param keeps every (journal, value) claim with its smallest OpId; the winner is computed from the claims: the journal
  that created the run first, then the smallest OpId: first writer wins;
- "ever" (all values that were once written to a tag) is a set;
- the latest metric of a key is the greatest (step, timestamp, value).

`changes.fold` applies the joins within a pass over records; the upserts of `writing` apply the same joins against what
is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from localtrack.entities import RunStatus
from localtrack.journal.ops import OpId

#: MLflow keeps this tag and the name of the run equal: setting one sets the other (3.17.2, SqlAlchemyStore.set_tag and
#: update_run_info). Deleting the tag leaves the name; setting it to "" changes neither.
RUN_NAME_TAG = "mlflow.runName"
#: MLflow keeps the entries of the deprecated log_model in it; here they are added when it is read.
HISTORY_TAG = "mlflow.log-model.history"

#: Kinds of registers. A tag's key is the tag's name, the others have the key "".
TAG, NAME, STATUS, END_TIME, DELETED = "tag", "name", "status", "end_time", "deleted"
#: Lifecycle ops of an experiment alone: what covers its runs. (DELETED of an experiment counts its creations too.)
COVERS = "covers"
#: End time of a run that somebody else ended (RunUpdate.ended_by); counts while that update holds the status.
ENDED = "ended"

Value: TypeAlias = str | int | None
#: (id of the run or experiment, kind, key)
CellKey: TypeAlias = tuple[str, str, str]


class Cell(NamedTuple):
    """A register: the winning value and the op that wrote it. The value None is a deleted tag."""

    op: OpId
    value: Value


class Rank(NamedTuple):
    """What makes a metric point the latest of its key: MLflow's order, where NaN stands as 0 (here after a real 0)."""

    step: int
    ts: int
    value: float
    nan: int


def put(cells: dict[CellKey, Cell], where: CellKey, op: OpId, value: Value) -> None:
    """Last writer wins; within one op the later write wins."""
    old = cells.get(where)
    if old is None or op >= old.op:
        cells[where] = Cell(op, value)


def first(claims: dict[tuple[str, str, str], OpId], where: tuple[str, str, str], op: OpId) -> None:
    """First writer wins."""
    old = claims.get(where)
    if old is None or op < old:
        claims[where] = op


class Claim(NamedTuple):
    """One journal's value of a param, with the first op that wrote it."""

    key: str
    value: str
    op: OpId


def param_winners(claims: Iterable[Claim], owner: str | None) -> dict[str, str]:
    """Key -> winning value: the owner journal's first claim, else the claim with the smallest OpId (then value)."""
    best: dict[str, tuple[bool, OpId, str]] = {}
    for claim in claims:
        rank = (claim.op.incarnation != owner, claim.op, claim.value)
        if claim.key not in best or rank < best[claim.key]:
            best[claim.key] = rank
    return {key: value for key, (_, _, value) in best.items()}


class RunState(NamedTuple):
    """What a run's registers amount to."""

    name: str
    status: str
    end_time: int | None
    deleted: bool


def ended_tag(tag: Cell | None, status: Cell | None) -> Cell | None:
    """The tag ENDED_BY_TAG when the status of the run was set after it: gone, as of then; None: it stays as it is."""
    return Cell(status.op, None) if tag is not None and status is not None and status.op > tag.op else None


def run_state(create: OpId | None, cells: Mapping[str, Cell], covers: Cell | None) -> RunState:
    """The state of a run from its registers.

    Args:
        create: the op that created the run, None while it is not imported.
        cells: kind -> register of the run.
        covers: the experiment's last delete or restore: it covers every run of the experiment, also (as in MLflow)
            runs that were deleted on their own before a restore; a later op of the run's own counts again.
    """
    name, status, end = cells.get(NAME), cells.get(STATUS), cells.get(END_TIME)
    own = cells.get(DELETED) or Cell(create or OpId(0, "", 0), 0)
    last = covers if covers is not None and covers.op > own.op else own
    if (ended := cells.get(ENDED)) is not None and status is not None and ended.op == status.op:
        end = ended
    assert end is None or end.value is None or isinstance(end.value, int), "an end time is a number"
    return RunState(
        name=str(name.value) if name else "",
        status=str(status.value) if status else RunStatus.RUNNING,
        end_time=end.value if end else None,  # type: ignore[arg-type]
        deleted=bool(last.value),
    )
