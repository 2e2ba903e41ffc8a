"""`runs`, `show`, `status` and `conflicts` on a real store, as people and programs call them."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from localtrack import TrackingClient
from localtrack.cli.entry import run
from localtrack.cli.table import cells
from localtrack.data import MetaDataset
from localtrack.entities import DatasetInput, InputTag, LoggedModelInput, LoggedModelOutput
from localtrack.store import Store
from localtrack_sync.protocol.effects import Save
from localtrack_sync.protocol.records import Conflict, Parked, Rejected, RunBinding
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.state import StateDb

REMOTE = Remote("http://tracking.example:5000")
COMMANDS = (["status"], ["runs"], ["show", "first"], ["conflicts"], ["--help"], ["status", "--help"])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with two runs in two experiments, one of them deleted, with awkward values."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LOCALTRACK_STORE", str(tmp_path / "store"))
    client = TrackingClient(str(tmp_path / "store"))
    digits, other = client.create_experiment("digits"), client.create_experiment("学習の実験")
    first = client.create_run(digits, run_name="first", tags={"note": "one\ntwo \x1b[31mred"}).info.run_id
    client.log_param(first, "rate", 0.1)
    for step in range(20):
        client.log_metric(first, "loss", 1 / (step + 1), step=step)
    client.log_metric(first, "odd", float("nan"))
    client.set_terminated(first)
    gone = client.create_run(other, run_name="gone " + "x" * 200).info.run_id
    client.delete_run(gone)
    return tmp_path / "store"


def run_id(store: Path, name: str) -> str:
    """Id of the run whose name begins with `name`."""
    return next(
        found.info.run_id
        for experiment in TrackingClient(str(store)).search_experiments()
        for found in TrackingClient(str(store)).search_runs([experiment.experiment_id], run_view_type=3)
        if found.info.run_name.startswith(name)
    )


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """What a command prints with --json."""
    capsys.readouterr()
    assert run([*arguments, "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1
    return told


def lines(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a command prints for people."""
    capsys.readouterr()
    assert run(list(arguments)) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_runs_lists_what_is_there_and_leaves_the_deleted_out(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`runs` shows active runs, `runs --deleted` the deleted ones, each with its number of points."""
    [one] = document(capsys, "runs")["runs"]
    assert (one["name"], one["experiment"], one["status"], one["counts"]["points"]) == (
        "first",
        "digits",
        "FINISHED",
        21,
    )
    [other] = document(capsys, "runs", "--deleted")["runs"]
    assert other["run_id"] == run_id(store, "gone")
    assert run_id(store, "first") in lines(capsys, "runs"), "a pipe gets whole ids"


def test_runs_can_be_filtered_and_limited(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--experiment and --limit narrow the list, and the total is told."""
    client = TrackingClient(str(store))
    digits = client.get_experiment_by_name("digits")
    assert digits is not None
    for number in range(3):
        client.create_run(digits.experiment_id, run_name=f"more{number}", start_time=number)
    told = document(capsys, "runs", "--experiment", "digits", "--limit", "2")
    assert (len(told["runs"]), told["matching"]) == (2, 4)
    assert "2 of 4 runs; all of them: --limit 0" in lines(capsys, "runs", "--limit", "2")
    assert "digits" in lines(capsys, "runs", "--experiment", "digit", code=1), "a slip is answered with what there is"


def test_show_takes_an_id_a_beginning_or_a_name(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same run is found by its id, by the first digits of it, and by its name."""
    whole = run_id(store, "first")
    for given in (whole, whole[:8], "first"):
        assert document(capsys, "show", given)["run"]["run_id"] == whole


@pytest.mark.usefixtures("store")
def test_show_has_params_metrics_tags(capsys: pytest.CaptureFixture[str]) -> None:
    """`show --json` is whole: values as logged, NaN by name."""
    told = document(capsys, "show", "first")["run"]
    assert told["params"] == {"rate": "0.1"}
    assert {key: (one["value"], one["step"]) for key, one in told["metrics"].items()} == {
        "loss": (0.05, 19),
        "odd": ("NaN", 0),
    }
    assert told["tags"]["note"] == "one\ntwo \x1b[31mred"
    assert "\x1b[31mred" not in lines(capsys, "show", "first"), "a tag cannot command the terminal"


def test_show_of_something_else_says_what_to_do(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown run and an ambiguous one end with 1, with a hint."""
    assert "localtrack runs" in lines(capsys, "show", "nonsense", code=1)
    client = TrackingClient(str(store))
    client.create_run("0", run_name="twin")
    client.create_run("0", run_name="twin")
    assert "may mean 2 runs" in lines(capsys, "show", "twin", code=1)


@pytest.mark.usefixtures("store")
def test_status_before_any_sync(capsys: pytest.CaptureFixture[str]) -> None:
    """Before any replay, status says so and counts everything as owed."""
    [remote] = document(capsys, "status")["remotes"]
    assert (remote["remote"], remote["synced"], remote["delivered"]) == (None, False, 0)
    assert remote["owed"] == remote["total"] >= 24
    told = lines(capsys, "status")
    assert "never synced" in told
    assert "localtrack sync --to" in told


def test_status_names_damaged_and_unreadable_journals(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no journal is listed with the reason, and status still ends with 0."""
    (store / "journals" / "zz-broken.db").write_bytes(b"not a journal" * 100)
    broken = [one for one in document(capsys, "status")["journals"] if one["file"] == "zz-broken.db"]
    assert broken[0]["error"]
    assert "zz-broken.db" in lines(capsys, "status")


def test_a_store_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped --store ends with 1 instead of looking like a store in which nothing is owed, and is not made."""
    for command in ("status", "runs", "conflicts"):
        assert "There is no store" in lines(capsys, command, "--store", str(tmp_path / "typo"), code=1)
    assert not (tmp_path / "typo").exists()


def test_store_may_be_named_before_or_after_the_command(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`localtrack --store X runs` is `localtrack runs --store X`."""
    os.environ["LOCALTRACK_STORE"] = str(store) + "-other"  # put back by the fixture's monkeypatch
    assert document(capsys, "--store", str(store), "runs") == document(capsys, "runs", "--store", str(store))


def test_commands_look_where_training_code_logs(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tracking URI that names a directory is the store of the commands too, before LOCALTRACK_STORE."""
    monkeypatch.setenv("LOCALTRACK_STORE", f"{store}-other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"localtrack:{store}")
    assert document(capsys, "runs")["store"] == str(store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    assert "There is no store" in lines(capsys, "runs", code=1)


def stuck(store: Path) -> str:
    """Write a delivery state with one entry of each kind for the run `first`; returns its id."""
    first = run_id(store, "first")
    place = ("run", first)
    with StateDb(REMOTE.state_path(Store.at(store)), REMOTE) as state:
        records = (
            RunBinding(*place, state="bound", remote_id="abc"),
            Conflict(*place, "param", "rate", "0.1", "0.2", 1.0),
            Conflict(*place, "tag", "note", "one\ntwo \x1b[31mred", None, 1.0),
            Rejected(*place, "tag", "mlflow.user", "ada", "INVALID_PARAMETER_VALUE: no", 1.0),
            Parked("run", "gone-run", "run", "", "", "deleted on the remote", 1.0),
        )
        state.save(Save(puts=records))
        state.flush()
    return first


def test_conflicts_lists_every_kind_with_its_reason(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Conflicts, rejected and parked records appear with values, the remote's words and a link."""
    first = stuck(store)
    found = document(capsys, "conflicts")["entries"]
    assert [(one["state"], one["kind"]) for one in found] == [
        ("conflict", "param"), ("conflict", "tag"), ("rejected", "tag"), ("parked", "run"),
    ]  # fmt: skip
    assert found[0]["link"] == "http://tracking.example:5000/#/runs/abc"
    told = lines(capsys, "conflicts")
    for words in (first, "logged '0.1', the remote has '0.2'", "INVALID_PARAMETER_VALUE: no", "deleted on the remote"):
        assert words in told
    assert "\x1b[31mred" not in told


@pytest.mark.usefixtures("store")
def test_no_conflicts_are_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list is said, not left empty."""
    assert lines(capsys, "conflicts").startswith("No conflicts")
    assert document(capsys, "conflicts")["entries"] == []


def on_terminal(columns: int, *arguments: str, code: int = 0, **environment: str) -> str:
    """What a command prints on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "COLUMNS", "LINES"}}
    child = subprocess.Popen(
        [sys.executable, "-c", "from localtrack.cli import main; main()", *arguments],
        env={**kept, "TERM": "xterm", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    told = b""
    try:
        while chunk := os.read(ours, 65536):
            told += chunk
    except OSError:  # EIO: the child closed the terminal
        pass
    os.close(ours)
    assert child.wait(30) == code
    return told.decode()


def plain(text: str) -> str:
    """Text without colours."""
    import click

    return click.unstyle(text)


@pytest.mark.parametrize("columns", [60, 100])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_output_fits_the_terminal(store: Path, columns: int, arguments: list[str]) -> None:
    """No line that can be shortened is wider than the terminal; paths, ids and links are never broken."""
    stuck(store)
    for line in plain(on_terminal(columns, *arguments)).splitlines():
        assert cells(line) <= columns or " " not in line.strip() or str(store) in line or "http://" in line, line


def test_a_terminal_gets_short_ids_and_colours_unless_unwanted(store: Path) -> None:
    """On a terminal an id is cut to what is needed and colours are used; NO_COLOR takes them away."""
    whole = run_id(store, "first")
    told = on_terminal(100, "runs")
    assert whole[:8] in told
    assert whole not in told
    assert "\x1b[" in told
    assert "\x1b[" not in on_terminal(100, "runs", NO_COLOR="1")


def test_errors_are_wrapped_on_a_terminal(store: Path) -> None:
    """On a narrow terminal an error breaks at words, not in the middle of them."""
    told = on_terminal(40, "runs", "--experiment", "nothing of the kind", "--store", str(store), code=1)
    assert all(cells(line) <= 40 for line in plain(told).splitlines())
    assert "Error:" in told


def test_show_tells_datasets_and_models(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Datasets with context and source, and models with their part in the run, in the text and in the document."""
    client = TrackingClient(str(store))
    first = run_id(store, "first")
    train = MetaDataset("s3://bucket/train", "train", "v1")
    code = MetaDataset(None, "made", "v2")
    context = (InputTag("mlflow.data.context", "training\x1b[31m"),)
    client.log_inputs(first, [DatasetInput(train, context), code], [LoggedModelInput("m-elsewhere")])  # type: ignore[arg-type,list-item]
    made = client.create_logged_model("0", "net", first).model_id
    client.finalize_logged_model(made, "READY")
    client.log_outputs(first, [LoggedModelOutput(made, 1200)])
    client.delete_logged_model(client.create_logged_model("0", "gone", first).model_id)
    shown = document(capsys, "show", "first")["run"]
    assert (shown["counts"]["inputs"], shown["counts"]["outputs"], shown["attached"]) == (3, 1, False)
    assert [one["name"] for one in shown["datasets"]] == ["made", "train"]
    assert shown["datasets"][1]["input_tags"] == {"mlflow.data.context": "training\x1b[31m"}
    assert shown["models"] == [
        {"model_id": "m-elsewhere", "name": "", "status": "", "role": "in", "step": None},
        {"model_id": made, "name": "net", "status": "READY", "role": "made, out", "step": 1200},
    ]
    run(["show", "first"])
    text = capsys.readouterr().out
    assert re.search(r"^  train +v1 +training\\x1b\[31m +s3://bucket/train$", text, re.MULTILINE)
    assert re.search(r"^  made +v2 +the program$", text, re.MULTILINE)
    assert re.search(rf"^  {made} +net +READY +made, out +1,200$", text, re.MULTILINE)


def test_attached_runs_are_listed_and_shown(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was attached to is listed as such, and shown by its id when it has no name."""
    client = TrackingClient(str(store))
    client.attach_run("launched-elsewhere")
    client.log_param("launched-elsewhere", "p", 1)
    listed = {one["run_id"]: one for one in document(capsys, "runs")["runs"]}
    assert listed["launched-elsewhere"]["attached"]
    assert not listed[run_id(store, "first")]["attached"]
    run(["runs"])
    assert re.search(r"^launched-elsewhere +\(attached\) ", capsys.readouterr().out, re.MULTILINE)
    run(["show", "launched"])
    text = capsys.readouterr().out
    assert text.startswith("launched-elsewhere\n")
    assert re.search(r"^  experiment +\(attached\)$", text, re.MULTILINE)
