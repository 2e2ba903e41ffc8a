"""Offline-first experiment tracking: log to a local journal now, replay to an MLflow server later, exactly once.

`import localtrack as mlflow` is enough for a plain training script; docs/api.md lists what is offered.
"""

from __future__ import annotations

from localtrack import entities, exceptions, tracking
from localtrack.client import MlflowClient, TrackingClient
from localtrack.entities import Experiment, Metric, Param, Run, RunStatus, RunTag, ViewType
from localtrack.errors import LocaltrackError, StoreError, TrackingError
from localtrack.exceptions import MlflowException
from localtrack.fluent import (
    ActiveRun,
    active_run,
    create_experiment,
    delete_experiment,
    delete_experiment_tag,
    delete_run,
    delete_tag,
    end_run,
    flush,
    flush_async_logging,
    get_experiment,
    get_experiment_by_name,
    get_parent_run,
    get_run,
    get_tracking_uri,
    is_tracking_uri_set,
    last_active_run,
    log_metric,
    log_metrics,
    log_param,
    log_params,
    search_experiments,
    search_logged_models,
    search_runs,
    set_experiment,
    set_experiment_tag,
    set_experiment_tags,
    set_tag,
    set_tags,
    set_tracking_uri,
    start_run,
)

__version__ = "0.1.0"

__all__ = [
    "ActiveRun",
    "Experiment",
    "LocaltrackError",
    "Metric",
    "MlflowClient",
    "MlflowException",
    "Param",
    "Run",
    "RunStatus",
    "RunTag",
    "StoreError",
    "TrackingClient",
    "TrackingError",
    "ViewType",
    "active_run",
    "create_experiment",
    "delete_experiment",
    "delete_experiment_tag",
    "delete_run",
    "delete_tag",
    "end_run",
    "entities",
    "exceptions",
    "flush",
    "flush_async_logging",
    "get_experiment",
    "get_experiment_by_name",
    "get_parent_run",
    "get_run",
    "get_tracking_uri",
    "is_tracking_uri_set",
    "last_active_run",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "search_experiments",
    "search_logged_models",
    "search_runs",
    "set_experiment",
    "set_experiment_tag",
    "set_experiment_tags",
    "set_tag",
    "set_tags",
    "set_tracking_uri",
    "start_run",
    "tracking",
]


def __getattr__(name: str) -> object:
    raise AttributeError(
        f"module 'localtrack' has no attribute {name!r} (docs/api.md lists the functions of MLflow that are offered)"
    )
