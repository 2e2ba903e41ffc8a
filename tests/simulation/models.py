"""The modelled server's logged models: what MLflow 3 answers on SQL, and on the file store where that differs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from localtrack_sync.protocol.effects import Reply, Request
from localtrack_sync.protocol.values import LARGEST

#: (key, step, timestamp, value, dataset name, dataset digest, run id): one metric of a model.
ModelMetric = tuple[str, int, int, float, str | None, str | None, str]


@dataclass
class ModelState:
    """A logged model on the remote."""

    model_id: str
    experiment_id: str
    name: str
    model_type: str
    source_run_id: str
    status: str = "LOGGED_MODEL_PENDING"
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[ModelMetric] = field(default_factory=list)

    def copy(self) -> ModelState:
        """What a late read would still show."""
        new = ModelState(self.model_id, self.experiment_id, self.name, self.model_type, self.source_run_id)
        new.status, new.deleted = self.status, self.deleted
        new.params, new.tags, new.metrics = dict(self.params), dict(self.tags), list(self.metrics)
        return new

    def shown(self, flavour: str) -> dict[str, Any]:
        """As in a reply. The file store shows only the latest metric of each name and dataset."""
        metrics = self.metrics
        if flavour == "file":
            latest: dict[Any, ModelMetric] = {}
            for one in metrics:
                old = latest.get((one[0], one[4], one[5]))
                if old is None or one[1:4] > old[1:4]:
                    latest[one[0], one[4], one[5]] = one
            metrics = list(latest.values())
        info = {
            "model_id": self.model_id,
            "experiment_id": self.experiment_id,
            "name": self.name,
            "status": self.status,
            "artifact_uri": f"mlflow-artifacts:/models/{self.model_id}",
            "model_type": self.model_type,
            "source_run_id": self.source_run_id,
            "tags": [{"key": key, "value": value} for key, value in self.tags.items()],
        }
        data = {
            "params": [{"key": key, "value": value} for key, value in self.params.items()],
            "metrics": [_metric(one, self.model_id) for one in metrics],
        }
        return {"model": {"info": info, "data": data}}


def _metric(one: ModelMetric, model_id: str) -> dict[str, Any]:
    key, step, timestamp, value, name, digest, run_id = one
    row = {"key": key, "step": step, "timestamp": timestamp, "value": "NaN" if math.isnan(value) else value}
    return {**row, "model_id": model_id, "run_id": run_id, "dataset_name": name, "dataset_digest": digest}


class Models:
    """The part of a remote that holds logged models."""

    def __init__(self, rng: random.Random, flavour: str) -> None:
        self.rng = rng
        self.flavour = flavour
        self.models: dict[str, ModelState] = {}
        self.count = 0
        self.stale_until: dict[str, list[tuple[float, ModelState | None]]] = {}
        self.now = 0.0

    def answer(  # noqa: PLR0911 - one return for each route
        self, request: Request, given: dict[str, Any], late_until: float, *, stale: bool
    ) -> Reply | None:
        """The reply to a request below logged-models; None: the experiment must be active first (a create)."""
        parts = request.path.removeprefix("/api/2.0/mlflow/").split("/")
        match request.method, parts[1:]:
            case "POST", ["search"]:
                return self._search(given, stale=stale)
            case "GET", [model_id]:
                return self._get(model_id, given, stale=stale)
            case "POST", [model_id, "params"]:
                return self._params(self._write(model_id, late_until), given)
            case "PATCH", [model_id]:
                return self._finalize(self._write(model_id, late_until), given)
            case "PATCH", [model_id, "tags"]:
                return self._set_tags(self._write(model_id, late_until), given)
            case "DELETE", [model_id, "tags", key]:
                return self._drop_tag(self._write(model_id, late_until), unquote(key))
            case "DELETE", [model_id]:
                return self._delete(self._write(model_id, late_until))
        return None

    def create(self, given: dict[str, Any], late_until: float) -> Reply:
        """Make a logged model, in an active experiment."""
        self.count += 1
        model = ModelState(
            f"m-{self.count}",
            given["experiment_id"],
            given.get("name", "random"),
            given.get("model_type", ""),
            given.get("source_run_id", ""),
        )
        model.params = {one["key"]: one["value"] for one in given.get("params", ())}
        model.tags = {one["key"]: one["value"] for one in given.get("tags", ())}
        self.remember(model.model_id, late_until)
        self.models[model.model_id] = model
        return Reply(200, model.shown(self.flavour))

    def add_metrics(self, run_id: str, rows: Sequence[dict[str, Any]], late_until: float) -> str:
        """The models' side of a batch, in one transaction, after the run's; why it fails, "" when it does not."""
        places: dict[tuple[str, Any], ModelMetric] = {}
        for row in rows:
            if "model_id" in row:
                model, one = self.models.get(row["model_id"]), _stored(run_id, row)
                if model is None:
                    return "FOREIGN KEY constraint failed"
                held = {_place(m): m for m in model.metrics}
                if held.get(_place(one), one) != one or places.setdefault((model.model_id, _place(one)), one) != one:
                    return "UNIQUE constraint failed: logged_model_metrics"
        for (model_id, _), one in places.items():
            if one not in self.models[model_id].metrics:
                self.remember(model_id, late_until)
                self.models[model_id].metrics.append(one)
        return ""

    def uid(self, model_id: str) -> str:
        """Local id of a model."""
        return self.models[model_id].tags.get("localtrack.uid", "") if model_id in self.models else ""

    def append_metric(self, run_id: str, row: dict[str, Any]) -> None:
        """The file store: one row more, whatever is there."""
        if "model_id" in row and row["model_id"] in self.models:
            self.models[row["model_id"]].metrics.append(_stored(run_id, row, nan=math.nan))

    def remember(self, model_id: str, until: float) -> None:
        """The model is about to change; late reads may show it as it is now until then."""
        model = self.models.get(model_id)
        self.stale_until.setdefault(model_id, []).append((until, model.copy() if model else None))

    def _seen(self, model_id: str, *, stale: bool) -> ModelState | None:
        versions = [v for v in self.stale_until.get(model_id, ()) if v[0] > self.now]
        self.stale_until[model_id] = versions
        return self.rng.choice(versions)[1] if stale and versions else self.models.get(model_id)

    def _write(self, model_id: str, late_until: float) -> ModelState | None:
        model = self.models.get(model_id)
        if model is None or (model.deleted and self.flavour == "file"):
            return None
        self.remember(model_id, late_until)
        return model

    def _search(self, given: dict[str, Any], *, stale: bool) -> Reply:
        uid = given["filter"].split("'")[1] if "filter" in given else "anything"
        seen = [self._seen(model_id, stale=stale) for model_id in sorted(self.models)]
        found = [
            model.shown(self.flavour)["model"]
            for model in seen
            if model is not None
            and not model.deleted
            and model.experiment_id in given["experiment_ids"]
            and model.tags.get("localtrack.uid") == uid
        ]
        return Reply(200, {"models": found} if found else {})

    def _get(self, model_id: str, given: dict[str, Any], *, stale: bool) -> Reply:
        model = self._seen(model_id, stale=stale)
        if model is None or (model.deleted and given.get("allow_deleted") != "true"):
            return _missing("logged model")
        return Reply(200, model.shown(self.flavour))

    def _params(self, model: ModelState | None, given: dict[str, Any]) -> Reply:
        if model is None:
            return _missing("logged model")
        assert given["model_id"] == model.model_id, "the id stands in the body too"
        params = {one["key"]: one["value"] for one in given["params"]}
        if self.flavour != "file" and set(params) & set(model.params):
            return Reply(400, {"error_code": "BAD_REQUEST", "message": "UNIQUE constraint failed: logged_model_params"})
        model.params.update(params)
        return Reply(200, {})

    def _finalize(self, model: ModelState | None, given: dict[str, Any]) -> Reply:
        if model is None:
            return _missing("logged model")
        assert given["model_id"] == model.model_id, "the id stands in the body too"
        model.status = given["status"]
        return Reply(200, model.shown(self.flavour))

    def _set_tags(self, model: ModelState | None, given: dict[str, Any]) -> Reply:
        if model is None:
            return _missing("logged model")
        model.tags.update({one["key"]: one["value"] for one in given["tags"]})
        return Reply(200, {})

    def _drop_tag(self, model: ModelState | None, key: str) -> Reply:
        if model is None or key not in model.tags:
            return _missing("tag")
        del model.tags[key]
        return Reply(200, {})

    def _delete(self, model: ModelState | None) -> Reply:
        if model is None:
            return _missing("logged model")
        model.deleted = True
        return Reply(200, {})


def _stored(run_id: str, row: dict[str, Any], nan: float = 0.0) -> ModelMetric:
    value = float(row["value"])
    value = nan if math.isnan(value) else max(min(value, LARGEST), -LARGEST) + 0.0
    more = (row.get("dataset_name"), row.get("dataset_digest"), run_id)
    return (row["key"], row["step"], row["timestamp"], value, *more)


def _place(one: ModelMetric) -> Any:
    return (*one[:3], one[6])


def _missing(what: str) -> Reply:
    return Reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"No {what}"}, what)
