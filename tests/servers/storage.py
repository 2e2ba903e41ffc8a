"""A strict stand-in for a cloud storage, and for what MLflow's server says about it, in front of a real server.

It forwards everything to the real server but: server-info (parts are offered), the multipart proxy, presigned uploads,
the storage's own addresses, and the list of a run's artifacts. It refuses what a storage refuses: a request that says
who we are, one without the headers that were signed, one without a length, parts that are missing, unequal or unknown.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, final
from urllib.parse import parse_qs, unquote, urlsplit

MPU = "/api/2.0/mlflow-artifacts/mpu/"
SIGNED = "/api/2.0/mlflow/artifacts/presigned-upload-url"
LIST = "/api/2.0/mlflow/artifacts/list"
#: Header that is part of a signature.
PROOF = ("x-test-signed", "yes")


@dataclass
class Multipart:
    """An upload in parts: where to, and what is there."""

    target: str
    count: int
    parts: dict[int, bytes] = field(default_factory=dict)


@final
class Storage:
    """The stand-in; a context manager.

    Attributes:
        objects: path -> content of what is stored whole.
        log: what was asked of the storage, e.g. "PUT part 2", "complete", "PUT object a/b".
        faults: how often to cut the connection at these entries of the log before anything is done.
        refusals: what was wrong with requests.
        offers: whether server-info offers parts, and the server signs addresses.
    """

    def __init__(self, upstream_port: int, destination: Path, *, offers: bool = True) -> None:
        self.upstream_port = upstream_port
        self.destination = destination
        self.offers = offers
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, Multipart] = {}
        self.log: list[str] = []
        self.news = threading.Condition()
        self.faults: dict[str, int] = {}
        self.refusals: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"storage": self}))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> Storage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    def reached(self, entry: str, seconds: float) -> bool:
        """Wait until the log has an entry."""
        with self.news:
            return self.news.wait_for(lambda: entry in self.log, seconds)

    def mpu(self, verb: str, directory: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """Answer the multipart proxy; None: refused."""
        if verb == "create":
            name = f"u{len(self.uploads) + 1}"
            self.uploads[name] = Multipart(f"{directory}/{given['path']}", given["num_parts"])
            addresses = [
                {"url": f"{self.url}/storage/{name}?part={n}&sig=a%2Fb", "part_number": n, "headers": dict([PROOF])}
                for n in range(1, given["num_parts"] + 1)
            ]
            return {"upload_id": name, "credentials": addresses}
        upload = self.uploads.pop(given["upload_id"], None)
        if upload is None:
            return None
        if verb == "abort":
            return {}
        return {} if self._complete(upload, given["parts"]) else None

    def _complete(self, upload: Multipart, parts: list[dict[str, Any]]) -> bool:
        named = [(part["part_number"], part["etag"]) for part in parts]
        sizes = {len(data) for number, data in upload.parts.items() if number < upload.count}
        if named != [(n, etag(upload.parts[n])) for n in sorted(upload.parts)] or len(named) != upload.count:
            self.refusals.append(f"parts {named}")
            return False
        if len(sizes) > 1:
            self.refusals.append(f"parts of {sizes} bytes")
            return False
        file = self.destination / upload.target
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"".join(data for _, data in sorted(upload.parts.items())))
        return True


def etag(data: bytes) -> str:
    """As S3 makes it."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    storage: Storage
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._any()

    def do_POST(self) -> None:
        self._any()

    def do_PUT(self) -> None:
        self._any()

    def do_PATCH(self) -> None:
        self._any()

    def do_DELETE(self) -> None:
        self._any()

    def _any(self) -> None:
        storage, parts = self.storage, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if parts.path.startswith("/storage/"):
            self._store(unquote(parts.path.removeprefix("/storage/")), parse_qs(parts.query), body)
        elif parts.path.startswith(MPU) and storage.offers:
            verb, _, directory = unquote(parts.path.removeprefix(MPU)).partition("/")
            if self._cut(verb):
                return
            answer = storage.mpu(verb, directory, json.loads(body))
            self._answer(404 if answer is None else 200, json.dumps(answer or {}).encode())
        elif parts.path == SIGNED and storage.offers:
            given = json.loads(body)
            url = f"{storage.url}/storage/{given['run_id']}/{given['path']}?sig=x"
            self._answer(200, json.dumps({"presigned_url": url, "headers": dict([PROOF])}).encode())
        elif parts.path == LIST:
            self._list(parse_qs(parts.query))
        else:
            self._forward(body, parts.path)

    def _cut(self, what: str) -> bool:
        with self.storage.news:
            self.storage.log.append(what)
            self.storage.news.notify_all()
        if self.storage.faults.get(what, 0) <= 0:
            return False
        self.storage.faults[what] -= 1
        self.close_connection = True
        return True

    def _store(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        number = int(query.get("part", ["0"])[0])
        if self._cut(f"PUT part {number}" if number else f"PUT object {path.partition('/')[2]}"):
            return
        wrong = [name for name in ("Authorization", "X-MLFLOW-WORKSPACE") if self.headers.get(name)]
        wrong += ["not signed"] if self.headers.get(PROOF[0]) != PROOF[1] else []
        wrong += ["no length"] if self.headers.get("Content-Length") is None else []
        upload = self.storage.uploads.get(path) if number else None
        if wrong or (number and upload is None):
            self.storage.refusals += wrong or [f"no upload {path}"]
            self._answer(403, b"<Error><Code>AccessDenied</Code></Error>")
            return
        if upload is not None:
            upload.parts[number] = body
        else:
            self.storage.objects[path] = body
        self._answer(200, b"", etag(body))

    def _list(self, query: dict[str, list[str]]) -> None:
        below = "/".join(part for part in (query["run_id"][0], query.get("path", [""])[0]) if part)
        found = {p: d for p, d in self.storage.objects.items() if p.rpartition("/")[0] == below}
        prefix = f"{query['run_id'][0]}/"
        files = [{"path": p.removeprefix(prefix), "is_dir": False, "file_size": len(d)} for p, d in found.items()]
        self._answer(200, json.dumps({"files": files}).encode())

    def _forward(self, body: bytes, path: str) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.storage.upstream_port, timeout=60)
        kept = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection", "authorization")}
        upstream.request(self.command, self.path, body, kept)
        reply = upstream.getresponse()
        content = reply.read()
        upstream.close()
        if path.endswith("/server-info") and self.storage.offers:
            content = json.dumps({**json.loads(content), "multipart_uploads_enabled": True}).encode()
        self._answer(reply.status, content)

    def _answer(self, status: int, content: bytes, tag: str | None = None) -> None:
        self.send_response(status)
        if tag is not None:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
