from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack.errors import TrackingError
from localtrack.settings import load
from localtrack.settings_table import bytes_of, seconds_of

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
    assert (settings.gc_older_than, settings.gc_max_bytes) == (30 * 86_400.0, None)
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
    gc = load({"HOME": "/h", "LOCALTRACK_GC_OLDER_THAN": "4w", "LOCALTRACK_GC_MAX_BYTES": "20 GB"})
    assert (gc.gc_older_than, gc.gc_max_bytes) == (28 * 86_400.0, 20 * 10**9)
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
        ("LOCALTRACK_GC_OLDER_THAN", "30"),
        ("LOCALTRACK_GC_OLDER_THAN", "-1d"),
        ("LOCALTRACK_GC_MAX_BYTES", "many"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, value: str) -> None:
    """A mistyped setting is an error that names it, never a silent default."""
    with pytest.raises(TrackingError, match=name):
        load({"HOME": "/h", name: value})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("7d", 604_800), ("12h", 43_200), ("4w", 2_419_200), ("90m", 5400), (" 1.5 D ", 129_600)],
)
def test_ages(text: str, seconds: float) -> None:
    """A number with m, h, d or w, or nought."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("12", 12), ("12B", 12), ("1kB", 1000), ("1.5 MB", 1_500_000), ("2GiB", 2 << 30), ("1TiB", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    """Bytes, or a number with a unit: powers of 1,000, or of 1,024 where it says so."""
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "d", "7", "7y", "d7", "7d7d", "٧d", "1e3d", "inf"])
def test_what_is_no_age(text: str) -> None:
    """A bare number other than nought has no unit, and nobody guesses one."""
    with pytest.raises(ValueError, match="such as"):
        seconds_of(text)


@pytest.mark.parametrize("text", ["", "GB", "1iB", "1XB", "-1", "1e3", "nan"])
def test_what_is_no_size(text: str) -> None:
    """Anything that does not say how many bytes is refused."""
    with pytest.raises(ValueError, match="such as"):
        bytes_of(text)


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
