"""Databricks' own configuration: which host and which login, from the environment or a profile. Contacts nobody.

The order is that of Databricks' tools: `databricks://PROFILE` means that profile and nothing else; `databricks` means
the variables, and for what these leave open the profile DATABRICKS_CONFIG_PROFILE, or the profile DEFAULT when the
variables name neither a host nor a login. Host and login of an explicit profile are never mixed with those of the
environment: a token goes to no other host than the one that it was written down for.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from localtrack.errors import CredentialError, ReplayError

#: Variables and keys of a profile that are understood here: key -> variable.
_VARIABLES = {
    "host": "DATABRICKS_HOST",
    "token": "DATABRICKS_TOKEN",
    "client_id": "DATABRICKS_CLIENT_ID",
    "client_secret": "DATABRICKS_CLIENT_SECRET",
    "auth_type": "DATABRICKS_AUTH_TYPE",
    "workspace_id": "DATABRICKS_WORKSPACE_ID",
}
#: Source of a configuration without a login.
NOTHING = "nothing"
_ENOUGH = ("host", "token", "client_id", "auth_type")
_HINT = "Set DATABRICKS_HOST (and DATABRICKS_TOKEN), or make a profile: databricks auth login --host https://..."


@dataclass(frozen=True, slots=True)
class DatabricksConfig:
    """What is configured for one workspace.

    Attributes:
        uri: what it was looked up for.
        host: `https://HOST`, lower case, without a path.
        profile: name of the profile that took part, or "".
        values: keys of `_VARIABLES` that have a value; secrets among them, so not part of the representation.
        source: where it came from, in words for people.
        file: the profiles' file.
    """

    uri: str
    host: str
    profile: str
    values: Mapping[str, str] = field(repr=False)
    source: str = ""
    file: str = ""

    @property
    def workspace_id(self) -> str:
        """Id of the workspace on a host that serves several, or ""."""
        return self.values.get("workspace_id", "")


def named(uri: str, environ: Mapping[str, str]) -> DatabricksConfig:
    """The configuration that `databricks` or `databricks://PROFILE` means.

    Raises:
        ReplayError: there is no such profile, or no host.
        CredentialError: the profiles' file cannot be read.
    """
    profile = uri.partition("://")[2].strip("/")
    if ":" in profile:
        raise ReplayError(
            f"{uri}: a secret scope can only be read inside Databricks.", hint="Write databricks://PROFILE instead."
        )
    if profile:
        values, source = _profile(profile, environ), f"profile {profile} in {_file(environ)}"
    else:
        values, profile, source = _default(environ)
    host = _normal(values.get("host", ""))
    if not host:
        raise ReplayError(f"{uri}: no host is configured ({source}); nothing was sent.", hint=_HINT)
    return DatabricksConfig(uri, host, profile, values, source, _file(environ))


def at_host(url: str, environ: Mapping[str, str]) -> DatabricksConfig:
    """The configuration for a host that was named by its address: the environment's or a profile's for that host.

    Raises:
        ReplayError: two profiles are for this host.
        CredentialError: the profiles' file cannot be read.
    """
    host, variables = _normal(url), _variables(environ)
    chosen = environ.get("DATABRICKS_CONFIG_PROFILE", "").strip()
    if _normal(variables.get("host", url)) == host and ("token" in variables or "client_id" in variables):
        return DatabricksConfig(url, host, "", {**variables, "host": host}, "the environment", _file(environ))
    fitting = [name for name, values in _profiles(environ).items() if _normal(values.get("host", "")) == host]
    if chosen in fitting:
        fitting = [chosen]
    if len(fitting) > 1:
        raise ReplayError(
            f"{_file(environ)} has {len(fitting)} profiles for {host}: {', '.join(fitting)}; nothing was sent.",
            hint=f"Name one: databricks://{fitting[0]}",
        )
    if fitting:
        values = _profile(fitting[0], environ)
        return DatabricksConfig(url, host, fitting[0], values, f"profile {fitting[0]}", _file(environ))
    # No login is known for it here; what the variables say of a login is for their own host.
    other = {key: variables[key] for key in ("workspace_id",) if key in variables}
    if _normal(variables.get("host", url)) == host:
        other = variables
    return DatabricksConfig(url, host, "", {**other, "host": host}, NOTHING, _file(environ))


def again(config: DatabricksConfig, environ: Mapping[str, str]) -> DatabricksConfig:
    """The same, looked up anew."""
    return at_host(config.uri, environ) if config.uri.lower().startswith("http") else named(config.uri, environ)


def _default(environ: Mapping[str, str]) -> tuple[dict[str, str], str, str]:
    variables = _variables(environ)
    profile = environ.get("DATABRICKS_CONFIG_PROFILE", "").strip()
    if profile:
        return {**_profile(profile, environ), **variables}, profile, f"the environment and profile {profile}"
    if any(key in variables for key in _ENOUGH):
        return variables, "", "the environment"
    if "DEFAULT" in _profiles(environ):
        return {**_profile("DEFAULT", environ), **variables}, "DEFAULT", f"profile DEFAULT in {_file(environ)}"
    return variables, "", f"neither DATABRICKS_HOST nor a profile DEFAULT in {_file(environ)}"


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    given = {key: environ.get(name, "").strip() for key, name in _VARIABLES.items()}
    return {key: value for key, value in given.items() if value}


def _profile(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    profiles = _profiles(environ)
    if name not in profiles:
        known = ", ".join(profiles) or "none"
        raise ReplayError(f"{_file(environ)} has no profile {name!r} (it has: {known}); nothing was sent.", hint=_HINT)
    return {key: value.strip() for key, value in profiles[name].items() if key in _VARIABLES and value.strip()}


def _file(environ: Mapping[str, str]) -> str:
    given = environ.get("DATABRICKS_CONFIG_FILE", "").strip()
    home = environ.get("HOME") or os.path.expanduser("~")
    return os.path.join(home, given[2:]) if given.startswith("~/") else given or os.path.join(home, ".databrickscfg")


def _profiles(environ: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
    path = _file(environ)
    try:
        found = os.stat(path)
    except OSError:
        return {}
    return _read(path, found.st_mtime_ns, found.st_size, found.st_ino)


@lru_cache(maxsize=4)
def _read(path: str, *_version: int) -> Mapping[str, Mapping[str, str]]:
    """Name -> profile; read once for each version of the file, because every run of a store may name a profile."""
    parser = configparser.ConfigParser(interpolation=None, default_section="no such section")
    try:
        parser.read(path, encoding="utf-8")
    except (OSError, ValueError, configparser.Error) as error:
        # Not the parser's own words: they quote the line, and the line may be the token.
        raise CredentialError(
            f"{path} cannot be read ({type(error).__name__}); nothing was sent.",
            hint="It must have sections [PROFILE] with host and token.",
        ) from None
    return {name: dict(parser[name]) for name in parser.sections()}


def _normal(host: str) -> str:
    """`https://HOST` of what people write: with or without https://, copied from a browser with a path and ?o=...."""
    text = host.strip()
    if not text:
        return ""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2].lower()}"
