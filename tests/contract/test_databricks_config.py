"""Which workspace and which login an address means, by Databricks' own variables and profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.errors import CredentialError, ReplayError
from localtrack.settings import load
from localtrack_sync.protocol.limits import DIALECTS
from localtrack_sync.remote.databricks_config import DatabricksConfig
from localtrack_sync.remote.remotes import Remote, parse_remote
from localtrack_sync.store.accounts import default_address

PROFILES = """
[DEFAULT]
host = https://default.example
token = t-default

[lab]
host = LAB.example/?o=123
token = t%lab;x
workspace_id = 77

[lab2]
host = https://lab.example/
client_id = c
client_secret = s

[empty]
token = t-empty
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment of nothing but a home with profiles."""
    (tmp_path / ".databrickscfg").write_text(PROFILES)
    return {"HOME": str(tmp_path)}


def config(uri: str, environ: dict[str, str]) -> DatabricksConfig:
    """What an address leads to."""
    found = parse_remote(uri, environ).databricks
    assert found is not None
    return found


def test_a_profile_means_its_own_host_and_login_and_nothing_from_the_environment(home: dict[str, str]) -> None:
    """The variables' token does not go to the profile's host, nor the other way round."""
    environ = {**home, "DATABRICKS_HOST": "https://env.example", "DATABRICKS_TOKEN": "t-env"}
    address = parse_remote("databricks://lab", environ)
    assert address.remote == Remote("https://lab.example", "77")
    assert address.remote.dialect == "databricks"
    assert config("databricks://lab", environ).values["token"] == "t%lab;x"  # noqa: S105
    assert "token" not in config("databricks://lab2", environ).values


def test_databricks_alone_means_the_variables_else_the_profile_default(home: dict[str, str]) -> None:
    """Variables count first; DATABRICKS_CONFIG_PROFILE fills what they leave open; without any, DEFAULT counts."""
    assert parse_remote("databricks", home).remote.url == "https://default.example"
    env = {**home, "DATABRICKS_HOST": "env.example", "DATABRICKS_TOKEN": "t-env"}
    assert parse_remote("DATABRICKS", env).remote.url == "https://env.example"
    filled = config("databricks", {**home, "DATABRICKS_CONFIG_PROFILE": "lab", "DATABRICKS_TOKEN": "t-env"})
    assert (filled.host, filled.values["token"]) == ("https://lab.example", "t-env")


def test_a_file_elsewhere(home: dict[str, str], tmp_path: Path) -> None:
    """DATABRICKS_CONFIG_FILE names the profiles' file."""
    (tmp_path / "other").write_text("[lab]\nhost = https://other.example\n")
    environ = {**home, "DATABRICKS_CONFIG_FILE": str(tmp_path / "other")}
    assert parse_remote("databricks://lab", environ).remote.url == "https://other.example"


def test_a_changed_file_counts(home: dict[str, str], tmp_path: Path) -> None:
    """The file is read again when it has changed."""
    config("databricks://lab", home)
    (tmp_path / ".databrickscfg").write_text("[lab]\nhost = https://moved.example\n")
    assert parse_remote("databricks://lab", home).remote.url == "https://moved.example"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("databricks://nobody", "no profile 'nobody' \\(it has: DEFAULT, lab, lab2, empty\\)"),
        ("databricks://empty", "no host is configured"),
        ("databricks://scope:prefix", "secret scope"),
        ("https://lab.example", "2 profiles for https://lab.example: lab, lab2"),
    ],
)
def test_what_leads_nowhere_is_explained(home: dict[str, str], uri: str, words: str) -> None:
    """The message names the file and the profile, the hint says what to write."""
    with pytest.raises(ReplayError, match=words) as refused:
        parse_remote(uri, {**home, "LOCALTRACK_DIALECT": "databricks"})
    assert refused.value.hint


def test_without_anything_the_message_says_what_to_set(tmp_path: Path) -> None:
    """Neither variables nor a file."""
    with pytest.raises(ReplayError, match="neither DATABRICKS_HOST nor a profile DEFAULT"):
        parse_remote("databricks", {"HOME": str(tmp_path)})


def test_a_file_that_cannot_be_read_is_not_quoted(home: dict[str, str], tmp_path: Path) -> None:
    """The parser's words would quote the line, and the line may be the token."""
    (tmp_path / ".databrickscfg").write_text("[lab]\nhost\ns3cret\n")
    with pytest.raises(CredentialError) as refused:
        parse_remote("databricks://lab", home)
    assert "s3cret" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize(
    ("uri", "setting", "dialect"),
    [
        ("https://dbc-1.cloud.databricks.com", "", "databricks"),
        ("https://adb-1.2.azuredatabricks.net", "auto", "databricks"),
        ("https://adb-1.2.azuredatabricks.net", "mlflow", "mlflow"),
        ("https://tracking.example", "", "mlflow"),
        ("https://tracking.example", "databricks", "databricks"),
        ("https://azuredatabricks.net.evil.example", "", "mlflow"),
    ],
)
def test_the_dialect_of_an_address(uri: str, setting: str, dialect: str) -> None:
    """Databricks' own hosts are known; for all others a setting decides. It makes no other remote."""
    remote = parse_remote(uri, {"HOME": "/nowhere", "LOCALTRACK_DIALECT": setting}).remote
    assert remote.dialect == dialect
    assert remote == Remote(uri)
    assert dialect in DIALECTS


def test_the_dialect_and_the_remote_may_stand_in_the_settings_file(tmp_path: Path) -> None:
    """The settings file decides as the variables do, for addresses on the command line and for the default one."""
    path = tmp_path / "config.toml"
    path.write_text('dialect = "databricks"\nremote = "https://tracking.example"\n')
    path.chmod(0o600)
    environ = {"HOME": str(tmp_path), "LOCALTRACK_CONFIG": str(path)}
    assert parse_remote("https://other.example", environ).remote.dialect == "databricks"
    default = default_address(load(environ), environ)
    assert default is not None
    assert (default.remote.url, default.remote.dialect) == ("https://tracking.example", "databricks")
    by_variable = parse_remote("https://other.example", {**environ, "LOCALTRACK_DIALECT": "mlflow"})
    assert by_variable.remote.dialect == "mlflow"


def test_an_address_gets_the_login_of_its_own_host_only(home: dict[str, str]) -> None:
    """The variables' token goes to their host; a profile's to the profile's; another host gets none of them."""
    environ = {**home, "DATABRICKS_HOST": "https://a.azuredatabricks.net", "DATABRICKS_TOKEN": "t-env"}
    assert config("https://A.azuredatabricks.net/", environ).values["token"] == "t-env"  # noqa: S105
    assert "token" not in config("https://b.azuredatabricks.net", environ).values
    forced = {**environ, "LOCALTRACK_DIALECT": "databricks"}
    assert config("https://default.example", forced).values["token"] == "t-default"  # noqa: S105


def test_no_secret_in_any_representation(home: dict[str, str]) -> None:
    """Addresses and remotes can be printed."""
    address = parse_remote("databricks://lab", home)
    shown = repr(address) + str(address.remote) + address.remote.slug + repr(address.databricks)
    assert "t%lab" not in shown
