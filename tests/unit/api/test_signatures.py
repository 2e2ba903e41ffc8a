from __future__ import annotations

import inspect

import pytest

import localtrack
from localtrack.client import TrackingClient

#: Ours, behind MLflow's parameters of start_run.
ATTACH = ", attach=False"
MODEL = "name=None, source_run_id=None, tags=None, params=None, model_type=None, experiment_id=None"
#: Parameter names, order and defaults of MLflow 3.17.2, read from its installed signatures.
MLFLOW_FUNCTIONS = {
    "active_run": "",
    "create_experiment": "name, artifact_location=None, tags=None, trace_location=None",
    "delete_experiment": "experiment_id",
    "delete_run": "run_id",
    "delete_tag": "key",
    "end_run": "status='FINISHED'",
    "flush_artifact_async_logging": "",
    "flush_async_logging": "",
    "get_artifact_uri": "artifact_path=None",
    "load_table": "artifact_file, run_ids=None, extra_columns=None",
    "log_artifact": "local_path, artifact_path=None, run_id=None",
    "log_artifacts": "local_dir, artifact_path=None, run_id=None",
    "log_dict": "dictionary, artifact_file, run_id=None",
    "log_figure": "figure, artifact_file, *, save_kwargs=None",
    "log_image": "image, artifact_file=None, key=None, step=None, timestamp=None, synchronous=False",
    "log_stream": "stream, artifact_file, run_id=None",
    "log_table": "data, artifact_file, run_id=None",
    "log_text": "text, artifact_file, run_id=None",
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
        "description=None, log_system_metrics=None" + ATTACH
    ),
    "clear_active_model": "",
    "create_external_model": MODEL,
    "delete_logged_model_tag": "model_id, key",
    "finalize_logged_model": "model_id, status",
    "get_active_model_id": "",
    "get_logged_model": "model_id",
    "initialize_logged_model": MODEL,
    "last_logged_model": "",
    "log_input": "dataset=None, context=None, tags=None, model=None",
    "log_inputs": "datasets=None, contexts=None, tags_list=None, models=None",
    "log_model_params": "params, model_id=None",
    "log_outputs": "models=None",
    "set_active_model": "*, name=None, model_id=None",
    "set_logged_model_tags": "model_id, tags",
}
MLFLOW_CLIENT = {
    "create_experiment": "name, artifact_location=None, tags=None",
    "create_logged_model": ("experiment_id, name=None, source_run_id=None, tags=None, params=None, model_type=None"),
    "create_run": "experiment_id, start_time=None, tags=None, run_name=None",
    "delete_logged_model": "model_id",
    "delete_logged_model_tag": "model_id, key",
    "finalize_logged_model": "model_id, status",
    "get_logged_model": "model_id",
    "log_inputs": "run_id, datasets=None, models=None",
    "log_model_params": "model_id, params",
    "log_outputs": "run_id, models",
    "set_logged_model_tags": "model_id, tags",
    "delete_experiment": "experiment_id",
    "delete_experiment_tag": "experiment_id, key",
    "delete_run": "run_id",
    "delete_tag": "run_id, key",
    "get_experiment": "experiment_id",
    "get_experiment_by_name": "name",
    "download_artifacts": "run_id, path, dst_path=None",
    "get_metric_history": "run_id, key",
    "list_artifacts": "run_id, path=None",
    "list_logged_model_artifacts": "model_id, path=None",
    "load_table": "experiment_id, artifact_file, run_ids=None, extra_columns=None",
    "log_artifact": "run_id, local_path, artifact_path=None",
    "log_artifacts": "run_id, local_dir, artifact_path=None",
    "log_dict": "run_id, dictionary, artifact_file",
    "log_figure": "run_id, figure, artifact_file, *, save_kwargs=None",
    "log_image": "run_id, image, artifact_file=None, key=None, step=None, timestamp=None, synchronous=None",
    "log_model_artifact": "model_id, local_path, artifact_path=None",
    "log_model_artifacts": "model_id, local_dir, artifact_path=None",
    "log_stream": "run_id, stream, artifact_file",
    "log_table": "run_id, data, artifact_file",
    "log_text": "run_id, text, artifact_file",
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
OURS = {
    "autostart": "*, linger=300.0, stop_with_process_group=False",
    "delete_experiment_tag": "key",
    "flush": "sync=False",
    "sync": "to=None, *, runs=None, experiments=None, patience=30.0, dry_run=False",
    "wait_for_sync": "timeout=None, *, run_id=None, to=None",
}
#: Ours beside MlflowClient's methods: MLflow's client has `_record_logged_model` for the first, and no other way to
#: name a run that it cannot ask about.
OUR_METHODS = {"log_model": "run_id, model_json", "attach_run": "run_id"}
#: Databricks has these two by REST only; the names are its.
OUR_METHODS |= {
    "delete_runs": "experiment_id, max_timestamp_millis, max_runs=None",
    "restore_runs": "experiment_id, min_timestamp_millis, max_runs=None",
}


def parameters(function: object) -> str:
    """Names and defaults as text, without types; after `*` such as can only be given by name."""
    texts = []
    for one in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        assert one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        if one.kind is one.KEYWORD_ONLY and "*" not in texts:
            texts.append("*")
        texts.append(one.name if one.default is one.empty else f"{one.name}={one.default!r}")
    return ", ".join(text for text in texts if text != "self")


@pytest.mark.parametrize("name", MLFLOW_FUNCTIONS | OURS)
def test_module_functions_have_mlflows_signature(name: str) -> None:
    """Same parameter names, order and defaults as MLflow's function of that name."""
    assert parameters(getattr(localtrack, name)) == (MLFLOW_FUNCTIONS | OURS)[name]


@pytest.mark.parametrize("name", MLFLOW_CLIENT | OUR_METHODS)
def test_client_methods_have_mlflows_signature(name: str) -> None:
    """Same parameter names, order and defaults as MlflowClient's method of that name."""
    assert parameters(getattr(TrackingClient, name)) == (MLFLOW_CLIENT | OUR_METHODS)[name]


def test_the_tables_are_complete() -> None:
    """No public function or method is offered that the tables above do not hold."""
    functions = {name for name in localtrack.__all__ if inspect.isfunction(getattr(localtrack, name))}
    assert functions == MLFLOW_FUNCTIONS.keys() | OURS.keys()
    methods = {name for name, _ in inspect.getmembers(TrackingClient, inspect.isfunction) if not name.startswith("_")}
    assert methods == MLFLOW_CLIENT.keys() | OUR_METHODS.keys()
    assert localtrack.MlflowClient is TrackingClient
    assert parameters(TrackingClient) == "tracking_uri=None, registry_uri=None"
