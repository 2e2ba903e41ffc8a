"""The engine as a whole, step by step, against the modelled remote without faults."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from localtrack.catalog.desired import DesiredExperiment, DesiredRun, ParamConflict, Point
from localtrack_sync.engine.engine import PROBE_JOB, Engine
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.engine.schedule import BREAKER, Gate
from localtrack_sync.protocol.effects import (
    Done,
    Effect,
    Failure,
    Idle,
    Load,
    Outcome,
    Perform,
    ReadExperiment,
    ReadFiles,
    ReadPoints,
    ReadRun,
    Reply,
    Request,
    Save,
    Start,
)
from localtrack_sync.protocol.gate import GateSettings
from localtrack_sync.protocol.jobs import Ending, Job, JobResult, ReplaySettings
from localtrack_sync.protocol.records import Conflict, Parked, Rejected, Watermark
from localtrack_sync.protocol.request import PROBE
from localtrack_sync.protocol.verdict import Judged, Verdict
from tests.simulation.remote import Remote


def run(run_id: str, **changes: Any) -> DesiredRun:
    """A finished run."""
    plain = DesiredRun(run_id, "e", f"name-{run_id}", "me", "FINISHED", 1, 2, deleted=False)
    return replace(plain, **changes)


class House:
    """Runs to deliver, a delivery state, a remote; counts what goes out."""

    def __init__(self, *runs: DesiredRun, points: dict[str, list[Point]] | None = None, flavour: str = "sql") -> None:
        self.runs = {r.run_id: r for r in runs}
        self.points = points or {}
        for run_id, some in self.points.items():
            self.runs[run_id] = replace(self.runs[run_id], head={"j": some[-1].pos})
        self.state = MemoryState()
        self.remote = Remote(random.Random(0), flavour)
        self.requests: list[Request] = []
        self.most_open = 0
        self.now = 0.0
        self.answer: Callable[[Request], Outcome] = self.remote.handle
        self.meanwhile: Callable[[Engine], None] = lambda _: None

    def replay(self, settings: ReplaySettings | None = None, jobs: list[Job] | None = None) -> dict[str, JobResult]:
        """One pass; every open request is answered only when nothing else can be started."""
        engine = Engine(settings or ReplaySettings(), jobs or [Job("run", r) for r in self.runs], lambda: 0.5)
        waiting: list[tuple[int, Request]] = []
        for _ in range(100_000):
            step = engine.next(self.now)
            match step:
                case Done():
                    return {result.id: result for result in engine.results.jobs}
                case Perform(job, effect):
                    engine.feed(job, self.perform(effect), self.now)
                case Start(job, send):
                    assert job not in {other for other, _ in waiting}, "two requests of one job"
                    waiting.append((job, send.request))
                    self.most_open = max(self.most_open, len(waiting))
                case Idle(until):
                    if waiting:
                        job, request = waiting.pop(0)
                        self.requests.append(request)
                        self.meanwhile(engine)
                        engine.feed(job, self.answer(request), self.now)
                    else:
                        assert until is not None, "idle for ever"
                        self.now = max(until, self.now + 0.001)
        raise AssertionError("no end")

    def perform(self, effect: Effect) -> Any:
        """Answer what is no request."""
        match effect:
            case Save():
                return self.state.save(effect)
            case Load():
                return self.state.load(effect)
            case ReadRun(run_id):
                return self.runs.get(run_id)
            case ReadFiles():
                return ()
            case ReadExperiment(experiment_id):
                return DesiredExperiment(experiment_id, f"experiment-{experiment_id}", None, deleted=False)
            case ReadPoints(run_id=run_id, after=after, limit=limit):
                beyond = dict(after).get("j", 0)
                return tuple(p for p in self.points.get(run_id, ()) if p.pos > beyond)[:limit]
        raise AssertionError(effect)

    def sent(self, verb: str) -> list[dict[str, Any]]:
        """Bodies of the requests of one kind."""
        return [json.loads(r.body or b"{}") for r in self.requests if r.path.endswith(verb)]


def points(count: int, keys: int = 1) -> list[Point]:
    """Points of journal j."""
    return [Point("j", 4096 + i, f"m{i % keys}", i / 1024, 1000 + i, i // keys) for i in range(count)]


def test_a_run_travels_in_few_requests() -> None:
    """A run with tags, 100 params and 1,000 points costs four requests: create, params, metrics, status."""
    house = House(run("a", tags={"t": "1"}, params={f"p{i}": "v" for i in range(100)}), points={"a": points(1000)})
    assert house.replay()["a"].ending is Ending.DELIVERED
    of_run = [r.path.rpartition("/")[2] for r in house.requests if "/runs/" in r.path]
    assert of_run == ["create", "log-batch", "log-batch", "update"]


def test_a_delivered_run_costs_no_request() -> None:
    """Replaying what is delivered asks the remote nothing at all."""
    house = House(run("a", tags={"t": "1"}, params={"p": "v"}), points={"a": points(10)})
    house.replay()
    house.requests.clear()
    assert house.replay()["a"].ending is Ending.DELIVERED
    assert house.requests == []


def test_no_more_requests_are_open_than_there_are_connections() -> None:
    """Twenty runs and three connections: three requests at once, never more, and never two of one run."""
    house = House(*(run(f"r{i}", params={"p": "v"}) for i in range(20)))
    results = house.replay(ReplaySettings(connections=3))
    assert house.most_open == 3
    assert {result.ending for result in results.values()} == {Ending.DELIVERED}


def test_a_long_run_does_not_hold_up_the_others() -> None:
    """Runs take turns after each window of points: a short run is done long before a long one that came first."""
    house = House(run("long"), *(run(f"s{i}") for i in range(5)), points={"long": points(2000)})
    house.replay(ReplaySettings(connections=1, window=10))
    ended = [given["run_id"] for given in house.sent("runs/update")]
    assert ended[-1] == next(r.run_id for r in house.remote.runs.values() if r.tags["localtrack.uid"] == "long")
    assert len(ended) == 6


def test_a_run_whose_points_fit_a_window_ends_before_the_next_begins() -> None:
    """Of a hundred such runs only those at work are unfinished: they need no second turn for their status."""
    house = House(*(run(f"r{i}") for i in range(100)), points={f"r{i}": points(20) for i in range(100)})
    unfinished = 0

    def look(_: Engine) -> None:
        nonlocal unfinished
        begun = {record.scope_id for record in house.state.all() if isinstance(record, Watermark)}
        done = {given["run_id"] for given in house.sent("runs/update")}
        unfinished = max(unfinished, len(begun) - len(done))

    house.meanwhile = look
    house.replay(ReplaySettings(connections=2))
    assert 0 < unfinished <= 5


def test_news_does_not_wait_behind_a_backlog() -> None:
    """A run that is logged to now is delivered while most of a hundred older ones still wait."""
    old = [run(f"old{i}") for i in range(100)]
    house = House(*old, run("live"), points={f"old{i}": points(200) for i in range(100)} | {"live": points(1)})

    def news(engine: Engine) -> None:
        if len(house.requests) == 60:
            engine.add([Job("run", "live")])

    house.meanwhile = news
    house.replay(ReplaySettings(window=50), [Job("run", one.run_id) for one in old])
    sent = [json.loads(r.body or b"") for r in house.requests if r.path.endswith("runs/log-batch")]
    live = next(i for i, body in enumerate(sent) if len(body.get("metrics", ())) == 1)
    assert live < 80, f"batch {live} of {len(sent)}"


def test_news_of_a_waiting_run_moves_it_forward() -> None:
    """The last of a hundred runs that wait is delivered soon once it is logged to."""
    old = [run(f"old{i}") for i in range(100)]
    house = House(*old, run("live"), points={f"old{i}": points(200) for i in range(100)} | {"live": points(1)})

    def news(engine: Engine) -> None:
        if len(house.requests) == 60:
            engine.add([Job("run", "live")])

    house.meanwhile = news
    house.replay(ReplaySettings(window=50))
    sent = [json.loads(r.body or b"") for r in house.requests if r.path.endswith("runs/log-batch")]
    live = next(i for i, body in enumerate(sent) if len(body.get("metrics", ())) == 1)
    assert live < 80, f"batch {live} of {len(sent)}"


def test_news_without_end_does_not_starve_a_backlog() -> None:
    """Runs that are logged to all the time leave their share to those that wait."""
    old = [run(f"old{i}") for i in range(20)]
    live = [f"live{i}" for i in range(30)]
    house = House(*old, *(run(one) for one in live), points={f"old{i}": points(200) for i in range(20)})

    def news(engine: Engine) -> None:
        if any(engine.works_on(Job("run", one.run_id)) for one in old):
            engine.add(Job("run", one) for one in live)

    house.meanwhile = news
    ended = house.replay(ReplaySettings(window=50), [Job("run", one.run_id) for one in old])
    assert all(result.ending is Ending.DELIVERED for result in ended.values())


def test_few_runs_hold_points_in_memory_at_once() -> None:
    """Of a hundred runs with points only 2 x connections + 1 are at work, so memory does not grow with the backlog."""
    house = House(*(run(f"r{i:02}") for i in range(100)), points={f"r{i:02}": points(20) for i in range(100)})
    holding, most = set(), 0
    plain = house.perform

    def perform(effect: Effect) -> Any:
        nonlocal most
        if isinstance(effect, ReadPoints):
            holding.add(effect.run_id)
            most = max(most, len(holding))
        elif isinstance(effect, Save):
            holding.difference_update(record.scope_id for record in effect.drops)
        return plain(effect)

    house.perform = perform  # type: ignore[method-assign]
    house.replay(ReplaySettings(connections=2))
    assert most <= 5


def test_a_wrong_server_stops_the_replay_with_a_clear_reason() -> None:
    """A page instead of the API: nothing is tried again, and every run is owed with the reason."""
    house = House(run("a"), run("b"))
    house.answer = lambda _request: Reply(404, None, "<title>Not Found</title>")
    results = house.replay()
    assert {result.ending for result in results.values()} == {Ending.OWED}
    assert "does not look like an MLflow server" in results["a"].reason
    assert len(house.requests) <= 4


def test_a_remote_that_is_away_ends_a_replay_after_its_patience() -> None:
    """Nothing answers for 30 seconds: the replay ends, the runs are owed, and nothing is left to be waited for."""
    house = House(run("a"))
    house.answer = lambda _request: Failure(sent=False, reason="connection refused")
    assert house.replay()["a"] == JobResult("run", "a", Ending.OWED, "the remote is away: connection refused")
    assert 30.0 <= house.now < 60.0
    assert not any(record.scope == "run" for record in house.state.all())


LOGIN_PAGE = "<!doctype html><title>Hotel Wi-Fi</title>"
#: What a captive portal may answer in the remote's place.
PORTALS = {
    "page": Reply(200, None, LOGIN_PAGE),
    "missing page": Reply(404, None, LOGIN_PAGE),
    "wrong method": Reply(405, None, LOGIN_PAGE),
    "redirect": Reply(302, None, "", headers={"location": "https://login.hotel"}),
}


@pytest.mark.parametrize("portal", PORTALS)
@pytest.mark.parametrize("begins", [0, 3, 5, 6, 7])
def test_a_captive_portal_is_an_outage_for_a_daemon(portal: str, begins: int) -> None:
    """A hotel's login page for half an hour, from any request on: waited out, and nothing counts as executed by it."""
    house = House(run("a", params={"p": "v"}, tags={"t": "1"}), points={"a": points(10)})
    since: list[float] = []

    def answer(request: Request) -> Outcome:
        if len(house.requests) > begins:
            since[:] = since or [house.now]
            if house.now < since[0] + 1800.0:
                return PORTALS[portal]
        return house.remote.handle(request)

    house.answer = answer
    assert house.replay(ReplaySettings(patience_s=None))["a"].ending is Ending.DELIVERED
    there = next(iter(house.remote.runs.values()))
    assert (there.params, len(there.metrics), there.status) == ({"p": "v"}, 10, "FINISHED")
    assert (there.tags["t"], len(house.remote.runs)) == ("1", 1)


