"""Logging in to Databricks: a token as it is, OAuth for service principals, everything else by databricks-sdk.

An OAuth token is kept in memory only, fetched anew shortly before it ends or when the workspace refuses it, and never
by two threads at once.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from localtrack.errors import CredentialError
from localtrack_sync.protocol.answers import cut
from localtrack_sync.protocol.effects import Failure, Outcome
from localtrack_sync.protocol.values import INFINITY
from localtrack_sync.remote.credentials import Credential, NoTokenYet, header_safe
from localtrack_sync.remote.databricks_config import DatabricksConfig

#: Seconds before its end at which a token is replaced; a request may take a minute.
EARLY_S = 120.0
#: Lifetime that is assumed when the answer names none; Databricks gives an hour.
ASSUMED_S = 3600.0
#: Seconds that databricks-sdk may try to reach a host.
SDK_S = 15
#: Two tokens refused within these seconds: it is not the token.
AGAIN_S = 60.0
TOKEN_PATH = "/oidc/v1/token"  # noqa: S105  a path
SCOPE = {"grant_type": "client_credentials", "scope": "all-apis"}
#: Characters of a refusal's reason that are told.
_WORDS_CHARS = 300
_NATIVE = ("", "pat", "oauth-m2m")
_HINT = (
    "Set DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or name a profile that has them: "
    "databricks://PROFILE. For every other kind of login: pip install 'localtrack[databricks]'"
)

#: Posts a form to an address with a user name and a password.
Post: TypeAlias = Callable[[str, Mapping[str, str], tuple[str, str]], Outcome]
#: Makes, for a configuration, what gives the headers of each request.
Sdk: TypeAlias = Callable[[DatabricksConfig], Callable[[], Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class _Token:
    owner: tuple[str, str] = field(repr=False)
    text: str = field(repr=False)
    until: float


class DatabricksLogin:
    """The credentials for one workspace; may be asked by several threads."""

    def __init__(
        self, url: str, config: Callable[[], DatabricksConfig], post: Post, clock: Callable[[], float], sdk: Sdk
    ) -> None:
        """Read nothing yet, contact nobody.

        Args:
            url: the remote's; credentials go nowhere else.
            config: reads the configuration anew, so that a rotated token counts from the next request on.
            post: for OAuth tokens.
            clock: monotonic seconds.
            sdk: `databricks_sdk`, or what a test has in its place.
        """
        self._url = url
        self._config = config
        self._post = post
        self._clock = clock
        self._sdk = sdk
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._refused_at = -INFINITY
        self._worth = True
        self._headers: Callable[[], Mapping[str, str]] | None = None

    def check(self) -> None:
        """Say what cannot work, without asking anybody.

        Raises:
            CredentialError: no login is configured, or a library for it is missing.
        """
        config = self._configured()
        if not self._native(config):
            self._by_sdk(config)

    def current(self) -> Credential:
        """The credential as of now; fetches a token if need be.

        Raises:
            CredentialError: no login is configured, or the workspace refuses it.
            NoTokenYet: nobody answers where tokens come from; worth another try.
        """
        config = self._configured()
        extra = _workspace_headers(config)
        native = self._native(config)
        if native == "pat":
            token = header_safe(config.values["token"], "The token of Databricks")
            return Credential(f"Bearer {token}", f"a token from {config.source}", extra)
        if native == "oauth-m2m":
            token = self._oauth(config)
            return Credential(f"Bearer {token}", f"OAuth, {config.source}", extra, lambda: self._refused(token))
        try:
            given = dict(self._by_sdk(config)())
        except CredentialError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a login of theirs raises, it is about the login
            raise CredentialError(f"databricks-sdk could not log in: {_short(error)}", hint=_HINT) from None
        return Credential(given.pop("Authorization", None), "databricks-sdk", (*given.items(), *extra))

    def _configured(self) -> DatabricksConfig:
        config = self._config()
        if config.host != self._url:
            raise CredentialError(
                f"The configuration names {config.host} by now, and this replay goes to {self._url}; nothing was sent."
            )
        return config

    def _native(self, config: DatabricksConfig) -> str:
        """Kind of login that needs no library, or ""."""
        values, kind = config.values, config.values.get("auth_type", "").lower()
        if values.get("token") and kind in ("", "pat"):
            return "pat"
        if values.get("client_id") and values.get("client_secret") and kind in ("", "oauth-m2m"):
            return "oauth-m2m"
        if kind in _NATIVE[1:]:
            raise CredentialError(f"auth_type is {kind}, and its values are missing ({config.source}).", hint=_HINT)
        return ""

    def _by_sdk(self, config: DatabricksConfig) -> Callable[[], Mapping[str, str]]:
        with self._lock:
            if self._headers is None:
                self._headers = self._sdk(config)
            return self._headers

    # --- OAuth ---

    def _oauth(self, config: DatabricksConfig) -> str:
        owner = (config.values["client_id"], config.values["client_secret"])
        with self._lock:
            kept = self._token if self._token is not None and self._token.owner == owner else None
            now = self._clock()
            if kept is not None and now < kept.until - EARLY_S:
                return kept.text
            try:
                self._token = self._fetched(owner, now)
            except NoTokenYet:
                if kept is None or now >= kept.until:
                    raise
                return kept.text  # still good for a moment
            return self._token.text

    def _fetched(self, owner: tuple[str, str], now: float) -> _Token:
        outcome = self._post(self._url + TOKEN_PATH, SCOPE, owner)
        if isinstance(outcome, Failure):
            raise NoTokenYet(f"no OAuth token: {outcome.reason}")
        body = outcome.body if isinstance(outcome.body, dict) else {}
        token = str(body.get("access_token") or "")
        if outcome.status == 200 and token:  # noqa: PLR2004 - HTTP's own number
            lifetime = body.get("expires_in")
            seconds = float(lifetime) if isinstance(lifetime, int | float) and lifetime > 0 else ASSUMED_S
            # A token that lives shorter than the margin is used for half of its life.
            margin = min(EARLY_S, seconds / 2)
            return _Token(owner, header_safe(token, "The OAuth token"), now + seconds - margin + EARLY_S)
        if outcome.status in (400, 401, 403):
            told = body.get("error_description") or body.get("error") or body.get("message") or "no reason given"
            words = cut(str(told), _WORDS_CHARS)
            raise CredentialError(
                f"{self._url} refuses the service principal {owner[0]}: {words} (HTTP {outcome.status}).",
                hint="Look at DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET (or the profile's client_id, "
                "client_secret).",
            )
        raise NoTokenYet(f"no OAuth token: HTTP {outcome.status}", outcome.retry_after_s)

    def _refused(self, token: str) -> bool:
        """The workspace refused this token: whether another one is worth a try, or the login itself is refused."""
        with self._lock:
            if self._token is not None and self._token.text == token:
                self._token = None
                now = self._clock()
                self._worth = now >= self._refused_at + AGAIN_S
                self._refused_at = now
            return self._worth  # also for a request of another thread that went out with the same token


def databricks_sdk(config: DatabricksConfig) -> Callable[[], Mapping[str, str]]:
    """Databricks' own library, for the kinds of login that only it knows (Azure, CLI, OIDC, browser, ...).

    Raises:
        CredentialError: it is not installed, or finds no login either.
    """
    try:
        core: Any = importlib.import_module("databricks.sdk.core")
    except ImportError:
        kind = config.values.get("auth_type")
        what = f"auth_type {kind} needs databricks-sdk" if kind else f"no login for {config.host} is configured"
        raise CredentialError(f"Databricks: {what} ({config.source}); nothing was sent.", hint=_HINT) from None
    wanted: dict[str, Any] = {
        # The library asks the host about itself, and would try for five minutes when nobody answers.
        "http_timeout_seconds": SDK_S,
        "retry_timeout_seconds": SDK_S,
        "host": config.host,
        "profile": config.profile,
        "config_file": config.file if config.profile else "",
        "auth_type": config.values.get("auth_type", ""),
    }
    try:
        made: Callable[[], Mapping[str, str]] = core.Config(**{k: v for k, v in wanted.items() if v}).authenticate
    except Exception as error:  # noqa: BLE001  its own words say which kinds it tried
        raise CredentialError(f"databricks-sdk could not log in: {_short(error)}", hint=_HINT) from None
    return made


def _workspace_headers(config: DatabricksConfig) -> tuple[tuple[str, str], ...]:
    """Which workspace of a host that serves several: the header of Databricks' JavaScript SDK, and its Python SDK's."""
    found = config.workspace_id
    return (("X-Databricks-Org-Id", found), ("X-Databricks-Workspace-Id", found)) if found else ()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
