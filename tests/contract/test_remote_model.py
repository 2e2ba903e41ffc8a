"""The simulator's modelled server and a real one, asked the same things in the same order: replay sees the same.

What replay sees of a reply is its verdict, and of a run or experiment what `snapshot` reads; ids differ and are left
out, and so is the order of points of one moment and step.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from localtrack_sync.credentials import Credential
from localtrack_sync.effects import Outcome, Request
from localtrack_sync.remotes import Remote as RemoteName
from localtrack_sync.request import (
    SERVER_INFO,
    VERSION,
    create_experiment,
    create_run,
    get,
    get_history,
    log_params,
    log_tags,
    on_experiment,
    on_run,
    post,
    search_uid,
    update_run,
)
from localtrack_sync.snapshot import experiment_of, run_of
from localtrack_sync.transport import Transport, TransportSettings
from localtrack_sync.values import remote_identity
from localtrack_sync.verdict import Judged, Verdict, judge
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
        elif "experiment" in judged.body:
            shown = asdict(experiment_of(judged.body["experiment"]))
            del shown["experiment_id"]
            shown["tags"].pop("mlflow.experimentKind", None)
        elif request.path.endswith("get-history"):
            points = [remote_identity(metric) for metric in judged.body.get("metrics") or ()]
            shown = sorted(points, key=lambda point: (point[2], point[1], repr(point[3])))
        words = request.path.removeprefix("/api/2.0/mlflow/")
        self.seen.append((len(self.seen), words, judged.verdict.name, shown))
        return judged

    def _run(self, run: dict[str, Any]) -> dict[str, Any]:
        shown = asdict(run_of(run))
        for name in ("run_id", "experiment_id", "artifact_uri"):
            del shown[name]
        return shown

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


EPISODES = [
    about_the_server, experiments, a_run_and_its_twin, params_and_conflicts, tags, status_and_end, metrics,
    strange_numbers, pages, a_deleted_run, a_deleted_experiment, a_missing_run,
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
