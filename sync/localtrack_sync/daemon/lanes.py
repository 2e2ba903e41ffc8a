"""The lanes of one store, one for each remote that something goes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import final

from localtrack.catalog.catalog import Catalog
from localtrack.settings import Settings
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.lane import Lane, LaneSettings
from localtrack_sync.daemon.parcel import parcel_of
from localtrack_sync.protocol.gate import GateSettings
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.guard import is_loopback
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.shell.replay import Stop
from localtrack_sync.shell.selection import Look, transport_settings
from localtrack_sync.shell.session import SyncSettings
from localtrack_sync.store.lock import DAEMON

#: A server on this machine is nobody else's: it is tried again this soon, seconds, and no crowd comes with us.
_NEAR_CAP_S = 10.0


@final
class Lanes:
    """Makes lanes as they are needed.

    Args:
        catalog: of the store.
        settings, shared, environ: as in `service.serve`; `shared` are the settings of both sides.
        stop, changed: as in `Lane`.
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: DaemonSettings,
        shared: Settings,
        environ: Mapping[str, str],
        stop: Stop,
        changed: Callable[[], None],
    ) -> None:
        self._catalog, self._settings, self._shared, self._environ = catalog, settings, shared, environ
        self._stop, self._changed = stop, changed
        self._lanes: dict[Remote, Lane] = {}

    @property
    def all(self) -> tuple[Lane, ...]:
        """Those that there are, in the order in which they came."""
        return tuple(self._lanes.values())

    def post(self, look: Look) -> None:
        """Hand out what a look found.

        Raises:
            SettingsError: what the environment says of requests cannot be used.
        """
        for errand in look.choice.errands:
            lane = self._lanes.get(errand.address.remote)
            if lane is None:
                how = lane_settings(errand.address.remote, self._settings, self._shared, self._environ)
                lane = Lane(self._catalog, errand.address, how, self._stop, self._changed)
                lane.start()  # one that cannot be started is no lane: it would only collect
                self._lanes = {**self._lanes, errand.address.remote: lane}  # others look at them meanwhile
            lane.post(parcel_of(errand, look.experiments))


def lane_settings(
    remote: Remote, settings: DaemonSettings, shared: Settings, environ: Mapping[str, str]
) -> LaneSettings:
    """How the lane of a remote works.

    Raises:
        SettingsError: what the environment says of requests cannot be used.
    """
    near = is_loopback(remote.url)
    cap_s = min(settings.retry_cap_seconds, _NEAR_CAP_S) if near else settings.retry_cap_seconds
    most = settings.connections_max
    gate = GateSettings(
        connections_max=most,
        connections_start=min(2, most),
        retry_cap_s=cap_s,
        splay_s=settings.splay_seconds,
        reconnect_splay_s=settings.reconnect_splay_seconds,
        long_outage_s=settings.long_outage_seconds,
    )
    if near:
        gate = replace(gate, splay_s=0.0, reconnect_splay_s=0.0, ramp_s=0.0)
    replay = ReplaySettings(
        settle_s=shared.settle_seconds, connections=most, patience_s=None, folder=shared.databricks_folder
    )
    sync = SyncSettings(replay, transport_settings(environ), environ, DAEMON)
    return LaneSettings(sync, gate, cap_s, settings.stop_seconds)
