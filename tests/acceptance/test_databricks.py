"""Replays to the stand-in for Databricks (strict, appending, behind a login) end with exactly what was logged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from localtrack.entities import Metric, Param, RunTag
from localtrack_sync.shell.session import Ended
from localtrack_sync.store.books import RunAccount
from tests.acceptance.harness import command, replay_here, uncounted
from tests.acceptance.workspace import compared_there
from tests.acceptance.worlds import NOW, World, world
from tests.servers import faults
from tests.servers.databricks_server import DatabricksServer, Denial
from tests.servers.faults import CutBefore, DropReply, Fault, Later, Truncate
from tests.servers.proxy import FaultProxy, both, on

WRITES = ["experiments/create", "runs/create", "runs/log-batch", "runs/update", "runs/delete"]


@pytest.fixture
def server() -> Iterator[DatabricksServer]:
    """A workspace of this test's own."""
    with DatabricksServer() as made:
        yield made


@pytest.fixture
def between(server: DatabricksServer) -> Iterator[FaultProxy]:
    """A fault proxy in front of it."""
    with FaultProxy(server.port) as proxy:
        yield proxy


def everything(path: Path) -> World:
    """Runs of every kind."""
    made = world(path / "store", "exp", {"team": "a"})
    made.run("one", 1200)
    made.odd_run()
    made.family()
    made.deleted_run()
    return made


def small(path: Path) -> World:
    """Two runs, one of them deleted: every kind of write happens."""
    made = world(path / "store", "exp", {"team": "a"})
    made.run("one", 40)
    made.deleted_run()
    return made


def sync(made: World, server: DatabricksServer, url: str | None = None, **more: str) -> Ended:
    """Replay to `databricks`, whose host is the server's or a proxy's."""
    environ: Mapping[str, str] = {**server.environ, "DATABRICKS_HOST": url or server.url, "HOME": "/nowhere", **more}
    return replay_here(made, "databricks", environ=environ)


def account(ended: Ended, run_id: str) -> RunAccount:
    """The books of one run."""
    return next(one for one in ended.accounts if one.run_id == run_id)


def test_everything_arrives_once_and_a_second_replay_sends_nothing(tmp_path: Path, server: DatabricksServer) -> None:
    """Runs of every kind, twice: the workspace equals the store, in the home folder of the token's user."""
    made = everything(tmp_path)
    ended = sync(made, server)
    assert ended.report.complete, ended.report
    assert uncounted(made, ended) == []
    assert compared_there(made, server) == []
    assert f"/Users/{server.workspace.user}/exp" in server.dump()
    assert not any("server-info" in what or "version" in what for what in server.asked)
    writes = len(server.asked)
    assert sync(made, server).report.complete
    assert not [what for what in server.asked[writes:] if what.endswith(tuple(WRITES))]
    assert compared_there(made, server) == []


Hit = tuple[str, Fault, tuple[int, ...]]
CASES: dict[str, tuple[Hit, ...]] = {
    **{f"reply dropped: {what}": ((what, DropReply(), (0,)),) for what in WRITES},
    **{f"cut before: {what}": ((what, CutBefore(), (0,)),) for what in WRITES},
    **{f"executed late: {what}": ((what, Later(0.4), (0,)),) for what in WRITES},
    "reply dropped: four log-batches": (("runs/log-batch", DropReply(), (0, 1, 2, 3)),),
    "reply dropped: who am I": (("v2/Me", DropReply(), (0,)),),
    "503 after commit: runs/create": (("runs/create", faults.unavailable(committed=True), (0,)),),
    "503 after commit: log-batch": (("runs/log-batch", faults.unavailable(committed=True), (0, 1)),),
    "truncated: log-batch": (("runs/log-batch", Truncate(), (0, 1)),),
    "late create, then a search cut": (("runs/create", Later(0.4), (0,)), ("runs/search", CutBefore(), (0,))),
}


