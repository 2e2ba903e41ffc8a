"""A modelled MLflow server: three flavours, exact enough where replay depends on it.

Flavours: "sql" (3.17 on SQL: repeated points are stored once), "old" (2.22 on SQL: as well, but it answers 400 for a
repeated NaN, and says nothing about itself), "file" (the file store: everything is appended, row by row).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from localtrack_sync.protocol.effects import Reply, Request
from localtrack_sync.protocol.values import Identity, canonical, remote_identity
from tests.simulation.models import Models
from tests.simulation.world import CURSED_VALUE, POISON_SIGN

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class RunState:
    """A run on the remote."""

    run_id: str
    experiment_id: str
    name: str
    user_id: str
    start_time: int
    status: str = "RUNNING"
    end_time: int | None = None
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Identity] = field(default_factory=list)
    inputs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    model_inputs: list[str] = field(default_factory=list)
    outputs: dict[str, int] = field(default_factory=dict)
    born: float = 0.0
    born_with: frozenset[str] = frozenset()

    def copy(self) -> RunState:
        """What a late read would still show."""
        new = RunState(self.run_id, self.experiment_id, self.name, self.user_id, self.start_time)
        new.status, new.end_time, new.deleted = self.status, self.end_time, self.deleted
        new.params, new.tags, new.metrics = dict(self.params), dict(self.tags), list(self.metrics)
        new.inputs, new.model_inputs, new.outputs = dict(self.inputs), list(self.model_inputs), dict(self.outputs)
        return new


class Refusal(Exception):  # noqa: N818
    """The server answers with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.reply = Reply(status, {"error_code": code, "message": message}, message)


def missing(what: str) -> Refusal:
    """No such thing."""
    return Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"No {what}")


