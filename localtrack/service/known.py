"""What this process knows about a store without asking the catalog: runs, experiments, models it made or found.

Logging to a run made in this process must work while the disk does not, so nothing here reads or writes a file.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass, field

from localtrack.entities import (
    LifecycleStage,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    LoggedModelStatus,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunStatus,
)
from localtrack.store import Store

#: Ended runs, and finalized models, that stay known; of more, the oldest are forgotten, and the catalog is asked again.
ENDED_REMEMBERED = 1000


@dataclass(slots=True)
class KnownExperiment:
    """An experiment as this process last saw or made it."""

    experiment_id: str
    name: str
    deleted: bool = False


@dataclass(slots=True)
class KnownRun:
    """A run as this process made it or found it, kept current by this process's own calls. Metrics are not kept.

    Attributes:
        datasets: (name, digest) of its dataset inputs.
        model_inputs: ids of the models that went in.
        model_outputs: id -> step of the models that came out.
    """

    run_id: str
    experiment_id: str
    name: str
    user_id: str
    start_time: int
    artifact_uri: str
    status: str = RunStatus.RUNNING
    end_time: int | None = None
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    model_inputs: dict[str, None] = field(default_factory=dict)
    model_outputs: dict[str, int] = field(default_factory=dict)

    @classmethod
    def found(cls, run: Run) -> KnownRun:
        """A run that the catalog has."""
        info = run.info
        deleted = info.lifecycle_stage == LifecycleStage.DELETED
        return cls(
            info.run_id,
            info.experiment_id,
            info.run_name,
            info.user_id,
            info.start_time,
            info.artifact_uri,
            info.status,
            info.end_time,
            deleted,
            dict(run.data.params),
            dict(run.data.tags),
            {(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs},
            {one.model_id: None for one in run.inputs.model_inputs},
            {one.model_id: one.step for one in run.outputs.model_outputs},
        )

    def info(self) -> RunInfo:
        """Metadata as the API returns it."""
        stage = LifecycleStage.DELETED if self.deleted else LifecycleStage.ACTIVE
        return RunInfo(
            self.run_id,
            self.experiment_id,
            self.name,
            self.user_id,
            self.status,
            self.start_time,
            self.end_time,
            self.artifact_uri,
            stage,
        )

    def run(self) -> Run:
        """The run as the API returns it, without metrics and datasets."""
        return Run(
            self.info(),
            RunData({}, dict(self.params), dict(self.tags)),
            RunInputs((), tuple(map(LoggedModelInput, self.model_inputs))),
            RunOutputs(tuple(LoggedModelOutput(model, step) for model, step in self.model_outputs.items())),
        )


@dataclass(slots=True)
class KnownModel:
    """A logged model as this process made it or found it, kept current by this process's own calls."""

    model_id: str
    experiment_id: str
    name: str
    artifact_location: str
    created: int
    updated: int
    model_type: str | None = None
    source_run_id: str | None = None
    status: str = LoggedModelStatus.PENDING
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def found(cls, model: LoggedModel, *, deleted: bool) -> KnownModel:
        """A model that the catalog has."""
        return cls(
            model.model_id,
            model.experiment_id,
            model.name,
            model.artifact_location,
            model.creation_timestamp,
            model.last_updated_timestamp,
            model.model_type,
            model.source_run_id,
            model.status,
            deleted,
            dict(model.params),
            dict(model.tags),
        )

    def model(self) -> LoggedModel:
        """The model as the API returns it, without metrics."""
        return LoggedModel(
            self.experiment_id,
            self.model_id,
            self.name,
            self.artifact_location,
            self.created,
            self.updated,
            self.model_type,
            self.source_run_id,
            self.status,
            tags=dict(self.tags),
            params=dict(self.params),
        )


class Known:
    """Runs, experiments and logged models of one store that this process knows.

    Attributes:
        lock: held while a param is compared and written; re-entrant, because a signal handler may log in the middle.
    """

    def __init__(self) -> None:
        self.runs: dict[str, KnownRun] = {}
        self.experiments: dict[str, KnownExperiment] = {}
        self.models: dict[str, KnownModel] = {}
        self.lock = threading.RLock()
        self._ended: deque[str] = deque()
        self._finalized: deque[str] = deque()

    def ended(self, run_id: str) -> None:
        """Note that a run ended, and forget the one that ended longest ago when too many are remembered."""
        self._ended.append(run_id)
        if len(self._ended) > ENDED_REMEMBERED:
            oldest = self._ended.popleft()
            run = self.runs.get(oldest)
            if run is not None and RunStatus.is_terminated(run.status) and oldest not in self._ended:
                del self.runs[oldest]

    def finalized(self, model_id: str) -> None:
        """Note that a model got its status, and forget the one that got it longest ago, as for runs."""
        self._finalized.append(model_id)
        if len(self._finalized) > ENDED_REMEMBERED:
            oldest = self._finalized.popleft()
            if oldest not in self._finalized:
                self.models.pop(oldest, None)

    def mark_experiment(self, experiment_id: str, *, deleted: bool) -> None:
        """Deleting or restoring an experiment does the same to all its runs."""
        experiment = self.experiments.get(experiment_id)
        if experiment is not None:
            experiment.deleted = deleted
        for run in list(self.runs.values()):
            if run.experiment_id == experiment_id:
                run.deleted = deleted


_by_store: dict[str, Known] = {}


def known_of(store: Store) -> Known:
    """What this process knows of `store`: one object for all services on it."""
    return _by_store.setdefault(store.path, Known())


def _after_fork() -> None:
    # Another thread of the parent may have held a lock at the moment of the fork; nobody here would ever release it.
    for known in _by_store.values():
        known.lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork)
