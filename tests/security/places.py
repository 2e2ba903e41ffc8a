"""A store of one run with something of everything, replayed in this process by a fast clock; what lies around it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from localtrack import TrackingClient
from localtrack.catalog.catalog import Catalog
from localtrack.entities import Metric, Param, RunTag
from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import Address, parse_remote
from localtrack_sync.remote.transport import TransportSettings
from localtrack_sync.shell.replay import Silent, Stop
from localtrack_sync.shell.selection import Wanted, chosen
from localtrack_sync.shell.session import Ended, SyncSettings, run_errand
from localtrack_sync.shell.verify_session import Verification, run_verification
from localtrack_sync.store.choice import Errand

NOW = 1_700_000_000_000
#: Seconds of the engine's clock in one of ours: waits and backoffs pass at once.
SPEED = 3000.0
_BEGAN, _WALL = time.monotonic(), time.time()


def clock() -> float:
    """Monotonic seconds, SPEED times as fast."""
    return (time.monotonic() - _BEGAN) * SPEED


def wall() -> float:
    """Seconds since the epoch by the same clock."""
    return _WALL + clock()


def logged(place: Path) -> tuple[Store, str]:
    """A store with one finished run: points, params, tags, a file, a logged model; its id."""
    store = Store.at(place / "store")
    client = TrackingClient(store.path)
    experiment = client.create_experiment("exp")
    run_id = client.create_run(experiment, start_time=NOW, run_name="one").info.run_id
    client.log_batch(
        run_id,
        [Metric("loss", 1.0 / (step + 1), NOW + step, step) for step in range(5)],
        [Param("lr", "0.1"), Param("layers", "2")],
        [RunTag("stage", "train"), RunTag("who", "me")],
    )
    (place / "weights.bin").write_bytes(b"weights")
    client.log_artifact(run_id, str(place / "weights.bin"), "sub")
    os.unlink(place / "weights.bin")
    client.create_logged_model(experiment, "model", run_id, params={"a": "1"}, tags={"t": "1"})
    client.set_terminated(run_id, "FINISHED", NOW + 10)
    return store, run_id


def settings_of(environ: Mapping[str, str], patience_s: float, *, repair: bool = False) -> SyncSettings:
    """Settings of a replay whose waits pass at once."""
    tuning = ReplaySettings(settle_s=4.0, connections=2, patience_s=patience_s, repair=repair)
    return SyncSettings(tuning, TransportSettings(connect_s=2.0, total_s=3.0), environ, clock=clock, wall=wall)


def errand_of(catalog: Catalog, address: Address, environ: Mapping[str, str]) -> Errand:
    """All of a store, to one remote."""
    errands = chosen(catalog, Wanted(address, (), ()), load(environ), environ).errands
    return errands[0] if errands else Errand(address, ())


def replay(
    store: Store, url: str, environ: Mapping[str, str] | None = None, patience_s: float = 60.0, *, repair: bool = False
) -> Ended:
    """Replay all of a store."""
    given = environ or {}
    settings, address = settings_of(given, patience_s, repair=repair), parse_remote(url, given)
    with Catalog(store) as catalog:
        return run_errand(catalog, address, lambda: errand_of(catalog, address, given), settings, Silent(), Stop())


def verify(store: Store, url: str, patience_s: float = 60.0) -> Verification:
    """Compare all of a store with a remote."""
    address = parse_remote(url, {})
    with Catalog(store) as catalog:
        return run_verification(catalog, errand_of(catalog, address, {}), settings_of({}, patience_s), Silent(), Stop())


def around(place: Path, store: Store) -> dict[str, str]:
    """Path -> what lies there, for everything below `place` but what a replay keeps in its store."""
    found = {}
    for directory, directories, names in os.walk(place):
        own = os.path.relpath(directory, store.path)
        if own.split(os.sep)[0] == "sync":
            continue
        for name in [*directories, *names]:
            path = os.path.join(directory, name)
            if own == "." and name.startswith("catalog."):
                continue
            if name.endswith((".db-shm", ".db-wal")) or name == ".scan.db":
                continue
            if os.path.islink(path):
                found[path] = f"-> {os.readlink(path)}"
            elif os.path.isfile(path):
                found[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            else:
                found[path] = "directory"
    return found