@pytest.mark.parametrize("hits", CASES.values(), ids=[*CASES])
def test_a_fault_leaves_the_workspace_with_exactly_what_was_logged(
    tmp_path: Path, server: DatabricksServer, between: FaultProxy, hits: tuple[Hit, ...]
) -> None:
    """One fault on the way to a remote that appends whatever arrives: nothing missing, nothing doubled."""
    made = small(tmp_path)
    for what, fault, nth in hits:
        between.rule = both(between.rule, on(what, fault, nth=nth))
    ended = sync(made, server, between.url)
    between.settle()
    assert len(between.faulted) == sum(len(nth) for _, _, nth in hits)
    assert ended.report.complete, ended.report
    assert all(one.delivered == one.total for one in ended.accounts), ended.accounts
    assert compared_there(made, server) == []


def test_a_storm_of_429_delays_and_loses_nothing(tmp_path: Path, server: DatabricksServer) -> None:
    """Three of four requests are answered 429 with Retry-After and either error code: all arrives, once."""
    made, seen = small(tmp_path), 0

    def storm(_: str) -> Denial | None:
        nonlocal seen
        seen += 1
        if seen % 4 == 0 or seen > 60:
            return None
        return Denial(code="RESOURCE_EXHAUSTED" if seen % 2 else "REQUEST_LIMIT_EXCEEDED", retry_after="0.05")

    server.deny = storm
    ended = sync(made, server)
    assert seen > 20
    assert ended.report.complete, ended.report
    assert compared_there(made, server) == []


def test_values_too_long_for_databricks_are_rejected_by_name_and_never_cut(
    tmp_path: Path, server: DatabricksServer
) -> None:
    """Params over 500 bytes and tags over the limit are listed with the server's words; all others arrive whole."""
    server.strict.tag_bytes = 300
    made = world(tmp_path / "store", "exp")
    run_id = made.run("one", 5)
    long = {f"long{n}": "ü" * (251 + n) for n in range(3)}
    edge = {"edge": "ü" * 250, **{f"p{n}": str(n) for n in range(30)}}
    made.client.log_batch(run_id, params=[Param(k, v) for k, v in {**long, **edge}.items()])
    made.client.log_batch(run_id, tags=[RunTag("note", "n" * 301), RunTag("fine", "n" * 300)])
    ended = sync(made, server)
    books = account(ended, run_id)
    assert (books.rejected, books.owed, books.parked) == (4, 0, 0)
    assert all("limit is" in reason for reason in books.reasons)
    assert uncounted(made, ended) == []
    [run] = server.dump()[f"/Users/{server.workspace.user}/exp"]["runs"]
    assert edge.items() <= run["params"].items()
    assert not set(long) & set(run["params"])
    assert run["tags"]["fine"] == "n" * 300
    assert "note" not in run["tags"]


def test_keys_are_measured_in_bytes(tmp_path: Path, server: DatabricksServer) -> None:
    """A name of 200 characters and 400 bytes is refused; it alone is rejected."""
    made = world(tmp_path / "store", "exp")
    run_id = made.run("one", 5)
    made.client.log_batch(run_id, metrics=[Metric("ü" * 200, 1.0, NOW, 0)], params=[Param("ü" * 200, "x")])
    books = account(sync(made, server), run_id)
    assert (books.rejected, books.owed, books.parked) == (2, 0, 0)


