"""docs/settings.md cannot drift: its tables are those of the code, its example is a settings file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from localtrack.settings import load
from localtrack_sync.daemon.settings_file import load_daemon_settings
from tests.docs.settings_rows import PAGE, TABLES, with_rows

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_tables_are_those_of_the_code() -> None:
    """The page holds each table of settings, letter for letter; `python -m tests.docs.settings_rows` renews it."""
    assert sorted(re.findall(r"<!-- settings: (\w+) -->", TEXT)) == sorted(TABLES)
    assert with_rows(TEXT) == TEXT


def test_the_example_is_a_settings_file(tmp_path: Path) -> None:
    """The file in the page is accepted, and says what it seems to say."""
    found = re.search(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found
    path = tmp_path / "config.toml"
    path.write_text(found[1], encoding="utf-8")
    path.chmod(0o600)
    env = {"HOME": "/home/ada", "LOCALTRACK_CONFIG": str(path)}
    assert (load(env).store, load(env).remote) == ("/scratch/me/store", "https://tracking.example")
    daemon = load_daemon_settings(env)
    assert daemon.stores == ("/scratch/me/store", os.path.expanduser("~/other"))
    assert daemon.metrics_port == 9118
