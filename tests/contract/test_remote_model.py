"""The simulator's modelled server and a real one, asked the same things in the same order: replay sees the same.

What replay sees of a reply is its verdict, and of a run or experiment what `snapshot` reads; ids differ and are left
out, and so is the order of points of one moment and step.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from localtrack_sync.protocol.effects import Outcome, Request
from localtrack_sync.protocol.request import (
    HISTORY_TAG,
    SERVER_INFO,
    VERSION,
    create_experiment,
    create_model,
    create_run,
    delete_model,
    drop_model_tag,
    finalize_model,
    get,
    get_history,
    get_model,
    log_inputs,
    log_model,
    log_model_params,
    log_outputs,
    log_params,
    log_tags,
    on_experiment,
    on_run,
    post,
    search_model,
    search_uid,
    set_model_tags,
    update_run,
)
from localtrack_sync.protocol.snapshot import experiment_of, model_of, run_of
from localtrack_sync.protocol.values import remote_identity
from localtrack_sync.protocol.verdict import Judged, Verdict, judge
from localtrack_sync.remote.credentials import Credential
from localtrack_sync.remote.remotes import Remote as RemoteName
from localtrack_sync.remote.transport import Transport, TransportSettings
from tests.servers.mlflow_server import MlflowServer
from tests.simulation.remote import Remote as Model

pytestmark = pytest.mark.server

NOW = 1_700_000_000_000


class Talk:
    """A conversation with one server, and what replay would make of the answers.

    Attributes:
        seen: one entry for each request.
    """

    def __init__(self, send: Callable[[Request], Outcome], names: str) -> None:
        self._send = send
        self._names = names
        self._forget: list[str] = []
        self.seen: list[Any] = []

    def ask(self, request: Request) -> Judged:
        """Send a request and note the verdict, and the run or experiment in the answer."""
        judged = judge(self._send(request))
        shown: Any = ""
        if "run" in judged.body:
            shown = self._run(judged.body["run"])
        elif "runs" in judged.body:
            shown = [self._run(run) for run in judged.body["runs"]]
        elif "model" in judged.body:
            shown = self._model(judged.body["model"])
        elif "models" in judged.body:
            shown = [self._model(model) for model in judged.body["models"]]
        elif "experiment" in judged.body:
            shown = asdict(experiment_of(judged.body["experiment"]))
            del shown["experiment_id"]
            shown["tags"].pop("mlflow.experimentKind", None)
        elif request.path.endswith("get-history"):
            points = [remote_identity(metric) for metric in judged.body.get("metrics") or ()]
            shown = sorted(points, key=lambda point: (point[2], point[1], repr(point[3])))
        words = re.sub(r"/m-[0-9a-f]+", "/MODEL", request.path.removeprefix("/api/2.0/mlflow/"))
        self.seen.append((len(self.seen), words, judged.verdict.name, shown))
        return judged

    def _run(self, run: dict[str, Any]) -> dict[str, Any]:
        shown = asdict(run_of(run))
        for name in ("run_id", "experiment_id", "artifact_uri"):
            del shown[name]
        shown["model_inputs"] = len(shown["model_inputs"])  # ids differ
        shown["model_outputs"] = sorted(shown["model_outputs"].values())
        return shown

    def _model(self, model: dict[str, Any]) -> dict[str, Any]:
        shown = asdict(model_of(model))
        for name in ("model_id", "experiment_id", "artifact_uri"):
            del shown[name]
        shown["metrics"] = sorted(
            (*remote_identity(one), one.get("dataset_name") or None, one.get("dataset_digest") or None)
            for one in shown["metrics"]
        )
        return shown

    def model(self, experiment_id: str, uid: str, source: str | None = None, **tags: str) -> str:
        """Make a logged model; returns its id."""
        given = {"localtrack.uid": uid, **tags}
        judged = self.ask(create_model(experiment_id, f"model-{uid}", "kind", source, {"p": "1"}, given))
        return str(judged.body["model"]["info"]["model_id"]) if judged.verdict is Verdict.OK else ""

    def linked(self, run_id: str, model_id: str, *points: tuple[Any, ...]) -> Judged:
        """Log points (key, step, timestamp, value, dataset name or nothing) to a logged model."""
        rows = []
        for key, step, ts, value, *dataset in points:
            row = {"key": key, "step": step, "timestamp": ts, "value": value, "model_id": model_id}
            rows.append({**row, "dataset_name": dataset[0], "dataset_digest": "d"} if dataset else row)
        return self.ask(post("runs/log-batch", {"run_id": run_id, "metrics": rows}))

    def experiment(self, name: str) -> str:
        """Make an experiment of this conversation; returns its id."""
        judged = self.ask(create_experiment(f"{self._names} {name}", None, {"made": "here"}))
        return str(judged.body.get("experiment_id", ""))

    def run(self, experiment_id: str, uid: str, **tags: str) -> str:
        """Make a run; returns its id."""
        judged = self.ask(create_run(experiment_id, "me", f"run {uid}", NOW, {"localtrack.uid": uid, **tags}))
        return str(judged.body["run"]["info"]["run_id"]) if judged.verdict is Verdict.OK else ""

    def batch(self, run_id: str, *points: tuple[str, int, int, Any]) -> Judged:
        """Log points (key, step, timestamp, value)."""
        rows = [{"key": k, "step": s, "timestamp": ts, "value": v} for k, s, ts, v in points]
        return self.ask(post("runs/log-batch", {"run_id": run_id, "metrics": rows}))

    def look(self, run_id: str) -> Judged:
        """Read a run."""
        return self.ask(get("runs/get", run_id=run_id))


def about_the_server(talk: Talk) -> None:
    """What it is."""
    info, version = talk._send(SERVER_INFO), talk._send(VERSION)
    talk.seen.append(judge(info).body.get("store_type"))
    talk.seen.append(getattr(version, "text", ""))


def experiments(talk: Talk) -> None:
    """Create twice, read, tag, rename, delete, restore."""
    first, other = talk.experiment("first"), talk.experiment("other")
    talk.experiment("first")
    name = f"{talk._names} first"
    talk.ask(get("experiments/get-by-name", experiment_name=name))
    talk.ask(get("experiments/get-by-name", experiment_name=f"{talk._names} none"))
    talk.ask(get("experiments/get", experiment_id=first))
    talk.ask(get("experiments/get", experiment_id="987654321"))
    talk.ask(on_experiment("set-experiment-tag", first, key="a", value="1"))
    talk.ask(on_experiment("set-experiment-tag", first, key="a", value="2"))
    talk.ask(on_experiment("set-experiment-tag", first, key="b", value=""))
    talk.ask(on_experiment("delete-experiment-tag", first, key="a"))
    talk.ask(on_experiment("delete-experiment-tag", first, key="a"))
    talk.ask(get("experiments/get", experiment_id=first))
    talk.ask(on_experiment("update", first, new_name=f"{talk._names} renamed"))
    talk.ask(on_experiment("update", first, new_name=f"{talk._names} renamed"))
    talk.ask(on_experiment("update", first, new_name=f"{talk._names} other"))
    talk.ask(on_experiment("delete", first))
    talk.ask(on_experiment("delete", first))
    talk.ask(on_experiment("set-experiment-tag", first, key="c", value="1"))
    talk.ask(on_experiment("update", first, new_name=f"{talk._names} again"))
    talk.experiment("renamed")
    talk.ask(get("experiments/get-by-name", experiment_name=f"{talk._names} renamed"))
    talk.run(first, "u1")
    talk.ask(on_experiment("restore", first))
    talk.ask(on_experiment("restore", first))
    talk.ask(get("experiments/get", experiment_id=first))
    talk.ask(get("experiments/get", experiment_id=other))


def a_run_and_its_twin(talk: Talk) -> None:
    """Creates with a uid and the search for it, deleted ones included; another experiment's runs are not found."""
    here, there = talk.experiment("here"), talk.experiment("there")
    talk.ask(search_uid((here,), "u1", 100))
    first = talk.run(here, "u1", tag="x")
    talk.ask(search_uid((here,), "u1", 100))
    talk.run(here, "u2")
    talk.run(there, "u1")
    talk.ask(search_uid((here,), "u1", 100))
    talk.ask(on_run("delete", first))
    talk.ask(on_run("delete", first))
    talk.ask(search_uid((here,), "u1", 100))
    talk.look(first)
    talk.ask(on_run("restore", first))
    talk.ask(on_run("restore", first))
    talk.look(first)


