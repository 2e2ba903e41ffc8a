"""What a remote should hold, as values: the contract between the catalog and the replay side. Pure.

`localtrack.catalog.queries` fills these from the catalog; the replay engine compares them with what a remote has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Point(NamedTuple):
    """One metric point with its origin.

    Attributes:
        incarnation: journal that recorded it.
        pos: n * POSITIONS_PER_RECORD + index in the record: dense enough to be a watermark, unique in the journal.
        ts: milliseconds since the epoch.
    """

    incarnation: str
    pos: int
    key: str
    value: float
    ts: int
    step: int
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None


@dataclass(frozen=True, slots=True)
class DesiredExperiment:
    """The state of an experiment after all imported ops.

    Attributes:
        tags: key -> value, the winners; `dropped_tags` are keys whose winning op is a delete.
        ever: key -> every value that any journal ever wrote to that tag (what we may find on a remote as our own).
    """

    experiment_id: str
    name: str
    artifact_location: str | None
    deleted: bool
    tags: dict[str, str] = field(default_factory=dict)
    dropped_tags: tuple[str, ...] = ()
    ever: dict[str, tuple[str, ...]] = field(default_factory=dict)
    names_ever: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParamConflict:
    """A param that journals disagree on: the winner is in DesiredRun.params, these are the others.

    Attributes:
        others: (value, incarnation) pairs, sorted.
    """

    key: str
    winner: str
    others: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DesiredRun:
    """The state of a run after all imported ops, without its metric points.

    Attributes:
        start_time, end_time: milliseconds since the epoch.
        params: key -> value, first writer wins (owner journal first, then the smallest stamp).
        tags: key -> value, last writer wins; `dropped_tags` are keys whose winning op is a delete.
        ever: key -> every value that any journal ever wrote to that tag.
        head: incarnation -> greatest position of a metric point of this run (what the watermarks must reach).
        remote: default remote of the run, or None; `remote_trusted` says whether its proof is this user's.
    """

    run_id: str
    experiment_id: str
    name: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None
    deleted: bool
    params: dict[str, str] = field(default_factory=dict)
    param_conflicts: tuple[ParamConflict, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    dropped_tags: tuple[str, ...] = ()
    ever: dict[str, tuple[str, ...]] = field(default_factory=dict)
    head: dict[str, int] = field(default_factory=dict)
    remote: str | None = None
    remote_proof: str | None = None
    create_stamp: int = 0
