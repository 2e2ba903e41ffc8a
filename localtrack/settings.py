"""The settings, read from the environment at the edge and handed on as one value. docs/settings.md explains each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from localtrack.errors import TrackingError
from localtrack.tracking_uri import parse

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
LOCKING = ("auto", "normal", "exclusive")
DIALECTS = ("auto", "mlflow", "databricks")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. Nothing in localtrack reads these variables elsewhere.

    Attributes:
        store: the store that MLFLOW_TRACKING_URI names, else LOCALTRACK_STORE, else `localtrack` in the user's data
            directory (XDG_DATA_HOME): an absolute path.
        identity_key: file of this user's secret: `localtrack/identity.key` in the configuration directory
            (XDG_CONFIG_HOME).
        strict: LOCALTRACK_STRICT: trouble of the machine raises instead of being counted.
        remote: LOCALTRACK_REMOTE: where `localtrack sync` delivers runs that name no remote of their own, or None.
        settle_seconds: LOCALTRACK_SETTLE_SECONDS: how long a remote may still execute a request whose reply was
            lost, or None: as long as is usual for its kind.
        connections: LOCALTRACK_CONNECTIONS: requests that a replay keeps open at once.
        dialect: LOCALTRACK_DIALECT: how to talk to servers that are named by an http(s) address: auto, mlflow or
            databricks.
        databricks_folder: LOCALTRACK_DATABRICKS_FOLDER: workspace folder of experiments whose names are no absolute
            paths, or "".
        locking: LOCALTRACK_LOCKING: how journals lock their file: auto, normal or exclusive.
        tracking_uri: MLFLOW_TRACKING_URI, or None.
        truncate_long_values: MLFLOW_TRUNCATE_LONG_VALUES: too long values are cut with a warning, not refused.
        attach: LOCALTRACK_ATTACH: a run that the store does not know is attached to when something is logged to it.
        async_logging: MLFLOW_ENABLE_ASYNC_LOGGING: log calls return a (finished) RunOperations.
        autostart: LOCALTRACK_AUTOSTART: the first run of a process has a daemon started for its store.
    """

    store: str
    identity_key: str
    strict: bool = False
    remote: str | None = None
    settle_seconds: float | None = None
    connections: int = 2
    dialect: str = "auto"
    databricks_folder: str = ""
    locking: str = "auto"
    tracking_uri: str | None = None
    truncate_long_values: bool = True
    async_logging: bool = False
    attach: bool = False
    autostart: bool = False


def load(env: Mapping[str, str]) -> Settings:
    """The settings in `env` (usually os.environ). An empty variable counts as unset.

    Raises:
        TrackingError: a variable has a value that it cannot have; the message names both.
    """
    home = env.get("HOME") or os.path.expanduser("~")
    data = env.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    config = env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    uri = env.get("MLFLOW_TRACKING_URI") or None
    store = _store_named_by(uri) or env.get("LOCALTRACK_STORE") or os.path.join(data, "localtrack")
    return Settings(
        store=os.path.abspath(os.path.expanduser(store)),
        identity_key=os.path.join(config, "localtrack", "identity.key"),
        strict=_flag(env, "LOCALTRACK_STRICT", default=False),
        remote=env.get("LOCALTRACK_REMOTE") or None,
        settle_seconds=_seconds(env, "LOCALTRACK_SETTLE_SECONDS", 86_400.0),
        connections=int(_number(env, "LOCALTRACK_CONNECTIONS", 2, 1, 64)),
        dialect=_choice(env, "LOCALTRACK_DIALECT", DIALECTS),
        databricks_folder=_folder(env, "LOCALTRACK_DATABRICKS_FOLDER"),
        locking=_choice(env, "LOCALTRACK_LOCKING", LOCKING),
        tracking_uri=uri,
        truncate_long_values=_flag(env, "MLFLOW_TRUNCATE_LONG_VALUES", default=True),
        async_logging=_flag(env, "MLFLOW_ENABLE_ASYNC_LOGGING", default=False),
        attach=_flag(env, "LOCALTRACK_ATTACH", default=False),
        autostart=_flag(env, "LOCALTRACK_AUTOSTART", default=False),
    )


def _store_named_by(uri: str | None) -> str | None:
    try:
        return parse(uri).store
    except TrackingError:
        return None  # whoever logs to that URI is told; `localtrack status` has no use for it


def _flag(env: Mapping[str, str], name: str, *, default: bool) -> bool:
    given = env.get(name, "").strip().lower()
    if not given:
        return default
    if given not in _TRUE | _FALSE:
        raise TrackingError(f"{name}={env[name]!r}: must be true or false")
    return given in _TRUE


def _number(env: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    given = env.get(name, "").strip()
    if not given:
        return default
    try:
        number = float(given)
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise TrackingError(f"{name}={env[name]!r}: must be a number from {least:g} to {most:g}")
    return number


def _seconds(env: Mapping[str, str], name: str, most: float) -> float | None:
    return _number(env, name, 0.0, 0.0, most) if env.get(name, "").strip() else None


def _folder(env: Mapping[str, str], name: str) -> str:
    given = env.get(name, "").strip()
    if given and not given.startswith("/"):
        raise TrackingError(f"{name}={env[name]!r}: must be an absolute path in the workspace, such as /Shared/team")
    return given.removeprefix("/Workspace").rstrip("/")


def _choice(env: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    given = env.get(name, "").strip().lower() or choices[0]
    if given not in choices:
        raise TrackingError(f"{name}={env[name]!r}: must be one of {', '.join(choices)}")
    return given
