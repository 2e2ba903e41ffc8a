"""`localtrack config`: every setting, its value, who says so; no secret; an example that works."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from localtrack.cli.entry import run
from localtrack.settings import load
from localtrack.settings_table import SHARED
from localtrack_sync.commands.config_command import ADDRESSES, HIDDEN, NOT_SHOWN, SHOWN
from localtrack_sync.daemon.settings_file import load_daemon_settings
from localtrack_sync.daemon.settings_table import DAEMON

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The settings file of a user without any variable; it does not exist yet."""
    for name in os.environ:
        if name.startswith(("MLFLOW_", "LOCALTRACK_", "XDG_", "DATABRICKS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".config" / "localtrack" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def put(config: Path, text: str) -> None:
    """Write the settings file."""
    config.write_text(text, encoding="utf-8")
    config.chmod(0o600)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command prints; it ends well."""
    capsys.readouterr()
    assert run(["config", *arguments]) == 0
    return capsys.readouterr().out


def settings(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    """The settings of `--json`, by name."""
    return {one["setting"]: one for one in json.loads(told(capsys, *arguments, "--json"))["settings"]}


def test_every_setting_is_shown_with_its_default(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without file and variables each setting stands there once, as a default; the place of the file is told."""
    lines = told(capsys).splitlines()
    assert lines[0] == f"Settings file {config}  (there is none)"
    for setting in (*SHARED, *DAEMON):
        assert len([line for line in lines if re.match(rf"{re.escape(setting.name)}  .*  default$", line)]) == 1
    assert json.loads(told(capsys, "--json"))["file"] is None


def test_each_value_comes_with_its_origin(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file with its line, the variable, the option and the default are told apart."""
    put(config, 'connections = 4\nstore = "/file"\n\n[daemon]\nwatch = "polling"\n')
    monkeypatch.setenv("LOCALTRACK_DIALECT", "mlflow")
    lines = told(capsys)
    assert re.search(rf"^connections +4 +{config}:1$", lines, re.MULTILINE)
    assert re.search(rf"^daemon\.watch +polling +{config}:5$", lines, re.MULTILINE)
    assert re.search(r"^dialect +mlflow +LOCALTRACK_DIALECT$", lines, re.MULTILINE)
    assert re.search(r"^strict +false +default$", lines, re.MULTILINE)
    found = settings(capsys, "--store", "/option")
    assert (found["store"]["value"], found["store"]["origin"], found["store"]["source"]) == (
        "/option",
        "option",
        "--store",
    )
    assert found["daemon.stores"]["value"] == ["/option"]
    assert found["connections"] == {
        "setting": "connections",
        "variable": "LOCALTRACK_CONNECTIONS",
        "value": 4,
        "default": 2,
        "origin": "file",
        "source": f"{config}:1",
    }
    capsys.readouterr()
    assert run(["--store", "/before", "config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"][0]["value"] == "/before"


def test_the_tracking_uri_is_named_where_it_decides(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A store or a server in MLFLOW_TRACKING_URI is shown as the setting that it decides."""
    put(config, 'store = "/file"\nremote = "https://file"\n')
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://uri")
    found = settings(capsys)
    assert (found["remote"]["value"], found["remote"]["source"]) == ("https://uri", "MLFLOW_TRACKING_URI")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "/uri")
    found = settings(capsys)
    assert (found["store"]["value"], found["store"]["source"]) == ("/uri", "MLFLOW_TRACKING_URI")
    assert found["remote"]["value"] == "https://file"


def test_no_secret_is_shown(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the variables hold, neither form of the output shows a password, a token or a query."""
    assert not config.exists()
    for name in HIDDEN:
        monkeypatch.setenv(name, f"https://ada:s3cret@{name}")
    for name in (*ADDRESSES, "LOCALTRACK_REMOTE"):
        monkeypatch.setenv(name, "https://ada:s3cret@host/path?key=s3cret")
    text, document = told(capsys), told(capsys, "--json")
    assert "s3cret" not in text + document
    assert re.search(r"^remote +https://host/path +LOCALTRACK_REMOTE$", text, re.MULTILINE)
    for name in HIDDEN:
        assert re.search(rf"^{name} +{re.escape(NOT_SHOWN)}$", text, re.MULTILINE)
    monkeypatch.setenv("LOCALTRACK_REMOTE", "ada:s3cret@host")
    assert "s3cret" not in told(capsys) + told(capsys, "--json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("connections = 0\n", "connections = 0 (PATH:1): must be a whole number"),
        ("[daemon]\nstores = 3\n", "daemon.stores = 3 (PATH:2): must be a list of paths"),
        ("[daemon]\npoll = 3\n", "There is no setting 'poll' in [daemon] (PATH:2)"),
        ('password = "s3cret"\n', "password (PATH:1) looks like a secret"),
        ("connections = \n", "PATH is no TOML"),
    ],
)
def test_a_bad_file_ends_with_2(config: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    """The command names what is wrong, and where, and ends with the code of a usage error."""
    put(config, text)
    assert run(["config"]) == 2
    assert said.replace("PATH", str(config)) in capsys.readouterr().err


def test_a_bad_variable_ends_with_2(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that cannot be is named."""
    assert not config.exists()
    monkeypatch.setenv("LOCALTRACK_DAEMON_WATCH", "sometimes")
    assert run(["config"]) == 2
    assert "LOCALTRACK_DAEMON_WATCH='sometimes': must be one of auto, events, polling" in capsys.readouterr().err


def test_the_example_changes_nothing_and_its_lines_work(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As printed, the example is a settings file that says nothing; with every line in force, it is accepted."""
    before, daemon = load(os.environ), load_daemon_settings(os.environ)
    example = told(capsys, "--example")
    first, second = config.with_name("as-printed.toml"), config.with_name("in-force.toml")
    put(first, example)
    put(second, re.sub(r"^# (\w+ = .*)$", r"\1", example, flags=re.MULTILINE))
    as_printed = {**os.environ, "LOCALTRACK_CONFIG": str(first)}
    assert (load(as_printed), load_daemon_settings(as_printed)) == (before, daemon)
    in_force = {**os.environ, "LOCALTRACK_CONFIG": str(second)}
    assert load(in_force).databricks_folder == "/Shared/team"
    assert load_daemon_settings(in_force).stores[0] == "/scratch/me/store"
    for setting in (*SHARED, *DAEMON):
        assert re.search(rf"^# {setting.key} = ", example, re.MULTILINE)
    assert run(["config", "--example", "--json"]) == 2


def test_the_variables_of_others_are_those_of_the_page() -> None:
    """The command shows every variable that docs/settings.md lists and that is no setting of ours."""
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}
    ours = {setting.variable for setting in (*SHARED, *DAEMON)} | {"LOCALTRACK_CONFIG"}
    assert set(ADDRESSES) | set(SHOWN) | set(HIDDEN) == listed - ours
