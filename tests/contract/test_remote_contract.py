"""What replay relies on from a remote, asked of each one with replay's own requests and read with its own eyes.

The same suite runs on a real MLflow server (of the kind that LOCALTRACK_TEST_SERVER names) and on the stand-in for
Databricks. What a remote need not do (store a repeated point once) is asked only where replay counts on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack.catalog.desired import Point
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.plan import cut
from localtrack_sync.protocol.request import (
    API,
    HAS_MODELS,
    PROBE,
    create_experiment,
    create_model,
    create_run,
    get,
    get_history,
    get_model,
    log_params,
    log_tags,
    on_experiment,
    on_run,
    post,
    search_model,
    search_uid,
    update_run,
)
from localtrack_sync.protocol.snapshot import RemoteExperiment, RemoteModel, RemoteRun, experiment_of, model_of, run_of
from localtrack_sync.protocol.values import Identity, identity, remote_identity
from localtrack_sync.protocol.verdict import Judged, Verdict, judge
from tests.acceptance.harness import replay_here, uncounted
from tests.acceptance.worlds import world
from tests.servers.under_test import RemoteUnderTest

NOW = 1_700_000_000_000
NOWHERE = "f" * 32


class Desk:
    """Asks one remote, within names of its own."""

    def __init__(self, remote: RemoteUnderTest, send: object, name: str) -> None:
        self.remote = remote
        self._send = send
        self._name = name

    def ask(self, request: Request) -> Judged:
        """The verdict on a request."""
        return judge(self._send(request))  # type: ignore[operator]

    def done(self, request: Request) -> Judged:
        """A request that must succeed."""
        judged = self.ask(request)
        assert judged.verdict is Verdict.OK, (request.path, judged.words)
        return judged

    def name(self, name: str) -> str:
        """Name of an experiment of this test over there."""
        return self.remote.place(f"{self._name} {name}")

    def experiment(self, name: str = "e", **tags: str) -> str:
        """Make an experiment; returns its id."""
        return str(self.done(create_experiment(self.name(name), None, tags)).body["experiment_id"])

    def shown(self, experiment_id: str) -> RemoteExperiment:
        """An experiment."""
        return experiment_of(self.done(get("experiments/get", experiment_id=experiment_id)).body["experiment"])

    def run(self, experiment_id: str = "", uid: str = "u1", **tags: str) -> str:
        """Make a run; returns its id."""
        request = create_run(experiment_id or self.experiment(), "me", "name", NOW, {"localtrack.uid": uid, **tags})
        return run_of(self.done(request).body["run"]).run_id

    def look(self, run_id: str) -> RemoteRun:
        """A run."""
        return run_of(self.done(get("runs/get", run_id=run_id)).body["run"])

    def found(self, experiment_id: str, uid: str = "u1", page: int = 100) -> list[RemoteRun]:
        """What a search for a uid finds, page by page."""
        runs, token = [], ""
        for _ in range(20):
            body = self.done(search_uid((experiment_id,), uid, page, token)).body
            runs += [run_of(run) for run in body.get("runs") or ()]
            token = str(body.get("next_page_token") or "")
            if not token:
                return runs
        raise AssertionError("pages without end")

    def batches(self, run_id: str, points: list[Point]) -> list[Judged]:
        """Send points as replay would cut them."""
        made = cut(points, self.remote.limits, nan_apart=True)
        return [self.ask(Request("POST", f"{API}/runs/log-batch", batch.body(run_id))) for batch in made]

    def history(self, run_id: str, key: str, page: int = 25_000) -> list[Identity]:
        """All points of a metric."""
        points, token = [], ""
        for _ in range(200):
            body = self.done(get_history(run_id, key, page, token)).body
            points += [remote_identity(metric) for metric in body.get("metrics") or ()]
            before, token = token, str(body.get("next_page_token") or "")
            if not token or token == before:
                return points
        raise AssertionError("pages without end")


@pytest.fixture
def desk(remote: RemoteUnderTest, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A connection to the remote, with names that no other test uses."""
    with remote.transport() as transport:
        yield Desk(remote, transport.send, f"contract {request.node.name[:80].replace('[', ' ').replace(']', '')}")


