"""HTTP: one request in, one Outcome out. The only file that knows httpx.

No request is ever sent twice from here, and no redirect is followed: whether a request may be repeated is the engine's
decision, and it rests on the one bit this file has to get right: could any byte of it have reached the remote?
"""

from __future__ import annotations

import email.utils
import hashlib
import http.cookiejar
import logging
import math
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

import httpx

from localtrack.errors import ReplayError
from localtrack_sync.protocol.answers import parsed
from localtrack_sync.protocol.effects import Failure, Outcome, Reply, Request, Upload
from localtrack_sync.remote.credentials import Credential, NoTokenYet
from localtrack_sync.remote.deadline import Deadline
from localtrack_sync.remote.guard import (
    refused_address,
    refused_headers,
    scrubbed,
    secrets_of,
    their_headers,
    unpacked,
)
from localtrack_sync.remote.local_files import LocalFileError, LocalFiles
from localtrack_sync.remote.remotes import Remote

#: Whether a byte of the request may have left when httpx raises this (the nearest base class counts). A connection that
#: is not there yet (name, TCP, TLS, a proxy's CONNECT, our own pool) has carried nothing; everything later is unknown.
MAY_HAVE_LEFT: Mapping[type[Exception], bool] = {
    httpx.ConnectError: False,
    httpx.ConnectTimeout: False,
    httpx.PoolTimeout: False,
    httpx.ProxyError: False,
    httpx.UnsupportedProtocol: False,
    httpx.InvalidURL: False,
    httpx.ReadError: True,
    httpx.ReadTimeout: True,
    httpx.WriteError: True,
    httpx.WriteTimeout: True,
    httpx.CloseError: True,
    httpx.LocalProtocolError: True,
    httpx.RemoteProtocolError: True,
    httpx.DecodingError: True,
    httpx.TooManyRedirects: True,
    httpx.HTTPStatusError: True,
    httpx.CookieConflict: True,
    httpx.StreamError: True,
    # Bases that httpx does not raise itself; a class that a later httpx adds under them is taken for the worse case.
    httpx.NetworkError: True,
    httpx.TimeoutException: True,
    httpx.ProtocolError: True,
    httpx.TransportError: True,
    httpx.RequestError: True,
    httpx.HTTPError: True,
}
_RAISED = tuple(MAY_HAVE_LEFT)
_TEXT_CHARS = 2000
_GOOD, _REDIRECTED, _LOGIN_NEEDED, _FORBIDDEN = 200, 300, 401, 403
#: Bytes of the answer to a request for a token.
_MOST_TOKEN_BYTES = 1 << 20
_KEPT_HEADERS = ("content-type", "date", "etag", "location", "server", "www-authenticate")
#: Bytes per second at which a remote is expected to digest a file that it has received, before it answers.
_DIGEST_RATE = 4 << 20


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Bounds of one request.

    Attributes:
        connect_s: seconds for name, TCP and TLS each.
        total_s: seconds for the whole request, however the remote spreads its bytes. A file may take longer: its time
            begins anew with each piece that leaves, and the reply has a second more for each 4 MiB.
        max_reply_bytes: a longer reply is not read to its end and counts as none.
        keepalive_s: an idle connection is not used again after this; below the 2 s after which gunicorn closes its own,
            so that a request is not written into a connection that the server is just closing.
        user_agent: value of the header.
        workspace: MLflow workspace, or "".
    """

    connect_s: float = 5.0
    total_s: float = 60.0
    max_reply_bytes: int = 64 << 20
    keepalive_s: float = 1.5
    user_agent: str = "localtrack"
    workspace: str = ""


class Transport:
    """One connection to one remote, for one thread at a time."""

    def __init__(
        self,
        remote: Remote,
        credential: Callable[[], Credential],
        settings: TransportSettings | None = None,
        verify: ssl.SSLContext | bool = True,
        files: LocalFiles | None = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            remote: where to.
            credential: asked before each request.
            settings: bounds.
            verify: from `tls_from`.
            files: where the bodies of uploads come from.

        Raises:
            ReplayError: the proxy settings of the environment cannot be used.
        """
        self._remote = remote
        self._credential = credential
        self._settings = settings or TransportSettings()
        self._files = files
        self._watch = Deadline()
        self._client = self._open(verify)

    def send(self, request: Request) -> Outcome:
        """Send `request` once and wait for its reply, at most `total_s` seconds (a file: see TransportSettings).

        Raises:
            CredentialError: the credentials cannot be read; nothing was sent.
        """
        try:
            credential = self._credential()
        except NoTokenYet as error:
            return Failure(sent=False, reason=error.reason)
        refused = self._refused(request)
        if refused:
            return Reply(_FORBIDDEN, {"error_code": "PERMISSION_DENIED", "message": refused}, refused)
        headers = self._headers(request, credential)
        secrets = secrets_of(credential.header, dict(credential.headers))
        self._watch.begin(self._settings.total_s)
        try:
            outcome = self._exchange(request, headers, secrets)
            if not request.url and _refused(outcome) and credential.refused is not None and credential.refused():
                return Failure(sent=False, reason="the token was refused; the next request fetches another")
            return outcome
        except _RAISED as error:
            late = f"no complete reply within {self._settings.total_s:g} s: " if self._watch.cut_it else ""
            return Failure(may_have_left(error), f"{late}{_words(error, secrets)}")
        except LocalFileError as error:  # the body was cut before its end: nobody takes that for a whole file
            return Failure(sent=False, reason=str(error), local=True)
        finally:
            self._watch.end()

    def abort(self) -> None:
        """Cut the request that is open, if any, from another thread: its `send` returns a Failure soon."""
        self._watch.abort()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _exchange(self, request: Request, headers: dict[str, str], secrets: tuple[bytes, ...]) -> Outcome:
        bounds, upload = self._settings, request.upload
        pieces = self._body(upload) if upload is not None else None
        # Before anything leaves: most trouble with a file shows at its first piece, all of it for a small one.
        first = next(pieces, b"") if pieces is not None else b""
        outgoing = self._client.build_request(
            request.method,
            request.url or self._remote.url + request.path,
            params=request.query or None,
            content=request.body if pieces is None else chain((first,), pieces),
            headers=headers,
            extensions={"trace": self._watch.trace},
            timeout=httpx.Timeout(
                bounds.total_s + _digest_s(upload),
                write=bounds.total_s,
                connect=bounds.connect_s,
                pool=bounds.connect_s,
            ),
        )
        with _quietly():
            reply = self._client.send(outgoing, stream=True)
        try:
            if request.hashed is not None and reply.status_code == _GOOD:
                return self._hash(reply, request.hashed)
            body = _read(reply, bounds.max_reply_bytes)
        finally:
            reply.close()
        if body is None:
            return Failure(sent=True, reason=f"the reply is longer than {bounds.max_reply_bytes:,} bytes")
        return _reply(reply.status_code, reply.headers, body, secrets)

    def _body(self, upload: Upload) -> Iterator[bytes]:
        """The bytes of a file; each piece that leaves wins time."""
        assert self._files is not None, "an upload needs the store's files"
        for piece in self._files.chunks(upload):
            self._watch.extend(self._settings.total_s)
            yield piece
        self._watch.extend(self._settings.total_s + _digest_s(upload))

    def _refused(self, request: Request) -> str:
        """Why a request may not go where the remote wants it, "" when it may, and when it goes to the remote."""
        if not request.url:
            return ""
        return refused_address(request.url, self._remote.url) or refused_headers(dict(request.headers))

    def _hash(self, reply: httpx.Response, expected: int) -> Outcome:
        """Size and hash of a file that comes as a reply; each piece that arrives wins time."""
        digest, size = hashlib.sha256(), 0
        for part in reply.iter_raw():
            self._watch.extend(self._settings.total_s)
            digest.update(part)
            size += len(part)
            if size > expected:
                break
        return Reply(reply.status_code, {"size": size, "sha256": digest.hexdigest()})

    def _headers(self, request: Request, credential: Credential) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "User-Agent": self._settings.user_agent}
        if not request.url:
            headers |= {"Accept": "application/json", "Content-Type": "application/json"}
            if self._settings.workspace:
                headers["X-MLFLOW-WORKSPACE"] = self._settings.workspace
            headers |= credential.headers
            if credential.header is not None:
                headers["Authorization"] = credential.header
        if request.upload is not None:
            headers["Content-Length"] = str(request.upload.sent)
        return headers | (their_headers(dict(request.headers)) if request.url else dict(request.headers))

    def _open(self, verify: ssl.SSLContext | bool) -> httpx.Client:
        bounds = self._settings
        try:
            return httpx.Client(
                verify=verify,
                timeout=httpx.Timeout(bounds.total_s, connect=bounds.connect_s, pool=bounds.connect_s),
                limits=httpx.Limits(
                    max_connections=1, max_keepalive_connections=1, keepalive_expiry=bounds.keepalive_s
                ),
                follow_redirects=False,
                cookies=_no_cookies(),
                trust_env=True,  # HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY
            )
        except (ValueError, ImportError, httpx.InvalidURL) as error:
            # Not the error's own words: they may quote the address, and a password may stand in it.
            raise ReplayError(
                f"The proxy settings of the environment cannot be used ({type(error).__name__}).",
                hint="Look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.",
            ) from None


