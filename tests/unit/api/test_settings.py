from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack.errors import TrackingError
from localtrack.settings import load

ROOT = Path(__file__).parents[3]
_NAME = re.compile(r"\b(?:LOCALTRACK|MLFLOW)_[A-Z][A-Z0-9_]*[A-Z0-9]\b|\bXDG_[A-Z_]+\b")


def test_defaults_follow_the_users_directories() -> None:
    """Without variables the store lies in the data directory and the key in the configuration directory."""
    settings = load({"HOME": "/home/ada"})
    assert settings.store == "/home/ada/.local/share/localtrack"
    assert settings.identity_key == "/home/ada/.config/localtrack/identity.key"
    assert (settings.strict, settings.settle_seconds, settings.connections, settings.locking) == (
        False,
        None,
        2,
        "auto",
    )
    assert (settings.truncate_long_values, settings.async_logging, settings.remote) == (True, False, None)
    assert (settings.dialect, settings.databricks_folder) == ("auto", "")
    moved = load({"HOME": "/home/ada", "XDG_DATA_HOME": "/data", "XDG_CONFIG_HOME": "/config"})
    assert (moved.store, moved.identity_key) == ("/data/localtrack", "/config/localtrack/identity.key")


def test_each_variable_is_honoured() -> None:
    """Every variable changes its setting; an empty one counts as unset."""
    settings = load(
        {
            "HOME": "/home/ada",
            "LOCALTRACK_STORE": "~nobody-there/../x",
            "LOCALTRACK_STRICT": "True",
            "LOCALTRACK_REMOTE": "http://a",
            "LOCALTRACK_SETTLE_SECONDS": "1.5",
            "LOCALTRACK_CONNECTIONS": "4",
            "LOCALTRACK_DIALECT": "Databricks",
            "LOCALTRACK_DATABRICKS_FOLDER": "/Workspace/Shared/team/",
            "LOCALTRACK_LOCKING": "exclusive",
            "MLFLOW_TRACKING_URI": "http://b",
            "MLFLOW_TRUNCATE_LONG_VALUES": "false",
            "MLFLOW_ENABLE_ASYNC_LOGGING": "1",
        }
    )
    assert settings.store.startswith("/")
    assert (settings.strict, settings.remote, settings.settle_seconds, settings.connections) == (
        True,
        "http://a",
        1.5,
        4,
    )
    assert (settings.dialect, settings.databricks_folder) == ("databricks", "/Shared/team")
    assert (settings.locking, settings.tracking_uri) == ("exclusive", "http://b")
    assert (settings.truncate_long_values, settings.async_logging) == (False, True)
    assert load({"HOME": "/h", "LOCALTRACK_STORE": "/a", "MLFLOW_TRACKING_URI": "localtrack:/b"}).store == "/b"
    assert load({"HOME": "/h", "LOCALTRACK_STORE": "/a", "MLFLOW_TRACKING_URI": "sqlite:///b"}).store == "/a"
    assert load({"HOME": "/h", "LOCALTRACK_ATTACH": "1"}).attach
    assert load({"HOME": "/h", "LOCALTRACK_STORE": "", "LOCALTRACK_STRICT": ""}) == load({"HOME": "/h"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LOCALTRACK_STRICT", "perhaps"),
        ("LOCALTRACK_SETTLE_SECONDS", "soon"),
        ("LOCALTRACK_SETTLE_SECONDS", "nan"),
        ("LOCALTRACK_SETTLE_SECONDS", "-1"),
        ("LOCALTRACK_CONNECTIONS", "0"),
        ("LOCALTRACK_LOCKING", "none"),
        ("LOCALTRACK_ATTACH", "perhaps"),
        ("LOCALTRACK_DIALECT", "azure"),
        ("LOCALTRACK_DATABRICKS_FOLDER", "team"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, value: str) -> None:
    """A mistyped setting is an error that names it, never a silent default."""
    with pytest.raises(TrackingError, match=name):
        load({"HOME": "/h", name: value})


def sources() -> Iterator[str]:
    """Everything that runs on a user's machine."""
    for directory in (ROOT / "localtrack", ROOT / "sync"):
        for path in directory.rglob("*.py"):
            yield path.read_text(encoding="utf-8")


def test_the_page_lists_every_variable() -> None:
    """docs/settings.md names exactly the variables that the sources name."""
    in_sources = {name for text in sources() for name in _NAME.findall(text)}
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = {name for line in page.splitlines() if line.startswith("| `") for name in _NAME.findall(line.split("|")[1])}
    assert in_sources - rows == set(), "variables that the page does not list"
    assert rows - in_sources == set(), "variables that nothing reads"