def point(n: int, value: float = 1.0, key: str = "m") -> Point:
    """A point of ours."""
    return Point("j", n, key, value, NOW + n, n)


def rows(run_id: str, *metrics: dict[str, object]) -> Request:
    """A batch of metric rows as they are."""
    return post("runs/log-batch", {"run_id": run_id, "metrics": list(metrics)})


def test_a_probe_is_answered_with_json(desk: Desk) -> None:
    """Whether the remote is there and lets us in shows in any definite answer to one read."""
    assert desk.ask(PROBE).verdict in {Verdict.OK, Verdict.GONE}


def test_an_experiment_is_found_by_its_name_and_made_once(desk: Desk) -> None:
    """A create that was executed shows at once in a read by name; a second one says that the name is taken."""
    experiment_id = desk.experiment(first="1", **{"localtrack.uid": "x"})
    found = experiment_of(desk.done(get("experiments/get-by-name", experiment_name=desk.name("e"))).body["experiment"])
    assert (found.experiment_id, found.name, found.deleted) == (experiment_id, desk.name("e"), False)
    assert {"first": "1", "localtrack.uid": "x"}.items() <= found.tags.items()
    assert desk.ask(create_experiment(desk.name("e"), None, {})).verdict is Verdict.EXISTS
    nothing = desk.ask(get("experiments/get-by-name", experiment_name=desk.name("none")))
    assert nothing.verdict is Verdict.GONE
    assert desk.ask(get("experiments/get", experiment_id="987654321")).verdict is Verdict.GONE


def test_an_experiment_is_renamed_and_tagged(desk: Desk) -> None:
    """The new name counts, a taken one is refused or to be read back, tags are overwritten."""
    first, _ = desk.experiment("first"), desk.experiment("other")
    for _ in range(2):
        desk.done(on_experiment("set-experiment-tag", first, key="a", value="1"))
    desk.done(on_experiment("set-experiment-tag", first, key="a", value="2"))
    desk.done(on_experiment("update", first, new_name=desk.name("renamed")))
    shown = desk.shown(first)
    assert (shown.name, shown.tags["a"]) == (desk.name("renamed"), "2")
    taken = desk.ask(on_experiment("update", first, new_name=desk.name("other"))).verdict
    assert taken in {Verdict.EXISTS, Verdict.MAYBE}
    assert desk.shown(first).name == desk.name("renamed")
    removed = desk.ask(on_experiment("delete-experiment-tag", first, key="a")).verdict
    assert removed is (Verdict.OK if desk.remote.removes_experiment_tags else Verdict.MISROUTED)


def test_an_experiment_is_deleted_and_restored_with_its_runs(desk: Desk) -> None:
    """Both show in reads; a second time is "gone"; its runs go and come with it; a deleted one takes no run."""
    experiment_id = desk.experiment()
    run_id = desk.run(experiment_id)
    desk.done(on_experiment("delete", experiment_id))
    assert desk.shown(experiment_id).deleted
    assert desk.ask(on_experiment("delete", experiment_id)).verdict in {Verdict.GONE, Verdict.OK}
    assert desk.look(run_id).deleted
    refused = desk.ask(create_run(experiment_id, "me", "late", NOW, {}))
    assert refused.verdict in {Verdict.INACTIVE, Verdict.REFUSED}
    desk.done(on_experiment("restore", experiment_id))
    assert not desk.shown(experiment_id).deleted
    assert not desk.look(run_id).deleted


def test_a_run_is_found_by_the_uid_of_its_create(desk: Desk) -> None:
    """At once, deleted ones too, in its experiment only; two creates are two runs, on pages of one."""
    here, there = desk.experiment("here"), desk.experiment("there")
    assert desk.found(here) == []
    first = desk.run(here, tag="x")
    assert [run.run_id for run in desk.found(here)] == [first]
    assert desk.found(here)[0].tags["tag"] == "x"
    desk.run(here, uid="u2")
    desk.run(there)
    desk.done(on_run("delete", first))
    assert [(run.run_id, run.deleted) for run in desk.found(here)] == [(first, True)]
    second = desk.run(here)
    assert {run.run_id for run in desk.found(here, page=1)} == {first, second}