def _no_cookies() -> http.cookiejar.CookieJar:
    """A jar that takes none: they would pile up in a process that runs for months, and the API needs none."""
    return http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))


class _Quiet(logging.Filter):
    """Keeps requests of ours out of httpx's logs: a signed address is a permission, and each request would be lines."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, _record: logging.LogRecord) -> bool:
        """Whether the record is somebody else's: this thread sends nothing of ours."""
        return not getattr(self.here, "sending", False)


_QUIET = _Quiet()
# A filter counts for the logger itself only, not for those below it; httpcore's show the headers of replies.
for _name in ("httpx", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks"))):
    logging.getLogger(_name).addFilter(_QUIET)


@contextmanager
def _quietly() -> Iterator[None]:
    _QUIET.here.sending = True
    try:
        yield
    finally:
        _QUIET.here.sending = False


def _read(reply: httpx.Response, most: int) -> bytes | None:
    """A reply's body, unpacked; None when it is longer than `most` bytes, as it comes or unpacked."""
    parts, size = [], 0
    for part in reply.iter_raw():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return unpacked(b"".join(parts), reply.headers.get("content-encoding", "").strip().lower(), most)


def _digest_s(upload: Upload | None) -> float:
    """Seconds that a remote may need to store a file after its last byte has come."""
    return upload.sent / _DIGEST_RATE if upload is not None else 0.0


def _refused(outcome: Outcome) -> bool:
    """Whether a login was refused: Databricks answers 403 to a token that has ended."""
    if not isinstance(outcome, Reply):
        return False
    return outcome.status == _LOGIN_NEEDED or (outcome.status == _FORBIDDEN and "token" in outcome.text.lower())


def post_form(
    url: str,
    form: Mapping[str, str],
    login: tuple[str, str],
    settings: TransportSettings,
    verify: ssl.SSLContext | bool,
) -> Outcome:
    """POST a form with a user name and a password (Basic), on a connection of its own: how OAuth tokens are fetched.

    No redirect is followed: the password would go along.
    """
    bounds = httpx.Timeout(settings.total_s, connect=settings.connect_s)
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": settings.user_agent}
    secrets = (login[1].encode(),)
    watch = Deadline()
    watch.begin(settings.total_s)
    try:
        with (
            _quietly(),
            httpx.Client(verify=verify, timeout=bounds, follow_redirects=False, trust_env=True) as client,
            client.stream(
                "POST", url, data=dict(form), auth=login, headers=headers, extensions={"trace": watch.trace}
            ) as reply,
        ):
            body = _read(reply, _MOST_TOKEN_BYTES)
    except _RAISED as error:
        return Failure(may_have_left(error), _words(error, secrets))
    finally:
        watch.end()
    if body is None:
        return Failure(sent=True, reason=f"the reply is longer than {_MOST_TOKEN_BYTES:,} bytes")
    return _reply(reply.status_code, reply.headers, body, secrets)


def may_have_left(error: Exception) -> bool:
    """Whether a byte of the request may have reached the remote when httpx raised `error`."""
    for kind in type(error).__mro__:
        if kind in MAY_HAVE_LEFT:
            return MAY_HAVE_LEFT[kind]
    return True


def _reply(status: int, headers: httpx.Headers, body: bytes, secrets: tuple[bytes, ...] = ()) -> Reply:
    content = parsed(body)
    if not (_GOOD <= status < _REDIRECTED and isinstance(content, dict)):
        # Words for people, which are kept and shown. (What a good answer says is compared with what was logged.)
        body = scrubbed(body, secrets)
        content = parsed(body)
    kept = {
        name: scrubbed(headers[name].encode("utf-8", "replace"), secrets).decode("utf-8", "replace")
        for name in _KEPT_HEADERS
        if name in headers
    }
    text = body[: 4 * _TEXT_CHARS].decode("utf-8", "replace")[:_TEXT_CHARS]
    return Reply(status, content, text, retry_after(headers.get("retry-after"), headers.get("date")), kept)


def retry_after(value: str | None, date: str | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date seen from the reply's Date; None for nonsense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(value).timestamp()
            now = email.utils.parsedate_to_datetime(date).timestamp() if date else time.time()
        except (ValueError, TypeError, OverflowError):
            return None
        seconds = max(0.0, then - now)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _words(error: Exception, secrets: tuple[bytes, ...]) -> str:
    """What httpx says; h11 quotes a header that it cannot send."""
    told = scrubbed(str(error).strip()[:_TEXT_CHARS].encode("utf-8", "replace"), secrets).decode("utf-8", "replace")
    return f"{told or 'no further words'} ({type(error).__name__})"
