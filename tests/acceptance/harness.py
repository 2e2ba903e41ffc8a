"""Replays of small stores to a real server behind a fault proxy, in this process or by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from localtrack.catalog.catalog import Catalog
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import TransportSettings
from localtrack_sync.shell.replay import Silent, Stop
from localtrack_sync.shell.session import Ended, SyncSettings, run_errand
from localtrack_sync.store.choice import Errand
from tests.acceptance.compare import differences
from tests.acceptance.worlds import World
from tests.servers.reader import MlflowReader

#: The engine's clock runs this many times as fast as ours, so that its backoffs cost the tests less.
SPEED = 5.0
#: Seconds of the engine's clock: 0.8 of ours.
SETTLE_S = 4.0
#: Seconds of our clock until a request counts as unanswered.
REQUEST_S = 1.5
#: Seconds until a command must have ended.
COMMAND_S = 60

COMMAND = [sys.executable, "-c", "from localtrack.cli import main; main()"]


def fast_clock() -> float:
    """Monotonic seconds, SPEED times as fast."""
    return time.monotonic() * SPEED


def fast_wall() -> float:
    """Seconds since the epoch by the same fast clock."""
    return _WALL_0 + (time.monotonic() - _MONOTONIC_0) * SPEED


_WALL_0, _MONOTONIC_0 = time.time(), time.monotonic()


def replay_here(
    world: World,
    url: str,
    *,
    patience_s: float = 100.0,
    stop: Stop | None = None,
    connections: int = 2,
    runs: list[str] | None = None,
    environ: Mapping[str, str] | None = None,
    tuning: ReplaySettings | None = None,
) -> Ended:
    """Replay a store in this process with a fast clock; `runs`: only these; `tuning`: other settings."""
    settings = SyncSettings(
        replace(tuning or ReplaySettings(), settle_s=SETTLE_S, connections=connections, patience_s=patience_s),
        TransportSettings(connect_s=1.0, total_s=REQUEST_S),
        environ or {},
        clock=fast_clock,
        wall=fast_wall,
    )  # fmt: skip
    address = parse_remote(url, environ)
    with Catalog(world.store) as catalog:

        def now() -> Errand:
            chosen = [e for e in catalog.run_index(refresh=False) if runs is None or e.run_id in runs]
            models = [m for m in catalog.model_index(refresh=False) if runs is None or m.source_run_id in runs]
            return Errand(address, tuple(chosen), (world.experiment_id,), tuple(models))

        return run_errand(catalog, address, now, settings, Silent(), stop or Stop())


def command(world: World, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the real `localtrack` on a store until it ends."""
    return subprocess.run(
        [*COMMAND, *arguments], env=command_environment(world.store.path, **environ), capture_output=True, text=True,
        timeout=COMMAND_S, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def command_environment(store: str, **environ: str) -> dict[str, str]:
    """The environment of a `localtrack` that knows nothing of this user's settings."""
    dropped = ("MLFLOW_", "LOCALTRACK_", "DATABRICKS_", "XDG_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(dropped)}
    home = str(Path(store).with_name("home"))
    return {**kept, "LOCALTRACK_STORE": store, "HOME": home, "NO_PROXY": "127.0.0.1", **environ}


def compared(world: World, reader: MlflowReader, url: str, runs: list[str] | None = None) -> list[str]:
    """What differs between the store and the server at `url`."""
    with Catalog(world.store) as catalog:
        names = {entry.experiment_name for entry in catalog.run_index()} | {world.experiment}
        return differences(catalog, reader.dump(url, sorted(names)), runs)


def uncounted(world: World, ended: Ended) -> list[str]:
    """Runs whose account does not hold every record that the catalog has of them, exactly once."""
    with Catalog(world.store) as catalog:
        index = {entry.run_id: entry for entry in catalog.run_index()}
    found = []
    for account in ended.accounts:
        entry = index.pop(account.run_id)
        records = 1 + entry.params + entry.tags + entry.points + entry.files + entry.param_conflicts
        if account.total != records:
            found.append(f"run {entry.run_id}: {account.total} in the account, {records} in the catalog")
    return found + [f"run {run_id}: no account" for run_id in index]


def outsider(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What somebody else does to the server: one POST below /api/2.0/mlflow/."""
    assert url.startswith("http://127.0.0.1:"), "tests talk to this machine only"
    request = urllib.request.Request(  # noqa: S310  checked above
        f"{url}/api/2.0/mlflow/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as reply:
        answer: dict[str, Any] = json.loads(reply.read())
    return answer
