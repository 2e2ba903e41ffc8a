"""Remotes by name: which URL is which server, and where its delivery state lies. Contacts nobody.

Only a Databricks address may need a file: the profile that it names.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from localtrack import settings
from localtrack.errors import ReplayError
from localtrack.store import Store
from localtrack.tracking_uri import mistaken
from localtrack_sync.protocol.limits import DIALECTS
from localtrack_sync.remote.databricks_config import DatabricksConfig, at_host, named

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Endings of the hosts that only Databricks has. An address there cannot be asked what it is before it is known which
#: credentials to send; every other one is taken for MLflow's until the setting `dialect` says otherwise.
_DATABRICKS_HOSTS = (
    ".cloud.databricks.com", ".gcp.databricks.com", ".azuredatabricks.net", ".databricks.azure.cn",
    ".databricks.azure.us", ".cloud.databricks.us", ".cloud.databricks.mil",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Remote:
    """One tracking server (and one workspace of it), without credentials: safe to store and to print.

    Attributes:
        url: normal form: lower-case scheme and host, no default port, no trailing slash, a path when it lies below one.
        workspace: MLflow workspace (header X-MLFLOW-WORKSPACE) or id of a Databricks workspace, or "" for the server's
            default.
        dialect: a key of `limits.DIALECTS`: how to talk to it; makes no other remote of it.
    """

    url: str
    workspace: str = ""
    dialect: str = field(default="mlflow", compare=False)

    @property
    def identity(self) -> str:
        """What makes two remotes the same one."""
        return f"{self.url} {self.workspace}" if self.workspace else self.url

    @property
    def slug(self) -> str:
        """File name without an extension: readable, and unique by a hash of the identity."""
        readable = re.sub(r"[^a-z0-9.]+", "-", self.identity.partition("://")[2].lower()).strip("-.")[:40]
        return f"{readable}-{hashlib.sha256(self.identity.encode()).hexdigest()[:8]}"

    def state_path(self, store: Store) -> str:
        """Where the delivery state of `store` for this remote lies."""
        return os.path.join(store.sync, self.slug + ".db")

    def lock_path(self, store: Store) -> str:
        """The lock that a replay of `store` to this remote holds."""
        return os.path.join(store.sync, self.slug + ".lock")

    def __str__(self) -> str:
        return f"{self.url} (workspace {self.workspace})" if self.workspace else self.url


@dataclass(frozen=True, slots=True)
class Address:
    """A remote as somebody wrote it: the remote, and where its credentials are.

    Attributes:
        userinfo: (user, password) of the URL, or None; never stored, and not part of the representation.
        databricks: profile and environment in which the host was found; None for an MLflow server.
    """

    remote: Remote
    userinfo: tuple[str, str] | None = field(default=None, repr=False)
    databricks: DatabricksConfig | None = field(default=None, compare=False)


def parse_remote(uri: str, environ: Mapping[str, str] | None = None) -> Address:
    """The remote that `uri` names: http(s)://HOST, `databricks` or `databricks://PROFILE`.

    Args:
        uri: as the user wrote it.
        environ: for MLFLOW_WORKSPACE, the setting `dialect` and Databricks' own variables; None: nothing is set.

    Raises:
        SettingsError: there is no such dialect.
        ReplayError: it is no such address; the message says what is wrong and the hint what to write.
    """
    text, env = uri.strip(), environ or {}
    if text.split(":", 1)[0].lower() == "databricks":
        config = named(text, env)
        return Address(_databricks(config.host, config), None, config)
    scheme, _, rest = text.partition(":")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its words quote what stands in the place of the port
        raise _not_a_remote(uri, "its host or port makes no sense") from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in _DEFAULT_PORTS or not host:
        raise _not_a_remote(uri, "it has to begin with http:// or https:// and name a host")
    if wrong := mistaken(scheme, rest):
        raise ReplayError(f"{wrong}.", hint="Write it as http://127.0.0.1:5000")
    if parts.query or parts.fragment:
        raise _not_a_remote(uri, "a query (?...) or fragment (#...) has no place in it")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        netloc = f"{netloc}:{port}"
    url = f"{scheme}://{netloc}{parts.path.rstrip('/')}"
    userinfo = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    if _dialect(host, env) == "databricks":
        config = at_host(url, env)
        return Address(_databricks(url, config), userinfo, config)
    return Address(Remote(url, env.get("MLFLOW_WORKSPACE", "").strip()), userinfo)


def _dialect(host: str, environ: Mapping[str, str]) -> str:
    """How to talk to the server of an http(s) address."""
    asked = settings.one(environ, "dialect") if environ else "auto"
    if asked in DIALECTS:
        return asked
    return "databricks" if host.endswith(_DATABRICKS_HOSTS) else "mlflow"


def _databricks(url: str, config: DatabricksConfig) -> Remote:
    return Remote(url, config.workspace_id, "databricks")


def is_remote(uri: str) -> bool:
    """Whether a tracking URI names a server rather than a store on this machine."""
    return uri.strip().split(":", 1)[0].lower() in {"http", "https", "databricks"}


def _not_a_remote(uri: str, why: str) -> ReplayError:
    # A password must not come back in a message, whatever characters stand in it, an @ among them.
    shown = re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*:/*)?.*", r"\1***", uri, flags=re.DOTALL) if "@" in uri else uri
    shown = re.split(r"[?#]", shown, maxsplit=1)[0]
    return ReplayError(
        f"{shown!r} is no address of a tracking server: {why}.", hint="Write it as http://127.0.0.1:5000"
    )
