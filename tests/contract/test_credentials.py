"""Credentials: where they come from, in which order, and that they are never seen."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

import pytest

from localtrack.errors import CredentialError
from localtrack_sync.remote.credentials import CredentialSource


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with MLflow's credentials file."""
    (tmp_path / ".mlflow").mkdir()
    text = "[mlflow]\nmlflow_tracking_username = filer\nmlflow_tracking_password = f%il=e; x\n"
    (tmp_path / ".mlflow" / "credentials").write_text(text)
    return tmp_path


def basic(name: str, password: str) -> str:
    """Value of a Basic header."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    """Without settings no Authorization header is sent."""
    assert CredentialSource({"HOME": str(tmp_path)}).current().header is None


def test_user_and_password_beat_the_token(tmp_path: Path) -> None:
    """The order of MLflow's code (its page says otherwise)."""
    env = {
        "HOME": str(tmp_path),
        "MLFLOW_TRACKING_USERNAME": "u",
        "MLFLOW_TRACKING_PASSWORD": "p:ä",
        "MLFLOW_TRACKING_TOKEN": "t",
    }
    assert CredentialSource(env).current().header == basic("u", "p:ä")
    del env["MLFLOW_TRACKING_PASSWORD"]
    assert CredentialSource(env).current().header == "Bearer t"


def test_the_file_is_read_and_the_environment_beats_it(home: Path) -> None:
    """Each of user and password comes from the environment, else from the file; percent signs are characters."""
    env = {"HOME": str(home), "MLFLOW_TRACKING_TOKEN": "t"}
    assert CredentialSource(env).current().header == basic("filer", "f%il=e; x")
    env["MLFLOW_TRACKING_USERNAME"] = "me"
    assert CredentialSource(env).current().header == basic("me", "f%il=e; x")


def test_the_url_beats_all(home: Path) -> None:
    """Whoever writes a user name into --to means it."""
    assert CredentialSource({"HOME": str(home)}, ("u", "p")).current().header == basic("u", "p")


def test_credentials_are_looked_up_anew_each_time(home: Path) -> None:
    """A rotated token or password counts from the next request on."""
    env = {"HOME": str(home)}
    source = CredentialSource(env)
    source.current()
    (home / ".mlflow" / "credentials").write_text("[mlflow]\nmlflow_tracking_username=a\nmlflow_tracking_password=b\n")
    assert source.current().header == basic("a", "b")
    env.update({"MLFLOW_TRACKING_USERNAME": "c", "MLFLOW_TRACKING_PASSWORD": "d"})
    assert source.current().header == basic("c", "d")


def test_nothing_secret_is_printed_or_logged(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the representation nor a log record of any level holds a secret."""
    env = {"HOME": str(home), "MLFLOW_TRACKING_TOKEN": "s3cret"}
    source = CredentialSource(env, ("u", "s3cret"))
    with caplog.at_level(logging.DEBUG):
        shown = repr(source) + repr(source.current()) + str(source.current())
    assert "s3cret" not in shown + caplog.text
    assert "Basic" not in shown


@pytest.mark.parametrize(
    "text", ["no section", "[mlflow]\nmlflow_tracking_password", "[mlflow]\nx=1\nx=s3cret\n", "\xff\xfe"]
)
def test_a_file_that_cannot_be_read_says_where_it_is_and_not_what_is_in_it(tmp_path: Path, text: str) -> None:
    """The message names the file; the parser's words, which quote the line, are left out."""
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_bytes(text.encode("latin-1"))
    with pytest.raises(CredentialError) as refused:
        CredentialSource({"HOME": str(tmp_path)}).current()
    assert str(tmp_path) in refused.value.message
    assert "s3cret" not in refused.value.message + refused.value.hint


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_AUTH"])
def test_what_cannot_be_honoured_is_refused(tmp_path: Path, name: str) -> None:
    """A setting that asks for a kind of login that we cannot do is an error, not a request without it."""
    with pytest.raises(CredentialError, match=name):
        CredentialSource({"HOME": str(tmp_path), name: "true"}).current()


@pytest.mark.parametrize("token", ["two\r\nHeader: x", "tök"])
def test_a_token_cannot_add_a_header(tmp_path: Path, token: str) -> None:
    """What no header can carry is refused, without being shown."""
    with pytest.raises(CredentialError) as refused:
        CredentialSource({"HOME": str(tmp_path), "MLFLOW_TRACKING_TOKEN": token}).current()
    assert token not in refused.value.message
