"""The state behind the stand-in for Databricks: experiments and runs, with what each request does to them."""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.servers.databricks_rules import (
    Refusal,
    Strictness,
    check_name,
    check_path,
    check_values,
    invalid,
    missing,
    number,
    text,
    whole,
)

Given = Mapping[str, Any]
Answer = dict[str, Any]
LARGEST = 1.7976931348623157e308
STATUSES = {"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"}


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass
class Experiment:
    experiment_id: str
    name: str
    tags: dict[str, str]
    deleted: bool = False


@dataclass
class Run:
    """A run.

    Attributes:
        points: every metric row that came, as it came: (key, timestamp, step, value, further fields).
        created_ms, deleted_ms: by the server's clock.
    """

    run_id: str
    experiment_id: str
    name: str
    start_time: int
    user_id: str
    status: str = "RUNNING"
    end_time: int | None = None
    deleted: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[tuple[str, int, int, float, Answer]] = field(default_factory=list)
    datasets: list[Any] = field(default_factory=list)
    model_inputs: list[Any] = field(default_factory=list)
    model_outputs: list[Any] = field(default_factory=list)
    created_ms: int = field(default_factory=now_ms)
    deleted_ms: int = 0

    def latest(self) -> dict[str, tuple[str, int, int, float, Answer]]:
        """Key -> the point of the latest timestamp, the greatest value among equals, as Databricks' pages say."""
        found: dict[str, tuple[str, int, int, float, Answer]] = {}
        for point in self.points:
            old = found.get(point[0])
            if old is None or (point[1], point[3]) >= (old[1], old[3]):
                found[point[0]] = point
        return found

    def shown(self) -> Answer:
        """The run as the API shows it."""
        info: Answer = {
            "run_id": self.run_id,
            "run_uuid": self.run_id,
            "run_name": self.name,
            "experiment_id": self.experiment_id,
            "user_id": self.user_id,
            "status": self.status,
            "start_time": self.start_time,
            "artifact_uri": f"dbfs:/databricks/mlflow-tracking/{self.experiment_id}/{self.run_id}/artifacts",
            "lifecycle_stage": "deleted" if self.deleted else "active",
        }
        if self.end_time is not None:
            info["end_time"] = self.end_time
        data = {
            "metrics": [metric(point) for point in self.latest().values()],
            "params": pairs(self.params),
            "tags": pairs(self.tags),
        }
        inputs = {"dataset_inputs": self.datasets, "model_inputs": self.model_inputs}
        return {"info": info, "data": data, "inputs": inputs, "outputs": {"model_outputs": self.model_outputs}}


def metric(point: tuple[str, int, int, float, Answer]) -> Answer:
    """A point as the API shows it."""
    key, timestamp, step, value, more = point
    shown: Any = "NaN" if value != value else value  # noqa: PLR0124
    return {"key": key, "value": shown, "timestamp": timestamp, "step": step, **more}


def pairs(items: Mapping[str, str]) -> list[Answer]:
    """A mapping as a list of key and value."""
    return [{"key": key, "value": value} for key, value in items.items()]


