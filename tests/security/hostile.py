"""A tracking server that cannot be trusted: the modelled server of the simulator behind real HTTP, its answers bent.

Each request that the script names is not executed as it should be, or is answered with something else; all others get
what the modelled server says. So a store can be replayed to it by the real transport, and to an honest one afterwards.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, final
from urllib.parse import parse_qsl, urlsplit

from localtrack_sync.protocol.effects import Reply, Request
from tests.simulation.remote import Remote


@dataclass(frozen=True)
class Answer:
    """What goes over the wire instead of what the server would have said.

    Attributes:
        body: as it is.
        execute: whether the request is executed before it is answered so.
        close: cut the connection after it, without a length.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    execute: bool = False
    close: bool = False


#: Given a request and what the server says to it (a function that executes it), what goes out; None: that.
Script = Callable[[Request, Callable[[], Reply]], "Answer | None"]


def reads(request: Request) -> bool:
    """Whether a request changes nothing."""
    return request.method == "GET" or request.path.endswith("/search")


@final
class Hostile:
    """The server; a context manager.

    Attributes:
        remote: the modelled server.
        script: what it does to requests.
        heard: every request: method, path, headers in lower case, body.
    """

    def __init__(self, script: Script | None = None, seed: int = 1, flavour: str = "sql") -> None:
        self.remote = Remote(random.Random(seed), flavour)
        self.script: Script = script or (lambda _request, _say: None)
        self.heard: list[tuple[str, str, dict[str, str], bytes]] = []
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hostile": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Hostile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: Request) -> Answer:
        """What goes out for a request."""
        executed: list[Reply] = []

        def say() -> Reply:
            if not executed:
                executed.append(self.remote.handle(request))
            return executed[0]

        with self.lock:
            bent = self.script(request, say)
            if bent is not None:
                if bent.execute:
                    say()
                return bent
            reply = say()
        body = json.dumps(reply.body).encode() if reply.body is not None else reply.text.encode()
        return Answer(reply.status, body)


class _Handler(BaseHTTPRequestHandler):
    hostile: Hostile
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hostile.heard.append((self.command, self.path, headers, body))
        query = tuple(parse_qsl(parts.query, keep_blank_values=True))
        answer = self.hostile.answer(Request(self.command, parts.path, body or None, query))
        try:
            self.send_response(answer.status)
            given = {"Content-Type": "application/json", **answer.headers}
            if not answer.close:
                given["Content-Length"] = str(len(answer.body))
            for name, value in given.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)
        except OSError:
            self.close_connection = True
        self.close_connection = self.close_connection or answer.close

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing is logged."""
