"""How a remote's certificate is checked, by the variables that MLflow's client knows."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping

import certifi

from localtrack.errors import ReplayError

#: Where the authorities come from, first hit wins; the last three are what requests and OpenSSL look at.
_AUTHORITIES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_CLIENT = "MLFLOW_TRACKING_CLIENT_CERT_PATH"


def tls_from(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The TLS settings for a remote; the certificate is checked unless MLFLOW_TRACKING_INSECURE_TLS says otherwise.

    Raises:
        ReplayError: the variables exclude each other, or name something that cannot be used.
    """
    insecure = is_unchecked(environ)
    if insecure and environ.get(_AUTHORITIES[0]):
        raise ReplayError(
            f"MLFLOW_TRACKING_INSECURE_TLS and {_AUTHORITIES[0]} are both set, and exclude each other.",
            hint="Unset one of them.",
        )
    context = _unchecked() if insecure else _checked(environ)
    client = environ.get(_CLIENT, "").strip()
    if client:
        try:
            context.load_cert_chain(client)
        except OSError as error:
            raise _unusable(_CLIENT, client, error) from error
    return context


def is_unchecked(environ: Mapping[str, str]) -> bool:
    """Whether MLFLOW_TRACKING_INSECURE_TLS switches the check of certificates off."""
    return environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").strip().lower() in {"1", "true"}


def authorities_in(environ: Mapping[str, str]) -> str:
    """What certificates are checked against, in words: a file or directory and the variable that names it."""
    name = next((name for name in _AUTHORITIES if environ.get(name, "").strip()), None)
    return "the usual authorities (certifi)" if name is None else f"{environ[name].strip()} ({name})"


def _checked(environ: Mapping[str, str]) -> ssl.SSLContext:
    name = next((name for name in _AUTHORITIES if environ.get(name, "").strip()), None)
    if name is None:
        return ssl.create_default_context(cafile=certifi.where())
    path = environ[name].strip()
    try:
        if os.path.isdir(path):
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise _unusable(name, path, error) from error


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _unusable(name: str, path: str, error: OSError) -> ReplayError:
    return ReplayError(
        f"{name}={path} cannot be used: {error}", hint="It must name a PEM file (or a directory of them)."
    )