def test_a_new_run_is_what_its_create_said(desk: Desk) -> None:
    """Running, with its name and tags; the name is a tag as well, and follows an update."""
    run_id = desk.run(tag="größer ≥ 5")
    shown = desk.look(run_id)
    assert (shown.status, shown.end_time, shown.deleted, shown.params) == ("RUNNING", None, False, {})
    assert (shown.tags["tag"], shown.tags["mlflow.runName"], shown.artifact_uri != "") == ("größer ≥ 5", "name", True)
    desk.done(update_run(run_id, run_name="another"))
    assert desk.look(run_id).tags["mlflow.runName"] == "another"


def test_points_come_back_as_they_were_sent(desk: Desk) -> None:
    """Every finite value to the last bit, NaN and infinities as their one representative, any step, in pages."""
    run_id = desk.run()
    odd = [0.1 + 0.2, 5e-324, 1e308, -1.5, float("nan"), float("inf"), float("-inf"), -0.0]
    points = [Point("j", n, "odd/values", value, NOW + n, n - 3) for n, value in enumerate(odd)]
    points += [Point("j", 90, "far", 1.0, 0, -(2**63)), Point("j", 91, "far", 1.0, NOW, 2**63 - 1)]
    assert {judged.verdict for judged in desk.batches(run_id, points)} == {Verdict.OK}
    stored = desk.history(run_id, "odd/values") + desk.history(run_id, "far", page=1)
    assert sorted(map(repr, stored)) == sorted(repr(identity(p)) for p in points)


def test_a_full_batch_is_taken_and_a_fuller_one_changes_nothing(desk: Desk) -> None:
    """1000 points arrive; 1001 are refused, and none of them is there."""
    run_id = desk.run()
    assert [judged.verdict for judged in desk.batches(run_id, [point(n) for n in range(1000)])] == [Verdict.OK]
    assert len(desk.history(run_id, "m")) == 1000
    many = [{"key": "x", "value": 1.0, "timestamp": NOW, "step": n} for n in range(1001)]
    assert desk.ask(rows(run_id, *many)).verdict in {Verdict.REFUSED, Verdict.TOO_LARGE}
    assert desk.history(run_id, "x") == []


def test_a_body_of_the_largest_size_is_taken(desk: Desk) -> None:
    """A batch just within the limit of bytes that replay keeps."""
    run_id = desk.run()
    points = [Point("j", n, f"{n % 100:03d}" + "ß" * 120, 1 / (n + 1), NOW + n, n) for n in range(3000)]
    made = cut(points, desk.remote.limits, nan_apart=True)
    largest = max(len(batch.body(run_id)) for batch in made)
    assert 700_000 < largest <= desk.remote.limits.body_bytes
    assert {judged.verdict for judged in desk.batches(run_id, points)} == {Verdict.OK}
    assert len(desk.history(run_id, points[0].key)) == 30


def test_the_last_row_of_a_batch_proves_the_batch(desk: Desk) -> None:
    """The greatest row stands last, and a look shows it as the latest of its key when steps and times agree."""
    run_id = desk.run()
    [batch] = cut([point(n, 1 / (n + 1)) for n in range(50)], desk.remote.limits, nan_apart=True)
    assert batch.fence is not None
    desk.done(Request("POST", f"{API}/runs/log-batch", batch.body(run_id)))
    assert desk.look(run_id).latest["m"] == identity(batch.fence)


def test_a_repeated_batch_is_stored_once_where_replay_counts_on_it(desk: Desk) -> None:
    """A remote that is taken for one that removes duplicates does; every other one at least loses nothing."""
    run_id = desk.run()
    points = [point(n) for n in range(20)] + [point(90, float("nan"), "nan")]
    desk.batches(run_id, points)
    desk.batches(run_id, points)
    stored = desk.history(run_id, "m") + desk.history(run_id, "nan")
    assert {repr(one) for one in stored} == {repr(identity(p)) for p in points}
    if desk.remote.dedupes:
        assert len(stored) == len(points)


