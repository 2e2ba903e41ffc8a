"""A doubted run or model is looked at again: what the remote still has stays delivered, the rest is owed. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from localtrack.catalog.desired import Point
from localtrack_sync.delivery.item_pass import CONFLICT_PREFIX, ItemPass
from localtrack_sync.delivery.repair import Found, gone, still_there
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.delivery.verify_points import KnownPoints, compare_points
from localtrack_sync.protocol.effects import Load, ReadKeys, ReadPoints
from localtrack_sync.protocol.history import is_part_of, models_in
from localtrack_sync.protocol.records import Parked, Record, RunBinding
from localtrack_sync.protocol.request import HISTORY_TAG
from localtrack_sync.protocol.snapshot import RemoteItem, RemoteRun
from localtrack_sync.protocol.steps import Gone, Part, Turn, Wait

#: Kind of records about points of logged models, as `model_metrics` writes them.
MODEL_METRIC = "model_metric"
#: Params of logged models are not cut by the remote.
UNCUT = 1 << 40


def re_examine(p: ItemPass) -> Part[bool]:
    """Whether it is on the remote; either way nothing is doubted any more.

    Raises:
        Ended: it cannot be looked at now; it stays doubted.
    """
    ledger = p.ledger
    assert ledger.run is not None, "what is doubted was bound"
    remote = yield from _look(p)
    young = min(ledger.run.bound_wall_s + p.desk.settle_s - p.desk.wall_s, p.desk.settle_s)
    if remote is None and young > 0:
        yield Wait(p.desk.now + young, f"the remote may not show a new {p.NOUN} yet")
        remote = yield from _look(p)
    if remote is None:
        change = gone(ledger)
        yield from ledger.save(*change.puts, drops=change.drops)
        p.put_off.clear()  # what was left alone because it is parked is not parked any more
        return False
    found = Found(_as_compared(p, remote), _ours(p), UNCUT, p.desk.wall_s, p.desk.settle_s)
    again: list[Record] = []
    if isinstance(p, RunPass):
        assert isinstance(remote, RemoteRun), "a run was looked at"
        found = yield from _run_found(p, remote, found)
        again = [] if remote.deleted else (yield from _under_models(p))
    change = still_there(ledger, found)
    yield from ledger.save(*change.puts, *again, drops=change.drops)
    if isinstance(p, RunPass):
        p.models = {}  # they are doubted too
    return True


def _as_compared(p: ItemPass, remote: RemoteItem) -> RemoteItem:
    """Tags in the form in which they are compared."""
    shown: dict[str, Any] = {key: p.shown(value) for key, value in remote.tags.items()}
    return replace(remote, tags=shown)


def _run_found(p: RunPass, remote: RemoteRun, found: Found) -> Part[Found]:
    """What else was found of a run."""
    p.models = yield from _old_ids(p)
    points = yield from _has_points(p, remote.run_id)
    return replace(
        found,
        most=p.desk.limits.param_value,
        wall_s=p.desk.wall_s,
        points=points,
        links=_has_links(p, remote),
        sweep=not p.desired.attached,
    )


def _has_links(p: RunPass, remote: RemoteRun) -> bool:
    """Whether the run has all of its inputs and outputs."""
    desired = p.desired
    datasets = {(one.dataset.name, one.dataset.digest) for one in desired.datasets}
    inputs = {p.models.get(one, one) for one in desired.model_inputs}
    outputs = {p.models.get(one, one) for one, _ in desired.model_outputs}
    return datasets <= remote.datasets and inputs <= remote.model_inputs and outputs <= remote.model_outputs.keys()


def _ours(p: ItemPass) -> Callable[[str, str], bool]:
    """Whether a value in a tag may be there as our own."""

    def ours(key: str, shown: str) -> bool:
        if key == HISTORY_TAG and isinstance(p, RunPass):
            return is_part_of(shown, p.history_text() or "")
        return shown in p.ever(key) or key.startswith(CONFLICT_PREFIX)

    return ours


def _old_ids(p: RunPass) -> Part[dict[str, str]]:
    """Ids of the logged models that the run names, as they were before anything was doubted."""
    found: dict[str, str] = {}
    desired = p.desired
    named = {*models_in(desired.models_logged), *desired.model_inputs, *(one for one, _ in desired.model_outputs)}
    for model_id in sorted(named):
        records: tuple[Record, ...] = yield Load("model", model_id)
        for one in records:
            if isinstance(one, RunBinding):
                found[model_id] = one.remote_id
    return found


def _under_models(p: RunPass) -> Part[list[Record]]:
    """Points that were logged to models go out again, under these: harmless where a repeated point is stored once."""
    if not p.desk.dedupes or not p.desk.models:
        return []
    upto = tuple(sorted((inc, mark.upto) for inc, mark in p.ledger.watermarks.items()))
    after: dict[str, int] = {}
    models: set[str] = set()
    while True:
        read = ReadPoints(p.uid, tuple(sorted(after.items())), p.desk.settings.window, upto=upto, model_id="")
        points: tuple[Point, ...] = yield read
        models.update(point.model_id for point in points if point.model_id is not None)
        if len(points) < p.desk.settings.window:
            break
        last = points[-1]
        after |= {inc: pos for inc, pos in upto if inc < last.incarnation} | {last.incarnation: last.pos}
    why = "sent again to its logged model, by sync --repair"
    known = [one for one in sorted(models) if (MODEL_METRIC, one) not in p.ledger.parked]
    return [Parked("run", p.uid, MODEL_METRIC, one, "", why, p.desk.wall_s) for one in known]


def _look(p: ItemPass) -> Part[RemoteItem | None]:
    try:
        remote: RemoteItem = yield from p.look()
    except Gone:
        return None
    return remote if remote.uid in ("", p.uid) or remote.remote_id == p.uid else None


def _has_points(p: RunPass, remote_id: str) -> Part[bool]:
    """Whether the remote has every point that we have; if not, they will be looked at one by one."""
    if "metrics" in p.ledger.intents:
        return False
    keys: tuple[str, ...] = yield ReadKeys(p.desired.run_id)
    known = KnownPoints(p.ledger)
    for key in keys:
        found = yield from compare_points(p, remote_id, key, known)
        yield Turn()
        if any(one.what == "missing" and not one.reason for one in found):
            return False
    return True
