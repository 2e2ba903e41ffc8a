"""The module functions of localtrack, with MLflow's names, arguments, defaults and behaviour (docs/api.md)."""

from __future__ import annotations

from localtrack.fluent.active import ActiveRun, active_run, end_run
from localtrack.fluent.experiments import (
    create_experiment,
    delete_experiment,
    delete_experiment_tag,
    get_experiment,
    get_experiment_by_name,
    search_experiments,
    set_experiment,
    set_experiment_tag,
    set_experiment_tags,
)
from localtrack.fluent.log import (
    delete_tag,
    flush,
    flush_async_logging,
    log_metric,
    log_metrics,
    log_param,
    log_params,
    set_tag,
    set_tags,
)
from localtrack.fluent.runs import (
    delete_run,
    get_parent_run,
    get_run,
    last_active_run,
    start_run,
)
from localtrack.fluent.search import search_logged_models, search_runs
from localtrack.service.current import get_tracking_uri, is_tracking_uri_set, set_tracking_uri

__all__ = [
    "ActiveRun",
    "active_run",
    "create_experiment",
    "delete_experiment",
    "delete_experiment_tag",
    "delete_run",
    "delete_tag",
    "end_run",
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
]
