"""What a remote says about a run, a logged model or an experiment, read from its replies. Pure.

Tolerant of fields that are left out (protobuf drops defaults) and of numbers that come as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from localtrack_sync.protocol.request import ATTEMPT_TAG, RUN_NAME_TAG, UID_TAG
from localtrack_sync.protocol.values import Identity, remote_identity


class _Tagged:
    """Something that a create of ours may have made: its tags say so."""

    __slots__ = ()
    tags: dict[str, str]

    @property
    def attempt(self) -> str:
        """Which create made it."""
        return self.tags.get(ATTEMPT_TAG, "")

    @property
    def uid(self) -> str:
        """Local id that it was made for, "" when localtrack did not make it."""
        return self.tags.get(UID_TAG, "")


@dataclass(frozen=True, slots=True)
class RemoteRun(_Tagged):
    """A run as the remote showed it.

    Attributes:
        latest: metric key -> the identity of its latest point.
        tags: with the run's name as tag mlflow.runName.
        datasets: (name, digest) of its inputs; `model_inputs` are ids on the remote.
        model_outputs: id on the remote -> step.
    """

    run_id: str
    experiment_id: str
    status: str
    end_time: int | None
    deleted: bool
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    latest: dict[str, Identity]
    datasets: frozenset[tuple[str, str]] = frozenset()
    model_inputs: frozenset[str] = frozenset()
    model_outputs: dict[str, int] = field(default_factory=dict)

    @property
    def remote_id(self) -> str:
        """Its id on the remote."""
        return self.run_id

    @property
    def content(self) -> int:
        """How much there is in it."""
        return len(self.params) + len(self.latest) + len(self.tags)


@dataclass(frozen=True, slots=True)
class RemoteModel(_Tagged):
    """A logged model as the remote showed it.

    Attributes:
        status: PENDING, READY or FAILED, as the journals call it.
        metrics: as in the reply; on file stores only the latest of each name and dataset.
    """

    model_id: str
    experiment_id: str
    status: str
    deleted: bool
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: tuple[Mapping[str, Any], ...] = ()

    @property
    def remote_id(self) -> str:
        """Its id on the remote."""
        return self.model_id

    @property
    def content(self) -> int:
        """How much there is in it."""
        return len(self.params) + len(self.metrics) + len(self.tags)


#: What carries our uid.
RemoteItem: TypeAlias = RemoteRun | RemoteModel


@dataclass(frozen=True, slots=True)
class RemoteExperiment:
    """An experiment as the remote showed it."""

    experiment_id: str
    name: str
    deleted: bool
    tags: dict[str, str]


def run_of(run: Mapping[str, Any]) -> RemoteRun:
    """The run in a reply's "run" (or in a list of "runs")."""
    info, data = run.get("info") or {}, run.get("data") or {}
    tags = _pairs(data.get("tags"))
    name = str(info.get("run_name") or "")
    if name and RUN_NAME_TAG not in tags:
        tags[RUN_NAME_TAG] = name
    end = info.get("end_time")
    inputs, outputs = run.get("inputs") or {}, run.get("outputs") or {}
    went_in = [one.get("dataset") or {} for one in inputs.get("dataset_inputs") or ()]
    return RemoteRun(
        run_id=str(info.get("run_id") or info.get("run_uuid") or ""),
        experiment_id=str(info.get("experiment_id") or ""),
        status=str(info.get("status") or "RUNNING"),
        end_time=int(end) if end not in (None, "", 0, "0") else None,
        deleted=info.get("lifecycle_stage") == "deleted",
        artifact_uri=str(info.get("artifact_uri") or ""),
        params=_pairs(data.get("params")),
        tags=tags,
        latest={str(m.get("key", "")): remote_identity(m) for m in data.get("metrics") or ()},
        datasets=frozenset((str(one.get("name", "")), str(one.get("digest", ""))) for one in went_in),
        model_inputs=frozenset(str(one.get("model_id", "")) for one in inputs.get("model_inputs") or ()),
        model_outputs={
            str(one.get("model_id", "")): int(one.get("step") or 0) for one in outputs.get("model_outputs") or ()
        },
    )


#: Statuses of a logged model: on the wire -> in the journals.
STATUSES = {"LOGGED_MODEL_PENDING": "PENDING", "LOGGED_MODEL_READY": "READY", "LOGGED_MODEL_UPLOAD_FAILED": "FAILED"}


def model_of(model: Mapping[str, Any], *, deleted: bool = False) -> RemoteModel:
    """The logged model in a reply's "model" (or in a list of "models"); no reply says whether it is deleted."""
    info, data = model.get("info") or {}, model.get("data") or {}
    status = str(info.get("status") or "")
    return RemoteModel(
        model_id=str(info.get("model_id") or ""),
        experiment_id=str(info.get("experiment_id") or ""),
        status=STATUSES.get(status, status),
        deleted=deleted,
        artifact_uri=str(info.get("artifact_uri") or ""),
        params=_pairs(data.get("params")),
        tags=_pairs(info.get("tags")),
        metrics=tuple(data.get("metrics") or ()),
    )


def experiment_of(experiment: Mapping[str, Any]) -> RemoteExperiment:
    """The experiment in a reply's "experiment"."""
    return RemoteExperiment(
        experiment_id=str(experiment.get("experiment_id") or ""),
        name=str(experiment.get("name") or ""),
        deleted=experiment.get("lifecycle_stage") == "deleted",
        tags=_pairs(experiment.get("tags")),
    )


def _pairs(items: Any) -> dict[str, str]:
    return {str(item.get("key", "")): str(item.get("value", "")) for item in items or ()}
