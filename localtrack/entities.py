"""What the API returns: values with MLflow's names and fields (mlflow.entities), without MLflow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class RunStatus:
    """Status of a run, as MLflow spells it."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"

    ALL = (RUNNING, SCHEDULED, FINISHED, FAILED, KILLED)

    @staticmethod
    def is_terminated(status: str) -> bool:
        """Whether a run with this status has ended."""
        return status in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.KILLED)


class ViewType:
    """Which lifecycle stages a search sees; the numbers are MLflow's."""

    ACTIVE_ONLY = 1
    DELETED_ONLY = 2
    ALL = 3


class LifecycleStage:
    """Lifecycle stage of an experiment or a run."""

    ACTIVE = "active"
    DELETED = "deleted"


class Metric(NamedTuple):
    """One metric point. A named tuple: it is made a million times, and a frozen dataclass costs four times as much.

    Attributes:
        key: name.
        value: float; NaN and the infinities are values like others.
        timestamp: milliseconds since the epoch.
        step: int64, may be negative.
        model_id, dataset_name, dataset_digest: what the point was measured on, or None.
    """

    key: str
    value: float
    timestamp: int
    step: int = 0
    model_id: str | None = None
    dataset_name: str | None = None
    dataset_digest: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Param:
    """One param: written once."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class RunTag:
    """One tag of a run."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class ExperimentTag:
    """One tag of an experiment."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment. Times are milliseconds since the epoch."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    tags: dict[str, str] = field(default_factory=dict)
    creation_time: int | None = None
    last_update_time: int | None = None


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Metadata of a run. Times are milliseconds since the epoch."""

    run_id: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None
    artifact_uri: str
    lifecycle_stage: str

    @property
    def run_uuid(self) -> str:
        """MLflow's older name of `run_id`."""
        return self.run_id


@dataclass(frozen=True, slots=True)
class RunData:
    """Latest metrics, params and tags of a run, by key."""

    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset: what it is called, which version it is, and where it came from.

    Attributes:
        source_type, source: kind of the source and how to find it (JSON or a URI).
        schema, profile: JSON text, or None.
    """

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class InputTag:
    """One tag of a dataset input; mlflow.data.context says what it was used for."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class DatasetInput:
    """A dataset that went into a run."""

    dataset: Dataset
    tags: tuple[InputTag, ...] = ()


@dataclass(frozen=True, slots=True)
class LoggedModelInput:
    """A logged model that went into a run."""

    model_id: str


@dataclass(frozen=True, slots=True)
class LoggedModelOutput:
    """A logged model that came out of a run, at a step."""

    model_id: str
    step: int = 0


class LoggedModelStatus:
    """Status of a logged model, as MLflow spells it."""

    UNSPECIFIED = "UNSPECIFIED"
    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"
    ALL = (PENDING, READY, FAILED)


@dataclass(frozen=True, slots=True)
class LoggedModelParameter:
    """One param of a logged model."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class LoggedModelTag:
    """One tag of a logged model."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class LoggedModel:
    """A logged model. Times are milliseconds since the epoch; `metrics` are the latest points logged to it."""

    experiment_id: str
    model_id: str
    name: str
    artifact_location: str
    creation_timestamp: int
    last_updated_timestamp: int
    model_type: str | None = None
    source_run_id: str | None = None
    status: str = LoggedModelStatus.PENDING
    status_message: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)

    @property
    def model_uri(self) -> str:
        """How MLflow refers to it: `models:/<model_id>`."""
        return f"models:/{self.model_id}"


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file or directory among the artifacts: path relative to the artifact root, size in bytes (None: directory).

    Attributes:
        removed_to: address of the remote that has the file, when `localtrack gc` removed it here; None: it is here.
    """

    path: str
    is_dir: bool
    file_size: int | None = None
    removed_to: str | None = None


@dataclass(frozen=True, slots=True)
class RunInputs:
    """Datasets and models that went into a run."""

    dataset_inputs: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[LoggedModelInput, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """Models that came out of a run."""

    model_outputs: tuple[LoggedModelOutput, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run as the store knows it at the time of the call."""

    info: RunInfo
    data: RunData = field(default_factory=RunData)
    inputs: RunInputs = field(default_factory=RunInputs)
    outputs: RunOutputs = field(default_factory=RunOutputs)


class PagedList(list[T], Generic[T]):
    """A page of results; `token` asks for the next one and is None on the last page."""

    def __init__(self, items: list[T], token: str | None = None) -> None:
        super().__init__(items)
        self.token = token
