"""The daemon's settings: where they come from, what they may be."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import pytest

from localtrack.errors import SettingsError
from localtrack.settings_table import Kind
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.settings_file import load_daemon_settings, resolve_daemon
from localtrack_sync.daemon.settings_table import DAEMON

NO_FILE = {"HOME": "/home/ada", "LOCALTRACK_CONFIG": os.devnull}


def with_file(path: Path, text: str) -> dict[str, str]:
    """The environment of somebody whose settings file says `text`."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return {"HOME": "/home/ada", "LOCALTRACK_CONFIG": str(path)}


def test_the_table_is_that_of_the_dataclass() -> None:
    """Each field of DaemonSettings has one row, in order, with its default and a variable named after it."""
    assert [one.key for one in DAEMON] == [field.name for field in fields(DaemonSettings)]
    assert {one.variable for one in DAEMON} == {f"LOCALTRACK_DAEMON_{one.key.upper()}" for one in DAEMON}
    assert {one.table for one in DAEMON} == {"daemon"}
    usual = DaemonSettings(stores=())
    assert [one.default for one in DAEMON[1:]] == [getattr(usual, one.key) for one in DAEMON[1:]]


def test_without_any_setting_the_defaults_hold() -> None:
    """The defaults of DaemonSettings, and the store that training code here logs to."""
    assert load_daemon_settings(NO_FILE) == DaemonSettings(stores=("/home/ada/.local/share/localtrack",))
    assert load_daemon_settings({**NO_FILE, "LOCALTRACK_STORE": "/a"}).stores == ("/a",)
    assert load_daemon_settings({**NO_FILE, "MLFLOW_TRACKING_URI": "file:///b"}).stores == ("/b",)


def other_value(key: str) -> tuple[str, object, str]:
    """For one setting a value that is not its default: in a variable, as a value, in the file."""
    setting = next(one for one in DAEMON if one.key == key)
    if setting.kind is Kind.PATHS:
        return "/a:/b:/a", ("/a", "/b"), '["/a", "/b", "/a"]'
    if setting.kind is Kind.PATH:
        return "/a/metrics.prom", "/a/metrics.prom", '"/a/metrics.prom"'
    if setting.kind is Kind.CHOICE:
        return setting.choices[-1].upper(), setting.choices[-1], f'"{setting.choices[-1]}"'
    value = int(setting.most) if setting.kind is Kind.WHOLE else setting.most
    return f"{value}", value, f"{value}"


@pytest.mark.parametrize("key", [one.key for one in DAEMON])
def test_each_variable_and_each_key_is_honoured(key: str, tmp_path: Path) -> None:
    """Every setting can be said by its variable and in the file, up to the end of its range; the variable wins."""
    text, value, toml = other_value(key)
    variable = {f"LOCALTRACK_DAEMON_{key.upper()}": text}
    assert getattr(load_daemon_settings({**NO_FILE, **variable}), key) == value
    env = with_file(tmp_path / "config.toml", f"[daemon]\n{key} = {toml}\n")
    assert getattr(load_daemon_settings(env), key) == value
    origins = {found.setting.key: found.origin for found in resolve_daemon({**env, **variable})}
    assert origins.pop(key) == "variable"
    assert set(origins.values()) == {"default"}


@pytest.mark.parametrize(
    "one", [one for one in DAEMON if one.kind in (Kind.NUMBER, Kind.WHOLE)], ids=lambda one: one.key
)
def test_numbers_outside_their_range_are_refused(one: object, tmp_path: Path) -> None:
    """A number below or above its range, or none at all, is an error that names the setting and the range."""
    setting = next(row for row in DAEMON if row is one)
    for wrong in (setting.least - 1, setting.most + 1, "nan", "soon"):
        with pytest.raises(SettingsError, match=f"{setting.variable}=.*from {setting.range}"):
            load_daemon_settings({**NO_FILE, setting.variable: f"{wrong}"})
    env = with_file(tmp_path / "config.toml", f"[daemon]\n{setting.key} = {setting.most + 1}\n")
    with pytest.raises(SettingsError, match=rf"daemon\.{setting.key} = .*config\.toml:2\): must be"):
        load_daemon_settings(env)


@pytest.mark.parametrize("text", ["[]", "3", '[""]', '["https://a"]', "[3]", '""', '{a = "b"}'])
def test_stores_have_to_be_paths(text: str, tmp_path: Path) -> None:
    """No store at all, an empty path, an address or another type is refused."""
    with pytest.raises(SettingsError, match=r"daemon\.stores = .*must be a list of paths"):
        load_daemon_settings(with_file(tmp_path / "config.toml", f"[daemon]\nstores = {text}\n"))


def test_paths_of_the_file_begin_at_its_directory(tmp_path: Path) -> None:
    """Relative stores and a relative metrics file lie beside the settings file; a single store needs no brackets."""
    env = with_file(tmp_path / "config.toml", '[daemon]\nstores = "runs:/b"\nmetrics_file = "m.prom"\n')
    found = load_daemon_settings(env)
    assert found.stores == (str(tmp_path / "runs"), "/b")
    assert found.metrics_file == str(tmp_path / "m.prom")


def test_stores_of_the_command_line_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--store` wins over variable and file; relative ones begin at the working directory; none is taken twice."""
    monkeypatch.chdir(tmp_path)
    env = {**with_file(tmp_path / "config.toml", '[daemon]\nstores = ["/a"]\n'), "LOCALTRACK_DAEMON_STORES": "/b"}
    assert load_daemon_settings(env, ["here", "/c", "./here"]).stores == (str(tmp_path / "here"), "/c")
    assert resolve_daemon(env, ["/c"])[0].source == "--store"
    with pytest.raises(SettingsError, match="--store"):
        load_daemon_settings(env, [""])


def test_an_unknown_key_of_the_daemon_is_refused(tmp_path: Path) -> None:
    """A mistyped key below [daemon] is named with its place and the nearest known one."""
    with pytest.raises(SettingsError, match=r"'poll_secnds' in \[daemon\] \(.*config\.toml:2\)") as caught:
        load_daemon_settings(with_file(tmp_path / "config.toml", "[daemon]\npoll_secnds = 3\n"))
    assert "Did you mean poll_seconds?" in caught.value.hint
