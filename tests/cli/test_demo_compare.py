"""The demo's comparison has teeth: whatever differs between the three parties, the table says NO."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from demo.compare import Ledger, compare, from_server, from_witness

NOTES: dict[str, Any] = {
    "local1": {
        "name": "sweep", "tags": {"data": "digits"}, "params": {"tried": "1"}, "points": [], "status": "FINISHED",
        "parent": None,
    },
    "local2": {
        "name": "mlp", "tags": {}, "params": {"rate": "0.1"}, "status": "FAILED", "parent": "local1",
        "points": [["loss", 2.0, 0], ["loss", 1.0, 1], ["precision", float("nan"), 0]],
    },
}  # fmt: skip
SERVER: dict[str, Any] = {
    "digits": {
        "runs": [
            {
                "run_id": "far1", "name": "sweep", "status": "FINISHED", "start_time": 1, "end_time": 9,
                "params": {"tried": "1"}, "tags": {"data": "digits", "localtrack.uid": "local1", "mlflow.user": "ada"},
                "points": {},
            },
            {
                "run_id": "far2", "name": "mlp", "status": "FAILED", "start_time": 2, "end_time": 8,
                "params": {"rate": "0.1"}, "tags": {"localtrack.uid": "local2", "mlflow.parentRunId": "far1"},
                "points": {"loss": [[5, 0, "2.0"], [6, 1, "1.0"]], "precision": [[5, 0, "nan"]]},
            },
        ]
    }
}  # fmt: skip


def differing(server: dict[str, Any]) -> list[str]:
    """Names of the rows that are not equal; the store is taken to hold what the untouched server holds."""
    return [row.what for row in compare(from_witness(NOTES), from_server(SERVER), from_server(server)) if not row.equal]


def test_equal_parties_are_equal_nan_included() -> None:
    """Run ids differ between store and server, NaN is no number, and still everything is equal."""
    assert differing(SERVER) == []
    assert compare(from_witness(NOTES), from_server(SERVER), from_server(SERVER))[0].counts == (2, 2, 2)


FAULTS: dict[str, Callable[[list[dict[str, Any]]], object]] = {
    "a missing run": lambda runs: runs.pop(),
    "a doubled run": lambda runs: runs.append(copy.deepcopy(runs[1])),
    "a missing point": lambda runs: runs[1]["points"]["loss"].pop(),
    "a doubled point": lambda runs: runs[1]["points"]["loss"].append([6, 1, "1.0"]),
    "a changed value": lambda runs: runs[1]["points"]["loss"].__setitem__(0, [5, 0, "2.0000000000000004"]),
    "a NaN that became zero": lambda runs: runs[1]["points"]["precision"].__setitem__(0, [5, 0, "0.0"]),
    "a changed time": lambda runs: runs[1]["points"]["loss"].__setitem__(0, [7, 0, "2.0"]),
    "a changed param": lambda runs: runs[1]["params"].update(rate="0.2"),
    "a lost tag": lambda runs: runs[0]["tags"].pop("data"),
    "a lost automatic tag": lambda runs: runs[0]["tags"].pop("mlflow.user"),
    "another status": lambda runs: runs[1].update(status="FINISHED"),
    "another end time": lambda runs: runs[1].update(end_time=99),
    "a lost parent": lambda runs: runs[1]["tags"].pop("mlflow.parentRunId"),
    "a parent that is still a local id": lambda runs: runs[1]["tags"].update({"mlflow.parentRunId": "elsewhere"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_any_difference_is_seen(fault: str) -> None:
    """Each way in which a server can differ from what was logged turns a row of the table to NO."""
    server = copy.deepcopy(SERVER)
    FAULTS[fault](server["digits"]["runs"])
    assert differing(server) != []


def test_a_server_without_anything_is_not_equal() -> None:
    """An empty server does not pass because there is nothing to compare."""
    assert any(not row.equal for row in compare(from_witness(NOTES), from_server(SERVER), Ledger()))