def params_and_conflicts(talk: Talk) -> None:
    """The same value again, another value, and what becomes of the rest of that request."""
    run = talk.run(talk.experiment("e"), "u1")
    talk.ask(log_params(run, {"a": "1", "b": ""}))
    talk.ask(log_params(run, {"a": "1", "c": "3"}))
    talk.ask(log_params(run, {"d": "4", "a": "9"}))
    talk.look(run)


def tags(talk: Talk) -> None:
    """Set, change, delete, delete what is not there; the run's name is a tag and the other way round."""
    run = talk.run(talk.experiment("e"), "u1")
    talk.ask(log_tags(run, {"a": "1", "b": ""}))
    talk.ask(log_tags(run, {"a": "2"}))
    talk.ask(on_run("delete-tag", run, key="b"))
    talk.ask(on_run("delete-tag", run, key="b"))
    talk.look(run)
    talk.ask(update_run(run, run_name="another"))
    talk.look(run)


def status_and_end(talk: Talk) -> None:
    """Any status follows any other."""
    run = talk.run(talk.experiment("e"), "u1")
    talk.ask(update_run(run, status="FINISHED", end_time=NOW + 5))
    talk.look(run)
    talk.ask(update_run(run, status="FAILED", end_time=NOW + 1))
    talk.look(run)
    talk.ask(update_run(run, status="RUNNING"))
    talk.look(run)


