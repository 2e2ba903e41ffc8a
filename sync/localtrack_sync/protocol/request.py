"""Requests to MLflow's REST API, as values. Pure.

Paths and fields are those of MLflow 2.x and 3.x alike; logged models and outputs are those of 3.x.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from localtrack_sync.protocol.effects import Request

API = "/api/2.0/mlflow"

UID_TAG = "localtrack.uid"
ATTEMPT_TAG = "localtrack.att"
RUN_NAME_TAG = "mlflow.runName"
PARENT_TAG = "mlflow.parentRunId"
HISTORY_TAG = "mlflow.log-model.history"


def encode(body: Mapping[str, Any]) -> bytes:
    """Strict JSON: a bare NaN would make MLflow drop the rest of a request and answer 200."""
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")


def post(path: str, body: Mapping[str, Any]) -> Request:
    """A POST below the API's root."""
    return Request("POST", f"{API}/{path}", encode(body))


def get(path: str, **query: str) -> Request:
    """A GET below the API's root."""
    return Request("GET", f"{API}/{path}", None, tuple(query.items()))


def pairs(items: Mapping[str, str]) -> list[dict[str, str]]:
    """A mapping as MLflow's list of key and value."""
    return [{"key": key, "value": value} for key, value in items.items()]


SERVER_INFO = Request("GET", "/api/3.0/mlflow/server-info")
VERSION = Request("GET", "/version")
#: Databricks only.
WHO_AM_I = Request("GET", "/api/2.0/preview/scim/v2/Me")
#: Any JSON answer to this (also "no such experiment") shows that the API is there and lets us in.
PROBE = get("experiments/get", experiment_id="0")
#: Any JSON answer to this shows that the server has logged models.
HAS_MODELS = post("logged-models/search", {"experiment_ids": ["0"], "max_results": 1})


def create_experiment(name: str, artifact_location: str | None, tags: Mapping[str, str]) -> Request:
    """Create an experiment."""
    body: dict[str, Any] = {"name": name, "tags": pairs(tags)}
    if artifact_location:
        body["artifact_location"] = artifact_location
    return post("experiments/create", body)


def create_run(experiment_id: str, user_id: str, name: str, start_time: int, tags: Mapping[str, str]) -> Request:
    """Create a run; the tags carry our uid, so that it can be found again when the reply is lost."""
    body: dict[str, Any] = {"experiment_id": experiment_id, "start_time": start_time, "tags": pairs(tags)}
    if user_id:
        body["user_id"] = user_id
    if name:
        body["run_name"] = name
    return post("runs/create", body)


def search_uid(experiment_ids: tuple[str, ...], uid: str, page: int, token: str = "") -> Request:
    """Find the runs that carry a uid, deleted ones too."""
    quoted = uid.replace("'", "")
    body: dict[str, Any] = {
        "experiment_ids": list(experiment_ids),
        "filter": f"tags.`{UID_TAG}` = '{quoted}'",
        "run_view_type": "ALL",
        "max_results": page,
    }
    if token:
        body["page_token"] = token
    return post("runs/search", body)


def search_experiments(page: int, token: str = "") -> Request:
    """List all experiments, deleted ones too."""
    body: dict[str, Any] = {"max_results": page, "view_type": "ALL"}
    if token:
        body["page_token"] = token
    return post("experiments/search", body)


def get_history(run_id: str, key: str, page: int, token: str = "") -> Request:
    """Read one page of a metric's points."""
    query = {"run_id": run_id, "metric_key": key, "max_results": str(page)}
    if token:
        query["page_token"] = token
    return get("metrics/get-history", **query)


def log_params(run_id: str, params: Mapping[str, str]) -> Request:
    """Params alone: one that collides rejects everything that travels with it."""
    return post("runs/log-batch", {"run_id": run_id, "params": pairs(params)})


def log_tags(run_id: str, tags: Mapping[str, str]) -> Request:
    """Tags alone."""
    return post("runs/log-batch", {"run_id": run_id, "tags": pairs(tags)})


def update_run(run_id: str, **fields: str | int) -> Request:
    """Change status, end_time or run_name."""
    return post("runs/update", {"run_id": run_id, **fields})


