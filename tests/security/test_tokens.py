"""A token is sent to its remote, and stands nowhere else: files of the store, output, messages, logs."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

import localtrack
from localtrack.cli.entry import run as command
from localtrack.errors import LocaltrackError, TrackingError
from localtrack.store import Store
from localtrack.tracking_uri import parse
from localtrack_sync.protocol.effects import Failure, Reply, Request
from localtrack_sync.remote.credentials import Credential
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import Transport, TransportSettings, post_form
from tests.security.hostile import Answer, Hostile, Script
from tests.security.places import logged

SECRET = "s3cr3t-T0ken/with+odd:chars@8e1f"
WAYS = ["token", "password", "url", "file", "profile"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without settings."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "LOCALTRACK_", "DATABRICKS_", "XDG_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def given(way: str, url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the secret in one way; the address to replay to."""
    if way == "token":
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    elif way == "password":
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    elif way == "url":
        return url.replace("http://", f"http://me:{quote(SECRET, safe='')}@")
    elif way == "file":
        (home / ".mlflow").mkdir()
        text = f"[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = {SECRET}\n"
        (home / ".mlflow" / "credentials").write_text(text)
    else:
        (home / ".databrickscfg").write_text(f"[team]\nhost = {url}\ntoken = {SECRET}\n")
        monkeypatch.setenv("LOCALTRACK_DATABRICKS_FOLDER", "/Shared")
        return "databricks://team"
    return url


def spellings() -> list[bytes]:
    """What would give the secret away."""
    plain = SECRET.encode()
    basic = base64.b64encode(b"me:" + plain)
    found = [plain, base64.b64encode(plain), basic, quote(SECRET, safe="").encode(), quote(SECRET).encode()]
    return [*found, json.dumps(SECRET)[1:-1].encode(), plain[:20], basic[:24]]


def leaks(content: bytes) -> list[bytes]:
    """Spellings of the secret in some bytes."""
    return [one for one in spellings() if one in content]


def leaks_below(directory: str) -> list[str]:
    """Files below a directory that hold the secret, or are named after it."""
    found = []
    for where, _, names in os.walk(directory):
        paths = [os.path.join(where, name) for name in names]
        found += [path for path in paths if leaks(path.encode()) or leaks(Path(path).read_bytes())]
    return found


def echo(status: int, form: str) -> Callable[[Hostile, Request], Answer]:
    """A server that shows what it was sent, as some proxies do on their error pages."""

    def answer(server: Hostile, _request: Request) -> Answer:
        sent = server.heard[-1][2].get("authorization", "")
        if sent.startswith("Basic "):
            sent += " " + base64.b64decode(sent[6:]).decode()
        body = {"html": f"<html>you sent {sent}</html>", "json": json.dumps({"error_code": "X", "message": sent})}
        return Answer(status, body[form].encode(), {"WWW-Authenticate": sent, "Location": f"http://x/?t={sent}"})

    return answer


def now_and_then(server: Hostile, answer: Callable[[Hostile, Request], Answer], look: Callable[[], None]) -> Script:
    """Trouble for two requests of three; before each, somebody looks at the store."""
    count = itertools.count()

    def script(request: Request, _say: Callable[[], Reply]) -> Answer | None:
        look()
        return answer(server, request) if next(count) % 3 else None

    return script


