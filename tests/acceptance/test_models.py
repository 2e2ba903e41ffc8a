"""Logged models, inputs and outputs on a real server: what was logged is there once, whatever happened on the way."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack.entities import Dataset, DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput
from localtrack_sync.protocol.effects import Reply
from localtrack_sync.protocol.jobs import Ending, ReplaySettings
from localtrack_sync.protocol.request import get
from localtrack_sync.remote.credentials import Credential
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import Transport, TransportSettings
from localtrack_sync.shell.replay import Silent, Stop
from localtrack_sync.shell.session import Ended, SyncSettings, run_errand
from localtrack_sync.store.choice import Errand
from tests.acceptance.harness import REQUEST_S, SETTLE_S, fast_clock, fast_wall, outsider
from tests.acceptance.worlds import NOW, World, world
from tests.servers import faults
from tests.servers.faults import CutBefore, DropReply, Fault, Later, Pass, Truncate, Twice
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Rule, Seen, both

pytestmark = pytest.mark.server

#: Writes, by the end of their names; the id of a model is left out of them.
WRITES = [
    *("POST logged-models", "PATCH logged-models", "DELETE logged-models", "logged-models/params"),
    *(
        "PATCH logged-models/tags",
        "DELETE logged-models/tags/gone",
        "runs/log-inputs",
        "runs/outputs",
        "runs/log-batch",
    ),
]
MODEL_ID = re.compile(r"/m-[0-9a-f]{32}")


def named(seen: Seen) -> str:
    """A request's name without the id of a model."""
    return MODEL_ID.sub("", seen.what)


def hit(what: str, fault: Fault, nth: tuple[int, ...]) -> Rule:
    """A rule: the `nth` requests of one kind get `fault`, whatever model they are about."""
    arrived = itertools.count()
    return lambda seen: fault if named(seen).endswith(what) and next(arrived) in nth else Pass()


@dataclass
class Made:
    """A store with a run that makes two models, and what the server must hold of it."""

    world: World
    run_id: str
    model_id: str
    deleted_id: str


def made(path: Path) -> Made:
    """Log offline: a dataset and a model in, models out, points of a model, a model that is deleted."""
    store = world(path / "store", f"exp {path.name}")
    client, experiment = store.client, store.experiment_id
    run_id = client.create_run(experiment, start_time=NOW, run_name="trains").info.run_id
    model = client.create_logged_model(
        experiment,
        name="net",
        source_run_id=run_id,
        tags={"a": "1", "gone": "x"},
        params={"depth": "3"},
        model_type="t",
    )
    gone = client.create_logged_model(experiment, name="old", source_run_id=run_id)
    data = Dataset("data", "d1", "local", "{}", "{}", None)
    inputs = [DatasetInput(data, (InputTag("mlflow.data.context", "train"),))]
    client.log_inputs(run_id, inputs, [LoggedModelInput(gone.model_id)])
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 2), LoggedModelOutput(gone.model_id, 1)])
    for step in range(5):
        client.log_metric(run_id, "acc", step / 8, timestamp=NOW + step, step=step, model_id=model.model_id)
        client.log_metric(run_id, "plain", step / 8, timestamp=NOW + step, step=step)
    return Made(store, run_id, model.model_id, gone.model_id)


def go_on(one: Made) -> None:
    """Log what does not travel in a create any more, and the end."""
    client = one.world.client
    client.log_metric(one.run_id, "acc", 9.0, timestamp=NOW, step=0, model_id=one.model_id)  # its model has one there
    client.log_model_params(one.model_id, {"width": "8"})
    client.set_logged_model_tags(one.model_id, {"a": "2", "b": "ü"})
    client.delete_logged_model_tag(one.model_id, "gone")
    client.finalize_logged_model(one.model_id, "READY")
    client.delete_logged_model(one.deleted_id)
    client.set_terminated(one.run_id, "FINISHED", NOW + 9)


def replay(store: World, url: str) -> Ended:
    """Replay everything with a fast clock."""
    settings = SyncSettings(
        ReplaySettings(settle_s=SETTLE_S, patience_s=100.0),
        TransportSettings(connect_s=1.0, total_s=REQUEST_S),
        {},
        clock=fast_clock,
        wall=fast_wall,
    )
    address = parse_remote(url, {})
    with Catalog(store.store) as catalog:

        def now() -> Errand:
            runs, models = catalog.run_index(refresh=False), catalog.model_index(refresh=False)
            return Errand(address, tuple(runs), (store.experiment_id,), tuple(models))

        return run_errand(catalog, address, now, settings, Silent(), Stop())


def found(url: str, store: World) -> tuple[dict[str, Any], dict[str, Any]]:
    """The only run of the experiment on the server, and its only live model."""
    experiment = outsider(url, "experiments/search", {"max_results": 1000, "filter": f"name = '{store.experiment}'"})
    ids = [one["experiment_id"] for one in experiment["experiments"]]
    [run] = outsider(url, "runs/search", {"experiment_ids": ids, "run_view_type": "ALL"})["runs"]
    transport = Transport(parse_remote(url, {}).remote, Credential)  # a search leaves out the models that went in
    reply = transport.send(get("runs/get", run_id=run["info"]["run_id"]))
    transport.close()
    assert isinstance(reply, Reply), reply
    run = reply.body["run"]
    [model] = outsider(url, "logged-models/search", {"experiment_ids": ids})["models"]
    return run, model


