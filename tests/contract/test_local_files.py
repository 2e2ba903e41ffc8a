"""Files of a store as bodies of uploads: read without following links, never whole when they changed."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack_sync.protocol.effects import Failure, Reply, Request, Upload
from localtrack_sync.remote.carrier import StoreCarrier
from localtrack_sync.remote.credentials import Credential
from localtrack_sync.remote.local_files import CHUNK_BYTES, LocalFileError, LocalFiles
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.storage import S3, Fsspec, Unavailable, storage_of
from localtrack_sync.remote.transport import Transport, TransportSettings
from localtrack_sync.uploads.artifact_root import LIBRARIES
from tests.contract.test_transport import listening, received

BIG = os.urandom(3 * CHUNK_BYTES + 17)


def upload(content: bytes, path: str = "a/b.bin", **part: int) -> Upload:
    """A file of run r."""
    return Upload("e/r/artifacts", path, len(content), hashlib.sha256(content).hexdigest(), **part)


def lay(base: Path, content: bytes, path: str = "a/b.bin") -> Path:
    """Write it."""
    target = base / "e/r/artifacts" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


@pytest.mark.parametrize("content", [b"", b"x", BIG[:CHUNK_BYTES], BIG])
def test_a_file_comes_in_pieces(tmp_path: Path, content: bytes) -> None:
    """All bytes in their order, no piece longer than a chunk; a part is that part."""
    lay(tmp_path, content)
    pieces = list(LocalFiles(str(tmp_path)).chunks(upload(content)))
    assert b"".join(pieces) == content
    assert max(map(len, pieces), default=0) <= CHUNK_BYTES
    part = upload(content, offset=len(content) // 2, length=len(content) // 3)
    found = b"".join(LocalFiles(str(tmp_path)).chunks(part))
    assert found == content[len(content) // 2 :][: len(content) // 3]


@pytest.mark.parametrize("place", [0, CHUNK_BYTES, len(BIG) - 1])
def test_a_changed_file_never_comes_whole(tmp_path: Path, place: int) -> None:
    """One byte that differs, wherever: the last piece is held back."""
    changed = bytearray(BIG)
    changed[place] ^= 1
    lay(tmp_path, bytes(changed))
    came = 0
    with pytest.raises(LocalFileError, match="changed"):  # noqa: PT012 - what came before it counts
        for piece in LocalFiles(str(tmp_path)).chunks(upload(BIG)):
            came += len(piece)
    assert came < len(BIG)


def test_links_pipes_and_ways_out_are_not_followed(tmp_path: Path) -> None:
    """A link as file or directory, a named pipe, a directory, a path that leads out: refused without reading."""
    base = tmp_path / "store"
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    root = lay(base, b"x").parent.parent
    os.symlink(secret, root / "link")
    os.symlink(tmp_path, root / "up")
    os.mkfifo(root / "pipe")
    for path in ("link", "up/secret", "pipe", "a", "../../../../secret", str(secret), "missing"):
        with pytest.raises(LocalFileError):
            list(LocalFiles(str(base)).chunks(upload(b"secret", path)))
    with pytest.raises(LocalFileError):
        list(LocalFiles(str(base)).chunks(Upload("../..", "secret", 6, hashlib.sha256(b"secret").hexdigest())))


def test_files_stored_before_the_experiment_was_known_are_found(tmp_path: Path) -> None:
    """A run that was attached to keeps its files where they were put, also when its experiment is known later."""
    target = tmp_path / "attached/r/artifacts/a/b.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"x")
    assert list(LocalFiles(str(tmp_path)).chunks(upload(b"x"))) == [b"x"]


def send(base: Path, url: str, request: Request, total_s: float = 0.6) -> Reply | Failure:
    """Send a request with a real transport."""
    files = LocalFiles(str(base))
    transport = Transport(
        parse_remote(url).remote, lambda: Credential("Bearer x", "test"), TransportSettings(0.5, total_s), files=files
    )
    try:
        return StoreCarrier(transport, files, url).send(request)
    finally:
        transport.close()


def slow(pause: float, seen: list[bytes]) -> Callable[[socket.socket], None]:
    """Takes a body piece by piece with pauses, then answers."""
    never = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(1)
        seen.append(head)
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        step = left // 8 + 1
        while left > 0:
            got = connection.recv(min(step, left), socket.MSG_WAITALL)
            if not got:
                return
            left -= len(got)
            never.wait(pause)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    return serve


def test_a_slow_upload_that_gets_on_is_not_cut(tmp_path: Path) -> None:
    """It takes several times the time that a request has, with a piece now and then: it ends well."""
    content = os.urandom(16 << 20)
    lay(tmp_path, content)
    seen: list[bytes] = []
    with listening(slow(0.25, seen)) as url:
        outcome = send(tmp_path, url, Request("PUT", "/x", upload=upload(content)))
    assert isinstance(outcome, Reply), outcome
    assert outcome.status == 200


def test_an_upload_that_stands_still_is_cut(tmp_path: Path) -> None:
    """Nothing is taken any more: after the time that a request has it ends, its outcome unknown."""
    content = os.urandom(16 << 20)
    lay(tmp_path, content)
    with listening(slow(2.0, [])) as url:
        outcome = send(tmp_path, url, Request("PUT", "/x", upload=upload(content)))
    assert isinstance(outcome, Failure), outcome
    assert outcome.sent


def test_a_changed_file_is_told_apart_from_a_bad_line(tmp_path: Path) -> None:
    """A small file that changed: nothing goes out; a large one breaks off. Both are the fault of this machine."""
    seen: list[bytes] = []
    for content in (b"small", BIG):
        lay(tmp_path, content[:-1] + b"!")
        with listening(slow(0.0, seen)) as url:
            outcome = send(tmp_path, url, Request("PUT", "/x", upload=upload(content)))
        assert isinstance(outcome, Failure)
        assert outcome.local
    assert len(seen) <= 1, "the small one went out"


def test_other_addresses_learn_nothing_of_us(tmp_path: Path) -> None:
    """A signed address gets the bytes and the signed headers: no token, no workspace."""
    lay(tmp_path, b"content")
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(received(connection))
        connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n')

    with listening(serve) as url:
        request = Request(
            "PUT", "", url=f"{url}/x?sig=a%2Fb%3D", headers=(("x-signed", "1"),), upload=upload(b"content")
        )
        outcome = send(tmp_path, "http://127.0.0.1:9", request)
    assert isinstance(outcome, Reply)
    assert outcome.headers["etag"] == '"e"'
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert body == b"content"
    assert head.startswith(b"PUT /x?sig=a%2Fb%3D HTTP/1.1")
    assert b"x-signed: 1" in head
    assert b"authorization" not in head.lower()


class FakeS3:
    """What boto3 offers of S3, in memory."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], bytes] = {}

    def client(self, name: str, **_: Any) -> FakeS3:
        assert name == "s3"
        return self

    def upload_fileobj(self, file: Any, bucket: str, key: str) -> None:
        content = b""
        while piece := file.read(70_000):
            content += piece
        self.objects[bucket, key] = content

    def head_object(self, **names: str) -> dict[str, int]:
        return {"ContentLength": len(self.objects[names["Bucket"], names["Key"]])}


