"""How `localtrack doctor` looks at a remote: real sockets, real servers."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from localtrack_sync.checkup.finding import Finding, hide
from localtrack_sync.checkup.look_remote import Looking, look_at_remotes, secrets_in
from localtrack_sync.checkup.remote_checks import remote_findings
from localtrack_sync.checkup.remote_look import RemoteLook
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import TransportSettings
from tests.servers.kinds import Kind
from tests.servers.mlflow_server import MlflowServer, free_port
from tests.servers.under_test import RemoteUnderTest

CERTIFICATE = str(Path(__file__).with_name("localhost.pem"))
HTML = b"<html><body>Welcome to our hotel. Please log in.</body></html>"
TOKEN = "tok-0123456789abcdef"  # noqa: S105 - of a test
#: What a doctor may send, besides GETs.
SEARCHES = {"/api/2.0/mlflow/experiments/search", "/api/2.0/mlflow/logged-models/search"}


@contextmanager
def server(
    answer: Callable[[BaseHTTPRequestHandler], object], tls: ssl.SSLContext | None = None
) -> Iterator[tuple[str, list[str]]]:
    """A server on 127.0.0.1 that answers every request in one way; yields its URL and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            answer(self)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names of http.server

        def log_message(self, *_: object) -> None:
            """Says nothing."""

        def date_time_string(self, timestamp: float | None = None) -> str:
            """The server's clock."""
            return formatdate(
                time.time() + getattr(self, "ahead_s", 0.0) if timestamp is None else timestamp, usegmt=True
            )

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.server_address[1]}", asked
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(10)


def saying(status: int, body: bytes = b"", kind: str = "text/html", ahead_s: float = 0.0, **headers: str) -> Any:
    """Answers so; `ahead_s` seconds is how far its clock is ahead of ours."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.ahead_s = ahead_s  # type: ignore[attr-defined]
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        handler.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def look(uri: str, seconds: float = 20.0, *, offline: bool = False, **environ: str) -> RemoteLook:
    """What is seen of one remote."""
    given = {"HOME": "/nowhere", **environ}
    how = Looking(given, TransportSettings(), seconds, offline)
    [found] = look_at_remotes([parse_remote(uri, given)], how)
    return found


def findings(uri: str, seconds: float = 20.0, *, offline: bool = False, **environ: str) -> dict[str, Finding]:
    """What is found of one remote, but for what is in order."""
    seen = look(uri, seconds, offline=offline, **environ)
    found = hide(remote_findings(seen), [*secrets_in(environ), *seen.secrets])
    return {finding.kind.id: finding for finding in found if finding.kind.why}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.server
def test_a_real_server_is_well(mlflow_server: MlflowServer, server_kind: Kind) -> None:
    """Version, kind of store and capabilities come from the server itself; nothing needs attention."""
    seen = look(mlflow_server.url)
    assert seen.ended
    assert seen.about is not None
    assert seen.about.version == server_kind.version
    assert (seen.about.dedupes, seen.about.models) == (server_kind.dedupes, server_kind.has_models)
    assert not any(finding.level.needs_attention for finding in remote_findings(seen))
    assert {"reachable", "credentials", "server", "clock", "limits"} <= {f.kind.id for f in remote_findings(seen)}


def test_every_remote_that_a_replay_knows_can_be_looked_at(remote: RemoteUnderTest) -> None:
    """The doctor's questions are ones that every remote of the contract answers."""
    given = dict(remote.environ)
    [seen] = look_at_remotes([parse_remote(remote.uri, given)], Looking(given, TransportSettings(), 30.0))
    assert seen.about is not None
    assert seen.about.models is remote.has_models
    assert {f.kind.id for f in remote_findings(seen) if f.level.needs_attention} == set()


def test_a_captive_portal_is_told_from_a_server() -> None:
    """HTML with status 200 is no answer, whatever is asked."""
    with server(saying(200, HTML)) as (url, _):
        found = findings(url)
    assert set(found) == {"captive-portal"}
    assert "Welcome to our hotel" in found["captive-portal"].detail


def test_a_login_that_is_refused_shows_where_it_comes_from_and_never_the_token() -> None:
    """Not even when the server sends it back in its words."""
    with server(saying(401, f"Bad login: Bearer {TOKEN}".encode(), "text/plain")) as (url, _):
        found = findings(url, MLFLOW_TRACKING_TOKEN=TOKEN)
    assert set(found) == {"credentials-refused"}
    detail = found["credentials-refused"].detail
    assert "MLFLOW_TRACKING_TOKEN" in detail
    assert "Bad login" in detail
    assert TOKEN not in detail