@pytest.mark.parametrize("code", [(429, "RESOURCE_EXHAUSTED"), (400, "BAD_REQUEST")])
def test_a_quota_rejects_what_does_not_fit_and_doubles_nothing(
    tmp_path: Path, server: DatabricksServer, code: tuple[int, str]
) -> None:
    """Metric steps and params over the quota are listed as rejected, without waiting; what fits is there, once."""
    server.strict.metric_steps, server.strict.params, server.strict.quota_code = 1100, 40, code
    made = world(tmp_path / "store", "exp")
    run_id = made.run("one", 4000)
    made.client.log_batch(run_id, params=[Param(f"p{n:02d}", "x") for n in range(60)])
    ended = sync(made, server)
    books = account(ended, run_id)
    assert (books.rejected, books.owed, books.parked) == (2900 + 23, 0, 0)
    assert all("quota" in reason for reason in books.reasons)
    [run] = server.dump()[f"/Users/{server.workspace.user}/exp"]["runs"]
    assert len(run["points"]["loss"]) == len({tuple(row) for row in run["points"]["loss"]}) == 1100
    assert len(run["params"]) == 40
    assert sum(what.endswith("log-batch") for what in server.asked) < 60


def test_system_tags_are_not_sent_and_count_as_not_to_be_sent(tmp_path: Path, server: DatabricksServer) -> None:
    """A tag that only Databricks may set stays here: it is neither owed nor rejected."""
    made = world(tmp_path / "store", "exp")
    run_id = made.run("one", 3, **{"mlflow.user": "bert", "mlflow.rootRunId": "x"})
    ended = sync(made, server)
    assert ended.report.complete
    assert account(ended, run_id).superseded == 2
    assert compared_there(made, server) == []


def test_a_folder_that_is_not_there_parks_and_says_what_to_do(tmp_path: Path, server: DatabricksServer) -> None:
    """The reason names the folder and the setting; once the folder is there, the next replay delivers."""
    made = small(tmp_path)
    store = {"LOCALTRACK_DATABRICKS_FOLDER": "/Shared/team", **server.environ}
    first = command(made, "sync", "--to", "databricks", **store)
    assert first.returncode == 3, first.stderr
    told = command(made, "conflicts", **store).stdout.replace("\n", " ")
    assert "Parent directory /Shared/team does not exist" in " ".join(told.split())
    assert "LOCALTRACK_DATABRICKS_FOLDER" in told
    server.workspace.folders.add("/Shared/team")
    second = command(made, "sync", "--to", "databricks", **store)
    assert second.returncode == 0, second.stdout + second.stderr
    assert compared_there(made, server, "/Shared/team") == []


