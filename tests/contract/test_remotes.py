"""Names of remotes: one server, one name, one delivery state; and never a password in any of them."""

from __future__ import annotations

import pytest

from localtrack.errors import ReplayError
from localtrack.store import Store
from localtrack_sync.remote.remotes import Remote, is_remote, parse_remote


@pytest.mark.parametrize(
    "uri",
    [
        "http://host:5000",
        "HTTP://Host:5000/",
        " http://host:5000// ",
        "http://user:password@host:5000",
    ],
)
def test_spellings_of_one_server_are_one_remote(uri: str) -> None:
    """Case, slashes and a user name make no other remote."""
    assert parse_remote(uri).remote == Remote("http://host:5000")


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("https://host:443", "https://host"),
        ("http://host:80/Base/Path/", "http://host/Base/Path"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("https://host:80", "https://host:80"),
    ],
)
def test_default_ports_go_and_paths_stay(uri: str, url: str) -> None:
    """The port that the scheme implies is left out; a path keeps its case."""
    assert parse_remote(uri).remote.url == url


def test_user_and_password_are_kept_apart_and_out_of_sight() -> None:
    """They are for the credentials only: not in the remote, its file names, or anything printed."""
    address = parse_remote("http://us%40er:s3%2Fcret@host")
    assert address.userinfo == ("us@er", "s3/cret")
    shown = repr(address) + str(address) + address.remote.slug + str(address.remote)
    assert "s3" not in shown
    assert "us@er" not in shown


def test_a_workspace_is_a_remote_of_its_own() -> None:
    """The same server with another workspace has another delivery state."""
    plain, team = parse_remote("http://host", {}).remote, parse_remote("http://host", {"MLFLOW_WORKSPACE": "a"}).remote
    store = Store.at("/store")
    assert plain.state_path(store) != team.state_path(store)
    assert "workspace a" in str(team)


def test_file_names_are_readable_short_and_unique() -> None:
    """A file name shows the host, has no odd characters, and differs where the remotes differ."""
    long = "http://" + "a" * 300 + ".example"
    remotes = [
        Remote("http://host/a"),
        Remote("https://host/a"),
        Remote("http://host/A"),
        Remote(long),
        Remote(long + "x"),
    ]
    slugs = [remote.slug for remote in remotes]
    assert len(set(slugs)) == len(slugs)
    assert slugs[0].startswith("host-a-")
    assert all(len(slug) < 60 and set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for slug in slugs)


@pytest.mark.parametrize(
    "uri",
    ["", "host:5000", "ftp://host", "http://", "http://host:99999", "http://host?x=1", "http://host#x", "/a/path"],
)
def test_what_is_no_address_is_refused_with_an_example(uri: str) -> None:
    """The message says what is wrong, the hint how to write it."""
    with pytest.raises(ReplayError, match="address of a tracking server") as refused:
        parse_remote(uri)
    assert "http://" in refused.value.hint


def test_a_password_does_not_come_back_in_a_message() -> None:
    """An address that is refused is shown without its password."""
    with pytest.raises(ReplayError) as refused:
        parse_remote("http://user:s3cret@host?x=1")
    assert "s3cret" not in refused.value.message


def test_what_counts_as_a_server() -> None:
    """A tracking URI that names a store of this machine is no remote."""
    assert [is_remote(uri) for uri in ("http://h", "https://h", "databricks", "databricks://p")] == [True] * 4
    assert [is_remote(uri) for uri in ("/path", "path", "localtrack:/x", "file:///x", "")] == [False] * 5