def metrics(talk: Talk) -> None:
    """Repeated points are stored once; the latest is that of the greatest step, then time, then value."""
    run = talk.run(talk.experiment("e"), "u1")
    points = [("m", 1, NOW, 0.5), ("m", 2, NOW + 1, 0.25), ("n", -3, 0, 1e-320)]
    talk.batch(run, *points)
    talk.batch(run, *points)
    talk.batch(run, points[1], ("m", 2, NOW + 1, 0.75), ("m", 2, NOW, 9.0))
    talk.look(run)
    talk.ask(get_history(run, "m", 3))
    talk.batch(run, ("m", 0, NOW + 99, 7.0), ("twice", 1, NOW, 1.0), ("twice", 1, NOW, 1.0))
    talk.look(run)
    talk.ask(get_history(run, "twice", 3))
    talk.ask(get_history(run, "none", 3))


def strange_numbers(talk: Talk) -> None:
    """NaN, infinities and -0.0, twice each."""
    run = talk.run(talk.experiment("e"), "u1")
    for _ in range(2):
        talk.batch(run, ("nan", 1, NOW, "NaN"), ("nan", 1, NOW, 2.0), ("inf", 1, NOW, "Infinity"))
        talk.batch(run, ("ninf", 1, NOW, "-Infinity"), ("zero", 1, NOW, -0.0), ("zero", 1, NOW, 0.0))
    for key in ("nan", "inf", "ninf", "zero"):
        talk.ask(get_history(run, key, 3))
    talk.batch(run, ("late", 1, NOW, 1.0), ("late", 2, NOW, "NaN"))
    talk.look(run)


def pages(talk: Talk) -> None:
    """A history that is longer than a page comes in pages, in order, each point once."""
    run = talk.run(talk.experiment("e"), "u1")
    talk.batch(run, *(("m", n, NOW + n, n / 8) for n in range(7)))
    token = ""
    for _ in range(4):
        judged = talk.ask(get_history(run, "m", 3, token))
        token = str(judged.body.get("next_page_token") or "")
        talk.seen.append(bool(token))
        if not token:
            break


