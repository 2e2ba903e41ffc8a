"""What the catalog says about its sources and its runs at a glance, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from localtrack.journal.ops import Damage


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run in a list of all runs: what status and planning need without reading the run.

    Attributes:
        experiment_name: name of the experiment, its id while the experiment itself is not known.
        start_time, end_time: milliseconds since the epoch.
        remote, remote_proof: default remote of the run and whose journal named it, or None.
        params, tags, points: how many; `points` counts recorded points, also equal ones.
        oldest_ms, newest_ms: time of the first and the last record about this run, milliseconds since the epoch.
        param_conflicts: how many params journals disagree on.
        inputs, outputs: datasets and models that went in, models that came out.
        models_logged: entries of the deprecated log_model.
        files: how many files; `bytes` is their size.
        attached: the run was created elsewhere.
        content: the same as long as nothing of the run has changed, whatever the order of import (made from the stamps
            of winners and counts): lets a replay pass over a delivered run without reading it.
    """

    run_id: str
    experiment_id: str
    experiment_name: str
    name: str
    status: str
    deleted: bool
    start_time: int
    end_time: int | None
    remote: str | None
    remote_proof: str | None
    create_stamp: int
    params: int
    tags: int
    points: int
    oldest_ms: int
    newest_ms: int
    param_conflicts: int = 0
    content: str = ""
    inputs: int = 0
    outputs: int = 0
    models_logged: int = 0
    files: int = 0
    bytes: int = 0
    attached: bool = False


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One logged model in a list of all.

    Attributes:
        creation_ms, updated_ms: milliseconds since the epoch.
        params, tags, files: how many; `bytes` is the size of the files.
        content: as in RunEntry.
    """

    model_id: str
    experiment_id: str
    name: str
    status: str
    deleted: bool
    source_run_id: str | None
    remote: str | None
    remote_proof: str | None
    create_stamp: int
    creation_ms: int
    updated_ms: int
    params: int = 0
    tags: int = 0
    files: int = 0
    bytes: int = 0
    content: str = ""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One file of the journals directory.

    Attributes:
        file: name of the file in `<store>/journals`; "" when the journal was imported and its file is gone.
        incarnation: identity of the journal; None: the file cannot be read, `error` says why.
        user: who wrote it.
        created_ms, first_ms, last_ms: milliseconds since the epoch: creation, first and last imported record.
        size: bytes of the file, without -wal.
        upto: records 1..upto are imported or named in `damage`.
        sealed: closed in good order; an open journal is being written or was left by a process that died.
        damage: what could not be trusted.
        losses: kind -> how many records its writer could not write.
        unknown_ops: how many ops a newer localtrack wrote that this one does not know.
        error: why the file cannot be read, or is not imported; "" for none.
    """

    file: str
    incarnation: str | None
    host: str = ""
    pid: int = 0
    user: str = ""
    created_ms: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    size: int = 0
    upto: int = 0
    sealed: bool = False
    damage: tuple[Damage, ...] = ()
    losses: dict[str, int] = field(default_factory=dict)
    unknown_ops: int = 0
    error: str = ""


def in_trouble(journal: JournalEntry) -> bool:
    """Whether a journal holds, or may hold, records that cannot be read."""
    # A file that its process left empty, and one that is gone but was read, hold nothing that is missing.
    unreadable = journal.error and journal.file and "is empty" not in journal.error
    return bool(journal.damage or unreadable)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that has not ended: RUNNING or SCHEDULED, and not deleted.

    Attributes:
        opened_by: incarnation of the journal that gave it this status: its creation, or whoever resumed it last.
        opened_stamp: stamp of that.
        writers: incarnation -> time of its last record about this run, milliseconds since the epoch.
    """

    run_id: str
    opened_by: str
    opened_stamp: int
    writers: dict[str, int]


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """A journal that wrote to an open run, or one that a process of the same host and pid made later.

    Attributes:
        host, pid: who wrote it.
        files: names of its files in `<store>/journals` that were read without an error; several are copies.
        created_ms: milliseconds since the epoch.
        sealed: closed in good order.
    """

    incarnation: str
    host: str
    pid: int
    files: tuple[str, ...]
    created_ms: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class OpenRuns:
    """The runs that have not ended, and the journals that tell whether anybody still writes them.

    Attributes:
        unread: names of files in `<store>/journals` that could not be read: held by their process, or damaged.
    """

    runs: tuple[OpenRun, ...] = ()
    journals: tuple[OpenJournal, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    """How much the catalog holds.

    Attributes:
        uncreated_runs: runs of which something was imported, but not (yet) their creation; they are not listed.
    """

    experiments: int
    runs: int
    uncreated_runs: int
    points: int
