"""What the replay engine is asked for and what it reports: jobs, settings, results. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from localtrack_sync.protocol.findings import Finding


@dataclass(frozen=True, slots=True)
class Job:
    """Something to bring to the remote.

    Attributes:
        kind: "run", "model" or "experiment". The experiment of a run or model, and the models that a run names, are
            brought along without being asked for. "verify_run", "verify_model" and "verify_experiment" only read.
        id: local id.
    """

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """How to replay. Seconds everywhere.

    Attributes:
        settle_s: how long a request without an answer may still be executed by the remote. Above the longest server and
            proxy timeout. None: as the dialect's limits say.
        connections: requests open at once. Two keep a remote busy while we compute, and are polite to a shared one.
        patience_s: how long the remote may be away before a job ends with "owed"; None: for ever (daemon). Waiting for
            the settle time does not count.
        dialect: a key of `limits.DIALECTS`.
        wall_offset_s: seconds since the epoch minus the clock of `Engine.next`.
        window: metric points read from the catalog at once: what one run holds in memory.
        dedupes: whether the remote stores a repeated point once; None: ask it.
        folder: (Databricks) workspace folder of the experiments whose names are no absolute paths; "": the home of the
            user whose credentials these are, asked for.
        netloc: the remote's host, and port where it has one: what it names by this name is itself.
        artifact_batch: files that are sent before they are looked at together.
        multipart_from: bytes from which a file is sent in parts, where the remote offers it; MLflow's own threshold.
        part_bytes: length of a part; larger when the file would have more parts than storages take.
        repair: what is not on the remote any more is made again.
        reread: a verification reads every file back and compares its bytes, not only what lists and the manifest say.
    """

    settle_s: float | None = None
    connections: int = 2
    patience_s: float | None = 30.0
    dialect: str = "mlflow"
    wall_offset_s: float = 0.0
    window: int = 10_000
    dedupes: bool | None = None
    folder: str = ""
    netloc: str = ""
    artifact_batch: int = 500
    multipart_from: int = 500 << 20
    part_bytes: int = 16 << 20
    repair: bool = False
    reread: bool = False


class Ending(Enum):
    """How a job ended."""

    DELIVERED = "delivered"  # nothing is owed; conflicts and rejected records may exist
    OWED = "owed"  # something is left for a later pass; `reason` says why
    PARKED = "parked"  # waits for a change from outside; `reason` says which


@dataclass(frozen=True, slots=True)
class JobResult:
    """How one job ended.

    Attributes:
        reason: one line for people, "" when delivered.
        remote_id: id on the remote, "" when it is not known.
        conflicts, rejected, parked: how many such records the delivery state holds for it now.
        findings: (verify_run, verify_experiment) in what the remote differs from the store.
    """

    kind: str
    id: str
    ending: Ending
    reason: str = ""
    remote_id: str = ""
    conflicts: int = 0
    rejected: int = 0
    parked: int = 0
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Progress:
    """What has been settled since the engine was made; for progress bars and reports.

    Attributes:
        params, metrics, tags, files: records that the remote now has.
        inputs, outputs: datasets and models that went into runs, models that came out; with log_model entries.
        runs_created, models_created, experiments_created: creates that were confirmed.
        requests: requests started.
        bytes_sent: bytes of their bodies.
        jobs_done: jobs that have ended.
        away_since: clock reading since when the remote has been away; None while it answers.
        trouble: the last words of a remote that is away, "" while it answers.
    """

    params: int = 0
    metrics: int = 0
    tags: int = 0
    files: int = 0
    inputs: int = 0
    outputs: int = 0
    runs_created: int = 0
    models_created: int = 0
    experiments_created: int = 0
    requests: int = 0
    bytes_sent: int = 0
    jobs_done: int = 0
    away_since: float | None = None
    trouble: str = ""

    @property
    def delivered(self) -> int:
        """Records that the remote now has."""
        made = self.runs_created + self.models_created + self.experiments_created
        return self.params + self.metrics + self.tags + self.files + self.inputs + self.outputs + made


@dataclass(slots=True)
class Results:
    """Every job that has ended, in the order of ending.

    Attributes:
        by_job: (kind, id) -> how it ended.
        stopped: why the whole replay was given up ("" when it was not): remote away, wrong server, credentials.
    """

    by_job: dict[tuple[str, str], JobResult] = field(default_factory=dict)
    stopped: str = ""

    @property
    def jobs(self) -> list[JobResult]:
        """All of them."""
        return list(self.by_job.values())

    def put(self, result: JobResult) -> None:
        """Note how a job ended; a job that had to begin again counts once."""
        self.by_job[result.kind, result.id] = result
