"""Whatever a remote or a link says, nothing is written outside the store, and no file but the store's leaves it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from localtrack_sync.protocol.effects import Reply, Request
from localtrack_sync.remote.credentials import Credential
from localtrack_sync.remote.guard import is_loopback, refused_address, refused_headers, their_headers
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.remote.storage import Directory, Fsspec, StorageError, Unavailable
from localtrack_sync.remote.transport import Transport
from localtrack_sync.uploads.artifact_root import misplaced, root_of
from tests.security.hostile import Answer, Hostile
from tests.security.places import around, logged, replay

ID = "0123456789abcdef0123456789abcdef"
HERE = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    "uri",
    [
        "/home/me", "/home/me/.ssh/artifacts", f"/srv/{ID}", f"/srv/../{ID}/artifacts", f"/srv/{ID}/artifacts/..",
        f"file:///srv/%2e%2e/{ID}/artifacts", f"s3://bucket/{ID}", f"sftp://host/home/me/.ssh/{ID}/x/artifacts",
        f"hdfs://x::file:///tmp/{ID}/artifacts", f"hdfs://x%3A%3Afile:///tmp/{ID}/artifacts", "gs://bucket/artifacts",
        f"s3://bucket/..%2f{ID}/artifacts/%2e%2e", "/etc/cron.d/artifacts",
    ],
)  # fmt: skip
def test_a_root_that_is_not_the_runs_own_is_not_believed(uri: str) -> None:
    """Where our own rights would write: the root ends in the run's own id and artifacts, and leads nowhere else."""
    assert misplaced(root_of(uri, "127.0.0.1:5000"), ID)


@pytest.mark.parametrize(
    "uri",
    [
        f"/srv/ml/3/{ID}/artifacts", f"file:///srv/artifacts/3/{ID}/artifacts", f"s3://bucket/a b/{ID}/artifacts",
        f"abfss://c@account.dfs.core.windows.net/x/{ID}/artifacts", f"mlflow-artifacts:/3/{ID}/artifacts",
        "dbfs:/databricks/mlflow-tracking/1/anything", f"/srv/ml/3/{ID}/artifacts/",
    ],
)  # fmt: skip
def test_roots_as_mlflow_builds_them_are_taken(uri: str) -> None:
    """Directories and clouds in MLflow's layout; ways that use no right of ours are not asked."""
    assert misplaced(root_of(uri, "127.0.0.1:5000"), ID) == ""


def test_a_run_cannot_be_called_like_a_directory_of_somebodys() -> None:
    """A remote that gives a run the name .ssh, or .., does not get there."""
    for name in (".ssh", "..", "", "a/b", "id" * 100, "me"):
        assert misplaced(root_of(f"/home/me/{name}/artifacts", ""), name), name


@pytest.mark.parametrize("place", ["/home/me/.ssh/authorized_keys", "~", "../../outside", "artifacts"])
def test_a_remote_on_this_machine_cannot_write_over_files_of_ours(tmp_path: Path, place: str) -> None:
    """A server at 127.0.0.1 (a tunnel, another user's) names places of ours as a run's root: nothing changes there."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "authorized_keys").write_text("mine")
    root = place.replace("/home/me", str(home)).replace("~", str(home))

    def script(_request: Request, say: Callable[[], Reply]) -> Answer | None:
        body = say().body
        if isinstance(body, dict) and isinstance(body.get("run"), dict):
            body["run"]["info"]["artifact_uri"] = root
        return None

    store, _ = logged(tmp_path)
    before = around(tmp_path, store)
    with Hostile(script) as server:
        (account,) = replay(store, server.url).accounts
    assert account.parked == 1, account
    assert around(tmp_path, store) == before


@pytest.mark.parametrize("planted", ["id", "artifacts", "sub", "file"])
def test_links_on_the_way_to_a_file_are_not_followed(tmp_path: Path, planted: str) -> None:
    """Another user puts a link where the server's directory would be: what it leads to is not written."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "x").write_text("mine")
    parts = {"id": ID, "artifacts": f"{ID}/artifacts", "sub": f"{ID}/artifacts/sub", "file": f"{ID}/artifacts/sub/x"}
    link = tmp_path / "exp" / parts[planted]
    link.parent.mkdir(parents=True)
    os.symlink(precious / "x" if planted == "file" else precious, link)
    url = f"file://{tmp_path}/exp/{ID}/artifacts/sub/x"
    if planted == "file":  # the link itself is replaced
        assert Directory(HERE).put(url, iter([b"new"])) == 3
        assert not link.is_symlink()
    else:
        with pytest.raises(StorageError):
            Directory(HERE).put(url, iter([b"new"]))
    assert {path.name: path.read_text() for path in precious.iterdir()} == {"x": "mine"}