def test_refused_credentials_pause_a_daemon_and_burn_no_tries() -> None:
    """A token that ended is renewed ten hours later: until then only probes go out, then every job goes on."""
    house = House(*(run(f"r{i}", params={"p": "v"}) for i in range(5)))
    begins, ends = 6, 36_000.0
    refused: list[Request] = []

    def answer(request: Request) -> Outcome:
        if len(house.requests) > begins and house.now < ends:
            refused.append(request)
            return Reply(401, None, "who are you")
        return house.remote.handle(request)

    house.answer = answer
    results = house.replay(ReplaySettings(patience_s=None))
    assert {result.ending for result in results.values()} == {Ending.DELIVERED}
    assert all(request == PROBE for request in refused[2:])
    assert 50 < len(refused) < 500


def test_one_probe_at_a_time() -> None:
    """While the breaker is open a single request is under way, and it is the probe."""
    house = House(*(run(f"r{i}") for i in range(9)))
    gate = Gate(lambda: 0.5, GateSettings(connections_start=4))
    for now in range(BREAKER):
        gate.note(Judged(Verdict.NOT_APPLIED, {}, "connection refused"), float(now))
    house.now = gate.ready_at
    assert gate.probing(house.now)
    engine = Engine(ReplaySettings(), [Job("run", r) for r in house.runs], lambda: 0.5, gate=gate)
    sent = []
    while not isinstance(step := engine.next(house.now), Idle):
        match step:
            case Perform(job, effect):
                engine.feed(job, house.perform(effect), house.now)
            case Start(job, send):
                sent.append((job, send.request))
    assert sent == [(PROBE_JOB, PROBE)]


