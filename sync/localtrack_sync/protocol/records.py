"""Delivery state: what is known about what one remote has, as values. Pure.

A record belongs to a scope: ("remote", ""), ("experiment", local experiment id), ("run", local run id) or ("model",
local model id). The engine reads the records of a scope with `Load` and changes them with `Save`; the shell stores
them, one table per class, without knowing what they mean. Field types are str, int, float, bool, None and
tuple[str, ...] only, and `scope`, `scope_id` come first.

Nothing here counts time across processes except `wall_s` fields (seconds since the epoch), and those only ever make the
engine more careful. When an unknown outcome became unknown is not stored: at a restart every open intent counts from
now.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """What was found out about the remote.

    Attributes:
        version: server version as it names itself, "" when it does not.
        store_type: "SqlStore", "FileStore" or "" (unknown).
        dedupes: a metric point that is sent twice is stored once.
        nan_safe: a batch with NaN may be sent again.
        born_wall_s: when this delivery state was made.
        models: it has logged models, runs' outputs, and metrics of models (MLflow 3).
    """

    TABLE: ClassVar[str] = "remote_facts"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id")

    scope: str
    scope_id: str
    version: str = ""
    store_type: str = ""
    dedupes: bool = False
    nan_safe: bool = False
    born_wall_s: float = 0.0
    models: bool = False


@dataclass(frozen=True, slots=True)
class ExperimentBinding:
    """Which remote experiment a local one is.

    Attributes:
        remote_id: experiment id on the remote.
        created: made by localtrack (it carries our uid tag), so it may be renamed and deleted by us.
        virgin: made by this very delivery state, answered: no earlier one can have left runs in it.
        restores: how often we restored it there, or may have; each time all its runs came back to life.
    """

    TABLE: ClassVar[str] = "experiment_binding"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id")

    scope: str
    scope_id: str
    remote_id: str
    created: bool = False
    virgin: bool = False
    restores: int = 0


@dataclass(frozen=True, slots=True)
class RunBinding:
    """Which remote run (scope "run") or logged model (scope "model") a local one is, and how it came to be.

    Attributes:
        state: "creating" (a create was sent; nothing is bound yet), "bound", or "doubted" (it was bound, and the remote
            is to be looked at before anything is believed).
        remote_id: id on the remote, "" while creating.
        experiment_remote_id: its experiment on the remote.
        attempts: creates sent so far.
        nonce: random name of this delivery state's creates of the run; part of the tag localtrack.att.
        artifact_uri: artifact root on the remote.
        fresh: the remote run was made by a create of this very state, so what this state never sent is not there.
        bound_wall_s: when it was bound; a read may not show the run for a settle time.
        restores: as in the experiment's binding, when this run was last known to be deleted.
        sweep_wall_s: search for a second run with our uid in the first pass after this time; 0: no need.
    """

    TABLE: ClassVar[str] = "run_binding"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id")

    scope: str
    scope_id: str
    state: str
    remote_id: str = ""
    experiment_remote_id: str = ""
    attempts: int = 0
    nonce: str = ""
    artifact_uri: str = ""
    fresh: bool = False
    bound_wall_s: float = 0.0
    restores: int = 0
    sweep_wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Intent:
    """A request whose outcome is not known yet: saved before it is sent, dropped when its outcome is known.

    An intent that is found at a start is an unknown outcome: the process died between sending and knowing.

    Attributes:
        kind: "metrics" (a window of points), "log_model" (one entry of the deprecated log_model), "links" (inputs or
            outputs, on a remote that may store them twice).
        covers: "<incarnation>=<greatest position>" for each journal: the points between the watermarks and here; the
            name of the entry.
    """

    TABLE: ClassVar[str] = "intent"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "kind")

    scope: str
    scope_id: str
    kind: str
    covers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Watermark:
    """Metric points of one journal and run that are settled: delivered, rejected or parked.

    Attributes:
        upto: greatest settled position; everything up to here is settled.
        verify_upto: points up to here may already be on the remote (adopted run): read back before sending.
        top_ts: greatest timestamp of the settled points, milliseconds since the epoch.
    """

    TABLE: ClassVar[str] = "watermark"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "incarnation")

    scope: str
    scope_id: str
    incarnation: str
    upto: int = 0
    verify_upto: int = 0
    top_ts: int = -1


@dataclass(frozen=True, slots=True)
class ParamDelivered:
    """A param that the remote has, with our value."""

    TABLE: ClassVar[str] = "param_delivered"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "key")

    scope: str
    scope_id: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Linked:
    """Something that hangs on a run, and that the remote has.

    Attributes:
        kind: "dataset", "model_input", "output" or "log_model".
        key: name and digest of a dataset as a JSON list, the local id of a model, a name of the log_model entry.
    """

    TABLE: ClassVar[str] = "linked"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "kind", "key")

    scope: str
    scope_id: str
    kind: str
    key: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One place on the remote that can be overwritten: a tag, "@status", "@deleted" or "@name" (no tag has "@").

    Attributes:
        base: what the remote held when we last knew, None for nothing.
        poss: older contents of ours ("=value", or "-" for nothing) that a late read may still show.
        unsettled: "=value" or "-": a write that was sent and not answered; it may still be executed. "" for none.
        sure: whether `base` is still certain: no write was given up on whose outcome never became known.
        pinned: somebody else wrote here; hands off.
        wrote_wall_s: when we last wrote.
    """

    TABLE: ClassVar[str] = "cell"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "key")

    scope: str
    scope_id: str
    key: str
    base: str | None
    poss: tuple[str, ...] = ()
    unsettled: str = ""
    sure: bool = True
    pinned: bool = False
    wrote_wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FileDelivered:
    """One file on the remote: a place that is overwritten whole, so much like a `Cell`.

    Attributes:
        path: below the artifact root.
        sha256, size: of the local content that the remote has; "" and -1 while it has none of ours for certain.
        sent_sha256, sent_size: of what was last sent and arrived: the same, unless ids inside were made the remote's.
        unsettled: SHA-256 of each sent content whose upload was not answered; it may still be executed.
    """

    TABLE: ClassVar[str] = "file_delivered"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "path")

    scope: str
    scope_id: str
    path: str
    sha256: str = ""
    size: int = -1
    sent_sha256: str = ""
    sent_size: int = -1
    unsettled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PartialUpload:
    """A large file of which parts are on the remote, until it is whole.

    Attributes:
        sha256: of the content.
        upload_id: the remote's name for the upload.
        part_bytes: length of every part but the last.
        addresses: where each part goes, as JSON: {url, headers}. They allow nothing but this upload, and expire.
        etags: "<part number>=<etag>" of the parts that are there.
    """

    TABLE: ClassVar[str] = "partial_upload"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "path")

    scope: str
    scope_id: str
    path: str
    sha256: str
    upload_id: str
    part_bytes: int
    addresses: tuple[str, ...] = ()
    etags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conflict:
    """Something that collided; what stands on the remote is left alone.

    Attributes:
        kind: "param" (the remote holds another value), "journals" (journals disagree about a param),
            "tag" (somebody else wrote it), "output" (with another step), "name", "lifecycle",
            "status" (somebody else ended the run, later).
        ours: what localtrack logged last.
        theirs: what stands on the remote (kind "journals": the other journals' values), None for nothing.
    """

    TABLE: ClassVar[str] = "conflict"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "kind", "key")

    scope: str
    scope_id: str
    kind: str
    key: str
    ours: str | None
    theirs: str | None
    since_wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that the remote refuses, with its words. It is not sent again.

    Attributes:
        kind: "param", "tag", "metric", "model_metric" (the point is there, but not under its logged model), "dataset",
            "model_input", "output", "log_model", "file", "status", "name".
        key: name; for a metric "<incarnation>:<position>"; for a file its path; else as in `Linked`.
        value: what was to be sent, as text.
    """

    TABLE: ClassVar[str] = "rejected"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "kind", "key")

    scope: str
    scope_id: str
    kind: str
    key: str
    value: str
    reason: str
    since_wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Parked:
    """Something that waits for a change from outside; it is tried again in every pass.

    Attributes:
        kind: "run", "model" or "experiment" (all of it), or that of one record, as in `Rejected`.
        key: "" for all of it (kind "file": all files); else as in `Rejected`, but "model_metric" is for all points of a
            run that were logged to the model of this id.
        value: what is to be sent, as text.
        tries: how often it was parked in a row.
    """

    TABLE: ClassVar[str] = "parked"
    KEY: ClassVar[tuple[str, ...]] = ("scope", "scope_id", "kind", "key")

    scope: str
    scope_id: str
    kind: str
    key: str
    value: str
    reason: str
    since_wall_s: float = 0.0
    tries: int = 1


Record: TypeAlias = (
    RemoteFacts
    | ExperimentBinding
    | RunBinding
    | Intent
    | Watermark
    | ParamDelivered
    | Linked
    | Cell
    | FileDelivered
    | PartialUpload
    | Conflict
    | Rejected
    | Parked
)

#: Every record class: the shell makes one table for each.
CLASSES: tuple[type[Record], ...] = (
    RemoteFacts,
    ExperimentBinding,
    RunBinding,
    Intent,
    Watermark,
    ParamDelivered,
    Linked,
    Cell,
    FileDelivered,
    PartialUpload,
    Conflict,
    Rejected,
    Parked,
)


def key_of(record: Record) -> tuple[Any, ...]:
    """Identity of a record: its table and the values of its key fields."""
    return (record.TABLE, *(getattr(record, name) for name in record.KEY))


def row_of(record: Record) -> dict[str, Any]:
    """Field values of a record by name, in order of declaration."""
    return {item.name: getattr(record, item.name) for item in fields(record)}