def test_s3_gets_a_stream_and_says_its_size() -> None:
    """Pieces become one object under the unquoted key; the size is the storage's own."""
    fake = FakeS3()
    pieces = iter([b"a" * 100_000, b"b" * 50_000])
    assert S3(fake).put("s3://bucket/x/a%20b.bin", pieces) == 150_000
    assert fake.objects == {("bucket", "x/a b.bin"): b"a" * 100_000 + b"b" * 50_000}


def test_a_file_that_changes_on_its_way_to_s3_is_told_as_it_is() -> None:
    """What breaks the stream comes out of the library unchanged: it is no trouble of the storage."""

    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise LocalFileError("changed")

    fake = FakeS3()
    with pytest.raises(LocalFileError):
        S3(fake).put("s3://bucket/x", pieces())
    assert fake.objects == {}


class FakeFsspec:
    """What fsspec offers of a storage: files below a directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.core = self

    def url_to_fs(self, url: str) -> tuple[FakeFsspec, str]:
        return self, url.partition("://")[2]

    def makedirs(self, path: str, *, exist_ok: bool) -> None:
        (self.base / path).mkdir(parents=True, exist_ok=exist_ok)

    def open(self, path: str, mode: str) -> Any:
        return (self.base / path).open(mode)

    def info(self, path: str) -> dict[str, int]:
        return {"size": (self.base / path).stat().st_size}


def test_other_storages_are_written_through_fsspec(tmp_path: Path) -> None:
    """A file arrives under its unquoted name, and its size is read back."""
    assert Fsspec(FakeFsspec(tmp_path)).put("gs://bucket/x/a%20b", iter([b"one", b"two"])) == 6
    assert (tmp_path / "bucket/x/a b").read_bytes() == b"onetwo"


@pytest.mark.parametrize("scheme", sorted(LIBRARIES))
def test_a_missing_library_is_named(scheme: str) -> None:
    """Each cloud's error says what to install (none of the libraries comes with localtrack)."""
    with pytest.raises(Unavailable, match=f"pip install {LIBRARIES[scheme]}"):
        storage_of(f"{scheme}://bucket/x", "http://127.0.0.1")


@pytest.mark.parametrize("url", ["http://10.0.0.7:5000", "https://mlflow.example.com", "http://[2001:db8::1]:5000"])
def test_a_directory_belongs_to_the_machine_that_named_it(tmp_path: Path, url: str) -> None:
    """A remote that is not at this machine's own address never has its directory written here, also if it exists."""
    target = f"file://{tmp_path}/1/r/artifacts/a"
    with pytest.raises(Unavailable, match="its own machine"):
        storage_of(target, url).put(target, iter([b"x"]))
    assert list(tmp_path.iterdir()) == []
