"""Runs that were created elsewhere, against the modelled remote without faults."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from localtrack.catalog.desired import DesiredRun, Point
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.records import Conflict, ExperimentBinding, Parked, RunBinding
from localtrack_sync.protocol.values import Identity, identity
from tests.simulation.remote import RunState
from tests.unit.sync.test_engine import House

#: Before a launcher's run was attached to.
START = 1000


def attached(run_id: str, **changes: Any) -> DesiredRun:
    """A run that was attached to and that nothing else was said of."""
    return replace(DesiredRun(run_id, "", "", "", "", START, None, deleted=False, attached=True), **changes)


def launched(house: House, run_id: str, **changes: Any) -> RunState:
    """A run that somebody makes on the remote, in one of many experiments there."""
    for number in range(5 if not house.remote.experiments else 0):
        house.remote.experiments_create({"name": f"other-{number}"})
    run = RunState(run_id, "3", "by-launcher", "them", 1, **changes)
    run.tags["mlflow.runName"] = run.name
    house.remote.runs[run_id] = run
    return run


def again(house: House) -> int:
    """Requests of one more replay."""
    before = len(house.requests)
    house.replay()
    return len(house.requests) - before


POINTS = [Point("j", 4096 + n, "loss", 1.0 / (n + 1), 10 + n, n) for n in range(4)]


def test_it_waits_until_its_run_exists_and_is_never_created() -> None:
    """While the remote has no such run it is parked with the reason; once it has, everything goes there."""
    house = House(attached("x", params={"lr": "0.1"}), points={"x": POINTS})
    result = house.replay()["x"]
    assert (result.ending, result.reason) == (
        Ending.PARKED,
        "no run x on this server yet; it is delivered once it exists",
    )
    assert house.remote.runs == {}
    assert house.remote.experiments == {}
    run = launched(house, "x")
    assert house.replay()["x"].ending is Ending.DELIVERED
    assert run.params == {"lr": "0.1"}
    assert run.metrics == [identity(point) for point in POINTS]
    assert not [r for r in house.state.all() if isinstance(r, Parked | ExperimentBinding)]
    assert again(house) == 0


def test_what_is_not_said_here_is_not_touched() -> None:
    """Name, status, times, life and the uid tag of the run stay as they are: nobody set them here."""
    house = House(attached("x", tags={"rank": "1"}))
    run = launched(house, "x", status="SCHEDULED", tags={"team": "a"})
    house.replay()
    assert (run.name, run.status, run.end_time, run.deleted) == ("by-launcher", "SCHEDULED", None, False)
    assert run.tags == {"team": "a", "mlflow.runName": "by-launcher", "rank": "1"}
    assert {r.path.rpartition("/")[2] for r in house.requests if r.method == "POST"} == {"log-batch"}


def test_a_run_that_localtrack_made_elsewhere_is_found_by_its_uid() -> None:
    """Another machine's run has its own id on the remote: all experiments are searched for the uid, once in a pass."""
    house = House(attached("x", tags={"a": "1"}), attached("y", tags={"a": "1"}), attached("z"))
    run = launched(house, "r99", tags={"localtrack.uid": "x"})
    other = replace(run, run_id="r98", tags={"localtrack.uid": "y"})
    house.remote.runs["r98"] = other
    endings = {run_id: result.ending for run_id, result in house.replay().items()}
    assert endings == {"x": Ending.DELIVERED, "y": Ending.DELIVERED, "z": Ending.PARKED}
    assert (run.tags["a"], other.tags["a"]) == ("1", "1")
    lists = [r for r in house.requests if r.path.endswith("experiments/search")]
    assert len(lists) == 3, "five experiments in pages of two"


def test_what_others_wrote_stands() -> None:
    """A param, a tag, name and parent that the launcher set stay; ours are conflicts; what is free is filled."""
    ours = attached(
        "x",
        name="mine",
        params={"lr": "0.1", "same": "1", "new": "2"},
        tags={"stage": "b", "mlflow.parentRunId": "p2", "free": "f"},
    )
    house = House(ours)
    theirs = {"stage": "a", "mlflow.parentRunId": "p1"}
    run = launched(house, "x", params={"lr": "9", "same": "1"}, tags=dict(theirs))
    assert house.replay()["x"].ending is Ending.DELIVERED
    assert run.params == {"lr": "9", "same": "1", "new": "2"}
    assert (run.name, run.tags["mlflow.runName"], run.tags["free"]) == ("by-launcher", "by-launcher", "f")
    assert {key: run.tags[key] for key in theirs} == theirs
    collided = {(r.kind, r.key) for r in house.state.all() if isinstance(r, Conflict)}
    assert collided == {
        ("param", "lr"),
        ("tag", "stage"),
        ("tag", "mlflow.runName"),
        ("tag", "mlflow.parentRunId"),
    }
    assert again(house) == 0