def on_run(verb: str, run_id: str, **fields: str) -> Request:
    """runs/delete, runs/restore, runs/delete-tag."""
    return post(f"runs/{verb}", {"run_id": run_id, **fields})


def on_experiment(verb: str, experiment_id: str, **fields: str) -> Request:
    """experiments/update, delete, restore, set-experiment-tag, delete-experiment-tag."""
    return post(f"experiments/{verb}", {"experiment_id": experiment_id, **fields})


def size_of(items: Iterable[tuple[str, str]]) -> int:
    """Upper bound of the encoded size of keys and values, in bytes."""
    return sum(len(json.dumps(key)) + len(json.dumps(value)) + len('{"key":,"value":},') for key, value in items)


def create_model(
    experiment_id: str,
    name: str,
    model_type: str | None,
    source_run_id: str | None,
    params: Mapping[str, str],
    tags: Mapping[str, str],
) -> Request:
    """Create a logged model; the tags carry our uid, as those of a run do."""
    body: dict[str, Any] = {"experiment_id": experiment_id, "tags": pairs(tags), "params": pairs(params)}
    given = {"name": name, "model_type": model_type, "source_run_id": source_run_id}
    return post("logged-models", {**body, **{key: value for key, value in given.items() if value}})


def search_model(experiment_ids: tuple[str, ...], uid: str, page: int, token: str = "") -> Request:
    """Find the logged models that carry a uid; deleted ones are never found. Only backticks are understood here."""
    quoted = uid.replace("'", "")
    body: dict[str, Any] = {
        "experiment_ids": list(experiment_ids),
        "filter": f"tags.`{UID_TAG}` = '{quoted}'",
        "max_results": page,
    }
    if token:
        body["page_token"] = token
    return post("logged-models/search", body)


def get_model(model_id: str, *, deleted: bool = False) -> Request:
    """Read a logged model; a deleted one is only shown when asked for."""
    return get(_model(model_id), **({"allow_deleted": "true"} if deleted else {}))


def log_model_params(model_id: str, params: Mapping[str, str]) -> Request:
    """Params of a logged model; the id stands in the body as well, MLflow's server wants it there."""
    return post(f"{_model(model_id)}/params", {"model_id": model_id, "params": pairs(params)})


def set_model_tags(model_id: str, tags: Mapping[str, str]) -> Request:
    """Tags of a logged model."""
    body = {"model_id": model_id, "tags": pairs(tags)}
    return Request("PATCH", f"{API}/{_model(model_id)}/tags", encode(body))


def drop_model_tag(model_id: str, key: str) -> Request:
    """Remove a tag of a logged model."""
    return Request("DELETE", f"{API}/{_model(model_id)}/tags/{quote(key, safe='')}")


def finalize_model(model_id: str, status: str) -> Request:
    """Set the status of a logged model, e.g. LOGGED_MODEL_READY."""
    return Request("PATCH", f"{API}/{_model(model_id)}", encode({"model_id": model_id, "status": status}))


def delete_model(model_id: str) -> Request:
    """Delete a logged model; nothing restores it."""
    return Request("DELETE", f"{API}/{_model(model_id)}")


def log_inputs(run_id: str, datasets: Iterable[Mapping[str, Any]], models: Iterable[str]) -> Request:
    """Datasets (as MLflow's JSON) and models that went into a run."""
    body: dict[str, Any] = {"run_id": run_id, "datasets": list(datasets)}
    named = [{"model_id": model_id} for model_id in models]
    return post("runs/log-inputs", {**body, "models": named} if named else body)


def log_outputs(run_id: str, models: Iterable[tuple[str, int]]) -> Request:
    """Models that came out of a run, with their steps."""
    named = [{"model_id": model_id, "step": step} for model_id, step in models]
    return post("runs/outputs", {"run_id": run_id, "models": named})


def log_model(run_id: str, entry: str) -> Request:
    """The deprecated log_model: the server appends the entry to the tag mlflow.log-model.history."""
    return post("runs/log-model", {"run_id": run_id, "model_json": entry})


def _model(model_id: str) -> str:
    return f"logged-models/{quote(model_id, safe='')}"
