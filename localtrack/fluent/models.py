"""Module functions about logged models, and which one is the active model."""

from __future__ import annotations

import os
from dataclasses import fields
from datetime import datetime, timezone
from typing import Any

from localtrack import context
from localtrack.client import TrackingClient
from localtrack.entities import LoggedModel, LoggedModelStatus
from localtrack.errors import TrackingError
from localtrack.fluent.active import active_run, choose_path, thread
from localtrack.fluent.experiments import experiment_id_for_calls
from localtrack.service import Service
from localtrack.service.active_model import active_model_id, choose, clear
from localtrack.service.current import current_service

_EXTERNAL_TAG = "mlflow.model.isExternal"


class ActiveModel(LoggedModel):
    """The active model of this thread; as a context manager it makes the one before it the active one again."""

    def __init__(self, model: LoggedModel) -> None:
        super().__init__(**{field.name: getattr(model, field.name) for field in fields(LoggedModel)})
        object.__setattr__(self, "_before", active_model_id())  # the entity is frozen
        _activate(self.model_id)

    def __enter__(self) -> ActiveModel:  # noqa: PYI034 - Self is in typing from Python 3.11 on
        return self

    def __exit__(self, *_: object) -> None:
        _activate(self.__dict__["_before"])


def _activate(model_id: str | None) -> None:
    choose(model_id)
    choose_path()


def _service() -> Service:
    """An active run keeps its store, and so do its models, whatever the tracking URI says now."""
    run = active_run()
    return current_service() if run is None else run.service


def _client() -> TrackingClient:
    service = _service()
    return TrackingClient(None if service.store == current_service().store else f"localtrack:{service.store.path}")


def set_active_model(*, name: str | None = None, model_id: str | None = None) -> ActiveModel:
    """Make a logged model this thread's active one: metrics that name no model are linked to it.

    Args:
        name: name of a model in the active experiment, the youngest of that name; if there is none, an external model
            is made. Or
        model_id: id of a model; with `name`, it must have that name.

    Returns:
        The model; in a `with` block it is the active one until the end of the block.

    Raises:
        TrackingError: RESOURCE_DOES_NOT_EXIST for an unknown id, INVALID_PARAMETER_VALUE for neither or a wrong name.
    """
    if model_id is not None:
        model = _client().get_logged_model(model_id)
        if name is not None and model.name != name:
            raise TrackingError(f"The logged model {model_id!r} has the name {model.name!r}, not {name!r}.")
    elif name is not None:
        service = _service()
        found = service.find_logged_model(experiment_id_for_calls(service), name)
        model = found or create_external_model(name, experiment_id=experiment_id_for_calls(service))
    else:
        raise TrackingError("Either name or model_id must be provided")
    return ActiveModel(model)


def get_active_model_id() -> str | None:
    """The id of this thread's active model; without one, what MLFLOW_ACTIVE_MODEL_ID says; else None."""
    return active_model_id()


def clear_active_model() -> None:
    """No active model in this thread; MLFLOW_ACTIVE_MODEL_ID is unset too."""
    clear()
    choose_path()


def initialize_logged_model(
    name: str | None = None,
    source_run_id: str | None = None,
    tags: dict[str, Any] | None = None,
    params: dict[str, Any] | None = None,
    model_type: str | None = None,
    experiment_id: str | None = None,
) -> LoggedModel:
    """Create a logged model with status PENDING; `finalize_logged_model` ends it.

    Args:
        name: name; None makes one.
        source_run_id: the run that makes it; None is the active run, if there is one.
        tags: tags beside those of the surroundings (mlflow.user, mlflow.source.*); values are stringified.
        params: params; values are stringified, and can never be changed.
        model_type: any text, for searches.
        experiment_id: where it belongs; None is the active run's experiment, else the active experiment.

    Raises:
        TrackingError: RESOURCE_DOES_NOT_EXIST or INVALID_PARAMETER_VALUE.
    """
    return _create(name, source_run_id, tags, params, model_type, experiment_id)


def create_external_model(
    name: str | None = None,
    source_run_id: str | None = None,
    tags: dict[str, Any] | None = None,
    params: dict[str, Any] | None = None,
    model_type: str | None = None,
    experiment_id: str | None = None,
) -> LoggedModel:
    """Create a logged model whose files lie elsewhere: READY at once. Arguments as for initialize_logged_model.

    A file MLmodel that says so is stored with it, so that a registry takes it.
    """
    model = _create(name, source_run_id, {**(tags or {}), _EXTERNAL_TAG: "true"}, params, model_type, experiment_id)
    _service().log_model_text(model.model_id, _mlmodel(model), "MLmodel")
    return finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _mlmodel(model: LoggedModel) -> str:
    """MLmodel of an external model, as MLflow writes it: YAML, with the signature that one registry asks for."""
    when = datetime.fromtimestamp(model.creation_timestamp / 1000, timezone.utc).replace(tzinfo=None)
    some = """'[{"type": "boolean", "required": true}]'"""
    lines = [
        f"artifact_path: {_quoted(model.artifact_location)}",
        "flavors: {}",
        f"metadata:\n  {_EXTERNAL_TAG}: true",
        f"model_id: {_quoted(model.model_id)}",
        f"model_uuid: {_quoted(model.model_id)}",
        *([f"run_id: {_quoted(model.source_run_id)}"] if model.source_run_id else []),
        f"signature:\n  inputs: {some}\n  outputs: {some}\n  params: null",
        f"utc_time_created: {_quoted(when.isoformat(' '))}",
    ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A YAML string: an id of digits must not become a number."""
    return "'" + text.replace("'", "''") + "'"


def _create(
    name: str | None,
    source_run_id: str | None,
    tags: dict[str, Any] | None,
    params: dict[str, Any] | None,
    model_type: str | None,
    experiment_id: str | None,
) -> LoggedModel:
    run, service = active_run(), _service()
    source = source_run_id if source_run_id is not None or run is None else run.info.run_id
    if experiment_id is None:
        experiment_id = experiment_id_for_calls(service) if run is None else run.info.experiment_id
    all_tags = {**context.context_tags(os.environ), **(tags or {})}
    model = service.create_logged_model(experiment_id, name, model_type, source, params, all_tags)
    thread.last_model_id = model.model_id
    return model


def finalize_logged_model(model_id: str, status: str) -> LoggedModel:
    """Give a model its status, READY or FAILED; returns it."""
    return _client().finalize_logged_model(model_id, status)


def get_logged_model(model_id: str) -> LoggedModel:
    """The logged model with its params, tags and latest metrics, or RESOURCE_DOES_NOT_EXIST."""
    return _client().get_logged_model(model_id)


def last_logged_model() -> LoggedModel | None:
    """The logged model that this thread made last, or None."""
    return None if thread.last_model_id is None else get_logged_model(thread.last_model_id)


def set_logged_model_tags(model_id: str, tags: dict[str, Any]) -> None:
    """Set tags of a model; values are stringified, the last writer wins."""
    _client().set_logged_model_tags(model_id, tags)


def delete_logged_model_tag(model_id: str, key: str) -> None:
    """Delete a tag of a model; RESOURCE_DOES_NOT_EXIST if it has none of that name."""
    _client().delete_logged_model_tag(model_id, key)


def log_model_params(params: dict[str, Any], model_id: str | None = None) -> None:
    """Log params of a model, each once; None is the active model."""
    _client().log_model_params(model_id or active_model_id() or "", params)
