"""Credentials for a remote, found where MLflow's own tools look; read anew each time, never stored, never printed."""

from __future__ import annotations

import base64
import configparser
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from localtrack.errors import CredentialError


class NoTokenYet(Exception):  # noqa: N818 - trouble that passes
    """Nobody answers where tokens come from; the request was not sent and may be tried again."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Credential:
    """What goes into the Authorization header.

    Attributes:
        header: value of the header, or None for no credentials; not part of the representation.
        source: where it came from, in words for people.
        headers: further headers of the login; not part of the representation.
        refused: to be called when the remote does not accept it; True: the next credential will be another one.
    """

    header: str | None = field(default=None, repr=False)
    source: str = "no credentials"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    refused: Callable[[], bool] | None = field(default=None, repr=False, compare=False)


class Login(Protocol):
    """Where the credentials of one remote come from."""

    def check(self) -> None:
        """Say what cannot work, without asking anybody.

        Raises:
            CredentialError: it cannot.
        """

    def current(self) -> Credential:
        """The credential as of now.

        Raises:
            CredentialError: there is none that can be used.
            NoTokenYet: there will be one, perhaps.
        """


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """Where to look for the credentials of one remote; `current` looks anew each time.

    The order is MLflow's own: a user name and password (each from the environment, else from ~/.mlflow/credentials)
    beat MLFLOW_TRACKING_TOKEN; a user name and password in the URL that the user gave beat both.

    Attributes:
        environ: the environment; it is kept as a reference, not copied.
        userinfo: (user, password) of the URL, or None.
    """

    environ: Mapping[str, str] = field(repr=False)
    userinfo: tuple[str, str] | None = field(default=None, repr=False)

    def check(self) -> None:
        """See Login."""
        self.current()

    def current(self) -> Credential:
        """The credential as of now.

        Raises:
            CredentialError: a setting that cannot be honoured here, or a credentials file that cannot be read.
        """
        self._refuse_what_we_cannot_do()
        if self.userinfo is not None:
            return _basic(*self.userinfo, "the URL")
        name, password, source = self._name_and_password()
        if name and password:
            return _basic(name, password, source)
        token = self.environ.get("MLFLOW_TRACKING_TOKEN", "").strip()
        if token:
            return Credential(f"Bearer {header_safe(token, 'MLFLOW_TRACKING_TOKEN')}", "MLFLOW_TRACKING_TOKEN")
        return Credential()

    def _name_and_password(self) -> tuple[str, str, str]:
        name = self.environ.get("MLFLOW_TRACKING_USERNAME", "")
        password = self.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        if name and password:
            return name, password, "MLFLOW_TRACKING_USERNAME"
        path = credentials_path(self.environ)
        in_file = _read_file(path)
        name = name or in_file.get("mlflow_tracking_username", "")
        return name, password or in_file.get("mlflow_tracking_password", ""), path

    def _refuse_what_we_cannot_do(self) -> None:
        if self.environ.get("MLFLOW_TRACKING_AWS_SIGV4", "").strip().lower() in {"1", "true"}:
            raise CredentialError(
                "MLFLOW_TRACKING_AWS_SIGV4 is set, but this version of localtrack cannot sign requests for AWS; "
                "nothing was sent.",
                hint="Unset it, or replay through a proxy that signs.",
            )
        if self.environ.get("MLFLOW_TRACKING_AUTH", "").strip():
            raise CredentialError(
                f"MLFLOW_TRACKING_AUTH={self.environ['MLFLOW_TRACKING_AUTH']} names an MLflow plugin, which localtrack "
                "cannot load; nothing was sent.",
                hint="Unset it and give MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and ..._PASSWORD.",
            )


def credentials_path(environ: Mapping[str, str]) -> str:
    """MLflow's credentials file of this user."""
    return os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".mlflow", "credentials")


def _read_file(path: str) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, ValueError, configparser.Error) as error:
        # Not the parser's own words: they quote the line, and the line may be the password.
        raise CredentialError(
            f"{path} cannot be read ({type(error).__name__}); nothing was sent.",
            hint="It must have a section [mlflow] with mlflow_tracking_username and mlflow_tracking_password.",
        ) from None
    return parser["mlflow"] if parser.has_section("mlflow") else {}


def _basic(name: str, password: str, source: str) -> Credential:
    # As the environment gave them: it need not be UTF-8.
    packed = base64.b64encode(f"{name}:{password}".encode("utf-8", "surrogateescape")).decode("ascii")
    return Credential(f"Basic {packed}", source)


def header_safe(token: str, source: str) -> str:
    """The token, when an HTTP header can carry it.

    Raises:
        CredentialError: it cannot; the message does not show the token.
    """
    if not token.isascii() or not token.isprintable():
        raise CredentialError(f"{source} holds characters that no HTTP header can carry; nothing was sent.")
    return token
