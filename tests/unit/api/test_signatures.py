from __future__ import annotations

import inspect

import pytest

import localtrack
from localtrack.client import TrackingClient

#: Parameter names, order and defaults of MLflow 3.17.2, read from its installed signatures.
MLFLOW_FUNCTIONS = {
    "active_run": "",
    "create_experiment": "name, artifact_location=None, tags=None, trace_location=None",
    "delete_experiment": "experiment_id",
    "delete_run": "run_id",
    "delete_tag": "key",
    "end_run": "status='FINISHED'",
    "flush_async_logging": "",
    "get_experiment": "experiment_id",
    "get_experiment_by_name": "name",
    "get_parent_run": "run_id",
    "get_run": "run_id",
    "get_tracking_uri": "",
    "is_tracking_uri_set": "",
    "last_active_run": "",
    "log_metric": ("key, value, step=None, synchronous=None, timestamp=None, run_id=None, model_id=None, dataset=None"),
    "log_metrics": ("metrics, step=None, synchronous=None, run_id=None, timestamp=None, model_id=None, dataset=None"),
    "log_param": "key, value, synchronous=None",
    "log_params": "params, synchronous=None, run_id=None",
    "search_experiments": "view_type=1, max_results=None, filter_string=None, order_by=None",
    "search_logged_models": (
        "experiment_ids=None, filter_string=None, datasets=None, max_results=None, order_by=None, "
        "output_format='pandas'"
    ),
    "search_runs": (
        "experiment_ids=None, filter_string='', run_view_type=1, max_results=100000, order_by=None, "
        "output_format='pandas', search_all_experiments=False, experiment_names=None"
    ),
    "set_experiment": "experiment_name=None, experiment_id=None, trace_location=None",
    "set_experiment_tag": "key, value",
    "set_experiment_tags": "tags",
    "set_tag": "key, value, synchronous=None",
    "set_tags": "tags, synchronous=None",
    "set_tracking_uri": "uri",
    "start_run": (
        "run_id=None, experiment_id=None, run_name=None, nested=False, parent_run_id=None, tags=None, "
        "description=None, log_system_metrics=None"
    ),
}
MLFLOW_CLIENT = {
    "create_experiment": "name, artifact_location=None, tags=None",
    "create_run": "experiment_id, start_time=None, tags=None, run_name=None",
    "delete_experiment": "experiment_id",
    "delete_experiment_tag": "experiment_id, key",
    "delete_run": "run_id",
    "delete_tag": "run_id, key",
    "get_experiment": "experiment_id",
    "get_experiment_by_name": "name",
    "get_metric_history": "run_id, key",
    "get_parent_run": "run_id",
    "get_run": "run_id",
    "log_batch": "run_id, metrics=(), params=(), tags=(), synchronous=None",
    "log_metric": (
        "run_id, key, value, timestamp=None, step=None, synchronous=None, dataset_name=None, dataset_digest=None, "
        "model_id=None"
    ),
    "log_param": "run_id, key, value, synchronous=None",
    "rename_experiment": "experiment_id, new_name",
    "restore_experiment": "experiment_id",
    "restore_run": "run_id",
    "search_experiments": "view_type=1, max_results=1000, filter_string=None, order_by=None, page_token=None",
    "search_logged_models": (
        "experiment_ids, filter_string=None, datasets=None, max_results=None, order_by=None, page_token=None"
    ),
    "search_runs": (
        "experiment_ids, filter_string='', run_view_type=1, max_results=1000, order_by=None, page_token=None"
    ),
    "set_experiment_tag": "experiment_id, key, value",
    "set_tag": "run_id, key, value, synchronous=None",
    "set_terminated": "run_id, status=None, end_time=None",
    "update_run": "run_id, status=None, name=None",
}
#: Offered beside MLflow 3.17's functions: `flush` is ours, `delete_experiment_tag` is in MLflow from 3.18 on.
OURS = {"flush": "sync=False", "delete_experiment_tag": "key"}
#: Databricks has these two by REST only; the names are its.
OUR_CLIENT = {
    "delete_runs": "experiment_id, max_timestamp_millis, max_runs=None",
    "restore_runs": "experiment_id, min_timestamp_millis, max_runs=None",
}


def parameters(function: object) -> str:
    """Names and defaults as text, without types."""
    found = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    assert all(one.kind is one.POSITIONAL_OR_KEYWORD for one in found)
    texts = [one.name if one.default is one.empty else f"{one.name}={one.default!r}" for one in found]
    return ", ".join(text for text in texts if text != "self")


@pytest.mark.parametrize("name", MLFLOW_FUNCTIONS | OURS)
def test_module_functions_have_mlflows_signature(name: str) -> None:
    """Same parameter names, order and defaults as MLflow's function of that name."""
    assert parameters(getattr(localtrack, name)) == (MLFLOW_FUNCTIONS | OURS)[name]


@pytest.mark.parametrize("name", MLFLOW_CLIENT | OUR_CLIENT)
def test_client_methods_have_mlflows_signature(name: str) -> None:
    """Same parameter names, order and defaults as MlflowClient's method of that name."""
    assert parameters(getattr(TrackingClient, name)) == (MLFLOW_CLIENT | OUR_CLIENT)[name]


def test_the_tables_are_complete() -> None:
    """No public function or method is offered that the tables above do not hold."""
    functions = {name for name in localtrack.__all__ if inspect.isfunction(getattr(localtrack, name))}
    assert functions == MLFLOW_FUNCTIONS.keys() | OURS.keys()
    methods = {name for name, _ in inspect.getmembers(TrackingClient, inspect.isfunction) if not name.startswith("_")}
    assert methods == MLFLOW_CLIENT.keys() | OUR_CLIENT.keys()
    assert localtrack.MlflowClient is TrackingClient
    assert parameters(TrackingClient) == "tracking_uri=None, registry_uri=None"
