"""TrackingClient: MLflow's MlflowClient for the operations that localtrack offers. No rules of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from localtrack.client_artifacts import ArtifactCalls
from localtrack.entities import (
    DatasetInput,
    Experiment,
    LoggedModel,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    PagedList,
    Param,
    Run,
    RunStatus,
    RunTag,
    ViewType,
)
from localtrack.errors import TrackingError
from localtrack.run_operations import RunOperations, finished
from localtrack.service import service_for
from localtrack.service.active_model import active_model_id
from localtrack.service.current import current_service, get_tracking_uri
from localtrack.values import with_model

PARENT_TAG = "mlflow.parentRunId"


class TrackingClient(ArtifactCalls):
    """Operations by run id and experiment id; names, arguments and defaults are MLflow's.

    Args:
        tracking_uri: a store or a remote, as for `set_tracking_uri`; None is the tracking URI in force now.
        registry_uri: taken for compatibility; there is no model registry here.
    """

    def __init__(self, tracking_uri: str | os.PathLike[str] | None = None, registry_uri: str | None = None) -> None:
        self._service = current_service() if tracking_uri is None else service_for(tracking_uri)
        self._tracking_uri = get_tracking_uri() if tracking_uri is None else os.fspath(tracking_uri)
        self._registry_uri = registry_uri

    @property
    def tracking_uri(self) -> str:
        """The URI that this client was made for."""
        return self._tracking_uri

    def _finished(self, synchronous: bool | None) -> RunOperations | None:
        return finished(synchronous, async_by_default=self._service.settings.async_logging)

    # --- experiments -----------------------------------------------------------------------------------------

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: dict[str, Any] | None = None
    ) -> str:
        """Create an experiment; returns its id. A taken name is RESOURCE_ALREADY_EXISTS."""
        return self._service.create_experiment(name, artifact_location, tags)

    def get_experiment(self, experiment_id: str) -> Experiment:
        """The experiment, deleted ones too, or RESOURCE_DOES_NOT_EXIST."""
        return self._service.get_experiment(experiment_id)

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The experiment with that name, or None."""
        try:
            return self._service.get_experiment_by_name(name)
        except TrackingError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def search_experiments(
        self,
        view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int | None = 1000,
        filter_string: str | None = None,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Experiment]:
        """A page of experiments, newest first unless ordered otherwise."""
        length = 1000 if max_results is None else max_results
        return self._service.search_experiments(filter_string, order_by, view_type, length, page_token)

    def rename_experiment(self, experiment_id: str, new_name: str) -> None:
        """Give an active experiment another name."""
        self._service.update_experiment(experiment_id, new_name)

    def delete_experiment(self, experiment_id: str) -> None:
        """Delete an experiment and its runs, softly."""
        self._service.delete_experiment(experiment_id)

    def restore_experiment(self, experiment_id: str) -> None:
        """Restore a deleted experiment and its runs."""
        self._service.restore_experiment(experiment_id)

    def set_experiment_tag(self, experiment_id: str, key: str, value: Any) -> None:
        """Set a tag of an experiment; the value is stringified."""
        self._service.set_experiment_tag(experiment_id, key, value)

    def delete_experiment_tag(self, experiment_id: str, key: str) -> None:
        """Delete a tag of an experiment."""
        self._service.delete_experiment_tag(experiment_id, key)

    # --- runs ------------------------------------------------------------------------------------------------

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: dict[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Run:
        """Create a run; its user is the tag mlflow.user, else "unknown"; start_time 0 or None is now."""
        user = tags.get("mlflow.user") if isinstance(tags, dict) else None
        return self._service.create_run(
            experiment_id, run_name, None if user is None else str(user), start_time or None, tags
        )

    def attach_run(self, run_id: str) -> Run:
        """Go on with a run that was, or will be, created elsewhere; nobody is asked (see the function start_run)."""
        return self._service.attach_run(run_id)

    def get_run(self, run_id: str) -> Run:
        """The run with its latest metrics, params and tags, or RESOURCE_DOES_NOT_EXIST."""
        return self._service.get_run(run_id)

    def get_parent_run(self, run_id: str) -> Run | None:
        """The parent of a nested run, or None."""
        parent = self.get_run(run_id).data.tags.get(PARENT_TAG)
        return None if parent is None else self.get_run(parent)

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str = "",
        run_view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Run]:
        """A page of runs, by descending start time unless ordered otherwise."""
        return self._service.search_runs(
            experiment_ids, filter_string, order_by, run_view_type, max_results, page_token
        )

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        """Change status or name of a run."""
        if status is not None or name is not None:
            self._service.update_run(run_id, status=status, run_name=name)

    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        """End a run: status FINISHED and now unless given."""
        self._service.end_run(run_id, status or RunStatus.FINISHED, end_time or None)

    def delete_run(self, run_id: str) -> None:
        """Delete a run, softly."""
        self._service.delete_run(run_id)

    def restore_run(self, run_id: str) -> None:
        """Restore a deleted run."""
        self._service.restore_run(run_id)

    def delete_runs(self, experiment_id: str, max_timestamp_millis: int, max_runs: int | None = None) -> int:
        """Delete runs that started at a time or before, softly; returns how many."""
        return self._service.delete_runs(experiment_id, max_timestamp_millis, max_runs)

    def restore_runs(self, experiment_id: str, min_timestamp_millis: int, max_runs: int | None = None) -> int:
        """Restore runs that were deleted at a time or later; returns how many."""
        return self._service.restore_runs(experiment_id, min_timestamp_millis, max_runs)

    # --- logged models ---------------------------------------------------------------------------------------

    def search_logged_models(
        self,
        experiment_ids: list[str],
        filter_string: str | None = None,
        datasets: list[dict[str, str]] | None = None,
        max_results: int | None = None,
        order_by: list[dict[str, Any]] | None = None,
        page_token: str | None = None,
    ) -> PagedList[LoggedModel]:
        """A page of logged models, newest first unless ordered otherwise."""
        return self._service.search_logged_models(
            experiment_ids, filter_string, datasets, order_by, max_results, page_token
        )

    # --- what is logged --------------------------------------------------------------------------------------

    def log_metric(
        self,
        run_id: str,
        key: str,
        value: float,
        timestamp: int | None = None,
        step: int | None = None,
        synchronous: bool | None = None,
        dataset_name: str | None = None,
        dataset_digest: str | None = None,
        model_id: str | None = None,
    ) -> RunOperations | None:
        """Append one point: timestamp in milliseconds (now), step (0), for the active model unless one is given."""
        model_id = model_id or active_model_id()
        self._service.log_metric(run_id, key, value, timestamp, step, model_id, dataset_name, dataset_digest)
        return self._finished(synchronous)

    def log_param(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> Any:
        """Log a param once; returns `value`."""
        self._service.log_param(run_id, key, value)
        return self._finished(synchronous) or value

    def set_tag(self, run_id: str, key: str, value: Any, synchronous: bool | None = None) -> RunOperations | None:
        """Set a tag; the value is stringified."""
        self._service.set_tag(run_id, key, value)
        return self._finished(synchronous)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Delete a tag."""
        self._service.delete_tag(run_id, key)

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,
    ) -> RunOperations | None:
        """Log any number of metrics, params and tags; more than a request's worth becomes several records."""
        if not metrics and not params and not tags:
            return None
        model_id = active_model_id() if metrics else None
        if model_id is not None:
            metrics = with_model(metrics, model_id)
        self._service.log_all(run_id, metrics, params, tags)
        return self._finished(synchronous)

    def log_inputs(
        self,
        run_id: str,
        datasets: Sequence[DatasetInput] | None = None,
        models: Sequence[LoggedModelInput] | None = None,
    ) -> None:
        """Record datasets and models that went into a run, as one record."""
        self._service.log_inputs(run_id, datasets, models)

    def log_outputs(self, run_id: str, models: list[LoggedModelOutput]) -> None:
        """Record models that came out of a run, each at one step."""
        self._service.log_outputs(run_id, models)

    def log_model(self, run_id: str, model_json: Any) -> None:
        """Deprecated on servers: append an MLmodel (JSON text, dict, or Model) to the tag mlflow.log-model.history."""
        self._service.log_model(run_id, model_json)

    def get_metric_history(self, run_id: str, key: str) -> list[Metric]:
        """All points of a metric by (timestamp, step, value)."""
        return list(self._service.list_metric_history_iter(run_id, key))

    # --- logged models ---------------------------------------------------------------------------------------

    def create_logged_model(
        self,
        experiment_id: str,
        name: str | None = None,
        source_run_id: str | None = None,
        tags: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        model_type: str | None = None,
    ) -> LoggedModel:
        """Create a logged model with status PENDING."""
        return self._service.create_logged_model(experiment_id, name, model_type, source_run_id, params, tags)

    def get_logged_model(self, model_id: str) -> LoggedModel:
        """The logged model with its params, tags and latest metrics, or RESOURCE_DOES_NOT_EXIST."""
        return self._service.get_logged_model(model_id)

    def finalize_logged_model(self, model_id: str, status: str) -> LoggedModel:
        """Give a model its status, READY or FAILED; returns it, without metrics."""
        return self._service.finalize_logged_model(model_id, status)

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a model, softly."""
        self._service.delete_logged_model(model_id)

    def set_logged_model_tags(self, model_id: str, tags: dict[str, Any]) -> None:
        """Set tags of a model; values are stringified."""
        self._service.set_logged_model_tags(model_id, tags)

    def delete_logged_model_tag(self, model_id: str, key: str) -> None:
        """Delete a tag of a model."""
        self._service.delete_logged_model_tag(model_id, key)

    def log_model_params(self, model_id: str, params: dict[str, Any]) -> None:
        """Log params of a model, each once."""
        self._service.log_logged_model_params(model_id, params)


#: MLflow's name.
MlflowClient = TrackingClient
