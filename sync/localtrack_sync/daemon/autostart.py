"""A daemon for one store without an installed service: started by a training process, ends by itself.

Loaded within training processes: it imports nothing but the standard library and what they have loaded already.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from localtrack.errors import StoreError
from localtrack.store import Store
from localtrack_sync.daemon.launch import start_detached
from localtrack_sync.daemon.notify import VARIABLES
from localtrack_sync.store.presence import daemon_lock, is_held

IDLE_EXIT = "LOCALTRACK_DAEMON_IDLE_EXIT_SECONDS"
#: Variables that mean the trainer's own runs, or whoever watches over the trainer (systemd): not the daemon.
NOT_INHERITED = (
    "LOCALTRACK_AUTOSTART",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_ACTIVE_MODEL_ID",
    "MLFLOW_RUN_CONTEXT",
    *VARIABLES,
)
#: Variables that hold paths, or lists of them: the daemon runs in another directory.
PATHS = (
    "PYTHONPATH",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "DATABRICKS_CONFIG_FILE",
    "XDG_CONFIG_HOME",
)


def start_for(
    store: Store,
    environ: Mapping[str, str],
    *,
    linger: float,
    new_session: bool = True,
    command: Sequence[str] = (),
) -> int | None:
    """Start a daemon for this store, unless one runs; returns its process id, None when there was one.

    Two that are started at the same moment do no harm: the daemon's lock lets one of them live.

    Args:
        store: made when it is missing.
        environ: of the trainer: credentials and settings of the daemon come from it.
        linger: seconds that the daemon stays when nothing is owed and no trainer lives; above 0.
        new_session: as in `start_detached`.
        command: what to run in the place of `python -m localtrack` (for tests).

    Raises:
        StoreError: the store cannot be made.
        OSError: the program cannot be started.
    """
    try:
        store.make()
    except OSError as error:
        raise StoreError(f"The store {store.path} cannot be made: {error.strerror}") from error
    if is_held(daemon_lock(store)):
        return None
    log = log_path(store)  # bounded by the daemon; only what Python says before it has begun comes there by itself
    program = command or (sys.executable, "-m", "localtrack")
    argv = [*program, "daemon", "run", "--store", store.path, "--log-file", log]
    return start_detached(argv, daemon_environ(environ, linger), log, new_session=new_session)


def daemon_environ(environ: Mapping[str, str], linger: float) -> dict[str, str]:
    """The trainer's environment with what the daemon needs to know, and without what is about the trainer's runs."""
    kept = {name: value for name, value in environ.items() if name not in NOT_INHERITED}
    paths = {name: _absolute(kept[name]) for name in PATHS if kept.get(name)}
    return {**kept, **paths, IDLE_EXIT: f"{linger:.12g}"}


def _absolute(paths: str) -> str:
    return os.pathsep.join(os.path.abspath(os.path.expanduser(path)) for path in paths.split(os.pathsep))


def log_path(store: Store) -> str:
    """Where such a daemon says what it has to say."""
    return os.path.join(store.sync, "daemon.log")