class Workspace:
    """One workspace. Not safe for threads: the server lets one request in at a time."""

    def __init__(self, user: str, folders: set[str], strict: Strictness) -> None:
        self.user = user
        self.folders = {"/", "/Users", "/Shared", f"/Users/{user}", *folders}
        self.strict = strict
        self.experiments: dict[str, Experiment] = {}
        self.runs: dict[str, Run] = {}
        self.nodes: set[str] = set()
        self.routes: dict[str, Callable[[Given], Answer]] = {
            "GET experiments/get": lambda given: self._shown(self._experiment(given)),
            "GET experiments/get-by-name": self._by_name,
            "GET experiments/list": self._list_experiments,
            "GET runs/get": lambda given: {"run": self._run(given).shown()},
            "GET metrics/get-history": self._history,
            "POST experiments/create": self._create_experiment,
            "POST experiments/update": self._rename,
            "POST experiments/delete": lambda given: self._move(given, deleted=True),
            "POST experiments/restore": lambda given: self._move(given, deleted=False),
            "POST experiments/set-experiment-tag": self._tag_experiment,
            "POST experiments/search": self._list_experiments,
            "POST runs/create": self._create_run,
            "POST runs/update": self._update,
            "POST runs/delete": lambda given: self._life(self._run(given), deleted=True),
            "POST runs/restore": lambda given: self._life(self._run(given), deleted=False),
            "POST runs/search": self._search,
            "POST runs/log-batch": self._log_batch,
            "POST runs/log-metric": lambda given: self._log_batch({**given, "metrics": [given]}),
            "POST runs/log-parameter": lambda given: self._log_batch({**given, "params": [given]}),
            "POST runs/set-tag": lambda given: self._log_batch({**given, "tags": [given]}),
            "POST runs/delete-tag": self._delete_tag,
            "POST runs/log-inputs": self._log_inputs,
            "POST runs/outputs": self._log_outputs,
            "POST runs/log-model": self._log_model,
            "POST databricks/runs/delete-runs": self._delete_runs,
            "POST databricks/runs/restore-runs": self._restore_runs,
        }

    # --- experiments ---

    def _experiment(self, given: Given) -> Experiment:
        experiment_id = text(given, "experiment_id")
        if experiment_id not in self.experiments:
            raise missing(f"Node ID {experiment_id}")
        return self.experiments[experiment_id]

    def _live(self, given: Given) -> Experiment:
        found = self._experiment(given)
        if found.deleted:
            raise invalid(f"The experiment {found.experiment_id} must be in the 'active' state.")
        return found

    def _shown(self, found: Experiment) -> Answer:
        stage = "deleted" if found.deleted else "active"
        shown = {"experiment_id": found.experiment_id, "name": found.name, "lifecycle_stage": stage}
        return {"experiment": {**shown, "artifact_location": f"dbfs:/{found.experiment_id}", "tags": pairs(found.tags)}}

    def _by_name(self, given: Given) -> Answer:
        name = text(given, "experiment_name")
        same = sorted((e for e in self.experiments.values() if e.name == name), key=lambda e: e.deleted)
        if not same:
            raise missing(f"Node {name}")
        return self._shown(same[0])

    def _list_experiments(self, given: Given) -> Answer:
        view = given.get("view_type", "ACTIVE_ONLY")
        chosen = [e for e in self.experiments.values() if view == "ALL" or e.deleted == (view == "DELETED_ONLY")]
        return _page("experiments", [self._shown(e)["experiment"] for e in chosen], given, 3000)

    def _taken(self, name: str) -> None:
        if name in self.nodes or any(e.name == name and not e.deleted for e in self.experiments.values()):
            raise Refusal(*self.strict.exists_code, f"Node named '{name.rpartition('/')[2]}' already exists")

    def _create_experiment(self, given: Given) -> Answer:
        name = text(given, "name")
        check_path(name, self.folders)
        tags = given.get("tags", [])
        if len(tags) > 20:
            raise invalid(f"At most 20 tags, got {len(tags)}")
        kept = dict(check_values("tags", tags, self.strict))
        if any(len(value.encode()) > 5000 for value in kept.values()):
            raise invalid("A tag value is larger than 5000 bytes")
        self._taken(name)
        experiment_id = str(uuid.uuid4().int % 10**16)
        owner = {"mlflow.ownerEmail": self.user, "mlflow.experimentType": "MLFLOW_EXPERIMENT"}
        self.experiments[experiment_id] = Experiment(experiment_id, name, {**owner, **kept})
        return {"experiment_id": experiment_id}

    def _rename(self, given: Given) -> Answer:
        found, name = self._live(given), text(given, "new_name")
        if name != found.name:
            check_path(name, self.folders)
            self._taken(name)
            found.name = name
        return {}

    def _move(self, given: Given, *, deleted: bool) -> Answer:
        found = self._experiment(given)
        if found.deleted == deleted:
            raise missing(f"Node ID {found.experiment_id}")
        if not deleted:
            self._taken(found.name)
        found.deleted = deleted
        for run in self.runs.values():
            if run.experiment_id == found.experiment_id:
                self._life(run, deleted=deleted)
        return {}

    def _tag_experiment(self, given: Given) -> Answer:
        [(key, value)] = check_values("tags", [given], self.strict)
        self._live(given).tags[key] = value
        return {}

    # --- runs ---

    def _run(self, given: Given) -> Run:
        run_id = text(given, "run_id", given.get("run_uuid"))
        if run_id not in self.runs:
            raise missing(f"Run '{run_id}'")
        return self.runs[run_id]

    def _active(self, given: Given) -> Run:
        run = self._run(given)
        if run.deleted:
            raise invalid(f"The run {run.run_id} must be in the 'active' state. Current state is deleted.")
        return run

    def _create_run(self, given: Given) -> Answer:
        experiment = self._live(given)
        tags = dict(check_values("tags", given.get("tags", []), self.strict))
        if len(given.get("tags", [])) > 100:
            raise invalid("At most 100 tags")
        inside = sum(run.experiment_id == experiment.experiment_id for run in self.runs.values())
        if inside >= self.strict.runs:
            raise self.strict.quota("runs per experiment", self.strict.runs)
        name = text(given, "run_name", "") or tags.get("mlflow.runName") or f"run-{len(self.runs)}"
        run = Run(uuid.uuid4().hex, experiment.experiment_id, name, whole(given, "start_time", 0), self.user)
        run.tags = {**tags, "mlflow.runName": name, "mlflow.user": self.user, "mlflow.rootRunId": run.run_id}
        self.runs[run.run_id] = run
        return {"run": run.shown()}

    def _update(self, given: Given) -> Answer:
        run = self._active(given)
        if "status" in given:
            if given["status"] not in STATUSES:
                raise invalid(f"Unknown status {given['status']!r}")
            run.status = given["status"]
        if "end_time" in given:
            run.end_time = whole(given, "end_time")
        if given.get("run_name"):
            run.name = run.tags["mlflow.runName"] = text(given, "run_name")
        return {"run_info": run.shown()["info"]}

    def _life(self, run: Run, *, deleted: bool) -> Answer:
        run.deleted, run.deleted_ms = deleted, now_ms() if deleted else 0
        return {}

    def _search(self, given: Given) -> Answer:
        ids = given.get("experiment_ids") or []
        if not ids:
            raise invalid("At least one experiment id is needed")
        if whole(given, "max_results", 1000) > 50_000:
            raise invalid("max_results is at most 50000")
        view = given.get("run_view_type", "ACTIVE_ONLY")
        fits = matcher(text(given, "filter", ""))
        found = [
            run
            for run in self.runs.values()
            if run.experiment_id in ids and (view == "ALL" or run.deleted == (view == "DELETED_ONLY")) and fits(run)
        ]
        found.sort(key=lambda run: (-run.start_time, run.run_id))
        return _page("runs", [run.shown() for run in found], given, 1000)

    def _history(self, given: Given) -> Answer:
        run, key = self._run(given), text(given, "metric_key")
        return _page("metrics", [metric(point) for point in run.points if point[0] == key], given, 25_000)

    def _log_batch(self, given: Given) -> Answer:
        """Params, then metrics, then tags; what fails half-way leaves what was written before."""
        rows, params, tags = (given.get(kind, []) for kind in ("metrics", "params", "tags"))
        if len(rows) > 1000 or len(params) > 100 or len(tags) > 100 or len(rows) + len(params) + len(tags) > 1000:
            raise invalid("A batch logging request can contain at most 1000 metrics, 100 params, 100 tags, 1000 in all")
        points = [self._point(index, row) for index, row in enumerate(rows)]
        new_params = check_values("params", params, self.strict)
        new_tags = check_values("tags", tags, self.strict)
        if len({key for key, _ in new_params}) != len(new_params):
            raise invalid("Duplicate parameter keys have been submitted")
        run = self._active(given)
        for key, value in new_params:
            self._param(run, key, value)
        self._append(run, points)
        for key, value in new_tags:
            if key not in run.tags and len(run.tags) >= self.strict.tags:
                raise self.strict.quota("tags per run", self.strict.tags)
            run.tags[key] = value
            run.name = value if key == "mlflow.runName" else run.name
        return {}

    def _point(self, index: int, row: Given) -> tuple[str, int, int, float, Answer]:
        """A metric row; infinities are stored as the largest numbers."""
        check_name("metrics", index, text(row, "key"), self.strict.key_bytes)
        more = {name: row[name] for name in ("model_id", "dataset_name", "dataset_digest") if row.get(name)}
        value = number(row.get("value"))
        if math.isinf(value):
            value = math.copysign(LARGEST, value)
        if whole(row, "timestamp") < 0:
            raise invalid("A timestamp must not be negative")
        return (row["key"], whole(row, "timestamp"), whole(row, "step", 0), value, more)

    def _append(self, run: Run, points: list[tuple[str, int, int, float, Answer]]) -> None:
        steps = {(point[0], point[2]) for point in run.points}
        for point in points:
            steps.add((point[0], point[2]))
            if len(steps) > self.strict.metric_steps:
                raise self.strict.quota("metric steps per run", self.strict.metric_steps)
            run.points.append(point)

    def _param(self, run: Run, key: str, value: str) -> None:
        old = run.params.get(key)
        if old is not None and old != value:
            raise invalid(
                f"Parameter with key {key} was already logged with a value of {old}. "
                f"The attempted new value was {value}"
            )
        if old is None and len(run.params) >= self.strict.params:
            raise self.strict.quota("params per run", self.strict.params)
        run.params[key] = value

    def _delete_tag(self, given: Given) -> Answer:
        run, key = self._active(given), text(given, "key")
        if key not in run.tags:
            raise missing(f"No tag with name: {key}; it")
        del run.tags[key]
        return {}

    def _log_inputs(self, given: Given) -> Answer:
        run = self._active(given)
        known = {(d["dataset"]["name"], d["dataset"]["digest"]) for d in run.datasets}
        for one in given.get("datasets", []):
            if (one["dataset"]["name"], one["dataset"]["digest"]) not in known:
                run.datasets.append(one)
        run.model_inputs += [one for one in given.get("models", []) if one not in run.model_inputs]
        return {}

    def _log_outputs(self, given: Given) -> Answer:
        run = self._active(given)
        known = {one["model_id"] for one in run.model_outputs}
        for one in given.get("models", []):
            if one["model_id"] in known:
                raise Refusal(400, "BAD_REQUEST", f"Model {one['model_id']} is an output of the run already")
            run.model_outputs.append(one)
        return {}

    def _log_model(self, given: Given) -> Answer:
        run = self._active(given)
        history = run.tags.get("mlflow.log-model.history", "")
        entries = [history[1:-1]] if history else []
        run.tags["mlflow.log-model.history"] = f"[{','.join([*entries, text(given, 'model_json')])}]"
        return {}

    # --- bulk ---

    def _delete_runs(self, given: Given) -> Answer:
        experiment, upto = self._live(given), whole(given, "max_timestamp_millis")
        most = self._most(given)
        inside = [r for r in self.runs.values() if r.experiment_id == experiment.experiment_id and not r.deleted]
        chosen = sorted((r for r in inside if r.created_ms <= upto), key=lambda r: r.created_ms)[:most]
        for run in chosen:
            self._life(run, deleted=True)
        return {"runs_deleted": len(chosen)}

    def _restore_runs(self, given: Given) -> Answer:
        experiment, since = self._live(given), whole(given, "min_timestamp_millis")
        most = self._most(given)
        inside = [r for r in self.runs.values() if r.experiment_id == experiment.experiment_id and r.deleted]
        chosen = [r for r in inside if r.deleted_ms >= since][:most]
        for run in chosen:
            self._life(run, deleted=False)
        return {"runs_restored": len(chosen)}

    def _most(self, given: Given) -> int:
        most = whole(given, "max_runs", 10_000)
        if not 0 < most <= 10_000:
            raise invalid("max_runs must be from 1 to 10000")
        return most

    # --- for tests ---

    def dump(self) -> dict[str, Any]:
        """Everything, in the form of `MlflowReader.dump`; experiments by path."""
        found: dict[str, Any] = {}
        for experiment in self.experiments.values():
            runs = [r for r in self.runs.values() if r.experiment_id == experiment.experiment_id]
            stage = "deleted" if experiment.deleted else "active"
            shown = {"experiment_id": experiment.experiment_id, "lifecycle_stage": stage, "tags": experiment.tags}
            found[experiment.name] = {**shown, "runs": [_dumped(run) for run in runs]}
        return found


