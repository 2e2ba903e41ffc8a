"""A strict stand-in for Databricks' MLflow API: a real HTTP server on 127.0.0.1 that holds to what is documented.

It refuses what the documentation does not allow (sizes, counts, names, paths, system tags, quotas), appends metrics
without removing duplicates, leaves the part of a failed batch that was written before the failure, wants a login, and
knows none of the routes that only MLflow's own server has. What no page says, it does in the way that is worse for us.
"""

from __future__ import annotations

import json
import secrets
import threading
import urllib.parse
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, final

from tests.servers.databricks_models import Files, Models
from tests.servers.databricks_rules import Refusal, Strictness, text
from tests.servers.databricks_workspace import Workspace

API = "/api/2.0/mlflow/"


@dataclass(frozen=True)
class Denial:
    """An answer instead of an answer: 429 with Retry-After, 503, ...."""

    status: int = 429
    code: str = "REQUEST_LIMIT_EXCEEDED"
    message: str = "Too many requests. Please wait a moment and try again."
    retry_after: str = ""


@dataclass
class Logins:
    """Who may come in.

    Attributes:
        pat: a personal access token.
        client: client id and secret of a service principal.
        lifetime: seconds that are promised for an OAuth token.
        tokens: OAuth tokens that are accepted now; a test may take them away.
        issued: how many were given out.
        org: id of the workspace, which requests must name; "": need not.
        headers: of the last request that was let in.
    """

    pat: str = field(default_factory=lambda: f"dapi{secrets.token_hex(8)}")
    client: tuple[str, str] = ("client-id", "client-secret")
    lifetime: int = 3600
    tokens: set[str] = field(default_factory=set)
    issued: int = 0
    org: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def check(self, headers: Message) -> None:
        """Let a request in.

        Raises:
            Refusal: it has no login, or one that is not accepted.
        """
        kind, _, token = headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            raise Refusal(401, "401", "Credential was not sent or was of an unsupported type for this API.")
        if token != self.pat and token not in self.tokens:
            raise Refusal(403, "403", "Invalid access token.")
        if self.org and headers.get("X-Databricks-Org-Id") != self.org:
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "Unable to tell the workspace of this request.")
        self.headers = {name.lower(): value for name, value in headers.items()}

    def token(self, headers: Message, body: bytes) -> tuple[int, dict[str, Any]]:
        """An OAuth token for a service principal."""
        kind, _, packed = headers.get("Authorization", "").partition(" ")
        given = dict(urllib.parse.parse_qsl(body.decode()))
        known = kind == "Basic" and b64decode(packed).decode() == ":".join(self.client)
        if given.get("grant_type") != "client_credentials" or given.get("scope") != "all-apis":
            return 400, {"error": "invalid_request", "error_description": "grant_type or scope"}
        if not known:
            return 401, {"error": "invalid_client", "error_description": "Client authentication failed"}
        self.issued += 1
        token = secrets.token_hex(12)
        self.tokens.add(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}


