"""What a remote says about a run or an experiment, read from its replies. Pure.

Tolerant of fields that are left out (protobuf drops defaults) and of numbers that come as text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from localtrack_sync.request import ATTEMPT_TAG, RUN_NAME_TAG, UID_TAG
from localtrack_sync.values import Identity, remote_identity


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """A run as the remote showed it.

    Attributes:
        latest: metric key -> the identity of its latest point.
        tags: with the run's name as tag mlflow.runName.
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

    @property
    def attempt(self) -> str:
        """Which create made it."""
        return self.tags.get(ATTEMPT_TAG, "")

    @property
    def uid(self) -> str:
        """Local run id that it was made for, "" when localtrack did not make it."""
        return self.tags.get(UID_TAG, "")


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
    return RemoteRun(
        run_id=str(info.get("run_id") or info.get("run_uuid") or ""),
        experiment_id=str(info.get("experiment_id") or ""),
        status=str(info.get("status") or "RUNNING"),
        end_time=int(end) if end not in (None, "", 0, "0") else None,
        deleted=info.get("lifecycle_stage") == "deleted",
        artifact_uri=str(info.get("artifact_uri") or ""),
        params=_pairs(data.get("params")),
        tags=tags,
        latest={m["key"]: remote_identity(m) for m in data.get("metrics") or ()},
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