def test_a_gate_outlives_its_engine() -> None:
    """What one engine learned of the remote holds for the next: nothing goes out before the gate says so."""
    house = House(run("a"))
    gate = Gate(lambda: 0.5, GateSettings(patience_s=None))
    gate.note(Judged(Verdict.THROTTLED, {}, "slow down", 429, 600.0), 0.0)
    engine = Engine(ReplaySettings(), [Job("run", "a")], lambda: 0.5, gate=gate)
    while isinstance(step := engine.next(1.0), Perform):
        engine.feed(step.job, house.perform(step.effect), 1.0)
    assert step == Idle(675.0, "the remote is away: slow down")


def test_runs_that_are_each_others_parents_are_delivered() -> None:
    """A circle of parents does not stop a replay: the second pass adds the tag that had to be left out in the first."""
    house = House(run("a", tags={"mlflow.parentRunId": "b"}), run("b", tags={"mlflow.parentRunId": "a"}))
    house.replay()
    results = house.replay()
    assert {result.ending for result in results.values()} == {Ending.DELIVERED}
    there = {r.tags["localtrack.uid"]: r for r in house.remote.runs.values()}
    assert there["a"].tags["mlflow.parentRunId"] == there["b"].run_id
    assert there["b"].tags["mlflow.parentRunId"] == there["a"].run_id


