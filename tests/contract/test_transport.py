"""The transport against real sockets: what it says about a request that did not come back whole."""

from __future__ import annotations

import hashlib
import inspect
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pytest

from localtrack.errors import ReplayError
from localtrack_sync.protocol.effects import Failure, Outcome, Reply, Request
from localtrack_sync.remote.credentials import Credential
from localtrack_sync.remote.remotes import Remote, parse_remote
from localtrack_sync.remote.tls import tls_from
from localtrack_sync.remote.transport import MAY_HAVE_LEFT, Transport, TransportSettings, may_have_left, retry_after
from tests.servers.mlflow_server import free_port
from tests.servers.proxy import read_message

POST = Request("POST", "/api/2.0/mlflow/runs/create", b'{"a": 1}')
CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))
QUICK = TransportSettings(connect_s=0.5, total_s=0.6)
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"ok": 1}'


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server on 127.0.0.1 whose connections are each given to `serve`, in a thread; yields its URL."""
    ended = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while not ended.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    serve(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def received(connection: socket.socket) -> bytes:
    """One whole request; empty when the connection has ended."""
    with connection.makefile("rb") as stream:
        return b"".join(read_message(stream) or ())


def replying(*parts: bytes, pause: float = 0.0) -> Callable[[socket.socket], None]:
    """Reads one request, then sends the parts with a pause before each but the first, then closes."""
    never = threading.Event()

    def serve(connection: socket.socket) -> None:
        received(connection)
        for index, part in enumerate(parts):
            if index and pause:
                never.wait(pause)
            connection.sendall(part)

    return serve


def ask(
    url: str, request: Request = POST, settings: TransportSettings = QUICK, tls: ssl.SSLContext | bool = True
) -> Outcome:
    """Send one request on a transport of its own."""
    transport = Transport(Remote(url), Credential, settings, tls)
    try:
        return transport.send(request)
    finally:
        transport.close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_every_exception_of_httpx_is_classified() -> None:
    """An exception class that a new httpx brings fails here until somebody decides what it says about the request."""
    raised = {kind for _, kind in inspect.getmembers(httpx, inspect.isclass) if issubclass(kind, Exception)}
    stream_errors = {kind for kind in raised if issubclass(kind, httpx.StreamError)}
    assert raised - set(MAY_HAVE_LEFT) - stream_errors == set()


def test_an_unknown_exception_is_taken_for_the_worse_case() -> None:
    """A class that nobody classified counts as one after which the remote may have executed the request."""

    class NewError(httpx.TransportError):
        pass

    assert may_have_left(NewError("new"))
    assert may_have_left(ValueError("foreign"))


def test_a_reply_is_handed_over_whole() -> None:
    """Status, parsed JSON, text and headers of a reply arrive as the remote sent them."""
    with listening(replying(OK)) as url:
        outcome = ask(url)
    assert isinstance(outcome, Reply)
    assert (outcome.status, outcome.body, outcome.text) == (200, {"ok": 1}, '{"ok": 1}')
    assert outcome.headers["content-type"] == "application/json"


def test_a_refused_connection_was_not_sent() -> None:
    """Nobody listens: certainly nothing was executed."""
    outcome = ask(f"http://127.0.0.1:{free_port()}")
    assert isinstance(outcome, Failure)
    assert not outcome.sent


def test_an_unknown_name_was_not_sent() -> None:
    """The name does not resolve: certainly nothing was executed."""
    outcome = ask("http://no-such-host.invalid")
    assert isinstance(outcome, Failure)
    assert not outcome.sent


def test_a_failed_tls_handshake_was_not_sent() -> None:
    """The other side does not speak TLS: the request stayed here."""
    with listening(replying(b"what is this\r\n")) as url:
        outcome = ask(url.replace("http:", "https:"))
    assert isinstance(outcome, Failure)
    assert not outcome.sent


def over_tls(serve: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """The same server behind TLS, with a certificate that only this directory knows (its key is no secret)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as stream:
            serve(stream)

    return secured


def test_a_known_certificate_is_accepted() -> None:
    """With the authority named, the request goes through TLS."""
    with listening(over_tls(replying(OK))) as url:
        outcome = ask(url.replace("http:", "https:"), tls=tls_from({"MLFLOW_TRACKING_SERVER_CERT_PATH": CERTIFICATE}))
    assert isinstance(outcome, Reply)


def test_an_unknown_certificate_gets_nothing() -> None:
    """A certificate that no authority vouches for: the request, and the credentials in it, stay here."""
    got: list[bytes] = []
    with listening(over_tls(lambda connection: got.append(received(connection)))) as url:
        outcome = ask(url.replace("http:", "https:"), tls=tls_from({}))
    assert isinstance(outcome, Failure)
    assert not outcome.sent
    assert "certificate" in outcome.reason.lower()
    assert got in ([], [b""])