@final
class DatabricksServer:
    """The stand-in; a context manager.

    Attributes:
        url, port: where it listens.
        strict: limits; may be changed at any time.
        logins: who may come in.
        workspace, models, files: what it holds.
        deny: asked before each API request ("POST runs/log-batch"); a Denial is answered instead of executing it.
        asked: every API request that came, in order.
    """

    def __init__(self, *, user: str = "ada@example.com", folders: tuple[str, ...] = ()) -> None:
        self.strict = Strictness()
        self.logins = Logins()
        self.workspace = Workspace(user, set(folders), self.strict)
        self.models = Models(self.workspace)
        self.deny: Callable[[str], Denial | None] = lambda _: None
        self.asked: list[str] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.port = int(self._http.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.files = Files(self.url)

    @property
    def environ(self) -> dict[str, str]:
        """Variables of a user who has a token for this workspace."""
        return {"DATABRICKS_HOST": self.url, "DATABRICKS_TOKEN": self.logins.pat}

    def __enter__(self) -> DatabricksServer:
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, method: str, target: str, headers: Message, body: bytes) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON value (or bytes) and further headers of the reply to a request."""
        path, _, query = target.partition("?")
        with self._lock:
            if path.startswith("/signed/"):
                return (*self.files.signed(method, path.removeprefix("/signed/"), headers, body), {})
            if (method, path) == ("POST", "/oidc/v1/token"):
                return (*self.logins.token(headers, body), {})
            try:
                return 200, self._execute(method, path, query, headers, body), {}
            except Refusal as refusal:
                return refusal.status, refusal.body, {}
            except _Denied as denied:
                return denied.args

    def dump(self) -> dict[str, Any]:
        """Everything the workspace holds, in the form of `MlflowReader.dump`."""
        with self._lock:
            return self.workspace.dump()

    def _execute(self, method: str, path: str, query: str, headers: Message, body: bytes) -> dict[str, Any]:
        what = f"{method} {path.removeprefix(API)}"
        self.asked.append(what)
        denial = self.deny(what)
        if denial is not None:
            more = {"Retry-After": denial.retry_after} if denial.retry_after else {}
            raise _Denied(denial.status, {"error_code": denial.code, "message": denial.message}, more)
        self.logins.check(headers)
        if len(body) > self.strict.body_bytes:
            raise Refusal(413, "MAX_REQUEST_SIZE_EXCEEDED", f"A request may have {self.strict.body_bytes} bytes")
        if (method, path) == ("GET", "/api/2.0/preview/scim/v2/Me"):
            return {"userName": self.workspace.user, "active": True}
        given = _given(method, query, body)
        route = self.workspace.routes.get(what)
        if route is not None:
            return route(given)
        found = self._files(what, given)
        if found is None and what.split(" ", 1)[1].split("/", maxsplit=1)[0] == "logged-models":
            found = self.models.handle(method, path.removeprefix(API).removeprefix("logged-models").strip("/"), given)
        if found is None:
            raise Refusal(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {path}'")
        return found

    def _files(self, what: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Routes about files."""
        verb, _, path = what.partition(" ")
        if what in ("POST artifacts/credentials-for-write", "POST artifacts/credentials-for-read"):
            run = self.workspace.routes["GET runs/get"](given)["run"]["info"]
            signed = self.files.credentials(_verb(path), run["artifact_uri"], list(given.get("path", [])))
            return {"credential_infos": [{"run_id": run["run_id"], **one} for one in signed]}
        if what == "GET artifacts/list":
            root = self.workspace.routes["GET runs/get"](given)["run"]["info"]["artifact_uri"]
            return {"root_uri": root, "files": self.files.listed(root, text(given, "path", ""))}
        parts = path.split("/")
        if len(parts) == 4 and parts[0] == "logged-models" and parts[2] == "artifacts":
            root = self.models.root(parts[1])
            if (verb, parts[3]) == ("GET", "directories"):
                listed = self.files.listed(root, text(given, "artifact_directory_path", ""))
                return {"root_uri": root, "files": listed}
            if verb == "POST" and parts[3].startswith("credentials-for-"):
                signed = self.files.credentials(_verb(path), root, list(given.get("paths", [])))
                return {"credentials": [{"credential_info": one} for one in signed]}
        return None


class _Denied(Exception):  # noqa: N818
    """An answer that is no refusal of the workspace's."""

    args: tuple[int, Any, dict[str, str]]


def _verb(path: str) -> str:
    return "PUT" if path.endswith(("for-write", "for-upload")) else "GET"


def _given(method: str, query: str, body: bytes) -> Mapping[str, Any]:
    """Parameters of a request, from its query or its JSON body."""
    if method == "GET":
        return dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def never(word: str) -> Any:
        raise Refusal(400, "MALFORMED_REQUEST", f"Invalid JSON: {word}")

    try:
        given = json.loads(body or b"{}", parse_constant=never)
    except ValueError:
        raise Refusal(400, "MALFORMED_REQUEST", "Invalid JSON given in the body of the request") from None
    if not isinstance(given, dict):
        raise Refusal(400, "MALFORMED_REQUEST", "The body of the request is no object")
    return given


def _handler(server: DatabricksServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, value, more = server.answer(self.command, self.path, self.headers, body)
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            kind = "application/xml" if isinstance(value, bytes) else "application/json"
            for name, text_ in {"Content-Type": kind, "Content-Length": str(len(content)), **more}.items():
                self.send_header(name, text_)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing on stderr."""

    return Handler