class Remote:
    """State and behaviour of the server. `now` and `lag` are set by the network for each request."""

    def __init__(self, rng: random.Random, flavour: str) -> None:
        self.rng = rng
        self.flavour = flavour
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, RunState] = {}
        self.logged = Models(rng, flavour)
        self.ids = 0
        self.now = 0.0
        self.stale_until: dict[str, list[tuple[float, RunState | None]]] = {}
        self.indexed = rng.random() < 0.7
        self.late_until = 0.0
        self.restored: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.lost: set[str] = set()  # runs that went with a backup
        self.keeps_twins = False  # of inputs and outputs that are sent twice, as Databricks may
        self.folder = ""  # Databricks: where experiments lie whose names are no paths
        self.twins: list[tuple[str, Any]] = []
        self.torn: set[tuple[str, str]] = set()  # local model and key of points that only their run got
        self.row_limit: int | None = None  # the request dies after these many rows

    # --- what others see ---

    def seen(self, run_id: str, *, stale: bool) -> RunState | None:
        """A run as a read shows it: as it is, or as it was a little while ago."""
        versions = [v for v in self.stale_until.get(run_id, ()) if v[0] > self.now]
        self.stale_until[run_id] = versions
        if stale and versions:
            return self.rng.choice(versions)[1]
        return self.runs.get(run_id)

    def remember(self, run_id: str, until: float) -> None:
        """The run is about to change; late reads may show it as it is now until then."""
        run = self.runs.get(run_id)
        self.stale_until.setdefault(run_id, []).append((until, run.copy() if run else None))

    # --- requests ---

    def handle(  # noqa: PLR0911 - what the server says of itself, then runs, then models
        self, request: Request, *, stale: bool = False, late_until: float = 0.0
    ) -> Reply:
        """Execute a request."""
        self.late_until = late_until
        path = request.path
        if path == "/version":
            text = "2.22.0" if self.flavour == "old" else "3.17.2"
            return Reply(200, None, text)
        if path == "/api/3.0/mlflow/server-info":
            if self.flavour == "old":
                return Reply(404, None, "<html>not found")
            return Reply(200, {"store_type": "SqlStore" if self.flavour == "sql" else "FileStore"})
        if path.startswith(ARTIFACTS):
            return self._artifacts(request, unquote(path.removeprefix(ARTIFACTS)).strip("/"))
        verb = path.removeprefix("/api/2.0/mlflow/").replace("/", "_").replace("-", "_")
        given = (
            dict(request.query) if request.method == "GET" else json.loads(request.body or b"{}", parse_constant=_bad)
        )
        try:
            if path.startswith("/api/2.0/mlflow/logged-models"):
                return self._logged_models(request, given, late_until, stale=stale)
            if verb in ("runs_get", "runs_search", "metrics_get_history"):
                return Reply(200, getattr(self, verb)(given, stale))
            return Reply(
                200, getattr(self, verb)(given, late_until) if verb.startswith("runs") else getattr(self, verb)(given)
            )
        except Refusal as refusal:
            return refusal.reply

    # artifacts: no run is asked for, whole files only, the same again is harmless

    def _artifacts(self, request: Request, path: str) -> Reply:
        if request.method == "PUT":
            if self.row_limit is not None and self.row_limit < 4:
                return Reply(500, None, "died half-way")  # nothing of it is seen
            if POISON_SIGN in path:
                return Reply(500, None, "is a directory")
            self.files[path] = request.body or b""
            return Reply(200, None, "")
        if not path:
            return Reply(200, self._artifact_list(dict(request.query)["path"]))
        if path not in self.files:
            return Reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no file"}, "no file")
        return Reply(200, json.loads(self.files[path]))

    def _artifact_list(self, directory: str) -> dict[str, Any]:
        names = {path.removeprefix(directory + "/"): data for path, data in self.files.items()}
        inside = {n: d for n, d in names.items() if directory + "/" + n in self.files}
        found = [{"path": n, "is_dir": False, "file_size": str(len(d))} for n, d in inside.items() if "/" not in n]
        found += [{"path": n, "is_dir": True} for n in {name.split("/")[0] for name in inside if "/" in name}]
        return {"files": found}

    def _logged_models(self, request: Request, given: dict[str, Any], late_until: float, *, stale: bool) -> Reply:
        if self.flavour == "old":
            return Reply(404, None, "<html>not found")
        self.logged.now = self.now
        reply = self.logged.answer(request, given, late_until, stale=stale)
        if reply is not None:
            return reply
        self._active_experiment(given["experiment_id"])
        return self.logged.create(given, late_until)

    # experiments

    def _experiment(self, experiment_id: str) -> dict[str, Any]:
        if experiment_id not in self.experiments:
            raise missing(f"experiment {experiment_id}")
        return self.experiments[experiment_id]

    def experiments_create(self, given: dict[str, Any]) -> dict[str, Any]:
        if any(e["name"] == given["name"] for e in self.experiments.values()):
            raise Refusal(400, "RESOURCE_ALREADY_EXISTS", f"Experiment '{given['name']}' already exists.")
        self.ids += 1
        tags = {t["key"]: t["value"] for t in given.get("tags", ())}
        self.experiments[str(self.ids)] = {"name": given["name"], "tags": tags, "deleted": False}
        return {"experiment_id": str(self.ids)}

    def _shown(self, experiment_id: str) -> dict[str, Any]:
        found = self._experiment(experiment_id)
        tags = [{"key": k, "value": v} for k, v in found["tags"].items()]
        stage = "deleted" if found["deleted"] else "active"
        return {
            "experiment": {
                "experiment_id": experiment_id,
                "name": found["name"],
                "tags": tags,
                "lifecycle_stage": stage,
            }
        }

    def experiments_get(self, given: dict[str, Any]) -> dict[str, Any]:
        return self._shown(given["experiment_id"])

    def experiments_get_by_name(self, given: dict[str, Any]) -> dict[str, Any]:
        for experiment_id, found in self.experiments.items():
            if found["name"] == given["experiment_name"]:
                return self._shown(experiment_id)
        raise missing("experiment of that name")

    def experiments_search(self, given: dict[str, Any]) -> dict[str, Any]:
        start, most = int(given.get("page_token", 0)), min(given["max_results"], 2)
        ids = list(self.experiments)
        page = {"experiments": [self._shown(one)["experiment"] for one in ids[start : start + most]]}
        return {**page, "next_page_token": str(start + most)} if start + most < len(ids) else page

    def experiments_update(self, given: dict[str, Any]) -> dict[str, Any]:
        found = self._experiment(given["experiment_id"])
        if found["deleted"]:
            raise Refusal(500, "INVALID_STATE", "Cannot rename a non-active experiment.")
        if any(e["name"] == given["new_name"] and e is not found for e in self.experiments.values()):
            raise Refusal(400, "BAD_REQUEST", "UNIQUE constraint failed: experiments.name")
        found["name"] = given["new_name"]
        return {}

    def experiments_delete(self, given: dict[str, Any]) -> dict[str, Any]:
        return self._move(given["experiment_id"], deleted=True)

    def experiments_restore(self, given: dict[str, Any]) -> dict[str, Any]:
        return self._move(given["experiment_id"], deleted=False)

    def _move(self, experiment_id: str, *, deleted: bool) -> dict[str, Any]:
        """Delete or restore, with all its runs, also those that were deleted before."""
        found = self._experiment(experiment_id)
        if found["deleted"] == deleted:
            raise missing("experiment in that state")
        found["deleted"] = deleted
        if not deleted:
            self.restored.add(experiment_id)
        for run in self.runs.values():
            if run.experiment_id == experiment_id:
                self.remember(run.run_id, self.late_until)
                run.deleted = deleted
        return {}

    def _active_experiment(self, experiment_id: str) -> dict[str, Any]:
        found = self._experiment(experiment_id)
        if found["deleted"]:
            message = f"The experiment {experiment_id} must be in the 'active' state. Current state is deleted."
            raise Refusal(400, "INVALID_PARAMETER_VALUE", message)
        return found

    def experiments_set_experiment_tag(self, given: dict[str, Any]) -> dict[str, Any]:
        self._active_experiment(given["experiment_id"])["tags"][given["key"]] = given["value"]
        return {}

    def experiments_delete_experiment_tag(self, given: dict[str, Any]) -> dict[str, Any]:
        tags = self._active_experiment(given["experiment_id"])["tags"]
        if given["key"] not in tags:
            raise missing("tag")
        del tags[given["key"]]
        return {}

    # runs

    def _run(self, run_id: str, late_until: float, *, active: bool = True) -> RunState:
        run = self.runs.get(run_id)
        if run is None:
            raise missing(f"run {run_id}")
        if active and run.deleted:
            message = f"The run {run_id} must be in the 'active' state. Current state is deleted."
            if self.flavour == "file":
                message = f"The run {run_id} must be in 'active' lifecycle_stage."
            raise Refusal(400, "INVALID_PARAMETER_VALUE", message)
        self.remember(run_id, late_until)
        return run

    def runs_create(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        self._active_experiment(given["experiment_id"])
        self.ids += 1
        run_id = f"r{self.ids}"
        tags = {t["key"]: t["value"] for t in given.get("tags", ())}
        if len(tags) != len(given.get("tags", ())):
            raise Refusal(400, "BAD_REQUEST", "UNIQUE constraint failed: tags")
        if self.flavour == "file" and any(POISON_SIGN in key for key in tags):
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "Invalid tag name")
        self.remember(run_id, late_until)
        run = RunState(
            run_id, given["experiment_id"], given.get("run_name", ""), given.get("user_id", ""), given["start_time"]
        )
        run.born, run.born_with = self.now, frozenset(tags)
        run.tags = {**tags, "mlflow.runName": tags.get("mlflow.runName", run.name)}
        self.runs[run_id] = run
        return self._info(run)

    def _info(self, run: RunState) -> dict[str, Any]:
        latest: dict[str, Identity] = {}
        for point in run.metrics:
            old = latest.get(point[0])
            if old is None or _order(point) > _order(old):
                latest[point[0]] = point
        info = {
            "run_id": run.run_id,
            "experiment_id": run.experiment_id,
            "run_name": run.name,
            "user_id": run.user_id,
            "status": run.status,
            "lifecycle_stage": "deleted" if run.deleted else "active",
            "start_time": run.start_time,
            "artifact_uri": f"mlflow-artifacts:/{run.run_id}",
        }
        if run.end_time:  # 0 is shown as none
            info["end_time"] = run.end_time
        data = {
            "metrics": [_metric(p) for p in latest.values()],
            "params": [{"key": k, "value": v} for k, v in run.params.items()],
            "tags": [{"key": k, "value": v} for k, v in run.tags.items()],
        }
        shown: dict[str, Any] = {"info": info, "data": data}
        shown["inputs"] = {
            "dataset_inputs": list(run.inputs.values()),
            "model_inputs": [{"model_id": model_id} for model_id in run.model_inputs],
        }
        shown["outputs"] = {"model_outputs": [{"model_id": m, "step": step} for m, step in run.outputs.items()]}
        return {"run": shown}

    def runs_get(self, given: dict[str, Any], stale: bool) -> dict[str, Any]:
        run = self.seen(given["run_id"], stale=stale)
        if run is None:
            raise missing(f"run {given['run_id']}")
        return self._info(run)

    def runs_search(self, given: dict[str, Any], stale: bool) -> dict[str, Any]:
        uid = given["filter"].split("'")[1]
        found = []
        for run_id in sorted(self.runs):
            run = self.seen(run_id, stale=stale)
            if (
                run is not None
                and run.experiment_id in given["experiment_ids"]
                and run.tags.get("localtrack.uid") == uid
            ):
                found.append(self._info(run)["run"])
        return {"runs": found} if found else {}

    def metrics_get_history(self, given: dict[str, Any], stale: bool) -> dict[str, Any]:
        run = self.seen(given["run_id"], stale=stale)
        if run is None:
            if self.flavour == "file":
                raise missing("run")
            return {}
        points = [p for p in run.metrics if p[0] == given["metric_key"]]
        if self.flavour != "file":
            points.sort(key=lambda p: (p[2], p[1], str(p[3])))
        start, most = int(given.get("page_token", 0)), min(int(given["max_results"]), 3)
        page: dict[str, Any] = {"metrics": [_metric(p) for p in points[start : start + most]]}
        if start + most < len(points):
            page["next_page_token"] = str(start + most)
        return page

    def runs_update(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        run = self._run(given["run_id"], late_until)
        run.status = given.get("status", run.status)
        if "end_time" in given and (given["end_time"] or self.flavour != "file"):  # the file store keeps the old one
            run.end_time = given["end_time"]
        if given.get("run_name"):
            run.name = run.tags["mlflow.runName"] = given["run_name"]
        return {"run_info": {"run_id": run.run_id}}

    def runs_delete(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        self._run(given["run_id"], late_until, active=False).deleted = True
        return {}

    def runs_restore(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        self._run(given["run_id"], late_until, active=False).deleted = False
        return {}

    def runs_delete_tag(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        run = self._run(given["run_id"], late_until)
        if given["key"] not in run.tags:
            raise missing(f"tag with name: {given['key']}")
        del run.tags[given["key"]]
        return {}

    def runs_log_inputs(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        run = self._run(given["run_id"], late_until)
        assert self.flavour != "old" or not given.get("models"), "this server drops what it does not know"
        for one in given.get("datasets", ()):
            name = (one["dataset"]["name"], one["dataset"]["digest"])
            self._count_twin(run, name, name in run.inputs)
            run.inputs.setdefault(name, one)
        for model in given.get("models", ()):
            self._count_twin(run, model["model_id"], model["model_id"] in run.model_inputs)
            if model["model_id"] not in run.model_inputs:
                run.model_inputs.append(model["model_id"])
        return {}

    def _count_twin(self, run: RunState, what: Any, there: bool) -> None:
        if self.keeps_twins and there:
            self.twins.append((run.run_id, what))

    def runs_outputs(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        run = self._run(given["run_id"], late_until)
        if self.flavour != "file" and any(one["model_id"] in run.outputs for one in given["models"]):
            raise Refusal(400, "BAD_REQUEST", "UNIQUE constraint failed: inputs")
        for one in given["models"]:
            self._count_twin(run, one["model_id"], one["model_id"] in run.outputs)
            run.outputs.setdefault(one["model_id"], one["step"])
        return {}

    def runs_log_model(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        run = self._run(given["run_id"], late_until)
        entry = json.loads(given["model_json"])
        before = json.loads(run.tags.get("mlflow.log-model.history", "[]"))
        run.tags["mlflow.log-model.history"] = json.dumps([*before, entry])
        return {}

    def runs_log_batch(self, given: dict[str, Any], late_until: float) -> dict[str, Any]:
        self._validate(given)
        run = self._run(given["run_id"], late_until)
        for _ in self._rows(run, given):
            if self.row_limit is not None:
                self.row_limit -= 1
                if self.row_limit < 0:
                    raise Refusal(500, "INTERNAL_ERROR", "died half-way")
        return {}

    def _validate(self, given: dict[str, Any]) -> None:
        metrics, params, tags = given.get("metrics", ()), given.get("params", ()), given.get("tags", ())
        assert len(metrics) <= 1000, "too many metrics"
        assert len(params) <= 100, "too many params"
        assert len(tags) <= 100, "too many tags"
        assert len({m["key"] for m in metrics}) <= 100, "too many keys"
        assert len({p["key"] for p in params}) == len(params), "a param twice"
        for name, items in (("metrics", metrics), ("params", params), ("tags", tags)):
            for index, item in enumerate(items):
                if POISON_SIGN in item["key"]:
                    where = f"{name}[{index}].name" if self.indexed else "name"
                    words = f"Invalid value \"{item['key']}\" for parameter '{where}' supplied"
                    raise Refusal(400, "INVALID_PARAMETER_VALUE", words)
        assert self.flavour != "old" or not any("model_id" in m for m in metrics), "a model where there are none"
        if any(m["value"] == CURSED_VALUE for m in metrics):
            raise Refusal(500, "INTERNAL_ERROR", "something broke")

    def _rows(self, run: RunState, given: dict[str, Any]) -> Iterator[None]:
        """Apply row by row; a yield is a place where the server may die."""
        params = {p["key"]: p["value"] for p in given.get("params", ())}
        changed = [k for k, v in params.items() if run.params.get(k, v) != v]
        if changed and self.flavour != "file":
            raise Refusal(400, "INVALID_PARAMETER_VALUE", f"Changing param values is not allowed. {changed}")
        yield
        for key, value in params.items():
            if run.params.get(key, value) != value:
                raise Refusal(500, "INTERNAL_ERROR", f"Changing param values is not allowed. {key}")
            run.params[key] = value
            if self.flavour == "file":
                yield
        yield
        yield from self._points(run, given.get("metrics", ()))
        yield
        for tag in given.get("tags", ()):
            run.tags[tag["key"]] = tag["value"]
            if self.flavour == "file":
                yield
        yield

    def _points(self, run: RunState, rows: list[dict[str, Any]]) -> Iterator[None]:
        """Metrics of the run, then, in a transaction of its own, those of logged models."""
        points = [remote_identity(m) for m in rows]
        if self.flavour == "file":
            for point, row in zip(points, rows, strict=True):
                run.metrics.append(point)
                if row.get("model_id") and self.row_limit == 0:
                    self.torn.add((self.logged.uid(row["model_id"]), point[0]))
                yield
                self.logged.append_metric(run.run_id, row)
                yield
            return
        stored = set(run.metrics)
        if self.flavour == "old" and any(p[3] == "nan" and (p in stored or points.count(p) > 1) for p in points):
            raise Refusal(400, "BAD_REQUEST", "UNIQUE constraint failed: metrics")
        run.metrics += [p for p in dict.fromkeys(points) if p not in stored]
        yield
        words = self.logged.add_metrics(run.run_id, rows, self.late_until) if self.flavour == "sql" else ""
        if words:
            raise Refusal(400, "BAD_REQUEST", words)


def _bad(text: str) -> Any:
    raise AssertionError(f"a bare {text} in a request: the server would drop what follows")


def _order(point: Identity) -> tuple[int, int, float]:
    return (point[1], point[2], 0.0 if isinstance(point[3], str) else point[3])


def _metric(point: Identity) -> dict[str, Any]:
    value = "NaN" if isinstance(point[3], str) else point[3]
    assert canonical(float(value)) == point[3], "values stay what they are"
    return {"key": point[0], "step": point[1], "timestamp": point[2], "value": value}