def a_deleted_run(talk: Talk) -> None:
    """It takes nothing but deletion and restoring, and is still read."""
    experiment = talk.experiment("e")
    run = talk.run(experiment, "u1", tag="x")
    talk.ask(on_run("delete", run))
    talk.batch(run, ("m", 1, NOW, 1.0))
    talk.ask(log_params(run, {"a": "1"}))
    talk.ask(log_tags(run, {"a": "1"}))
    talk.ask(on_run("delete-tag", run, key="tag"))
    talk.ask(update_run(run, status="FINISHED"))
    talk.look(run)


def a_deleted_experiment(talk: Talk) -> None:
    """Its runs are deleted with it, and restored with it, also the one that was deleted before."""
    experiment = talk.experiment("e")
    live, gone = talk.run(experiment, "u1"), talk.run(experiment, "u2")
    talk.ask(on_run("delete", gone))
    talk.ask(on_experiment("delete", experiment))
    talk.look(live)
    talk.batch(live, ("m", 1, NOW, 1.0))
    talk.ask(on_experiment("restore", experiment))
    talk.look(live)
    talk.look(gone)


def a_missing_run(talk: Talk) -> None:
    """Every request about a run that is not there."""
    run = "f" * 32
    talk.look(run)
    talk.batch(run, ("m", 1, NOW, 1.0))
    talk.ask(log_params(run, {"a": "1"}))
    talk.ask(update_run(run, status="FINISHED"))
    talk.ask(on_run("delete-tag", run, key="a"))
    talk.ask(on_run("delete", run))
    talk.ask(on_run("restore", run))
    talk.ask(get_history(run, "m", 3))


def a_model_and_its_twin(talk: Talk) -> None:
    """Creates with a uid and the search for it; a deleted one is found by nobody, and read only when asked for."""
    here, there = talk.experiment("here"), talk.experiment("there")
    talk.ask(search_model((here,), "u1", 50))
    first = talk.model(here, "u1", tag="x")
    talk.model(here, "u2")
    talk.model(there, "u1")
    talk.ask(search_model((here,), "u1", 50))
    talk.ask(get_model(first))
    talk.ask(delete_model(first))
    talk.ask(delete_model(first))
    talk.ask(search_model((here,), "u1", 50))
    talk.ask(get_model(first))
    talk.ask(get_model(first, deleted=True))
    talk.ask(set_model_tags(first, {"late": "1"}))
    talk.ask(finalize_model(first, "LOGGED_MODEL_READY"))
    talk.ask(get_model(first, deleted=True))
    talk.ask(get_model("m-" + "f" * 32))
    talk.ask(delete_model("m-" + "f" * 32))


