"""The daemon's settings, from where they stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localtrack.settings import load
from localtrack_sync.daemon.daemon_settings import DaemonSettings


def load_daemon_settings(environ: Mapping[str, str], stores: Sequence[str] = ()) -> DaemonSettings:
    """The settings in force.

    Args:
        environ: variables; usually os.environ.
        stores: `--store`, absolute paths; they take the place of what is configured.

    Raises:
        TrackingError: a variable has a value that it cannot have; the message names both.
    """
    return DaemonSettings(tuple(stores) or (load(environ).store,))