def test_a_row_that_is_wrong_changes_nothing(desk: Desk) -> None:
    """A name that is not allowed, in the middle of a batch: refused, and no other row was written."""
    run_id = desk.run()
    good = [{"key": f"k{n}", "value": 1.0, "timestamp": NOW, "step": 0} for n in range(5)]
    judged = desk.ask(
        rows(run_id, *good[:2], {"key": "bad@name", "value": 1.0, "timestamp": NOW, "step": 0}, *good[2:])
    )
    assert judged.verdict is Verdict.REFUSED
    assert desk.look(run_id).latest == {}


def test_a_param_is_written_once(desk: Desk) -> None:
    """The same value again is fine, another one is a conflict, and the first stays, whatever travelled with it."""
    run_id = desk.run()
    desk.done(log_params(run_id, {"a": "1", "b": "", "c": "größer ≥ 5"}))
    desk.done(log_params(run_id, {"a": "1", "d": "4"}))
    assert desk.ask(log_params(run_id, {"a": "9"})).verdict is Verdict.PARAM_CONFLICT
    assert desk.look(run_id).params == {"a": "1", "b": "", "c": "größer ≥ 5", "d": "4"}


def test_a_hundred_params_and_tags_in_a_request(desk: Desk) -> None:
    """The largest batches that replay makes are taken whole."""
    run_id = desk.run()
    many = {f"k{n:03d}": "v" * 200 for n in range(100)}
    desk.done(log_params(run_id, many))
    desk.done(log_tags(run_id, many))
    shown = desk.look(run_id)
    assert shown.params == many
    assert many.items() <= shown.tags.items()


def test_what_is_surely_accepted_is(desk: Desk) -> None:
    """Keys and values of the size that the dialect calls sure come back whole."""
    run_id, size = desk.run(), min(desk.remote.limits.sure_bytes, 250)
    key, value = "k" * size, "v" * min(desk.remote.limits.sure_bytes, desk.remote.limits.param_value)
    desk.done(log_params(run_id, {key: value}))
    desk.done(log_tags(run_id, {key: value}))
    shown = desk.look(run_id)
    assert (shown.params[key], shown.tags[key]) == (value, value)


def test_a_value_beyond_that_is_refused_or_whole_or_cut_as_the_dialect_says(desk: Desk) -> None:
    """No value becomes another one that replay would not recognise."""
    run_id, most = desk.run(), desk.remote.limits.param_value
    value = "v" * 6500
    judged = desk.ask(log_params(run_id, {"long": value}))
    shown = desk.look(run_id).params
    if judged.verdict is Verdict.OK:
        assert shown["long"] == value[:most]
    else:
        assert judged.verdict in {Verdict.REFUSED, Verdict.TOO_LARGE}
        assert shown == {}


def test_tags_are_overwritten_and_removed(desk: Desk) -> None:
    """The last value counts, also of two in one request; a tag that is not there is "gone"."""
    run_id = desk.run()
    desk.done(log_tags(run_id, {"a": "1", "b": ""}))
    pair = [{"key": "a", "value": "2"}, {"key": "a", "value": "3"}]
    desk.done(post("runs/log-batch", {"run_id": run_id, "tags": pair}))
    desk.done(on_run("delete-tag", run_id, key="b"))
    shown = desk.look(run_id).tags
    assert (shown["a"], "b" in shown) == ("3", False)
    assert desk.ask(on_run("delete-tag", run_id, key="b")).verdict is Verdict.GONE


def test_any_status_follows_any_other(desk: Desk) -> None:
    """Status and end time are registers: what was sent last is there, and sending it again changes nothing."""
    run_id = desk.run()
    for status, end in (("FINISHED", NOW + 5), ("FINISHED", NOW + 5), ("FAILED", NOW + 1)):
        desk.done(update_run(run_id, status=status, end_time=end))
    shown = desk.look(run_id)
    assert (shown.status, shown.end_time) == ("FAILED", NOW + 1)
    desk.done(update_run(run_id, status="RUNNING"))
    assert desk.look(run_id).status == "RUNNING"