def check(url: str, one: Made, ended: Ended) -> None:
    """The server holds exactly what was logged, ids mapped; the books say so."""
    run, model = found(url, one.world)
    run_id, info = run["info"]["run_id"], model["info"]
    assert (info["name"], info["status"], info["source_run_id"]) == ("net", "LOGGED_MODEL_READY", run_id)
    assert {tag["key"]: tag["value"] for tag in info["tags"] if not tag["key"].startswith("localtrack.")} == {
        "a": "2",
        "b": "ü",
    }
    assert {param["key"]: param["value"] for param in model["data"]["params"]} == {"depth": "3", "width": "8"}
    metrics = sorted((m["key"], m["step"], m["value"], m["run_id"]) for m in model["data"]["metrics"])
    assert metrics == [("acc", step, step / 8, run_id) for step in range(5)]
    [dataset] = run["inputs"]["dataset_inputs"]
    assert (dataset["dataset"]["name"], dataset["dataset"]["digest"]) == ("data", "d1")
    assert len(run["inputs"]["model_inputs"]) == 1
    outputs = {item["model_id"]: item.get("step", 0) for item in run["outputs"]["model_outputs"]}
    assert outputs[info["model_id"]] == 2
    assert sorted(outputs.values()) == [1, 2]
    assert ended.report.complete, ended.report
    [account] = ended.accounts
    assert account.rejected == 1, account  # the second value at the same place of the model
    assert account.delivered == account.total - 1, account
    assert all(book.owed == book.parked == 0 for book in ended.models), ended.models


HITS: dict[str, tuple[tuple[str, Fault, tuple[int, ...]], ...]] = {
    "nothing": (),
    **{f"reply dropped: {what}": ((what, DropReply(), (0,)),) for what in WRITES},
    **{f"cut before: {what}": ((what, CutBefore(), (0,)),) for what in WRITES},
    **{f"truncated: {what}": ((what, Truncate(), (0,)),) for what in WRITES},
    **{f"executed late: {what}": ((what, Later(0.4), (0,)),) for what in WRITES},
    **{f"executed twice: {what}": ((what, Twice(), (0,)),) for what in WRITES[1:]},
    **{f"503 after commit: {what}": ((what, faults.unavailable(committed=True), (0,)),) for what in WRITES},
    "two creates lost": (("POST logged-models", DropReply(), (0, 1)),),
    "trouble while recovering": (
        ("POST logged-models", Later(0.4), (0,)),
        ("logged-models/search", CutBefore(), (0,)),
    ),
}


@pytest.mark.usefixtures("modern_server", "sql_server")
@pytest.mark.parametrize("hits", HITS.values(), ids=[*HITS])
def test_models_inputs_and_outputs_arrive_once(
    tmp_path: Path, mlflow_server: MlflowServer, proxy: FaultProxy, hits: tuple[tuple[str, Fault, tuple[int, ...]], ...]
) -> None:
    """Through one fault at one write, the server ends with exactly what was logged; a second replay sends no write."""
    one = made(tmp_path)
    for what, fault, nth in hits:
        proxy.rule = both(proxy.rule, hit(what, fault, nth))
    assert replay(one.world, proxy.url).report.complete
    go_on(one)
    ended = replay(one.world, proxy.url)
    proxy.settle()
    assert len(proxy.faulted) == sum(len(nth) for _, _, nth in hits), "a fault did not happen as often as it should"
    check(mlflow_server.url, one, ended)
    count: Callable[[], int] = lambda: sum(named(seen).endswith(tuple(WRITES)) for seen in proxy.seen)  # noqa: E731
    writes = count()
    check(mlflow_server.url, one, replay(one.world, proxy.url))
    assert count() == writes


@pytest.mark.usefixtures("modern_server", "sql_server")
def test_a_lost_delivery_state_makes_no_second_model(
    tmp_path: Path, mlflow_server: MlflowServer, proxy: FaultProxy
) -> None:
    """The model, its params, its points and the run's outputs are found again by the uid tag."""
    one = made(tmp_path)
    go_on(one)
    replay(one.world, proxy.url)
    for file in Path(one.world.store.sync).iterdir():
        file.unlink()
    ended = replay(one.world, proxy.url)
    run, model = found(mlflow_server.url, one.world)
    assert len(model["data"]["metrics"]) == 5
    assert json.dumps(run).count('"dataset_inputs"') == 1
    assert ended.report.complete, ended.report


def test_a_server_without_logged_models_gets_everything_else(tmp_path: Path) -> None:
    """MLflow 2.22: models, outputs and links are parked with the reason; after the upgrade they flow."""
    one = made(tmp_path)
    go_on(one)
    with MlflowServer(tmp_path / "server", version="2.22.0") as server:
        ended = replay(one.world, server.url)
        [account] = ended.accounts
        assert [result.ending for result in ended.report.results.values()].count(Ending.PARKED) == 3
        assert account.owed == 0
        assert account.parked == 4, account  # a model in, two out, the points' model
        assert any("no logged models (MLflow 2.22" in reason for reason in account.reasons)
        ids = [
            one["experiment_id"]
            for one in outsider(server.url, "experiments/search", {"max_results": 9})["experiments"]
        ]
        [run] = outsider(server.url, "runs/search", {"experiment_ids": ids})["runs"]
        assert run["info"]["status"] == "FINISHED"
        assert len(run["inputs"]["dataset_inputs"]) == 1
        assert {metric["key"] for metric in run["data"]["metrics"]} == {"acc", "plain"}