def what_a_model_holds(talk: Talk) -> None:
    """Params that are sent twice, tags, statuses; keys with signs that a path has to quote."""
    experiment = talk.experiment("e")
    model = talk.model(experiment, "u1", talk.run(experiment, "r1"))
    talk.ask(log_model_params(model, {"a": "1", "b": "x" * 700}))
    talk.ask(log_model_params(model, {"a": "1"}))
    talk.ask(log_model_params(model, {"a": "2"}))
    talk.ask(log_model_params(model, {"a": "1", "new": "1"}))
    talk.ask(get_model(model))
    talk.ask(set_model_tags(model, {"a": "1", "b": "", "sp ace.dot": "2"}))
    talk.ask(set_model_tags(model, {"a": "2"}))
    talk.ask(drop_model_tag(model, "b"))
    talk.ask(drop_model_tag(model, "b"))
    talk.ask(drop_model_tag(model, "sp ace.dot"))
    for status in ("LOGGED_MODEL_READY", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED", "LOGGED_MODEL_PENDING"):
        talk.ask(finalize_model(model, status))
    talk.ask(get_model(model))


def a_model_in_a_deleted_experiment(talk: Talk) -> None:
    """It cannot be made there."""
    experiment = talk.experiment("e")
    talk.ask(on_experiment("delete", experiment))
    talk.model(experiment, "u1")


def inputs_and_outputs(talk: Talk) -> None:
    """An input twice is one; an output twice is refused, and with another step as well."""
    experiment = talk.experiment("e")
    run, model = talk.run(experiment, "u1"), talk.model(experiment, "m1")
    dataset = {"name": "data", "digest": "d1", "source_type": "local", "source": "{}"}
    context = [{"key": "mlflow.data.context", "value": "train"}]
    other = {**dataset, "digest": "d2", "schema": "{}", "profile": "{}"}
    for _ in range(2):
        talk.ask(log_inputs(run, [{"dataset": dataset, "tags": context}, {"dataset": other, "tags": []}], [model]))
    talk.look(run)
    talk.ask(log_outputs(run, [(model, 3)]))
    talk.ask(log_outputs(run, [(model, 3)]))
    talk.ask(log_outputs(run, [(model, 4)]))
    talk.ask(log_outputs(run, [("m-" + "f" * 32, 1)]))
    talk.look(run)
    talk.ask(log_outputs(run, [("m-" + "e" * 32, 1), (model, 3)]))
    talk.look(run)
    talk.ask(log_outputs("f" * 32, [(model, 1)]))
    talk.ask(on_run("delete", run))
    talk.ask(log_outputs(run, [("m-" + "d" * 32, 1)]))
    talk.ask(log_inputs(run, [{"dataset": dataset, "tags": []}], []))


def metrics_of_models(talk: Talk) -> None:
    """The run's side and the model's side are two transactions; a model takes one value for a name, step and time."""
    experiment = talk.experiment("e")
    run, model = talk.run(experiment, "u1"), talk.model(experiment, "m1")
    first = [("m", 1, NOW, 0.5), ("m", 2, NOW, 0.25, "data"), ("nan", 1, NOW, "NaN"), ("inf", 1, NOW, "-Infinity")]
    talk.linked(run, model, *first)
    talk.linked(run, model, *first)
    talk.linked(run, model, ("m", 1, NOW, 0.75))
    talk.linked(run, model, ("m", 1, NOW, 0.5, "data"))
    talk.linked(run, model, ("k", 1, NOW, 1.0), ("k", 1, NOW, 2.0))
    talk.linked(run, "m-" + "f" * 32, ("lost", 1, NOW, 1.0))
    talk.ask(get_model(model))
    talk.look(run)
    talk.ask(delete_model(model))
    talk.linked(run, model, ("after", 1, NOW, 1.0))
    talk.ask(get_model(model, deleted=True))


def the_deprecated_log_model(talk: Talk) -> None:
    """Each call appends an entry to a tag; what tells entries apart is kept."""
    run = talk.run(talk.experiment("e"), "u1")
    entry = {"run_id": "r", "artifact_path": "a", "utc_time_created": "2024-01-01 00:00:00", "flavors": {}}
    for _ in range(2):
        talk.ask(log_model(run, json.dumps(entry)))
    shown = talk.look(run).body["run"]["data"]["tags"]
    del talk.seen[-1]
    history = json.loads(next(tag["value"] for tag in shown if tag["key"] == HISTORY_TAG))
    talk.seen.append([{name: one[name] for name in ("run_id", "artifact_path", "utc_time_created")} for one in history])


EPISODES = [
    about_the_server, experiments, a_run_and_its_twin, params_and_conflicts, tags, status_and_end, metrics,
    strange_numbers, pages, a_deleted_run, a_deleted_experiment, a_missing_run,
    a_model_and_its_twin, what_a_model_holds, a_model_in_a_deleted_experiment, inputs_and_outputs, metrics_of_models,
    the_deprecated_log_model,
]  # fmt: skip


@pytest.fixture
def real(mlflow_server: MlflowServer) -> Iterator[Callable[[Request], Outcome]]:
    """The real server."""
    transport = Transport(RemoteName(mlflow_server.url), Credential, TransportSettings())
    yield transport.send
    transport.close()


@pytest.mark.parametrize("episode", EPISODES)
def test_the_modelled_server_answers_as_the_real_one_does(
    real: Callable[[Request], Outcome], episode: Callable[[Talk], None]
) -> None:
    """The same conversation with both: the same verdicts, the same runs, experiments and points."""
    name = f"model {episode.__name__}"
    there, here = Talk(real, name), Talk(Model(random.Random(1), "sql").handle, name)
    episode(there)
    episode(here)
    for theirs, ours in zip(there.seen, here.seen, strict=True):
        assert ours == theirs
