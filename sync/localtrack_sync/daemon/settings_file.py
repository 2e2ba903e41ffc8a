"""The daemon's settings, from the command line, the environment and the table [daemon] of the settings file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from localtrack import settings, settings_file
from localtrack.errors import SettingsError
from localtrack.settings import Found
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.settings_table import DAEMON


def load_daemon_settings(environ: Mapping[str, str], stores: Sequence[str] = ()) -> DaemonSettings:
    """How the daemon works, as of now. The settings file is read once per process.

    Args:
        environ: the environment, usually os.environ.
        stores: those given on the command line; they win over all others. Relative ones begin at the working directory.

    Raises:
        SettingsError: something has a value that it cannot have, or the file cannot be used; the message names it.
    """
    values: dict[str, Any] = {found.setting.key: found.value for found in resolve_daemon(environ, stores)}
    return DaemonSettings(**values)


def resolve_daemon(environ: Mapping[str, str], stores: Sequence[str] = ()) -> list[Found]:
    """Every setting of the daemon, in the table's order, and who says so.

    Raises:
        SettingsError: as `load_daemon_settings`.
    """
    file = settings_file.here(environ)
    settings_file.refuse_unknown(file, settings_file.DAEMON, [setting.key for setting in DAEMON])
    found = [settings.find(setting, environ, file) for setting in DAEMON]
    assert found[0].setting.key == "stores"
    return [_stores(found[0], environ, stores), *found[1:]]


def _stores(found: Found, environ: Mapping[str, str], given: Sequence[str]) -> Found:
    """Which stores: those of the command line, else those of the settings, else the one that training code logs to."""
    if given:
        if not all(given):
            raise SettingsError("--store names no directory")
        whole = (os.path.abspath(os.path.expanduser(path)) for path in given)
        return found._replace(value=tuple(dict.fromkeys(whole)), origin="option", source="--store")
    if found.origin == "default":
        store = settings.load(environ).store
        return found._replace(value=(store,))
    return found
