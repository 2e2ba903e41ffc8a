"""What a remote should hold, as values: the contract between the catalog and the replay side. Pure.

`localtrack.catalog.queries` fills these from the catalog; the replay engine compares them with what a remote has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from localtrack.entities import DatasetInput


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


class StoredFile(NamedTuple):
    """A file that the remote should have: path below the artifact root, bytes, SHA-256 (64 hex digits)."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """The state of a logged model after all imported ops; its files are read apart (Catalog.files).

    Attributes:
        params: key -> value, first writer wins; tags and ever as in DesiredRun.
        status: PENDING, READY or FAILED.
        remote, remote_proof: default remote, or None (its source run's counts first).
    """

    model_id: str
    experiment_id: str
    name: str
    model_type: str | None
    source_run_id: str | None
    status: str
    deleted: bool
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    dropped_tags: tuple[str, ...] = ()
    ever: dict[str, tuple[str, ...]] = field(default_factory=dict)
    remote: str | None = None
    remote_proof: str | None = None
    create_stamp: int = 0


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
        datasets, model_inputs, model_outputs: what went in and came out, by (name, digest) or model id.
        models_logged: entries of the deprecated log_model, in their order; they follow what the tag
            mlflow.log-model.history holds in `tags`.
        attached: the run was created elsewhere (on the remote, or by a store that is not here): `experiment_id` is "",
            `name` is "" unless it was changed, `status` is "" unless it was set.
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
    datasets: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[tuple[str, int], ...] = ()
    models_logged: tuple[str, ...] = ()
    attached: bool = False
