"""Which runs go where, and that a journal from elsewhere directs nobody's credentials."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from localtrack.catalog.entries import RunEntry
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.store.choice import Choice, SelectionError, choose, select

A, B = "http://a:5000", "http://b:5000"


def run(run_id: str, remote: str | None = None, stamp: int = 0, experiment: str = "e") -> RunEntry:
    """A run as the catalog lists it."""
    facts: dict[str, Any] = dict.fromkeys(RunEntry.__annotations__, 0)
    facts |= {"run_id": run_id, "remote": remote, "create_stamp": stamp, "experiment_id": f"id-{experiment}"}
    return RunEntry(**{**facts, "experiment_name": experiment, "remote_proof": None})


def going(choice: Choice) -> dict[str, list[str]]:
    """Remote -> ids of the runs that go there."""
    return {errand.address.remote.url: [one.run_id for one in errand.runs] for errand in choice.errands}


def decided(runs: list[RunEntry], to: str | None = None, default: str | None = None, *, trusted: bool = True) -> Choice:
    """The choice for these runs."""
    addresses = [parse_remote(uri) if uri else None for uri in (to, default)]
    return choose(runs, ["empty"], addresses[0], addresses[1], lambda _: trusted, {"HOME": "/nowhere"})


def test_to_takes_all() -> None:
    """--to counts for every run, whatever it names, in the order of creation; experiments without runs go along."""
    choice = decided([run("2", A, 2), run("1", None, 1), run("3", "databricks", 3)], to=B, trusted=False)
    assert going(choice) == {B: ["1", "2", "3"]}
    assert choice.errands[0].experiments == ("id-e", "empty")
    assert choice.left == ()


def test_an_attached_run_names_no_experiment() -> None:
    """A run that was created elsewhere goes where it was meant to, and brings no experiment along."""
    elsewhere = replace(run("1", A), experiment_id="", attached=True)
    choice = decided([elsewhere, run("2", A)], default=B)
    assert going(choice) == {B: [], A: ["1", "2"]}
    assert {errand.address.remote.url: errand.experiments for errand in choice.errands} == {B: ("empty",), A: ("id-e",)}


def test_each_run_goes_where_it_was_meant_to() -> None:
    """Without --to: the run's own remote, else the default one."""
    choice = decided([run("1", A), run("2", B), run("3")], default=A)
    assert going(choice) == {A: ["1", "3"], B: ["2"]}


def test_a_remote_from_a_foreign_journal_is_not_contacted() -> None:
    """A journal that this user did not write names a server: nothing goes there; the reason says how to allow it."""
    choice = decided([run("1", A)], trusted=False)
    assert choice.errands == ()
    [left] = choice.left
    assert "not written by you" in left.reason
    assert f"--to {A}" in left.hint


def test_a_remote_that_the_user_configured_is_trusted_also_in_a_foreign_journal() -> None:
    """LOCALTRACK_REMOTE or MLFLOW_TRACKING_URI names the very server: the user chose it."""
    assert going(decided([run("1", A + "/")], default=A, trusted=False)) == {A: ["1"]}


def test_a_run_without_a_remote_is_left_with_advice() -> None:
    """Nobody has said where to: not an error of the others."""
    choice = decided([run("1"), run("2", A)])
    assert going(choice) == {A: ["2"]}
    assert [one.run_id for left in choice.left for one in left.runs] == ["1"]
    assert "--to" in choice.left[0].hint


def test_a_databricks_profile_that_is_not_here_is_left_with_the_reason() -> None:
    """Such runs are listed with what is missing, the others go."""
    choice = decided([run("1", "databricks://p"), run("2", A)])
    assert going(choice) == {A: ["2"]}
    assert "no profile 'p'" in choice.left[0].reason
    assert "DATABRICKS_HOST" in choice.left[0].hint


def test_experiments_without_runs_go_where_there_is_no_doubt() -> None:
    """To the default remote, else to the only one there is, else nowhere."""
    assert decided([run("1", A)]).errands[0].experiments == ("id-e", "empty")
    assert [errand.experiments for errand in decided([run("1", A), run("2", B)]).errands] == [("id-e",), ("id-e",)]
    assert decided([], default=B).errands[0].experiments == ("empty",)


RUNS = [run("abc1"), run("abd2", experiment="f"), run("abd22")]


@pytest.mark.parametrize(
    ("ids", "experiments", "chosen"),
    [
        ([], [], ["abc1", "abd2", "abd22"]),
        (["abc"], [], ["abc1"]),
        (["abd2"], [], ["abd2"]),
        ([], ["f"], ["abd2"]),
        ([], ["id-e"], ["abc1", "abd22"]),
        (["abd2"], ["e"], ["abc1", "abd2", "abd22"]),
    ],
)
def test_selection(ids: list[str], experiments: list[str], chosen: list[str]) -> None:
    """--run takes a whole id or the beginning of one, --experiment a name or an id; both add up."""
    assert [one.run_id for one in select(RUNS, ids, experiments)] == chosen


@pytest.mark.parametrize(("ids", "experiments"), [(["abd"], []), (["x"], []), ([""], []), ([], ["g"])])
def test_a_selection_that_finds_nothing_or_too_much_is_a_usage_error(ids: list[str], experiments: list[str]) -> None:
    """A typing mistake must not look like "nothing is owed"."""
    with pytest.raises(SelectionError) as refused:
        select(RUNS, ids, experiments)
    assert refused.value.exit_code == 2
    assert "localtrack runs" in refused.value.hint