@pytest.mark.parametrize("flavour", ["sql", "file"])
def test_points_that_others_logged_are_not_doubled(flavour: str) -> None:
    """Another rank logged some of the same points: before the first delivery, and between two; each is there once."""
    house = House(attached("x"), points={"x": POINTS}, flavour=flavour)
    run = launched(house, "x", metrics=[identity(POINTS[1]), ("theirs", 0, 1, 1.0)])
    house.replay()
    more = [Point("j", 8192 + n, "loss", 0.5, 100 + n, n) for n in range(3)]
    run.metrics.append(identity(more[2]))
    house.points["x"] = [*POINTS, *more]
    house.runs["x"] = replace(house.runs["x"], head={"j": more[-1].pos})
    house.replay()
    wanted: set[Identity] = {*map(identity, (*POINTS, *more)), ("theirs", 0, 1, 1.0)}
    assert set(run.metrics) == wanted
    assert len(run.metrics) == len(wanted)


@pytest.mark.parametrize(
    ("ours", "theirs", "stands", "conflict"),
    [
        (("FINISHED", 2000), ("RUNNING", None), ("FINISHED", 2000), False),
        (("FINISHED", 2000), ("FAILED", 500), ("FINISHED", 2000), False),
        (("FINISHED", 2000), ("FINISHED", 3000), ("FINISHED", 3000), False),
        (("FINISHED", 2000), ("KILLED", 3000), ("KILLED", 3000), True),
        (("RUNNING", None), ("FAILED", 500), ("RUNNING", 500), False),
        (("RUNNING", None), ("FINISHED", 3000), ("FINISHED", 3000), False),
    ],
)
def test_the_later_end_stands(
    ours: tuple[str, int | None], theirs: tuple[str, int | None], stands: tuple[str, int | None], conflict: bool
) -> None:
    """Somebody else ended the run: the later end counts, and a different one of ours is then a conflict."""
    house = House(attached("x", status=ours[0], end_time=ours[1]))
    run = launched(house, "x", status=theirs[0], end_time=theirs[1])
    assert house.replay()["x"].ending is Ending.DELIVERED
    assert (run.status, run.end_time) == stands
    assert [r.kind for r in house.state.all() if isinstance(r, Conflict)] == (["status"] if conflict else [])
    assert again(house) == 0


def test_it_is_deleted_only_when_it_was_deleted_here() -> None:
    """A deletion that was logged here goes out; one by somebody else is left, and what is owed is parked."""
    house = House(attached("x", tags={"a": "1"}, deleted=True), attached("y", tags={"a": "1"}))
    mine, theirs = launched(house, "x"), launched(house, "y", deleted=True)
    endings = {run_id: result.ending for run_id, result in house.replay().items()}
    assert endings == {"x": Ending.DELIVERED, "y": Ending.PARKED}
    assert (mine.deleted, mine.tags["a"], theirs.deleted) == (True, "1", True)


def test_a_second_run_of_the_same_uid_is_left_when_it_is_deleted() -> None:
    """A lost reply made two runs elsewhere, we took the wrong one, it is swept away: all goes to the other one."""
    house = House(attached("x", params={"a": "1"}), points={"x": POINTS})
    launched(house, "wrong", tags={"localtrack.uid": "x"}, params={"b": "2"})
    house.replay()
    right = replace(house.remote.runs["wrong"], run_id="right", params={"b": "2"}, metrics=[])
    house.remote.runs["right"] = right
    house.now += 500.0
    house.replay()
    assert not house.remote.runs["wrong"].deleted, "nobody else's run is deleted from here"
    house.remote.runs["wrong"].deleted = True
    assert house.replay()["x"].ending is Ending.OWED
    assert house.replay()["x"].ending is Ending.DELIVERED
    assert (right.params, len(right.metrics)) == ({"a": "1", "b": "2"}, len(POINTS))
    house.now += 500.0
    assert house.replay()["x"].ending is Ending.DELIVERED
    assert again(house) == 0


def test_its_creation_may_come_later() -> None:
    """Once the journal that created the run is imported here too, the binding goes on, in the run's experiment."""
    house = House(attached("x", tags={"a": "1"}))
    house.remote.experiments_create({"name": "experiment-e"})
    run = RunState("r9", "1", "n", "me", 1)
    run.tags = {"localtrack.uid": "x", "mlflow.runName": "n"}
    house.remote.runs["r9"] = run
    house.replay()
    house.runs["x"] = DesiredRun("x", "e", "n", "me", "FINISHED", 1, 2, deleted=False, tags={"a": "1", "b": "2"})
    assert house.replay()["x"].ending is Ending.DELIVERED
    [binding] = [r for r in house.state.all() if isinstance(r, RunBinding)]
    assert (binding.remote_id, list(house.remote.runs)) == ("r9", ["r9"])
    assert (run.tags["b"], run.status, run.end_time) == ("2", "FINISHED", 2)


def test_children_of_an_attached_run_name_it() -> None:
    """A nested run's tag names the remote run that its attached parent is bound to."""
    house = House(attached("x"), DesiredRun("c", "e", "c", "me", "RUNNING", 1, None, deleted=False))
    house.runs["c"] = replace(house.runs["c"], tags={"mlflow.parentRunId": "x"})
    launched(house, "r5", tags={"localtrack.uid": "x"})
    house.replay()
    [child] = [run for run in house.remote.runs.values() if run.tags.get("localtrack.uid") == "c"]
    assert child.tags["mlflow.parentRunId"] == "r5"
