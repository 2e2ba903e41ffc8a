"""The settings, read from the environment and the settings file at the edge, and handed on as one value.

docs/settings.md explains each. A variable of the environment wins over the file, and the file over the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from localtrack import settings_file
from localtrack.errors import TrackingError
from localtrack.settings_file import SettingsFile
from localtrack.settings_table import DIALECTS, LOCKING, SHARED, Kind, Setting
from localtrack.tracking_uri import Target, parse

__all__ = ["DIALECTS", "LOCKING", "Found", "Settings", "find", "load", "one", "resolve"]

URI = "MLFLOW_TRACKING_URI"
_BY_KEY = {setting.key: setting for setting in SHARED}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment and the settings file say; their names stand in `localtrack.settings_table`.

    Attributes:
        store: the store that MLFLOW_TRACKING_URI names, else the setting, else `localtrack` in the user's data
            directory (XDG_DATA_HOME): an absolute path.
        identity_key: file of this user's secret: `localtrack/identity.key` in the configuration directory
            (XDG_CONFIG_HOME).
        strict: trouble of the machine raises instead of being counted.
        remote: where `localtrack sync` delivers runs that name no remote of their own, or None: where `tracking_uri`
            says, if that is a server.
        settle_seconds: how long a remote may still execute a request whose reply was lost, or None: as long as is
            usual for its kind.
        connections: requests that a replay keeps open at once.
        dialect: how to talk to servers that are named by an http(s) address: auto, mlflow or databricks.
        databricks_folder: workspace folder of experiments whose names are no absolute paths, or "".
        locking: how journals lock their file: auto, normal or exclusive.
        tracking_uri: MLFLOW_TRACKING_URI, or None.
        truncate_long_values: too long values are cut with a warning, not refused.
        async_logging: log calls return a (finished) RunOperations.
        attach: a run that the store does not know is attached to when something is logged to it.
        autostart: the first run of a process has a daemon started for its store.
        gc_older_than: `localtrack gc` leaves what was logged to in so many seconds.
        gc_max_bytes: it removes only until the artifacts of the store have no more bytes, or None: whatever may go.
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
    gc_older_than: float = 30 * 86_400.0
    gc_max_bytes: int | None = None


class Found(NamedTuple):
    """A setting's value, and who says so.

    Attributes:
        setting: which one.
        value: of the type that its kind has; paths are absolute. None: unset, and the default is not one value.
        origin: "default", "file", "variable" or "option" (of the command line).
        source: name of the variable or option, path of the file; "".
    """

    setting: Setting
    value: Any
    origin: str = "default"
    source: str = ""


def load(env: Mapping[str, str]) -> Settings:
    """The settings in `env` (usually os.environ) and in the settings file. An empty variable counts as unset.

    Raises:
        SettingsError: something has a value that it cannot have, or the file cannot be used; the message names it.
    """
    found = {one.setting.key: one for one in resolve(env)}
    values = {key: one.value for key, one in found.items()}
    if found["remote"].source == URI or not values["remote"]:
        values["remote"] = None  # whoever asks for it finds it, with its user name and password, in tracking_uri
    return Settings(
        **values,
        identity_key=os.path.join(settings_file.directory(env), "identity.key"),
        tracking_uri=env.get(URI) or None,
    )


def resolve(env: Mapping[str, str]) -> list[Found]:
    """Every setting of `SHARED`, in its order; MLFLOW_TRACKING_URI may be the one that names the store or the remote.

    Raises:
        SettingsError: as `load`.
    """
    file, target = settings_file.here(env), _target(env)
    return [_with_uri(find(setting, env, file), env, target) for setting in SHARED]


def one(env: Mapping[str, str], key: str) -> Any:
    """The value of one setting, whatever the others say; not for those that MLFLOW_TRACKING_URI may name.

    Raises:
        SettingsError: it has a value that it cannot have, or the settings file cannot be used.
    """
    assert key not in ("store", "remote"), "resolve() knows"
    return find(_BY_KEY[key], env, settings_file.here(env)).value


def find(setting: Setting, env: Mapping[str, str], file: SettingsFile) -> Found:
    """The value of a setting by its variable, else by the file, else its default; paths are made absolute.

    A relative path in a variable begins at the working directory, one in the file at the file's directory.

    Raises:
        SettingsError: it has a value that it cannot have.
    """
    text = env.get(setting.variable, "")
    if text.strip():
        return Found(setting, _placed(setting, setting.of_text(text), _absolute), "variable", setting.variable)
    values = file.table(setting.table)
    if setting.key not in values:
        return Found(setting, setting.default)
    value = setting.of_value(values[setting.key], lambda: file.place(setting.key, setting.table))
    return Found(setting, _placed(setting, value, file.beside), "file", file.path)


def _placed(setting: Setting, value: Any, absolute: Callable[[str], str]) -> Any:
    if setting.kind is Kind.PATHS:
        return tuple(dict.fromkeys(absolute(path) for path in value))
    return absolute(value) if setting.kind is Kind.PATH and value else value


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _with_uri(found: Found, env: Mapping[str, str], target: Target) -> Found:
    """What MLFLOW_TRACKING_URI changes: a store in it wins over all; a server in it over the file only."""
    if found.setting.key == "store":
        if target.store:
            return found._replace(value=target.store, origin="variable", source=URI)
        return found if found.value else found._replace(value=_default_store(env), origin="default", source="")
    if found.setting.key == "remote" and target.remote and found.origin != "variable":
        return found._replace(value=target.remote, origin="variable", source=URI)
    return found


def _default_store(env: Mapping[str, str]) -> str:
    home = env.get("HOME") or os.path.expanduser("~")
    return _absolute(os.path.join(env.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share"), "localtrack"))


def _target(env: Mapping[str, str]) -> Target:
    try:
        return parse(env.get(URI))
    except TrackingError:
        return Target()  # whoever logs to that URI is told; `localtrack status` has no use for it