def test_a_silent_tls_server_is_left_at_the_deadline() -> None:
    """The deadline also cuts a connection that is encrypted."""
    release = threading.Event()
    with listening(over_tls(lambda _: (release.wait(10), None)[1])) as url:
        outcome = ask(url.replace("http:", "https:"), tls=tls_from({"MLFLOW_TRACKING_SERVER_CERT_PATH": CERTIFICATE}))
        release.set()
    assert isinstance(outcome, Failure)
    assert outcome.sent


@pytest.mark.parametrize(
    "parts",
    [(), (b"HTTP/1.1 200 OK\r\n",), (OK[:-3],), (b"garbage\r\n\r\n",)],
    ids=["no reply", "head cut", "body cut", "no HTTP"],
)
def test_a_broken_reply_leaves_the_outcome_open(parts: tuple[bytes, ...]) -> None:
    """A connection that ends before the reply does: the remote may have executed the request."""
    with listening(replying(*parts)) as url:
        outcome = ask(url)
    assert isinstance(outcome, Failure)
    assert outcome.sent


@pytest.mark.parametrize("head", [0, OK.index(b"\r\n\r\n") + 4], ids=["in the head", "in the body"])
def test_a_dripping_reply_cannot_stretch_the_deadline(head: int) -> None:
    """Each byte comes in time, the whole does not: the request ends at its deadline, as open."""
    long_reply = OK.replace(b"Content-Length: 9", b"Content-Length: 900") + b" " * 891
    serve = replying(long_reply[:head] or b"H", *(bytes([byte]) for byte in long_reply[head or 1 :]), pause=0.05)
    with listening(serve) as url:
        started = threading.Event()
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: (started.set(), outcomes.append(ask(url))))  # type: ignore[func-returns-value]
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    [outcome] = outcomes
    assert isinstance(outcome, Failure)
    assert outcome.sent
    assert "0.6 s" in outcome.reason


def test_a_silent_server_is_left_at_the_deadline() -> None:
    """No byte at all: the request ends at its deadline, as open."""
    release = threading.Event()
    with listening(lambda _: (release.wait(10), None)[1]) as url:
        outcome = ask(url)
        release.set()
    assert isinstance(outcome, Failure)
    assert outcome.sent


def test_an_open_request_can_be_cut_from_outside() -> None:
    """`abort` from another thread ends a request long before its deadline, as open."""
    asked, release = threading.Event(), threading.Event()

    def serve(connection: socket.socket) -> None:
        received(connection)
        asked.set()
        release.wait(10)

    with listening(serve) as url:
        transport = Transport(Remote(url), Credential, TransportSettings(total_s=60))
        outcomes: list[Outcome] = []
        thread = threading.Thread(target=lambda: outcomes.append(transport.send(POST)))
        thread.start()
        assert asked.wait(10)
        transport.abort()
        thread.join(10)
        assert not thread.is_alive()
        release.set()
        transport.close()
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].sent


def test_an_endless_reply_is_not_read_to_its_end() -> None:
    """A reply beyond the bound counts as none, and does not fill the memory."""
    with listening(replying(OK.replace(b"Content-Length: 9", b"Content-Length: 99999") + b"x" * 90_000)) as url:
        outcome = ask(url, settings=TransportSettings(total_s=5, max_reply_bytes=10_000))
    assert isinstance(outcome, Failure)
    assert outcome.sent
    assert "10,000 bytes" in outcome.reason


def test_a_redirect_is_not_followed() -> None:
    """A 307 comes back as it is: following it would send the run, and the credentials, somewhere else."""
    with listening(replying(b"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")) as url:
        outcome = ask(url)
    assert isinstance(outcome, Reply)
    assert outcome.status == 307


