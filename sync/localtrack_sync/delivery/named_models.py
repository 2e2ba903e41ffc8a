"""Logged models that a run names: their ids on the remote, or why there is none yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from localtrack.catalog.desired import DesiredModel
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.effects import Load, ReadModel
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.records import Record, RunBinding
from localtrack_sync.protocol.steps import Bound, Desk, Need, Part


def no_models(desk: Desk) -> str:
    """Why nothing that needs logged models can be delivered to this remote."""
    server = f"MLflow {desk.version}" if desk.version else "its version is not known"
    return f"this server has no logged models ({server}); they flow when it is upgraded"


def recall_models(p: RunPass, model_ids: Iterable[str]) -> Part[None]:
    """Learn the ids of those that were bound earlier; nobody is waited for."""
    for model_id in sorted(set(model_ids) - p.models.keys()):
        records: tuple[Record, ...] = yield Load("model", model_id)
        for record in records:
            if isinstance(record, RunBinding) and record.state == "bound":
                p.models[model_id] = record.remote_id


def find_models(p: RunPass, model_ids: Iterable[str]) -> Part[None]:
    """Wait until each is bound (`RunPass.models`), or cannot be now (`RunPass.without`).

    An id that the store does not have is the remote's own.
    """
    wanted = set(model_ids) - p.without.keys()
    if not p.desk.models:
        p.without.update(dict.fromkeys(wanted, (Ending.PARKED, no_models(p.desk))))
        return
    yield from recall_models(p, wanted)
    for model_id in sorted(wanted - p.models.keys()):
        known: DesiredModel | None = yield ReadModel(model_id)
        if known is None:
            p.models[model_id] = model_id
            continue
        bound: Bound | None = yield Need("model", model_id)
        if bound is not None and bound.remote_id:
            p.models[model_id] = bound.remote_id
        else:
            ending, reason = (bound.ending, bound.reason) if bound is not None else (Ending.OWED, "")
            p.without[model_id] = (ending, f"its logged model {model_id} is not on the remote: {reason}")
