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
class RunInputs:
    """Datasets and models that went into a run."""

    dataset_inputs: tuple[object, ...] = ()
    model_inputs: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class RunOutputs:
    """Models that came out of a run."""

    model_outputs: tuple[object, ...] = ()


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
