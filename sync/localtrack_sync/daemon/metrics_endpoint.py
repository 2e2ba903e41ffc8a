"""A small HTTP endpoint for Prometheus on this machine: GET /metrics, and nothing else.

It listens on 127.0.0.1 only, knows no other address, and answers one request after the other in one thread. A request
has a bounded length and a bounded time, so nobody on this machine can hold it up for long. The Host header has to name
this machine: a web page whose name is made to point to 127.0.0.1 (DNS rebinding) gets nothing.
"""

from __future__ import annotations

import io
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from localtrack.errors import SettingsError
from localtrack_sync.daemon.prometheus import CONTENT_TYPE

ADDRESS = "127.0.0.1"
PATH = "/metrics"
#: Bytes of a request line with its headers, at most.
MOST_REQUEST_BYTES = 8192
#: Seconds in which a request has to arrive, and then each write of the reply has to be taken.
REQUEST_S = 2.0
#: Seconds between two looks at whether to end.
_TICK_S = 0.2
#: Seconds that `close` waits for the thread; a request in hand is cut, so only the making of a text takes any time.
CLOSE_S = 5.0
# Any port: a tunnel to this endpoint has another one at its other end.
_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)


class MetricsEndpoint:
    """Serves one text at http://127.0.0.1:PORT/metrics until it is closed.

    Args:
        port: TCP port; 0: one that is free, see `port`.
        text: makes the text, anew for each request, in the endpoint's thread. When it raises, the reply is 500.
    """

    def __init__(self, port: int, text: Callable[[], str]) -> None:
        self._wanted = port
        self._text = text
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()

    @property
    def port(self) -> int:
        """The port that it listens on; 0 when it does not."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def start(self) -> None:
        """Listen, and answer from now on.

        Raises:
            SettingsError: the port cannot be had.
        """
        assert self._server is None, "it was started before"
        try:
            self._server = _Server(self._wanted, self._text)
        except OSError as error:
            raise SettingsError(
                f"The metrics endpoint cannot listen on {ADDRESS}:{self._wanted}: {error.strerror or error}",
                "Set another metrics_port in [daemon], or LOCALTRACK_DAEMON_METRICS_PORT; 0: no endpoint.",
            ) from None
        self._thread = threading.Thread(target=self._serve, args=(self._server,), name="metrics", daemon=True)
        self._thread.start()

    def _serve(self, server: _Server) -> None:
        while not self._ending.is_set():
            server.handle_request()

    def close(self) -> None:
        """Stop listening; a request in hand is cut. Takes `CLOSE_S` seconds at most. Closing again does nothing."""
        self._ending.set()
        if self._server is not None:
            self._server.cut()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
            self._thread = None
        if self._server is not None:
            self._server.server_close()
            self._server = None


class _Server(socketserver.TCPServer):
    """Not http.server.HTTPServer: that one asks the DNS for the name of this machine."""

    allow_reuse_address = True
    timeout = _TICK_S

    def __init__(self, port: int, text: Callable[[], str]) -> None:
        self.text = text
        self._open: socket.socket | None = None
        super().__init__((ADDRESS, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer, and know meanwhile which connection is open."""
        self._open = request
        try:
            super().process_request(request, client_address)
        finally:
            self._open = None

    def cut(self) -> None:
        """End the connection that is open, if any: whoever waits for it goes on at once."""
        connection = self._open
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever asked has gone away; nobody is left to be told."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_S

    def handle(self) -> None:
        """Read one request within its bounds, answer it, close."""
        head = _head(self.connection, time.monotonic)
        if head is None:
            return
        self.connection.settimeout(REQUEST_S)
        self.rfile = io.BytesIO(head)
        self.close_connection = True
        if not head.endswith(b"\r\n\r\n"):
            self.requestline, self.request_version, self.command = "", "HTTP/1.0", ""
            self.send_error(431)
            return
        self.raw_requestline = self.rfile.readline()
        if self.parse_request():
            self._reply()

    def _reply(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0].strip()):
            self.send_error(403, "The Host header names another machine.")
        elif self.path != PATH:
            self.send_error(404)
        elif self.command != "GET":
            self.send_error(405)
        else:
            try:
                text = self.server.text()
            except Exception as error:  # noqa: BLE001 - whatever it is, Prometheus shows the target as down
                self.send_error(500, f"The metrics cannot be told ({type(error).__name__}).")
                return
            self._send(200, text, CONTENT_TYPE)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Say what is wrong, in plain text; nothing of the request comes back."""
        words = message if message and code in (403, 500) else self.responses.get(code, ("Error",))[0]
        self._send(code, words + "\n", "text/plain; charset=utf-8")

    def _send(self, code: int, text: str, kind: str) -> None:
        body = text.encode("utf-8")
        if self.request_version == "HTTP/0.9":
            self.request_version = "HTTP/1.0"  # http.server would leave out the status line
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")
        if code == 405:  # noqa: PLR2004 - method not allowed: HTTP wants to be told which is
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        """Not the version of Python."""
        return "localtrack"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Requests are no news."""


def _head(connection: socket.socket, clock: Callable[[], float]) -> bytes | None:
    """A request up to its empty line; cut at `MOST_REQUEST_BYTES`; None when it did not come in time."""
    deadline, head = clock() + REQUEST_S, b""
    while b"\r\n\r\n" not in head and len(head) < MOST_REQUEST_BYTES:
        left = deadline - clock()
        if left <= 0:
            return None
        connection.settimeout(left)
        try:
            more = connection.recv(MOST_REQUEST_BYTES - len(head))
        except OSError:
            return None
        if not more:
            return None
        head += more
    return head[: head.index(b"\r\n\r\n") + 4] if b"\r\n\r\n" in head else head
