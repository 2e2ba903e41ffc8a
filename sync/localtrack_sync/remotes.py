"""Remotes by name: which URL is which server, and where its delivery state lies. Touches no disk, no network."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from localtrack.errors import ReplayError
from localtrack.store import Store

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Remote:
    """One tracking server (and one workspace of it), without credentials: safe to store and to print.

    Attributes:
        url: normal form: lower-case scheme and host, no default port, no trailing slash, a path when it lies below one.
        workspace: MLflow workspace (header X-MLFLOW-WORKSPACE), or "" for the server's default.
    """

    url: str
    workspace: str = ""

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
    """A remote as somebody wrote it: the remote, and the user name and password that stood in the URL.

    Attributes:
        userinfo: (user, password), or None; never stored, and not part of the representation.
    """

    remote: Remote
    userinfo: tuple[str, str] | None = field(default=None, repr=False)


def parse_remote(uri: str, environ: Mapping[str, str] | None = None) -> Address:
    """The remote that `uri` names; the workspace comes from MLFLOW_WORKSPACE in `environ`.

    Raises:
        ReplayError: it is no http(s) URL; the message says what is and the hint what to write.
    """
    text = uri.strip()
    if text.split(":", 1)[0].lower() == "databricks":
        raise ReplayError(
            f"Replay to Databricks ({text}) is not in this version yet; nothing was sent.",
            hint="Keep logging: the journals keep everything, and a later version of localtrack delivers them. "
            "To replay to an MLflow server now: localtrack sync --to http(s)://HOST",
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise _not_a_remote(uri, str(error)) from None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    if scheme not in _DEFAULT_PORTS or not host:
        raise _not_a_remote(uri, "it has to begin with http:// or https:// and name a host")
    if parts.query or parts.fragment:
        raise _not_a_remote(uri, "a query (?...) or fragment (#...) has no place in it")
    netloc = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        netloc = f"{netloc}:{port}"
    remote = Remote(f"{scheme}://{netloc}{parts.path.rstrip('/')}", (environ or {}).get("MLFLOW_WORKSPACE", "").strip())
    userinfo = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return Address(remote, userinfo)


def is_remote(uri: str) -> bool:
    """Whether a tracking URI names a server rather than a store on this machine."""
    return uri.strip().split(":", 1)[0].lower() in {"http", "https", "databricks"}


def _not_a_remote(uri: str, why: str) -> ReplayError:
    shown = re.sub(r"//[^/@]*@", "//***@", uri)  # a password must not come back in a message
    return ReplayError(
        f"{shown!r} is no address of a tracking server: {why}.", hint="Write it as http://127.0.0.1:5000"
    )