#: What goes wrong, one after the other: refused login, portal, broken server, refused data, a redirect, no reply.
TROUBLES = {
    "401": echo(401, "json"), "portal": echo(200, "html"), "500": echo(500, "html"), "403": echo(403, "json"),
    "redirect": echo(307, "html"), "400": echo(400, "json"),
    "cut": lambda _server, _request: Answer(200, b'{"a": ', {"Content-Length": "100"}, close=True),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_token_stands_nowhere(
    way: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Given in any way, through every kind of trouble: it reaches the server, and no file, output or log shows it."""
    caplog.set_level(logging.DEBUG)
    in_flight: list[str] = []
    with Hostile() as server:
        address = given(way, server.url, home, monkeypatch)
        localtrack.set_tracking_uri(address)  # recorded with the run, without what is secret in it
        monkeypatch.setenv("LOCALTRACK_STORE", str(tmp_path / "default"))
        with localtrack.start_run():
            localtrack.log_metric("a", 1.0)
        localtrack.set_tracking_uri(None)
        store, run_id = logged(tmp_path)
        codes = {}
        for name, answer in list(TROUBLES.items())[:: 1 if way in ("token", "url") else 4]:
            server.script = now_and_then(server, answer, lambda: in_flight.extend(leaks_below(store.path)))
            codes[name] = command(
                ["sync", "--to", address, "--store", store.path, "--patience", "0.2", "--settle", "0"]
            )
        server.script = lambda _request, _say: None
        for words in (
            ["sync", "--to", address],
            ["sync", "--to", address, "--json"],
            ["verify", "--to", address],
            ["status"],
            ["status", "--json"],
            ["conflicts"],
            ["conflicts", "--json"],
            ["runs"],
            ["show", run_id],
        ):
            codes[words[0]] = command([*words, "--store", store.path])
        server.script = lambda request, _say: echo(500, "json")(server, request)
        command(["verify", "--to", address, "--store", store.path, "--json", "--patience", "0.2"])
        sent = {headers.get("authorization", "").rpartition(" ")[2] for _, _, headers, _ in server.heard}
    shown = capfd.readouterr()
    wanted = SECRET if way in ("token", "profile") else base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert sent == {wanted}, "every request to the remote carries it"
    assert codes["sync"] in (0, 4), (codes, shown)
    assert "mistake in localtrack" not in shown.err
    assert in_flight == []
    assert leaks_below(store.path) == leaks_below(str(tmp_path / "default")) == []
    assert [path for path in leaks_below(str(home)) if not path.endswith(("credentials", ".databrickscfg"))] == []
    assert leaks(shown.out.encode()) == leaks(shown.err.encode()) == leaks(caplog.text.encode()) == []


@pytest.mark.parametrize(
    "uri",
    [
        f"http://me:{SECRET}@host:5000", f"http://me:a/{SECRET}@host", f"http://me:1/{SECRET}@host",
        f"http://me:a#{SECRET}@host", f"http://me:a?{SECRET}@host", f"http://me:{SECRET}@host:port",
        f"http://me:{SECRET}@", f"ftp://me:{SECRET}@host", f"https://me:x@y{SECRET}@host/p",
        f"http://me:{SECRET}@host?q={SECRET}", f"http://[::1:{SECRET}@x]", f"http:me:{SECRET}@host",
    ],
)  # fmt: skip
def test_no_message_about_a_bad_address_shows_its_password(uri: str) -> None:
    """Unquoted slashes, marks and ats in a password, wrong ports and schemes: neither kept nor shown."""
    for read in (parse, parse_remote):
        try:
            told = repr(read(uri))
        except LocaltrackError as error:
            told = f"{error!r} {error.message} {error.hint}"
        assert "s3cr3t" not in told, told
        assert "8e1f" not in told, told


def test_an_address_whose_password_ends_it_early_is_refused_at_the_call() -> None:
    """What would be recorded as host, port and path is a part of a password: the error says how to write it."""
    for uri in ("http://me:pa/ss@host", "http://me:12/ss@host", "http://me:1?ss@host", "https://a:pw"):
        with pytest.raises(TrackingError, match="%2F"):
            parse(uri)
    assert parse("http://gateway/@team/mlflow").remote == "http://gateway/@team/mlflow"
    assert parse("http://[::1]:5000/x").remote == "http://[::1]:5000/x"


def test_words_about_a_header_that_cannot_be_sent_do_not_quote_it() -> None:
    """A login that comes from a library, with a character that no header takes: h11 quotes it, we do not."""
    transport = Transport(parse_remote("http://127.0.0.1:9").remote, lambda: Credential(f"Bearer {SECRET}\n"))
    outcome = transport.send(Request("GET", "/version"))
    transport.close()
    assert isinstance(outcome, Failure)
    assert not leaks(outcome.reason.encode())


def test_a_token_server_that_shows_the_secret_is_not_quoted() -> None:
    """Where OAuth tokens come from: an error page with the client's secret on it comes back without."""
    with Hostile(lambda _request, _say: Answer(400, json.dumps({"error": SECRET}).encode())) as server:
        outcome = post_form(f"{server.url}/oidc/v1/token", {}, ("id", SECRET), TransportSettings(), verify=True)
    assert isinstance(outcome, Reply)
    assert outcome.status == 400
    assert not leaks(f"{outcome.body} {outcome.text}".encode())


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy with a password in its address, which cannot be used."""
    monkeypatch.setenv("HTTPS_PROXY", f"gopher://me:{quote(SECRET, safe='')}@127.0.0.1:1")


@pytest.mark.usefixtures("proxied")
def test_the_password_of_a_proxy_is_not_shown() -> None:
    """A proxy setting that cannot be used is named by its variable."""
    with pytest.raises(LocaltrackError, match="proxy") as error:
        Transport(parse_remote("https://host.example").remote, Credential)
    assert not leaks(f"{error.value!r} {error.value.message} {error.value.__cause__!r}".encode())


def test_requests_are_not_in_the_log_of_httpx(caplog: pytest.LogCaptureFixture) -> None:
    """A program that logs everything at INFO sees no request of ours: signed addresses are permissions."""
    caplog.set_level(logging.DEBUG)
    with Hostile() as server:
        transport = Transport(parse_remote(server.url).remote, Credential)
        transport.send(Request("PUT", "", b"x", url=f"{server.url}/bucket?signature={quote(SECRET)}"))
        transport.close()
    assert server.heard[0][1].startswith("/bucket?signature=")
    assert "signature" not in caplog.text
    logging.getLogger("httpx").info("of somebody else")
    assert "of somebody else" in caplog.text


def test_stores_of_tests_are_made_where_they_should(tmp_path: Path) -> None:
    """The search for leaks finds one: in a file, and in its name."""
    (tmp_path / "a").write_bytes(b"x" + SECRET.encode() + b"x")
    (tmp_path / base64.b64encode(b"me:" + SECRET.encode()).decode().replace("/", "_")).touch()
    assert len(leaks_below(str(tmp_path))) == 2
    assert Store.at(tmp_path).path == str(tmp_path)
