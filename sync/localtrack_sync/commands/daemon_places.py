"""Where the files of `localtrack daemon install` go, and which commands belong to them. Touches no disk."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from localtrack_sync.daemon import units


@dataclass(frozen=True, slots=True)
class Place:
    """Where the file goes, and what people run then.

    Attributes:
        path: the file.
        encoding: of the file.
        enable: commands that start it, each with its reason or "".
        disable: commands that end it, once the file is removed.
    """

    path: str
    encoding: str
    enable: tuple[tuple[str, str], ...]
    disable: tuple[str, ...]


def place_of(kind: str, environ: Mapping[str, str]) -> Place:
    """Where a file of this kind (systemd, launchd or windows) goes for this user."""
    return {"systemd": _systemd, "launchd": _launchd, "windows": _windows}[kind](environ)


def environment_file(environ: Mapping[str, str]) -> str:
    """The file of variables that the systemd unit reads."""
    return os.path.join(_config(environ), "localtrack", "daemon.env")


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _config(environ: Mapping[str, str]) -> str:
    return environ.get("XDG_CONFIG_HOME") or os.path.join(_home(environ), ".config")


def _systemd(environ: Mapping[str, str]) -> Place:
    name = units.SYSTEMD_NAME
    return Place(
        os.path.join(_config(environ), "systemd", "user", name),
        "utf-8",
        (
            ("systemctl --user daemon-reload", ""),
            (f"systemctl --user enable --now {name}", ""),
            ("loginctl enable-linger", "it runs from the start of the machine, also while you are not logged in"),
        ),
        # Stopping works without the file, disabling does not: `uninstall` removes its link by itself.
        (f"systemctl --user stop {name}", "systemctl --user daemon-reload"),
    )


def _launchd(environ: Mapping[str, str]) -> Place:
    path = os.path.join(_home(environ), "Library", "LaunchAgents", f"{units.LAUNCHD_NAME}.plist")
    return Place(
        path,
        "utf-8",
        ((f"launchctl bootstrap gui/$(id -u) {shlex.quote(path)}", ""),),
        (f"launchctl bootout gui/$(id -u)/{units.LAUNCHD_NAME}",),
    )


def _windows(environ: Mapping[str, str]) -> Place:
    path, name = os.path.join(_config(environ), "localtrack", "daemon-task.xml"), units.WINDOWS_NAME
    return Place(
        path,
        "utf-16",
        (
            (f'schtasks.exe /Create /TN {name} /XML "$(wslpath -w {shlex.quote(path)})"', ""),
            (f"schtasks.exe /Run /TN {name}", ""),
        ),
        (f"schtasks.exe /Delete /TN {name} /F",),
    )
