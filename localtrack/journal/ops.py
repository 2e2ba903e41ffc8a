"""Ops: what a journal records, as values. Pure: no I/O, no clock.

A journal is a sequence of records (n = 1, 2, 3, ...); each record holds one stamp and one op. The identity of an op is
(incarnation, n), where the incarnation is the random id of the journal. One API call appends exactly one record, so a
call is wholly in the journal or not at all.

A stamp is a hybrid logical clock reading: milliseconds since the epoch << 16 | counter (Kulkarni, Demirbas et al.
2014). The total order for last-writer-wins is (stamp, incarnation, n).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from localtrack.entities import Metric, Param, RunTag

COUNTER_BITS = 16
#: A record holds at most this many metrics, so that n * POSITIONS_PER_RECORD + i is a position of one point.
POSITIONS_PER_RECORD = 4096
#: Tag of a run that somebody else than its own process ended, and why; it goes when the run gets another status.
ENDED_BY_TAG = "localtrack.ended_by"


def stamp_ms(stamp: int) -> int:
    """Wall-clock part of a stamp, milliseconds since the epoch."""
    return stamp >> COUNTER_BITS


def next_stamp(last: int, wall_ms: int) -> int:
    """The stamp after `last` when the wall clock says `wall_ms`: strictly greater than `last`, at least the clock."""
    return max(last + 1, wall_ms << COUNTER_BITS)


def at_least(stamp: int, last: int) -> int:
    """The stamp after `last` that was decided already, or the next one when it is too late for that."""
    return max(stamp, last + 1)


class OpId(NamedTuple):
    """Identity of one op, and the tie-break of last-writer-wins."""

    stamp: int
    incarnation: str
    n: int


@dataclass(frozen=True, slots=True)
class ExperimentCreate:
    """An experiment was created. `experiment_id` is derived from the name, so machines that never met agree."""

    experiment_id: str
    name: str
    artifact_location: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ExperimentRename:
    """An experiment got another name (last writer wins)."""

    experiment_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ExperimentTagSet:
    """A tag of an experiment was set, or deleted when `value` is None (last writer wins)."""

    experiment_id: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class ExperimentLifecycle:
    """An experiment was soft-deleted or restored, all its runs with it (last writer wins)."""

    experiment_id: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class RunCreate:
    """A run was created.

    Attributes:
        run_id: 32 hex digits, random.
        start_time: milliseconds since the epoch.
        tags: tags given at creation (mlflow.runName among them).
        remote: default remote of the run (`http(s)://...`, `databricks...`), or None.
        remote_proof: HMAC that shows whose journal this is (see localtrack.settings), or None.
    """

    run_id: str
    experiment_id: str
    name: str
    user_id: str
    start_time: int
    tags: tuple[tuple[str, str], ...] = ()
    remote: str | None = None
    remote_proof: str | None = None


@dataclass(frozen=True, slots=True)
class RunUpdate:
    """Status, end time or name of a run changed; None leaves a field as it is (each field: last writer wins).

    Attributes:
        ended_by: why the run is ended by somebody else than its own process: kept as the tag ENDED_BY_TAG. Tag and end
            time of such an update count as long as no later update sets the status.
    """

    run_id: str
    status: str | None = None
    end_time: int | None = None
    name: str | None = None
    ended_by: str | None = None


@dataclass(frozen=True, slots=True)
class RunLifecycle:
    """A run was soft-deleted or restored (last writer wins)."""

    run_id: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Metrics, params and tags of one run, logged by one call.

    Attributes:
        metrics: in the order of the call, at most POSITIONS_PER_RECORD.
        tags: set tags; the last of equal keys wins.
        deleted_tags: keys of tags that were deleted.
    """

    run_id: str
    metrics: tuple[Metric, ...] = ()
    params: tuple[Param, ...] = ()
    tags: tuple[RunTag, ...] = ()
    deleted_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunInputs:
    """Datasets and models went into a run; the first input of a (name, digest) or of a model counts.

    Attributes:
        datasets: (name, digest, source_type, source, schema, profile, tags) each; schema and profile are JSON text or
            None, tags are (key, value) pairs (the context is the tag mlflow.data.context).
        models: model ids.
    """

    run_id: str
    datasets: tuple[tuple[str, str, str, str, str | None, str | None, tuple[tuple[str, str], ...]], ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """Models came out of a run: (model id, step) pairs; the first output of a model counts."""

    run_id: str
    models: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class RunModelLogged:
    """The deprecated log_model: one entry (a JSON object as text) more in the run's tag mlflow.log-model.history."""

    run_id: str
    model_json: str


@dataclass(frozen=True, slots=True)
class RunAttach:
    """A run that this store did not create is logged to: it exists, or will, on the remote or in another store.

    Attributes:
        run_id: id on the remote, or local id on the machine that created it.
        start_time: when it was attached to, milliseconds since the epoch.
        remote, remote_proof: as in RunCreate.
    """

    run_id: str
    start_time: int
    remote: str | None = None
    remote_proof: str | None = None


@dataclass(frozen=True, slots=True)
class ModelCreate:
    """A logged model was created, with status PENDING.

    Attributes:
        model_id: "m-" and 32 hex digits, random.
        source_run_id: the run that makes it, or None.
        remote, remote_proof: as in RunCreate, with the model's id.
    """

    model_id: str
    experiment_id: str
    name: str
    model_type: str | None = None
    source_run_id: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    remote: str | None = None
    remote_proof: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFinalize:
    """A logged model got a status: PENDING, READY or FAILED (last writer wins)."""

    model_id: str
    status: str


@dataclass(frozen=True, slots=True)
class ModelTagsSet:
    """Tags of a logged model were set, or deleted where the value is None (each: last writer wins)."""

    model_id: str
    tags: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class ModelParamsLogged:
    """Params of a logged model were logged (each: first writer wins)."""

    model_id: str
    params: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ModelLifecycle:
    """A logged model was soft-deleted (there is no restore in the API; last writer wins)."""

    model_id: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class ArtifactStored:
    """A file lies in the artifact directory of a run or of a logged model (each path: last writer wins).

    Attributes:
        owner: run id, or model id ("m-...").
        path: relative, with "/" between its parts, as checked by `localtrack.artifacts.paths`.
        size: bytes.
        sha256: 64 hex digits, of the content.
    """

    owner: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Loss:
    """Records that could not be written (disk full, ...): how many of each kind, and when (ms since the epoch).

    Attributes:
        counts: (kind, count) pairs; kinds are "metric", "param", "tag", "lifecycle", "input", "model", "artifact".
    """

    counts: tuple[tuple[str, int], ...]
    first_ms: int
    last_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class Seal:
    """The journal was closed in good order; nothing follows."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """An op of a kind that this version does not know: kept, counted and shown, never dropped."""

    kind: int
    payload: bytes


Op: TypeAlias = (
    ExperimentCreate
    | ExperimentRename
    | ExperimentTagSet
    | ExperimentLifecycle
    | RunCreate
    | RunUpdate
    | RunLifecycle
    | LogBatch
    | RunInputs
    | RunOutputs
    | RunModelLogged
    | RunAttach
    | ModelCreate
    | ModelFinalize
    | ModelTagsSet
    | ModelParamsLogged
    | ModelLifecycle
    | ArtifactStored
    | Loss
    | Seal
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a journal: its place, its stamp, its op."""

    n: int
    stamp: int
    op: Op


@dataclass(frozen=True, slots=True)
class Damage:
    """A record that is in the file but cannot be trusted, or a gap.

    Attributes:
        first_n, last_n: range of record numbers.
        reason: one line for people.
    """

    first_n: int
    last_n: int
    reason: str


@dataclass(frozen=True, slots=True)
class JournalInfo:
    """Header of a journal file.

    Attributes:
        incarnation: random 128-bit id, 32 hex digits: the identity of the journal.
        created_ms: milliseconds since the epoch.
        host, pid, user: who writes it.
        format: the file's user_version.
    """

    incarnation: str
    created_ms: int
    host: str
    pid: int
    user: str
    format: int
