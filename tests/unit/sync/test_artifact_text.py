"""Artifact roots, ids in MLmodel, the manifest: what is decided without looking at any file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack_sync.protocol.records import FileDelivered
from localtrack_sync.uploads.artifact_root import Root, Way, quoted, root_of
from localtrack_sync.uploads.manifest import listed, manifest_of
from localtrack_sync.uploads.mlmodel import is_model_file, rewritten

IDS = {"r1": "R9", "m-1": "m-9", "r1/artifacts": "mlflow-artifacts:/3/R9/artifacts", "m-1/artifacts": "s3://b/m-9"}


@pytest.mark.parametrize(
    ("uri", "root"),
    [
        ("mlflow-artifacts:/1/abc/artifacts", Root(Way.PROXY, "1/abc/artifacts")),
        ("mlflow-artifacts:/a%20b/abc/artifacts", Root(Way.PROXY, "a b/abc/artifacts")),
        ("mlflow-artifacts://host:5000/1/abc", Root(Way.PROXY, "1/abc")),
        ("http://host:5000/api/2.0/mlflow-artifacts/artifacts/1/abc", Root(Way.PROXY, "1/abc")),
        ("dbfs:/databricks/1/abc/artifacts/", Root(Way.SIGNED, "dbfs:/databricks/1/abc/artifacts")),
        ("s3://bucket/x/abc/artifacts", Root(Way.CLOUD, "s3://bucket/x/abc/artifacts")),
        ("file:///srv/ml/1/abc/artifacts", Root(Way.FILE, "/srv/ml/1/abc/artifacts")),
        ("/srv/ml/1/abc/artifacts", Root(Way.FILE, "/srv/ml/1/abc/artifacts")),
    ],
)  # fmt: skip
def test_each_form_of_root_has_its_way(uri: str, root: Root) -> None:
    """What a remote names as artifact root is reached in the way that belongs to it."""
    assert root_of(uri, "host:5000") == root


@pytest.mark.parametrize(
    "uri", ["", "relative/path", "mlflow-artifacts://other/1", "file://other/x", "gopher://x", "http://[::1"]
)
def test_a_root_that_leads_nowhere_says_so(uri: str) -> None:
    """What cannot be written to has no way, and the reason names it; credentials go to no other server."""
    root = root_of(uri, "host:5000")
    assert root.way is Way.NONE
    assert root.reason


@pytest.mark.parametrize(
    ("path", "moved"),
    [
        ("/x/artifacts/7/m-1/artifacts/data", "s3://b/m-9/data"),
        ("mlflow-artifacts:/7/r1/artifacts/model", "mlflow-artifacts:/3/R9/artifacts/model"),
        ("r1/artifacts", "mlflow-artifacts:/3/R9/artifacts"),
        ("/x/r1/artifacts/7/m-1/artifacts", "s3://b/m-9"),
        ("/x/r1/artifacts2", "/x/r1/artifacts2"),
        ("/x/other/artifacts", "/x/other/artifacts"),
    ],
)
def test_the_innermost_root_counts(path: str, moved: str) -> None:
    """A path below a root of ours goes below the remote's, wherever the store lay; another path stays."""
    assert rewritten(f"artifact_path: {path}\n".encode(), IDS) == f"artifact_path: {moved}\n".encode()


def test_paths_are_quoted_for_urls() -> None:
    """Everything but the slashes between parts is quoted."""
    assert quoted("1/abc", "größe & 100 %?#.txt") == "1/abc/gr%C3%B6%C3%9Fe%20%26%20100%20%25%3F%23.txt"


MLMODEL = b"""artifact_path: /home/me/store/artifacts/7/models/m-1/artifacts
flavors:
  python_function:
    run_id: r1
model_id: m-1
model_uuid: 'm-1'\r
run_id: "r1"\x20\x20
signature: 'run_id: r1'
utc_time_created: 'r1'
"""


def test_ids_at_the_top_of_an_mlmodel_become_the_remotes() -> None:
    """Four lines change, quotes and line ends stay; the same words elsewhere are not ids."""
    new = MLMODEL.replace(b"/home/me/store/artifacts/7/models/m-1/artifacts", b"s3://b/m-9", 1)
    new = new.replace(b"model_id: m-1", b"model_id: m-9").replace(b"model_uuid: 'm-1'", b"model_uuid: 'm-9'")
    assert rewritten(MLMODEL, IDS) == new.replace(b'\nrun_id: "r1"  ', b'\nrun_id: "R9"  ')


@pytest.mark.parametrize(
    "line", [b"artifact_path: model\n", b"run_id: r2\n", b"run_id: r1 # mine\n", b"run_id:\n", b"\xff\xfe"]
)
def test_what_is_no_id_of_ours_stays(line: bytes) -> None:
    """A relative path (MLflow 2), a foreign id, anything that is not plainly an id: byte for byte as it was."""
    assert rewritten(line, IDS) == line


@given(st.binary(max_size=300))
def test_nothing_is_rewritten_without_ids(content: bytes) -> None:
    """Whatever bytes a file holds, they pass through unless one of the four lines names an id that is known."""
    assert rewritten(content, {}) == content


def test_only_small_files_of_that_name_are_looked_into() -> None:
    """MLmodel anywhere below the root, within a few megabytes."""
    assert is_model_file("a/b/MLmodel", 10)
    assert not is_model_file("a/MLmodel.txt", 10)
    assert not is_model_file("MLmodel", 1 << 30)


def test_a_manifest_says_what_was_sent_and_is_read_back() -> None:
    """Delivered files with size and hash of what lies on the remote, in any order; pending ones are not in it."""
    records = [
        FileDelivered("run", "r1", "b", "local", 3, "sent", 4),
        FileDelivered("run", "r1", "a", "x", 1, "x", 1),
        FileDelivered("run", "r1", "pending", unsettled=("y",)),
    ]
    manifest = manifest_of("r1", records)
    assert manifest == manifest_of("r1", reversed(records))
    assert listed(json.loads(manifest), "r1") == {"a": (1, "x"), "b": (4, "sent")}
    assert listed(json.loads(manifest), "r2") == {}


@pytest.mark.parametrize(
    "body", [{}, {"files": 3}, {"localtrack_manifest": 1, "owner": "r1", "files": {"a": 1, "b": {"size": "x"}}}]
)
def test_a_manifest_that_makes_no_sense_proves_nothing(body: dict[str, object]) -> None:
    """Somebody else's file of that name is not believed."""
    assert listed(body, "r1") == {}