def matcher(condition: str) -> Callable[[Run], bool]:
    """A filter of runs/search: comparisons of tags, params and a few attributes, joined by AND."""
    tests: list[Callable[[Run], bool]] = []
    for part in re.split(r"\s+AND\s+", condition.strip(), flags=re.IGNORECASE) if condition.strip() else ():
        found = re.fullmatch(r"(\w+)\.([`\"]?)(.+?)\2\s*(=|!=)\s*'([^']*)'", part)
        inside = re.fullmatch(r"attributes?\.run_id\s+IN\s+\((.*)\)", part, re.IGNORECASE)
        if inside:
            ids = set(re.findall(r"'([^']*)'", inside[1]))
            tests.append(lambda run, ids=ids: run.run_id in ids)  # type: ignore[misc]
        elif found:
            tests.append(_comparison(found[1], found[3], found[5], equal=found[4] == "="))
        else:
            raise invalid(f"Invalid filter: {part}")
    return lambda run: all(test(run) for test in tests)


def _comparison(entity: str, key: str, value: str, *, equal: bool) -> Callable[[Run], bool]:
    def held(run: Run) -> str | None:
        if entity in ("tags", "tag"):
            return run.tags.get(key)
        if entity in ("params", "param"):
            return run.params.get(key)
        if entity in ("attributes", "attribute") and key in ("status", "run_id", "run_name"):
            return {"status": run.status, "run_id": run.run_id, "run_name": run.name}[key]
        raise invalid(f"Invalid filter: {entity}.{key}")

    return lambda run: held(run) is not None and (held(run) == value) == equal


def _page(name: str, items: list[Any], given: Given, default: int) -> Answer:
    start = whole(given, "page_token", 0) if given.get("page_token") else 0
    most = whole(given, "max_results", default)
    if most <= 0:
        raise invalid("max_results must be positive")
    page: Answer = {name: items[start : start + most]} if items[start:] else {}
    if start + most < len(items):
        page["next_page_token"] = str(start + most)
    return page


def _dumped(run: Run) -> dict[str, Any]:
    points: dict[str, list[Any]] = {}
    for key, timestamp, step, value, _ in run.points:
        points.setdefault(key, []).append([timestamp, step, repr(value)])
    info = run.shown()["info"]
    return {
        **{name: info.get(name) for name in ("run_id", "user_id", "status", "start_time", "end_time")},
        "name": run.name,
        "lifecycle_stage": info["lifecycle_stage"],
        "params": dict(run.params),
        "tags": dict(run.tags),
        "latest": {key: repr(point[3]) for key, point in run.latest().items()},
        "points": {key: sorted(rows) for key, rows in points.items()},
    }
