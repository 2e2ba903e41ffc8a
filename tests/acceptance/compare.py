"""What differs between a store and a server that was read through MLflow's own client. An empty list: nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.desired import DesiredRun
from localtrack.entities import ViewType
from localtrack.journal.ops import ENDED_BY_TAG

UID = "localtrack.uid"
PARENT = "mlflow.parentRunId"
LARGEST = 1.7976931348623157e308


def differences(catalog: Catalog, server: dict[str, Any], runs: Iterable[str] | None = None) -> list[str]:
    """One line for each thing that is missing, doubled or different on the server.

    Args:
        catalog: of the store; brought up to date first.
        server: what `MlflowReader.dump` read.
        runs: local ids of the runs to compare; None: all of the store, and no other run of ours may be there.
    """
    catalog.refresh()
    by_uid: dict[str, list[dict[str, Any]]] = {}
    for experiment in server.values():
        for run in experiment["runs"]:
            by_uid.setdefault(run["tags"].get(UID, ""), []).append(run)
    index = {entry.run_id: entry for entry in catalog.run_index()}
    wanted = set(index) if runs is None else set(runs)
    found = [] if runs is not None else [f"run {uid}: not of this store" for uid in by_uid if uid and uid not in index]
    found += _experiments(catalog, server, {index[run_id].experiment_name for run_id in wanted})
    remote_ids = {uid: copies[0]["run_id"] for uid, copies in by_uid.items()}
    for run_id in sorted(wanted):
        live = [r for r in by_uid.get(run_id, []) if r["lifecycle_stage"] == "active"] or by_uid.get(run_id, [])
        if len(live) != 1:
            found.append(f"run {run_id}: {len(live)} times on the server")
            continue
        desired = catalog.desired_run(run_id)
        assert desired is not None
        found += [f"run {run_id}: {line}" for line in _run(catalog, desired, live[0], remote_ids)]
    return found


def _experiments(catalog: Catalog, server: dict[str, Any], names: set[str]) -> list[str]:
    found = []
    for local in catalog.experiments(ViewType.ALL, 1000):
        if local.name not in names:
            continue
        if local.name not in server:
            found.append(f"experiment {local.name}: missing")
            continue
        remote = server[local.name]
        tags = {key: value for key, value in remote["tags"].items() if not _ours(key)}
        found += _unequal(f"experiment {local.name}: tags", local.tags, tags)
        found += _unequal(f"experiment {local.name}: life", local.lifecycle_stage, remote["lifecycle_stage"])
    return found


def _run(catalog: Catalog, desired: DesiredRun, remote: dict[str, Any], remote_ids: dict[str, str]) -> list[str]:
    tags = {key: value for key, value in remote["tags"].items() if not _ours(key)}
    wanted = {**desired.tags, "mlflow.runName": desired.name}
    if PARENT in wanted:
        wanted[PARENT] = remote_ids.get(wanted[PARENT], wanted[PARENT])
    found = _unequal("tags", wanted, tags)
    found += _unequal("params", desired.params, remote["params"])
    for name in ("name", "user_id", "status", "start_time", "end_time"):
        found += _unequal(name, getattr(desired, name), remote[name])
    found += _unequal("life", "deleted" if desired.deleted else "active", remote["lifecycle_stage"])
    found += _unequal("points", _local_points(catalog, desired.run_id), _remote_points(remote))
    return found


def _local_points(catalog: Catalog, run_id: str) -> dict[str, list[Any]]:
    """Key -> its points as a SQL server keeps them: equal points once, infinities as the largest number, no -0.0."""
    kept: dict[str, set[Any]] = {}
    for point in catalog.points(run_id, {}, 10_000_000):
        kept.setdefault(point.key, set()).add((point.ts, point.step, _stored(point.value)))
    return {key: sorted(map(list, points)) for key, points in kept.items()}


def _remote_points(remote: dict[str, Any]) -> dict[str, list[Any]]:
    """Key -> all points that the server has, so that a doubled one shows, infinities as a SQL server keeps them."""
    return {
        key: sorted([ts, step, _stored(float(value))] for ts, step, value in points)
        for key, points in remote["points"].items()
    }


def _stored(value: float) -> str:
    if math.isinf(value):
        value = math.copysign(LARGEST, value)
    return repr(value + 0.0)


def _ours(key: str) -> bool:
    return key.startswith("localtrack.") and key != ENDED_BY_TAG


def _unequal(what: str, ours: Any, theirs: Any) -> list[str]:
    if ours == theirs:
        return []
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            f"{what}[{key}]: {_brief(ours.get(key))} here, {_brief(theirs.get(key))} there"
            for key in sorted({*ours, *theirs})
            if ours.get(key) != theirs.get(key)
        ]
    return [f"{what}: {_brief(ours)} here, {_brief(theirs)} there"]


def _brief(value: Any) -> str:
    text = repr(value)
    return f"{text[:200]}... ({len(value)} of them)" if isinstance(value, list) and len(text) > 200 else text[:300]
