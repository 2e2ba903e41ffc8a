"""Looks at this machine."""

from __future__ import annotations

import os
import resource
import sqlite3
import sys
from importlib.metadata import version

from localtrack_sync.checkup.facts import KeyLook, MachineLook


def look_at_machine(identity_key: str) -> MachineLook:
    """What this machine runs.

    Args:
        identity_key: file of the user's key; it is not read.
    """
    return MachineLook(
        version("localtrack"), sys.version_info[:3], sqlite3.sqlite_version_info, _open_files(), _key(identity_key)
    )


def _open_files() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _key(path: str) -> KeyLook:
    """As localtrack.identity judges it."""
    try:
        about = os.stat(path)
    except OSError:
        return KeyLook(path)
    return KeyLook(path, exists=True, sound=about.st_uid == os.geteuid() and not about.st_mode & 0o077)