def test_an_experiment_stays_in_its_folder(tmp_path: Path, server: DatabricksServer) -> None:
    """Another folder in the settings, and a new name here: it is renamed where it is, and nothing is made twice."""
    server.workspace.folders.add("/Shared/other")
    made = small(tmp_path)
    sync(made, server)
    made.client.rename_experiment(made.experiment_id, "new name")
    made.run("two", 4)
    done = command(made, "sync", "--to", "databricks", LOCALTRACK_DATABRICKS_FOLDER="/Shared/other", **server.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(server.dump()) == [f"/Users/{server.workspace.user}/new name"]
    assert compared_there(made, server) == []


def test_a_name_that_something_else_has_is_said(tmp_path: Path, server: DatabricksServer) -> None:
    """A notebook of that name: no experiment can be made, the runs stay owed, the words say why."""
    server.workspace.nodes.add(f"/Users/{server.workspace.user}/exp")
    made = small(tmp_path)
    ended = sync(made, server)
    assert not ended.report.complete
    assert any("no experiment" in result.reason for result in ended.report.results.values())


def test_an_experiment_with_many_tags_is_made_whole(tmp_path: Path, server: DatabricksServer) -> None:
    """Databricks takes 20 tags in a create; the others follow."""
    made = world(tmp_path / "store", "exp", {f"tag{n:02d}": str(n) for n in range(30)})
    made.run("one", 3)
    assert sync(made, server).report.complete
    assert compared_there(made, server) == []


def test_an_experiment_tag_that_cannot_be_removed_is_rejected(tmp_path: Path, server: DatabricksServer) -> None:
    """Databricks has no route for it: that is said once, and everything else is delivered."""
    made = world(tmp_path / "store", "exp", {"team": "a"})
    assert sync(made, server).report.complete
    made.client.delete_experiment_tag(made.experiment_id, "team")
    made.run("one", 3)
    ended = sync(made, server)
    assert ended.report.complete, ended.report
    assert len(server.dump()[f"/Users/{server.workspace.user}/exp"]["runs"]) == 1
    done = command(made, "conflicts", **server.environ)
    assert "ENDPOINT_NOT_FOUND" in done.stdout


def test_a_run_with_many_tags_is_made_whole(tmp_path: Path, server: DatabricksServer) -> None:
    """Tags beyond those of the create follow in a batch."""
    made = world(tmp_path / "store", "exp")
    made.run("one", 3, **{f"tag{n:02d}": str(n) for n in range(60)})
    assert sync(made, server).report.complete
    assert compared_there(made, server) == []


def test_oauth_end_to_end_with_a_token_that_ends_early(tmp_path: Path, server: DatabricksServer) -> None:
    """A service principal: one token serves the replay, a refused one is replaced, no secret is written anywhere."""
    made = small(tmp_path)
    taken: set[str] = set()

    def take_away(what: str) -> Denial | None:
        if what.endswith("runs/create") and not taken:
            taken.update(server.logins.tokens)
            server.logins.tokens.clear()
        return None

    server.deny = take_away
    environ = {"DATABRICKS_HOST": server.url, "DATABRICKS_CLIENT_ID": "client-id"}
    environ["DATABRICKS_CLIENT_SECRET"] = "client-secret"  # noqa: S105  the stand-in's
    ended = replay_here(made, "databricks", environ={**environ, "HOME": "/nowhere"})
    assert ended.report.complete, ended.report
    assert server.logins.issued == 2
    assert compared_there(made, server) == []
    for file in Path(made.store.sync).iterdir():
        content = file.read_bytes()
        assert not any(word.encode() in content for word in {"client-secret", *taken, *server.logins.tokens})


def test_a_wrong_token_ends_the_replay_and_says_so(tmp_path: Path, server: DatabricksServer) -> None:
    """Exit code 3, everything owed, and the words of the workspace; the token is in none of them."""
    made = small(tmp_path)
    environ = {**server.environ, "DATABRICKS_TOKEN": "dapi-wrong"}
    done = command(made, "sync", "--to", "databricks", **environ)
    assert done.returncode == 3
    assert "Invalid access token" in done.stdout + done.stderr
    assert "dapi-wrong" not in done.stdout + done.stderr
    assert server.dump() == {}


def test_a_workspace_of_a_host_that_serves_several(tmp_path: Path, server: DatabricksServer) -> None:
    """With DATABRICKS_WORKSPACE_ID every request names the workspace."""
    server.logins.org = "1234"
    made = small(tmp_path)
    assert sync(made, server, DATABRICKS_WORKSPACE_ID="1234").report.complete
    assert server.logins.headers["x-databricks-workspace-id"] == "1234"
    assert compared_there(made, server) == []


def test_a_profile_through_the_real_command(tmp_path: Path, server: DatabricksServer) -> None:
    """`--to databricks://PROFILE` reads ~/.databrickscfg; status counts by the dialect and shows no secret."""
    made = small(tmp_path)
    made.run("three", 3, **{"mlflow.user": "bert"})
    config = tmp_path / "cfg"
    config.write_text(
        f"[DEFAULT]\nhost = https://other.example\n[lab]\nhost = {server.url}/\ntoken = {server.logins.pat}\n"
    )
    done = command(made, "sync", "--to", "databricks://lab", DATABRICKS_CONFIG_FILE=str(config))
    assert done.returncode == 0, done.stdout + done.stderr
    assert compared_there(made, server) == []
    told = command(made, "status").stdout
    assert server.url in told
    assert re.search(r"owed +0$", told, re.MULTILINE), told
    assert server.logins.pat not in told + done.stdout + done.stderr