def test_a_deleted_run_is_read_and_takes_nothing(desk: Desk) -> None:
    """Every write says "inactive", reads go on, deleting and restoring may be repeated."""
    run_id = desk.run(tag="x")
    desk.done(log_params(run_id, {"a": "1"}))
    for _ in range(2):
        desk.done(on_run("delete", run_id))
    writes = [
        rows(run_id, {"key": "m", "value": 1.0, "timestamp": NOW, "step": 0}),
        log_params(run_id, {"b": "1"}),
        log_tags(run_id, {"b": "1"}),
        update_run(run_id, status="FINISHED"),
    ]
    answers = [desk.ask(request) for request in writes]
    assert {answer.verdict for answer in answers} == {Verdict.INACTIVE}, [answer.words for answer in answers]
    shown = desk.look(run_id)
    assert (shown.deleted, shown.params) == (True, {"a": "1"})
    for _ in range(2):
        desk.done(on_run("restore", run_id))
    assert not desk.look(run_id).deleted


def test_a_run_that_is_not_there_is_gone(desk: Desk) -> None:
    """Every request about it says so, and none makes it."""
    asked = [
        get("runs/get", run_id=NOWHERE),
        rows(NOWHERE, {"key": "m", "value": 1.0, "timestamp": NOW, "step": 0}),
        log_params(NOWHERE, {"a": "1"}),
        update_run(NOWHERE, status="FINISHED"),
        on_run("delete", NOWHERE),
        on_run("restore", NOWHERE),
    ]
    assert {desk.ask(request).verdict for request in asked} == {Verdict.GONE}


def test_a_route_that_is_not_there_is_told_apart_from_a_thing_that_is_not(desk: Desk) -> None:
    """What tells a missing feature from a missing run."""
    assert desk.ask(post("runs/no-such-verb", {"run_id": NOWHERE})).verdict is Verdict.MISROUTED
    has = desk.ask(HAS_MODELS).verdict is not Verdict.MISROUTED
    assert has == desk.remote.has_models


def test_a_logged_model_is_found_by_the_uid_of_its_create(desk: Desk) -> None:
    """As a run is; where the remote has logged models at all."""
    if not desk.remote.has_models:
        pytest.skip("this server has no logged models")
    experiment_id = desk.experiment()
    run_id = desk.run(experiment_id)
    request = create_model(experiment_id, "model", "kind", run_id, {"depth": "3"}, {"localtrack.uid": "m-1"})
    made = model_of(desk.done(request).body["model"])
    body = desk.done(search_model((experiment_id,), "m-1", 50)).body
    assert [model_of(model).remote_id for model in body.get("models") or ()] == [made.remote_id]
    shown: RemoteModel = model_of(desk.done(get_model(made.remote_id, deleted=False)).body["model"])
    assert shown.params == {"depth": "3"}


def test_answers_are_strict_json(desk: Desk) -> None:
    """A run with a NaN as its latest value can be read by any JSON reader that replay may use."""
    run_id = desk.run()
    desk.batches(run_id, [point(1, float("nan"))])
    judged = desk.done(get("runs/get", run_id=run_id))
    assert json.loads(json.dumps(judged.body)) is not None
    assert desk.look(run_id).latest["m"] == identity(point(1, float("nan")))


def test_a_whole_store_arrives_once(tmp_path: Path, remote: RemoteUnderTest) -> None:
    """Runs of every kind, replayed twice: the remote equals the store and the books add up."""
    made = world(tmp_path / "store", f"contract {tmp_path.name}", {"team": "a"})
    made.run("one", 250)  # the file store takes a second for a thousand, and the harness waits 1.5 s for an answer
    made.odd_run()
    made.family()
    made.deleted_run()
    for _ in range(2):
        ended = replay_here(made, remote.uri, environ=remote.environ)
        assert ended.report.complete, ended.report
        assert uncounted(made, ended) == []
        assert remote.differs(made) == []
