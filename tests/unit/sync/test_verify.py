"""Verification against the modelled remote: equal is equal, and one change anywhere is found by its name."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from localtrack.catalog.desired import DesiredRun, Point
from localtrack.entities import Dataset, DatasetInput, InputTag, Metric, PagedList
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.effects import Effect, ReadHistory, ReadKeys, Save
from localtrack_sync.protocol.findings import Finding, Standing, verdict_of
from localtrack_sync.protocol.jobs import Ending, Job, Progress, ReplaySettings
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import Conflict, Parked, Rejected
from localtrack_sync.protocol.steps import Desk
from localtrack_sync.verification.compare_run import compare_run
from localtrack_sync.verification.evidence import seen_of
from localtrack_sync.verification.verify_run import VERIFY_RUN
from tests.unit.sync.test_engine import House, run

DATASET = DatasetInput(Dataset("d", "abc", "local", "{}"), (InputTag("mlflow.data.context", "train"),))
PLAIN = DesiredRun(
    "r", "e", "name", "me", "FINISHED", 10, 20, deleted=False, params={"lr": "0.1", "empty": ""},
    tags={"stage": "done"}, dropped_tags=("gone",), datasets=(DATASET,),
)  # fmt: skip


def body() -> dict[str, Any]:
    """A reply of the remote that equals PLAIN."""
    return {
        "info": {
            "run_id": "R", "experiment_id": "1", "run_name": "name", "user_id": "me", "status": "FINISHED",
            "start_time": 10, "end_time": "20", "lifecycle_stage": "active",
        },
        "data": {
            "params": [{"key": "lr", "value": "0.1"}, {"key": "empty"}],
            "tags": [
                {"key": "stage", "value": "done"}, {"key": "localtrack.uid", "value": "r"},
                {"key": "mlflow.runName", "value": "name"}, {"key": "localtrack.att", "value": "0001-x"},
            ],
        },
        "inputs": {
            "dataset_inputs": [
                {"dataset": {"name": "d", "digest": "abc"}, "tags": [{"key": "mlflow.data.context", "value": "train"}]}
            ]
        },
    }  # fmt: skip


def found(desired: DesiredRun, reply: dict[str, Any], *records: Any) -> list[Finding]:
    """What the comparison finds."""
    ledger = Ledger("run", "r")
    for record in records:
        ledger._put(record)
    desk = Desk(ReplaySettings(), lambda: 0.5, Progress())
    return compare_run(RunPass(desk, ledger, desired), seen_of(reply), "1")


def test_equal_is_equal() -> None:
    """Nothing is found in an equal run, defaults left out by the server included."""
    assert found(PLAIN, body()) == []


def edit(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    """Set one place of a reply; None as the last step of a list: append."""

    def change(reply: dict[str, Any]) -> None:
        place: Any = reply
        for step in path[:-1]:
            place = place[step]
        if path[-1] is None:
            place.append(to)
        elif to is None:
            del place[path[-1]]
        else:
            place[path[-1]] = to

    return change


CHANGES: list[tuple[Callable[[dict[str, Any]], None], tuple[str, str, str, str]]] = [
    (edit("info", "experiment_id", to="2"), ("experiment", "", "different", "different")),
    (edit("info", "run_name", to="x"), ("name", "", "different", "different")),
    (edit("info", "user_id", to="x"), ("user", "", "different", "different")),
    (edit("info", "status", to="FAILED"), ("status", "", "different", "different")),
    (edit("info", "start_time", to=11), ("time", "start_time", "different", "different")),
    (edit("info", "start_time", to=None), ("time", "start_time", "different", "different")),
    (edit("info", "end_time", to=21), ("time", "end_time", "different", "different")),
    (edit("info", "end_time", to=None), ("time", "end_time", "missing", "different")),
    (edit("info", "lifecycle_stage", to="deleted"), ("lifecycle", "", "different", "different")),
    (edit("data", "params", 0, to=None), ("param", "lr", "missing", "different")),
    (edit("data", "params", 1, to=None), ("param", "empty", "missing", "different")),
    (edit("data", "params", 0, "value", to="0.10"), ("param", "lr", "different", "different")),
    (edit("data", "params", None, to={"key": "x", "value": "1"}), ("param", "x", "extra", "different")),
    (edit("data", "tags", 0, to=None), ("tag", "stage", "missing", "different")),
    (edit("data", "tags", 0, "value", to="Done"), ("tag", "stage", "different", "different")),
    (edit("data", "tags", 1, to=None), ("tag", "localtrack.uid", "missing", "different")),
    (edit("data", "tags", 1, "value", to="s"), ("tag", "localtrack.uid", "different", "different")),
    (edit("data", "tags", None, to={"key": "gone", "value": "1"}), ("tag", "gone", "extra", "different")),
    (edit("data", "tags", None, to={"key": "note", "value": "1"}), ("tag", "note", "extra", "foreign")),
    (edit("inputs", to=None), ("dataset", "d abc", "missing", "different")),
    (
        edit("inputs", "dataset_inputs", 0, "tags", 0, "value", to="eval"),
        ("dataset", "d abc: tag mlflow.data.context", "different", "different"),
    ),
    (
        edit("inputs", "dataset_inputs", None, to={"dataset": {"name": "d", "digest": "new"}}),
        ("dataset", "d new", "extra", "different"),
    ),
]


@pytest.mark.parametrize(("change", "expected"), CHANGES, ids=lambda one: str(one) if isinstance(one, tuple) else "")
def test_one_change_is_one_finding(
    change: Callable[[dict[str, Any]], None], expected: tuple[str, str, str, str]
) -> None:
    """An equal run, one thing changed: that one is found, and named."""
    reply = body()
    change(reply)
    assert [(one.kind, one.key, one.what, one.standing.value) for one in found(PLAIN, reply)] == [expected]


@pytest.mark.parametrize(
    ("change", "record"),
    [
        (edit("data", "params", 0, "value", to="9"), Conflict("run", "r", "param", "lr", "0.1", "9")),
        (edit("data", "params", 0, to=None), Rejected("run", "r", "param", "lr", "0.1", "too long")),
        (edit("data", "params", 0, to=None), Parked("run", "r", "param", "lr", "0.1", "always unknown")),
        (edit("data", "tags", 0, "value", to="x"), Conflict("run", "r", "tag", "stage", "done", "x")),
        (edit("data", "tags", 0, to=None), Rejected("run", "r", "tag", "stage", "done", "no")),
        (edit("info", "run_name", to="x"), Conflict("run", "r", "tag", "mlflow.runName", "name", "x")),
        (edit("info", "status", to="RUNNING"), Rejected("run", "r", "status", "@status", "FINISHED 20", "no")),
        (edit("info", "lifecycle_stage", to="deleted"), Parked("run", "r", "run", "", "", "deleted by somebody")),
    ],
)
def test_what_is_on_record_is_known(change: Callable[[dict[str, Any]], None], record: Any) -> None:
    """A conflict, a rejected or a parked record makes its own difference known, with its reason."""
    reply = body()
    change(reply)
    findings = [one for one in found(PLAIN, reply, record) if not one.key.startswith("localtrack.conflict.")]
    assert [one.standing for one in findings] == [Standing.KNOWN]
    assert findings[0].reason.split(":")[0] in ("conflict", "rejected", "parked")
    assert verdict_of(tuple(findings)) == "known"


def test_a_param_that_changed_again_is_a_difference() -> None:
    """A conflict explains the value that was found then, and no other."""
    reply = body()
    edit("data", "params", 0, "value", to="10")(reply)
    findings = found(PLAIN, reply, Conflict("run", "r", "param", "lr", "0.1", "9"))
    assert Standing.DIFFERENT in {one.standing for one in findings if one.kind == "param"}


def test_values_are_compared_as_the_server_keeps_them() -> None:
    """A longer value than the server keeps is compared cut, as it was sent."""
    desired = replace(PLAIN, params={"lr": "x" * 7000, "empty": ""}, tags={"stage": "y" * 9000})
    reply = body()
    edit("data", "params", 0, "value", to="x" * 6000)(reply)
    edit("data", "tags", 0, "value", to="y" * 8000)(reply)
    assert found(desired, reply) == []


class Verified(House):
    """A house whose runs were delivered, and are verified."""

    def perform(self, effect: Effect) -> Any:
        match effect:
            case ReadKeys(run_id):
                return tuple(sorted({p.key for p in self.points.get(run_id, ())}))
            case ReadHistory(run_id, key, limit, token):
                rows = sorted({(p.ts, p.step, p.value) for p in self.points.get(run_id, ()) if p.key == key})
                start = int(token or 0)
                page = [Metric(key, value, ts, step) for ts, step, value in rows[start : start + limit]]
                return PagedList(page, str(start + limit) if start + limit < len(rows) else None)
            case Save() if self.reading:
                raise AssertionError("a verification writes nothing")
        return super().perform(effect)

    reading = False

    def verify(self) -> list[tuple[str, str, int]]:
        """Metric, what and how many points of every difference."""
        self.reading = True
        result = self.replay(jobs=[Job(VERIFY_RUN, "a")])["a"]
        self.reading = False
        assert result.ending is Ending.DELIVERED, result
        assert all(r.method == "GET" or r.path.endswith("/search") for r in self.requests[self.sent_before :])
        return [(one.key, one.what, one.count) for one in result.findings if one.kind == "metric"]

    sent_before = 0


@pytest.mark.parametrize("flavour", ["sql", "file"])
def test_points_are_compared_in_any_order(flavour: str) -> None:
    """Lost, doubled, changed and unknown points of each metric are counted; others are not touched by it."""
    some = [Point("j", 4096 + i, f"m{i % 3}", i / 8, 1000 + i % 7, i) for i in range(60)]
    house = Verified(run("a"), points={"a": some}, flavour=flavour)
    house.replay()
    house.sent_before = len(house.requests)
    assert house.verify() == []
    [state] = house.remote.runs.values()
    random.Random(1).shuffle(state.metrics)
    assert house.verify() == []
    [lost, doubled] = [p for p in state.metrics if p[0] == "m0"][:2]
    state.metrics.remove(lost)
    state.metrics.append(doubled)
    state.metrics.append(("m1", 99, 5, 1.0))
    assert house.verify() == [("m0", "missing", 1), ("m0", "twice", 1), ("m1", "extra", 1)]
