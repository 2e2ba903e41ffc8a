"""Module functions about experiments, and which experiment is the active one."""

from __future__ import annotations

import os
from typing import Any

from localtrack.client import TrackingClient
from localtrack.entities import Experiment, LifecycleStage, ViewType
from localtrack.errors import TrackingError
from localtrack.rules import shown
from localtrack.service import Service
from localtrack.service.current import current_service
from localtrack.service.experiments import DEFAULT_ID

_active_id: str | None = None
_PAGE = 1000


def set_experiment(
    experiment_name: str | None = None, experiment_id: str | None = None, trace_location: None = None
) -> Experiment:
    """Make an experiment the active one, for this process and those it starts; one that is missing by name is created.

    Args:
        experiment_name: name, or
        experiment_id: id of the experiment; exactly one of both.
        trace_location: must be None: there are no traces here.

    Raises:
        TrackingError: RESOURCE_DOES_NOT_EXIST for an unknown id, INVALID_PARAMETER_VALUE for a deleted experiment.
    """
    global _active_id
    if (experiment_name is None) == (experiment_id is None):
        raise TrackingError("Must specify exactly one of: `experiment_id` or `experiment_name`.")
    _no_traces(trace_location)
    service = current_service()
    if experiment_id is not None:
        experiment = service.find_experiment(experiment_id)
    else:
        experiment = service.get_or_create_experiment(experiment_name)  # type: ignore[arg-type] # not None: see above
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"Cannot set a deleted experiment {experiment.name!r} as the active experiment. Restore it first.",
            hint=f"TrackingClient().restore_experiment({experiment.experiment_id!r})",
        )
    _active_id = experiment.experiment_id
    os.environ["MLFLOW_EXPERIMENT_ID"] = _active_id
    return experiment


def _no_traces(trace_location: object) -> None:
    if trace_location is not None:
        raise TrackingError("trace_location is not supported: there are no traces here")


def active_experiment_id() -> str | None:
    """The id that set_experiment chose, or None."""
    return _active_id


def experiment_id_for_calls(service: Service) -> str:
    """The experiment that calls mean that name none: the active one, else MLFLOW_EXPERIMENT_NAME or _ID, else Default.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE: both variables are set and disagree, or the id does not exist.
    """
    if _active_id:
        return _active_id
    name, experiment_id = os.environ.get("MLFLOW_EXPERIMENT_NAME"), os.environ.get("MLFLOW_EXPERIMENT_ID")
    if name:
        found = service.get_or_create_experiment(name).experiment_id
        if experiment_id and experiment_id != found:
            raise TrackingError(
                f"MLFLOW_EXPERIMENT_ID={experiment_id!r} does not match the experiment id {found!r} "
                f"of MLFLOW_EXPERIMENT_NAME={name!r}"
            )
        return found
    if experiment_id:
        try:
            return service.find_experiment(experiment_id).experiment_id
        except TrackingError as error:
            raise TrackingError(
                f"MLFLOW_EXPERIMENT_ID={shown(experiment_id)} does not exist in store {service.store.path}"
            ) from error
    return DEFAULT_ID


def create_experiment(
    name: str,
    artifact_location: str | None = None,
    tags: dict[str, Any] | None = None,
    trace_location: None = None,
) -> str:
    """Create an experiment; returns its id. A taken name is RESOURCE_ALREADY_EXISTS; trace_location must be None."""
    _no_traces(trace_location)
    return TrackingClient().create_experiment(name, artifact_location, tags)


def get_experiment(experiment_id: str) -> Experiment:
    """The experiment, deleted ones too, or RESOURCE_DOES_NOT_EXIST."""
    return TrackingClient().get_experiment(experiment_id)


def get_experiment_by_name(name: str) -> Experiment | None:
    """The experiment with that name, or None."""
    return TrackingClient().get_experiment_by_name(name)


def search_experiments(
    view_type: int = ViewType.ACTIVE_ONLY,
    max_results: int | None = None,
    filter_string: str | None = None,
    order_by: list[str] | None = None,
) -> list[Experiment]:
    """Experiments, newest first unless ordered otherwise; all of them when `max_results` is None."""
    client, found, token = TrackingClient(), list[Experiment](), None
    while max_results is None or len(found) < max_results:
        length = _PAGE if max_results is None else min(_PAGE, max_results - len(found))
        page = client.search_experiments(view_type, length, filter_string, order_by, token)
        found.extend(page)
        token = page.token
        if not token:
            break
    return found


def delete_experiment(experiment_id: str) -> None:
    """Delete an experiment and its runs, softly."""
    TrackingClient().delete_experiment(experiment_id)


def set_experiment_tag(key: str, value: Any) -> None:
    """Set a tag of the active experiment; the value is stringified."""
    service = current_service()
    service.set_experiment_tag(experiment_id_for_calls(service), key, value)


def set_experiment_tags(tags: dict[str, Any]) -> None:
    """Set tags of the active experiment, one after the other."""
    for key, value in tags.items():
        set_experiment_tag(key, value)


def delete_experiment_tag(key: str) -> None:
    """Delete a tag of the active experiment."""
    service = current_service()
    service.delete_experiment_tag(experiment_id_for_calls(service), key)