def test_a_directory_gets_only_what_lies_as_mlflow_lays_it_out(tmp_path: Path) -> None:
    """Whatever asks for it: no other path is written, not even at a remote of this machine."""
    for path in (f"{tmp_path}/x", f"{tmp_path}/exp/run/artifacts/x", f"{tmp_path}/exp/{ID}/artifacts/../../x", "/x"):
        with pytest.raises(Unavailable):
            Directory(HERE).put(f"file://{path}", iter([b"x"]))
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_never_taken_for_a_second_storage() -> None:
    """The library of other storages reads what `::` joins as a chain of them, local files among them."""
    with pytest.raises(StorageError, match="::"):
        Fsspec(None).put(f"gs://bucket/{ID}/artifacts/x%3A%3Afile:///tmp/y", iter([b"x"]))


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://host/x", "http://", "https://[::1", "http://host:x/", "//host/x", "data:,x", "",
        "http://127.0.0.1:8080/x", "http://localhost/x", "http://[::1]/x", "http://169.254.169.254/latest",
        "http://0/x",
        "http://2130706433/x", "http://0x7f000001/x", "http://127.1/x", "http://[::ffff:127.0.0.1]/x",
        "http://0.0.0.0/x",
        "http://h\x1b/x", "http://localhost./", "http://[fe80::1]/x",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_and_no_addresses_are_refused(url: str) -> None:
    """A remote elsewhere cannot have us send files to services that only this machine reaches, or to no HTTP."""
    assert refused_address(url, "http://mlflow.example.com")


def test_an_encrypted_remote_cannot_send_files_unencrypted() -> None:
    """From https to http: refused; storages within a network, and everything of a remote on this machine: taken."""
    assert "without encryption" in refused_address("http://minio.lan/x", "https://mlflow.example.com")
    assert refused_address("https://bucket.s3.amazonaws.com/x?y=1", "https://mlflow.example.com") == ""
    assert refused_address("http://10.0.0.7:9000/x", "http://mlflow.lan") == ""
    assert refused_address("http://127.0.0.1:9000/x", HERE) == ""
    assert [is_loopback(u) for u in (HERE, "http://localhost:1", "http://[::1]", "http://h")] == [True] * 3 + [False]


def test_headers_of_a_signed_address_cannot_bend_the_request() -> None:
    """No line breaks, no names that are none; who sends says how long a message is, and to whom."""
    assert refused_headers({"a\r\nb": "x"})
    assert refused_headers({"a": "x\r\nEvil: 1"})
    assert refused_headers({"": "x"})
    assert refused_headers({"x-ms-date": "today"}) == ""
    assert their_headers({"Host": "x", "CONTENT-LENGTH": "0", "x-amz-a": "1", "Cookie": "a"}) == {"x-amz-a": "1"}


def test_a_refused_address_is_contacted_by_nobody() -> None:
    """Through the transport: the answer is that it is forbidden, with the reason; no byte leaves."""
    with Hostile() as server:
        transport = Transport(Remote("http://mlflow.example.com"), lambda: Credential("Bearer x"))
        outcome = transport.send(Request("PUT", "", b"x", url=f"{server.url}/x"))
        transport.close()
    assert isinstance(outcome, Reply)
    assert outcome.status == 403
    assert "this machine" in outcome.text
    assert server.heard == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_a_login_is_not_taken_to_where_a_redirect_leads(method: str) -> None:
    """To another host or to this one: the redirect is told, and nobody follows it."""
    with Hostile() as other, Hostile(lambda _r, _s: Answer(307, b"", {"Location": other.url})) as server:
        transport = Transport(Remote(server.url), lambda: Credential("Bearer secret"))
        outcome = transport.send(Request(method, "/x", b"{}"))
        transport.close()
    assert isinstance(outcome, Reply)
    assert outcome.status == 307
    assert other.heard == []
    assert len(server.heard) == 1