def test_a_parent_that_is_not_ours_is_sent_as_it_is() -> None:
    """A parent id that the store does not know is the remote's own: a script that continues a run made on a server."""
    house = House(run("a", tags={"mlflow.parentRunId": "0123"}))
    assert house.replay()["a"].ending is Ending.DELIVERED
    assert next(iter(house.remote.runs.values())).tags["mlflow.parentRunId"] == "0123"


def test_a_refused_record_is_listed_with_the_servers_words_and_the_rest_arrives() -> None:
    """One bad name among 500 points, with and without an index in the server's message: 499 arrive, one is listed."""
    for indexed in (True, False):
        some = points(500)
        some[123] = some[123]._replace(key="bad!")
        house = House(run("a"), points={"a": some})
        house.remote.indexed = indexed
        assert house.replay()["a"].rejected == 1
        assert len(next(iter(house.remote.runs.values())).metrics) == 499
        (refused,) = (r for r in house.state.all() if isinstance(r, Rejected))
        assert "Invalid value" in refused.reason
        assert len(house.sent("log-batch")) <= (2 if indexed else 20)


def test_a_point_that_breaks_the_server_is_parked_and_the_rest_arrives() -> None:
    """HTTP 500 for one point every time, while the remote otherwise works: nobody refused it, so it is parked."""
    some = points(50)
    some[17] = some[17]._replace(value=666.0)
    house = House(run("a"), points={"a": some})
    result = house.replay(ReplaySettings(patience_s=None))["a"]
    assert (result.ending, result.parked) == (Ending.PARKED, 1)
    assert len(next(iter(house.remote.runs.values())).metrics) == 49
    (parked,) = (r for r in house.state.all() if isinstance(r, Parked))
    assert json.loads(parked.value)["value"] == 666.0


