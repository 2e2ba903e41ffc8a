from __future__ import annotations

from pathlib import Path

import pytest

from localtrack.errors import TrackingError
from localtrack.tracking_uri import Target, parse


@pytest.mark.parametrize(
    ("uri", "store"),
    [
        ("/data/runs", "/data/runs"),
        (Path("/data/runs"), "/data/runs"),
        ("file:///data/my%20runs", "/data/my runs"),
        ("file:/data/runs", "/data/runs"),
        ("file://localhost/data", "/data"),
        ("localtrack:/data/runs", "/data/runs"),
        ("localtrack:///data/runs", "/data/runs"),
        ("LOCALTRACK:/data/runs/", "/data/runs"),
    ],
)
def test_paths_and_file_uris_choose_a_store(uri: str | Path, store: str) -> None:
    """A directory in any spelling is the store, and no remote."""
    assert parse(uri) == Target(store=store)


def test_relative_paths_are_made_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of directory does not move the store."""
    monkeypatch.chdir(tmp_path)
    for uri in ("runs", "./runs", "localtrack:runs", "file:runs"):
        assert parse(uri).store == str(tmp_path / "runs")


@pytest.mark.parametrize("uri", [None, "", "localtrack:", "file:"])
def test_nothing_means_the_default_store(uri: str | None) -> None:
    """No path is the default store."""
    assert parse(uri) == Target()


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("http://host:5000", "http://host:5000"),
        ("HTTPS://Host.Example/prefix/", "https://host.example/prefix"),
        ("databricks", "databricks"),
        ("databricks://Profile", "databricks://Profile"),
        ("http://[::1]:5000/", "http://[::1]:5000"),
    ],
)
def test_servers_are_recorded_as_remotes(uri: str, remote: str) -> None:
    """A server's URI leaves the store alone and becomes the remote, in one normal form."""
    assert parse(uri) == Target(remote=remote)


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("https://user:pass@host/x", "https://host/x"),
        ("https://p%40ss@host", "https://host"),
        ("http://a@b@host", "http://host"),
        ("http://host/x?token=secret", "http://host/x"),
        ("http://user:pass@host#frag", "http://host"),
        ("http://host?user@x", "http://host"),
    ],
)
def test_what_may_be_secret_is_taken_off(uri: str, remote: str) -> None:
    """User, password, query and fragment never become part of the remote, and it is said that they were there."""
    target = parse(uri)
    assert target.remote == remote
    assert target.stripped


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///mlflow.db",
        "postgresql://u@h/db",
        "s3://bucket",
        "http:///x",
        "http:host",
        "file://other/x",
        7,
        "a\0b",
    ],
)
def test_other_uris_are_refused(uri: object) -> None:
    """A database, a bucket, a URL without a host: an error, not a directory with that name."""
    with pytest.raises(TrackingError):
        parse(uri)  # type: ignore[arg-type]


def test_a_refused_uri_does_not_show_its_password() -> None:
    """The message about a database URI does not repeat what may be a password."""
    with pytest.raises(TrackingError) as caught:
        parse("postgresql://user:secret@host/db")
    assert "secret" not in str(caught.value)
