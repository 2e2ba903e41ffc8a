"""The endpoint with real connections: one path, one method, this machine only, and nobody can hold it up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from localtrack.errors import SettingsError
from localtrack_sync.daemon.metrics_endpoint import CLOSE_S, MOST_REQUEST_BYTES, REQUEST_S, MetricsEndpoint
from localtrack_sync.daemon.prometheus import CONTENT_TYPE

#: Seconds that a test waits for what has to happen.
PATIENCE_S = 20.0


@pytest.fixture
def endpoint() -> Iterator[MetricsEndpoint]:
    """An endpoint on a free port that tells one metric."""
    made = MetricsEndpoint(0, lambda: "a_metric 1 ü\n")
    made.start()
    yield made
    made.close()


def talk(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read until the other side closes: status, headers (small letters), body. Status 0: no reply."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        with suppress(OSError):  # it may have closed already
            connection.sendall(request)
        reply = b""
        with suppress(ConnectionResetError):
            while more := connection.recv(65_536):
                reply += more
    if not reply:
        return 0, {}, b""
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split(" ")[1]), headers, body


def get(port: int, path: str = "/metrics", host: str = "127.0.0.1", method: str = "GET") -> int:
    """The status of one request."""
    return talk(port, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[0]


def test_metrics_are_told(endpoint: MetricsEndpoint) -> None:
    """GET /metrics gets the text with its length and the type of the format, and the connection is closed."""
    request = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\nAccept: */*\r\n\r\n".encode()
    status, headers, body = talk(endpoint.port, request)
    assert (status, body) == (200, "a_metric 1 ü\n".encode())
    assert headers["content-type"] == CONTENT_TYPE
    assert headers["content-length"] == str(len(body))
    assert headers["connection"] == "close"
    assert headers["server"] == "localtrack"
    assert talk(endpoint.port, request)[0] == 200


def test_it_listens_on_this_machine_only(endpoint: MetricsEndpoint) -> None:
    """The socket is bound to 127.0.0.1: other addresses, also of this machine, are not listened on."""
    assert endpoint._server is not None
    assert endpoint._server.socket.getsockname() == ("127.0.0.1", endpoint.port)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", endpoint.port), PATIENCE_S)


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metrics?x=1", "/../metrics", "http://127.0.0.1/metrics", "*"])
def test_there_is_nothing_else(endpoint: MetricsEndpoint, path: str) -> None:
    """Every other path is not found."""
    assert get(endpoint.port, path) == 404


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get", "TRACE"])
def test_only_get_is_answered(endpoint: MetricsEndpoint, method: str) -> None:
    """Other methods are refused, with the one that is allowed."""
    request = f"{method} /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    status, headers, body = talk(endpoint.port, request)
    assert (status, headers["allow"]) == (405, "GET")
    assert b"a_metric" not in body


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9118", "localhost", "LocalHost:80", "[::1]:9118"])
def test_names_of_this_machine_are_accepted(endpoint: MetricsEndpoint, host: str) -> None:
    """Any port is, too: a tunnel has another one at its other end."""
    assert get(endpoint.port, host=host) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9118", "127.0.0.1.evil.example", "localhost.evil.example", "", "127.0.0.1:"]
)
def test_other_names_are_refused(endpoint: MetricsEndpoint, host: str) -> None:
    """A web page whose name points to this machine sends its own name, and gets nothing."""
    status, _, body = talk(endpoint.port, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert status == 403
    assert b"a_metric" not in body
    assert b"evil" not in body


def test_one_host_header_is_wanted(endpoint: MetricsEndpoint) -> None:
    """No Host header, or two of them, is refused."""
    assert talk(endpoint.port, b"GET /metrics HTTP/1.0\r\n\r\n")[0] == 403
    assert talk(endpoint.port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")[0] == 403


def test_a_long_request_is_refused(endpoint: MetricsEndpoint) -> None:
    """No more is read than a request may have; the endpoint goes on."""
    line = b"GET /" + b"a" * MOST_REQUEST_BYTES * 20 + b" HTTP/1.1\r\n\r\n"
    assert talk(endpoint.port, line)[0] in {431, 0}  # 0: the rest that it never read reset the connection
    exactly = b"GET /" + b"a" * (MOST_REQUEST_BYTES - 5)
    assert talk(endpoint.port, exactly)[0] == 431
    assert get(endpoint.port) == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /metrics\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"<x>\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(endpoint: MetricsEndpoint, request_bytes: bytes) -> None:
    """Garbage gets no metrics and nothing of itself back, and the endpoint goes on."""
    status, _, body = talk(endpoint.port, request_bytes)
    assert status in {400, 403, 505}
    assert b"<x>" not in body
    assert get(endpoint.port) == 200


def test_a_silent_client_holds_it_up_for_a_bounded_time(endpoint: MetricsEndpoint) -> None:
    """Clients that say nothing, or one byte now and then, are cut after `REQUEST_S`; the next one is answered."""
    stop = threading.Event()
    with (
        socket.create_connection(("127.0.0.1", endpoint.port)) as silent,
        socket.create_connection(("127.0.0.1", endpoint.port)) as slow,
    ):

        def drip() -> None:
            with suppress(OSError):
                while not stop.wait(0.05):
                    slow.sendall(b"a")

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        try:
            assert get(endpoint.port) == 200
            assert time.monotonic() - began < 2 * REQUEST_S + PATIENCE_S
        finally:
            stop.set()
            dripping.join(PATIENCE_S)
        silent.settimeout(PATIENCE_S)
        assert silent.recv(1) == b""


def test_a_text_that_cannot_be_made_is_a_500() -> None:
    """Trouble with the text is told by its kind only, and the next request is answered."""
    asked: list[int] = []

    def text() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise ZeroDivisionError("s3cret")
        return "fine\n"

    broken = MetricsEndpoint(0, text)
    broken.start()
    try:
        status, _, body = talk(broken.port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert status == 500
        assert b"ZeroDivisionError" in body
        assert b"s3cret" not in body
        assert get(broken.port) == 200
    finally:
        broken.close()


def test_it_ends_within_a_bound_and_gives_its_port_back() -> None:
    """Closing cuts a request in hand; the port can be had again at once; closing again does nothing."""
    first = MetricsEndpoint(0, lambda: "")
    first.start()
    port = first.port
    assert get(port) == 200
    with socket.create_connection(("127.0.0.1", port)) as silent:
        silent.sendall(b"GET /metr")
        began = time.monotonic()
        first.close()
        assert time.monotonic() - began < CLOSE_S
    first.close()
    assert first.port == 0
    assert [one.name for one in threading.enumerate() if one.name == "metrics"] == []
    second = MetricsEndpoint(port, lambda: "")
    second.start()
    assert (second.port, get(port)) == (port, 200)
    second.close()
    MetricsEndpoint(0, lambda: "").close()


def test_a_port_that_is_taken_is_an_error_with_advice(endpoint: MetricsEndpoint) -> None:
    """The message names address and reason, the hint the setting."""
    with pytest.raises(SettingsError, match=f"127.0.0.1:{endpoint.port}: Address already in use") as caught:
        MetricsEndpoint(endpoint.port, lambda: "").start()
    assert "metrics_port" in caught.value.hint
