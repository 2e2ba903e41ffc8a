"""Module functions about runs: start, find, delete, search."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from localtrack import attention, context, rules
from localtrack.client import PARENT_TAG, TrackingClient
from localtrack.entities import Run, RunStatus, RunTag
from localtrack.errors import TrackingError
from localtrack.fluent.active import ActiveRun, active_run, push, thread
from localtrack.fluent.experiments import active_experiment_id, experiment_id_for_calls
from localtrack.service import Service
from localtrack.service.current import current_service

if TYPE_CHECKING:
    pass  # type: ignore[import-not-found, import-untyped, unused-ignore]

NOTE_TAG = "mlflow.note.content"


def start_run(
    run_id: str | None = None,
    experiment_id: str | None = None,
    run_name: str | None = None,
    nested: bool = False,
    parent_run_id: str | None = None,
    tags: dict[str, Any] | None = None,
    description: str | None = None,
    log_system_metrics: bool | None = None,
    attach: bool = False,
) -> ActiveRun:
    """Start a run, or go on with an existing one, and make it this thread's active run.

    Args:
        run_id: an existing run to go on with; MLFLOW_RUN_ID does the same, once.
        experiment_id: where a new run belongs; None is the active experiment.
        run_name: name; None makes one for a new run.
        nested: allow it while another run is active, as its child.
        parent_run_id: parent of a new run; with an active run it must be that one.
        tags: tags to set; values are stringified.
        description: sets the tag mlflow.note.content.
        attach: with `run_id` or MLFLOW_RUN_ID: go on with a run that the store does not know, without asking anybody:
            it was, or will be, created elsewhere. LOCALTRACK_ATTACH=1 does the same.
        log_system_metrics: taken for compatibility; True warns that system metrics are not offered yet.

    Raises:
        TrackingError: RESOURCE_DOES_NOT_EXIST or INVALID_PARAMETER_VALUE; a run is active and `nested` is not set.
    """
    rules_id = None if experiment_id is None else rules.experiment_id(experiment_id)
    stack = thread.stack
    if stack and not nested:
        raise TrackingError(
            f"Run with UUID {stack[0].info.run_id} is already active. To start a new run, first end the current run "
            "with end_run(). To start a nested run, call start_run with nested=True"
        )
    wanted_tags = dict(rules.items("tags", tags))
    if description:
        if NOTE_TAG in wanted_tags:
            raise TrackingError(f"Description is already set via the tag {NOTE_TAG} in tags; omit one of both")
        wanted_tags[NOTE_TAG] = description
    if log_system_metrics:
        attention.warn_once("system metrics", "log_system_metrics is not offered yet: no system metrics are logged")
    service = current_service()
    existing = run_id or os.environ.pop("MLFLOW_RUN_ID", None)
    if attach and not existing:
        raise TrackingError("attach=True needs the id of a run: give run_id, or set MLFLOW_RUN_ID")
    if existing:
        run = _resume(service, existing, run_name, wanted_tags, attach=attach or service.settings.attach)
    else:
        run = _create(service, rules_id, run_name, parent_run_id, wanted_tags)
    return push(ActiveRun(run, service))


def _resume(service: Service, run_id: str, run_name: str | None, tags: dict[Any, Any], *, attach: bool) -> Run:
    # Checked before anything is written, so that a bad tag leaves the run as it was.
    checked = [RunTag(key, value) for key, value in service.checked_tags(tags).items()]
    run_name = rules.run_name(run_name)
    info = service.attach_run(run_id).info if attach else service.run_info(run_id)
    active_experiment = active_experiment_id()
    # An id of "" is an attached run, or one that could not be looked up.
    if active_experiment is not None and info.experiment_id and info.experiment_id != active_experiment:
        raise TrackingError(
            f"Cannot start run with ID {info.run_id} because active experiment ID does not match environment run ID. "
            f"The run is in experiment {info.experiment_id}, the active one is {active_experiment}."
        )
    if info.lifecycle_stage == "deleted":
        raise TrackingError(f"Cannot start run with ID {info.run_id} because it is in the deleted state.")
    service.update_run(info.run_id, RunStatus.RUNNING, None, run_name)
    service.want_daemon()  # a job that was requeued creates no run
    if checked:
        service.log_all(info.run_id, tags=checked)
    return service.known.runs[info.run_id].run()


def _create(
    service: Service, experiment_id: str | None, run_name: str | None, parent_run_id: str | None, tags: dict[Any, Any]
) -> Run:
    parent = _parent(service, parent_run_id)
    if parent is not None:
        tags[PARENT_TAG] = parent
    if run_name:
        tags["mlflow.runName"] = run_name
    # What the caller gives beats what the surroundings say.
    all_tags = {**context.context_tags(os.environ), **tags}
    where = experiment_id if experiment_id is not None else experiment_id_for_calls(service)
    return service.create_run(where, run_name, str(all_tags["mlflow.user"]), None, all_tags)


def _parent(service: Service, parent_run_id: str | None) -> str | None:
    current = active_run()
    if not parent_run_id:
        return None if current is None else current.info.run_id
    if current is not None and parent_run_id != current.info.run_id:
        raise TrackingError(
            f"Current run with UUID {current.info.run_id} does not match the specified parent_run_id {parent_run_id}. "
            "To start a run under another parent, first end the current run with end_run()."
        )
    parent = service.run_info(parent_run_id)
    if parent.lifecycle_stage == "deleted":
        raise TrackingError(f"Cannot start run under parent run with ID {parent.run_id} because it is deleted.")
    return parent.run_id


def run_for_log() -> ActiveRun:
    """The active run of this thread; one is started when there is none."""
    return active_run() or start_run()


def last_active_run() -> Run | None:
    """The active run, else the run that this thread ended last, else None."""
    return active_run() or (None if thread.last is None else thread.last.service.get_run(thread.last.info.run_id))


def get_run(run_id: str) -> Run:
    """The run with its latest metrics, params and tags, or RESOURCE_DOES_NOT_EXIST."""
    return TrackingClient().get_run(run_id)


def get_parent_run(run_id: str) -> Run | None:
    """The parent of a nested run, or None."""
    return TrackingClient().get_parent_run(run_id)


def delete_run(run_id: str) -> None:
    """Delete a run, softly."""
    TrackingClient().delete_run(run_id)