def test_a_password_of_the_address_is_never_shown() -> None:
    """Nor what it becomes in the header."""
    with server(saying(401, b"Bad login: passw0rd dXNlcjpwYXNzdzByZA==", "text/plain")) as (url, _):
        seen = look(url.replace("//", "//user:passw0rd@"))
    shown = " ".join(finding.detail for finding in hide(remote_findings(seen), seen.secrets))
    assert "passw0rd" not in shown
    assert "dXNlcjpwYXNzdzByZA==" not in shown


@pytest.mark.parametrize(
    ("ahead_s", "expected"), [(0, set()), (30, {"clock-off"}), (-600, {"clock-far-off"}), (7200, {"clock-far-off"})]
)
def test_a_clock_that_differs_is_found(ahead_s: float, expected: set[str]) -> None:
    """By the Date of the first reply."""
    body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}'
    with server(saying(404, body, "application/json", ahead_s)) as (url, _):
        found = set(findings(url))
    assert {one for one in found if one.startswith("clock")} == expected


def test_a_redirect_is_not_followed() -> None:
    """Where it leads to is said, and not asked; credentials stay here."""
    with (
        server(saying(200, HTML)) as (other, there),
        server(saying(302, Location=f"{other}/login?next=x")) as (url, _),
    ):
        found = findings(url, MLFLOW_TRACKING_TOKEN=TOKEN)
    assert there == []
    assert f"{other}/login." in found["redirects"].detail


def test_a_server_that_is_away_is_said_to_be_away() -> None:
    """Nobody listens: a warning, and no error."""
    assert set(findings(f"http://127.0.0.1:{free_port()}")) == {"remote-away"}
    assert set(findings("http://no-such-host.invalid")) == {"name-unknown"}


def test_a_server_that_never_answers_is_not_waited_for() -> None:
    """The time for a remote is a bound on all of its questions; others are asked meanwhile."""
    ended = threading.Event()
    with server(lambda _: ended.wait(60)) as (url, _), server(saying(200, HTML)) as (other, _):
        addresses = [parse_remote(one) for one in (url, url + "/a", other)]
        began = time.monotonic()
        looks = look_at_remotes(addresses, Looking({"HOME": "/nowhere"}, TransportSettings(), 1.0))
        took = time.monotonic() - began
        ended.set()
    ids = [{f.kind.id for f in remote_findings(seen) if f.level.needs_attention} for seen in looks]
    assert ids == [{"remote-away"}, {"remote-away"}, {"captive-portal"}]
    assert took < 10, "each of them on its own would wait for a minute"


def test_nothing_but_reads_is_sent() -> None:
    """GETs, and searches that MLflow takes as POST; whatever the server answers."""
    body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}'
    for answer in (saying(404, body, "application/json"), saying(403, b"Permission denied"), saying(200, HTML)):
        with server(answer) as (url, asked):
            findings(url)
        assert asked
        assert {one for one in asked if not one.startswith("GET ")} <= {f"POST {path}" for path in SEARCHES}


def test_offline_contacts_nobody() -> None:
    """Settings and credentials are looked at; the server is not."""
    with server(saying(200, HTML)) as (url, asked):
        assert set(findings(url, offline=True)) == {"not-contacted"}
        found = findings(url, offline=True, MLFLOW_TRACKING_AUTH="some-plugin")
        assert set(found) == {"credentials-unusable", "not-contacted"}
        assert set(findings(url, offline=True, MLFLOW_TRACKING_CLIENT_CERT_PATH="/nowhere.pem")) == {
            "connection-settings",
            "not-contacted",
        }
    assert asked == []


def test_trouble_with_settings_keeps_requests_back() -> None:
    """What cannot be used is said, and nothing is sent without it."""
    with server(saying(200, HTML)) as (url, asked):
        assert set(findings(url, MLFLOW_TRACKING_AWS_SIGV4="true")) == {"credentials-unusable"}
        assert set(findings(url, MLFLOW_TRACKING_SERVER_CERT_PATH="/nowhere.pem")) == {"connection-settings"}
    assert asked == []


def test_a_certificate_that_nobody_vouches_for() -> None:
    """A server with a certificate of its own: refused, or not checked when somebody asked for that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with server(saying(200, HTML), context) as (url, asked):
        assert set(findings(url)) == {"certificate-refused"}
        assert asked == []
        assert set(findings(url, MLFLOW_TRACKING_INSECURE_TLS="true")) == {"tls-unchecked", "captive-portal"}
        seen = look(url, MLFLOW_TRACKING_SERVER_CERT_PATH=CERTIFICATE)
    assert {"captive-portal", "tls"} <= {finding.kind.id for finding in remote_findings(seen)}
    assert seen.authorities == f"{CERTIFICATE} (MLFLOW_TRACKING_SERVER_CERT_PATH)"