def test_the_record_of_a_param_conflict_is_the_same_for_every_order() -> None:
    """Journals disagree: whichever value reached the remote first, the tag that shows it has the same bytes."""
    first = ParamConflict("p", "1", (("2", "journal-b"), ("3", "journal-c")))
    tags = []
    for held in ("1", "2", "3"):
        house = House(run("a", params={"p": held}))
        house.replay()
        house.runs["a"] = run("a", params={"p": "1"}, param_conflicts=(first,))
        assert house.replay()["a"].ending is Ending.DELIVERED
        there = next(iter(house.remote.runs.values()))
        assert there.params == {"p": held}
        tags.append({k: v for k, v in there.tags.items() if k.startswith("localtrack.conflict.")})
        assert ("param" in {r.kind for r in house.state.all() if isinstance(r, Conflict)}) == (held != "1")
    assert tags[0] == tags[1] == tags[2] != {}


def test_a_status_goes_out_after_everything_else() -> None:
    """A terminal status is the last request of a run: who sees FINISHED sees all of it."""
    house = House(run("a", params={"p": "v"}, dropped_tags=("x",), tags={"t": "1"}), points={"a": points(30)})
    house.replay(ReplaySettings(window=10))
    assert house.requests[-1].path.endswith("runs/update")


def test_a_stop_leaves_nothing_open() -> None:
    """A stop at any step: open requests are heard, their answers kept, and the next replay completes the rest."""
    for stop_at in range(0, 60, 3):
        house = House(run("a", params={"p": "v"}, tags={"t": "1"}), run("b"), points={"a": points(30)})
        engine = Engine(ReplaySettings(window=10), [Job("run", "a"), Job("run", "b")], lambda: 0.5)
        count = 0
        while not isinstance(step := engine.next(house.now), Done):
            count += 1
            if count == stop_at:
                engine.stop("somebody pressed Ctrl-C")
            if isinstance(step, Perform):
                engine.feed(step.job, house.perform(step.effect), house.now)
            elif isinstance(step, Start):
                engine.feed(step.job, house.remote.handle(step.send.request), house.now)
        results = house.replay()
        assert {result.ending for result in results.values()} == {Ending.DELIVERED}
        assert len(house.remote.runs) == 2
        assert house.now == 0.0, "nothing had to be waited for"


def test_delivered_runs_are_looked_through_quickly() -> None:
    """The number of steps for runs with nothing owed grows with their number, not with its square."""
    house = House(*(run(f"r{i}") for i in range(300)))
    house.replay(ReplaySettings(connections=8))
    steps = 0
    engine = Engine(ReplaySettings(), [Job("run", r) for r in house.runs], lambda: 0.5)
    while not isinstance(step := engine.next(0.0), Done):
        steps += 1
        assert isinstance(step, Perform)
        engine.feed(step.job, house.perform(step.effect), 0.0)
    assert steps <= 3 * 300 + 10
