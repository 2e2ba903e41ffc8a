"""One method per operation: check, then write an op to the journal; or ask the catalog."""

from __future__ import annotations

import os

from localtrack.service.core import now_ms
from localtrack.service.tables import Tables
from localtrack.settings import Settings, load
from localtrack.store import Store
from localtrack.tracking_uri import parse

__all__ = ["Service", "now_ms", "service_for"]


class Service(Tables):
    """All operations on one store (Experiments, Runs, Models, Log, Linked, Artifacts, MadeFiles, Tables)."""

    def flush(self, *, sync: bool = False) -> bool:
        """Write what trouble kept in memory; with `sync`, wait until the disk has everything.

        Returns:
            True when nothing is pending or was lost since the last call.
        """
        return self.journal.flush(sync=sync)


def service_for(uri: str | os.PathLike[str] | None, settings: Settings | None = None) -> Service:
    """The service for a tracking URI; None is what MLFLOW_TRACKING_URI says, else the default store.

    Raises:
        TrackingError: the URI or a setting is not acceptable.
    """
    from localtrack import attention

    settings = load(os.environ) if settings is None else settings
    target = parse(settings.tracking_uri if uri is None else uri)
    if target.stripped:
        attention.warn_once(
            f"uri {target.remote}",
            f"Of the tracking URI, {target.stripped} are not recorded. Give credentials to `localtrack sync` through "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN or ~/.mlflow/credentials.",
        )
    return Service(Store.at(target.store or settings.store), settings, remote=target.remote)