def test_a_page_is_no_json() -> None:
    """HTML with status 200 (a captive portal) has no body as JSON, and its text for people."""
    with listening(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>")) as url:
        outcome = ask(url)
    assert isinstance(outcome, Reply)
    assert outcome.body is None
    assert outcome.text == "<html></html>"


def test_the_request_on_the_wire() -> None:
    """Path below the remote's prefix, body as given, Host, credentials, workspace and user agent in the head."""
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(received(connection))
        connection.sendall(OK)

    settings = TransportSettings(total_s=5, workspace="team-a", user_agent="localtrack/1")
    with listening(serve) as url:
        remote = parse_remote(url + "/prefix/").remote
        transport = Transport(remote, lambda: Credential("Bearer secret"), settings)
        transport.send(POST)
        transport.close()
    head, body = got[0].split(b"\r\n\r\n")
    assert body == POST.body
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /prefix/api/2.0/mlflow/runs/create HTTP/1.1"
    named = dict(line.lower().split(": ", 1) for line in lines[1:])
    assert named["host"] == url.removeprefix("http://")
    assert named["authorization"] == "bearer secret"
    assert named["x-mlflow-workspace"] == "team-a"
    assert named["user-agent"] == "localtrack/1"
    assert named["content-type"] == "application/json"


def test_a_query_is_encoded() -> None:
    """Query parameters of a GET keep any character."""
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(received(connection))
        connection.sendall(OK)

    with listening(serve) as url:
        ask(url, Request("GET", "/x", query=(("name", "a b&c=é/"),)))
    query = got[0].split(b" ")[1].decode().partition("?")[2]
    assert parse_qsl(query) == [("name", "a b&c=é/")]


def test_nothing_is_sent_twice() -> None:
    """A connection that the server closes without an answer is not tried again by the transport."""
    count = []

    def serve(connection: socket.socket) -> None:
        count.append(received(connection))

    with listening(serve) as url:
        ask(url)
    assert len(count) == 1


def test_a_connection_is_used_again() -> None:
    """Two requests in a row travel on one connection."""
    count = []

    def serve(connection: socket.socket) -> None:
        count.append(1)
        while received(connection):
            connection.sendall(OK)

    with listening(serve) as url:
        transport = Transport(Remote(url), Credential, TransportSettings(total_s=5))
        assert [type(transport.send(POST)) for _ in range(3)] == [Reply] * 3
        transport.close()
    assert len(count) == 1


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    """A server that hangs up between two requests costs a new connection, not an open outcome."""
    closed = threading.Event()

    def serve(connection: socket.socket) -> None:
        received(connection)
        connection.sendall(OK)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with listening(serve) as url:
        transport = Transport(Remote(url), Credential, TransportSettings(total_s=5))
        for _ in range(3):
            assert isinstance(transport.send(POST), Reply)
            assert closed.wait(5)
            closed.clear()
        transport.close()


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        (None, None, None),
        ("7", None, 7.0),
        ("1.5", None, 1.5),
        ("-3", None, None),
        ("inf", None, None),
        ("nan", None, None),
        ("soon", None, None),
        ("Wed, 21 Oct 2026 07:28:30 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after(value: str | None, date: str | None, expected: float | None) -> None:
    """Retry-After as a number or a date gives seconds; nonsense gives nothing."""
    assert retry_after(value, date) == expected


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY carries the request: the proxy sees the whole URL."""
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        got.append(received(connection))
        connection.sendall(OK)

    with listening(serve) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        assert isinstance(ask("http://tracking.invalid"), Reply)
    assert got[0].startswith(b"POST http://tracking.invalid/api/2.0/mlflow/runs/create HTTP/1.1")


def test_a_proxy_that_refuses_to_connect_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that answers CONNECT with 403 has passed nothing on."""
    with listening(replying(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        outcome = ask("https://tracking.invalid")
    assert isinstance(outcome, Failure)
    assert not outcome.sent


def test_a_proxy_setting_that_cannot_work_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of an unknown kind is an error with a hint, not a traceback."""
    monkeypatch.setenv("HTTP_PROXY", "gopher://127.0.0.1:1")
    with pytest.raises(ReplayError, match="proxy"):
        ask("http://tracking.invalid")


@pytest.mark.parametrize("expected", [5, 200, 100_000])
def test_a_file_that_is_read_back_is_hashed_and_not_kept(expected: int) -> None:
    """Size and SHA-256 come in the place of the body, one that is too long is not read to its end."""
    content = b'{"not": json' * 1000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content)
    with listening(replying(head + content)) as url:
        reply = ask(url, Request("GET", "/file", hashed=expected), TransportSettings(max_reply_bytes=100))
    assert isinstance(reply, Reply)
    if expected > len(content):
        assert reply.body == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    else:
        assert reply.body["size"] > expected


def test_a_file_that_breaks_off_is_no_answer() -> None:
    """A connection that ends before the last byte: nothing is known of the file, and an error page is not hashed."""
    with listening(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as url:
        assert isinstance(ask(url, Request("GET", "/file", hashed=10)), Failure)
    page = b'HTTP/1.1 404 Not Found\r\nContent-Length: 11\r\n\r\n{"gone": 1}'
    with listening(replying(page)) as url:
        reply = ask(url, Request("GET", "/file", hashed=10))
    assert isinstance(reply, Reply)
    assert (reply.status, reply.body) == (404, {"gone": 1})
