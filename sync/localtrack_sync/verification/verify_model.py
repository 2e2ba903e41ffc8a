"""The job that reads one logged model back, whole, and compares it with the store. It writes nothing anywhere. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from localtrack.catalog.desired import DesiredModel
from localtrack.entities import Metric
from localtrack_sync.delivery.bind import rank
from localtrack_sync.delivery.item_pass import STATUS, is_reserved
from localtrack_sync.delivery.model_pass import ModelPass
from localtrack_sync.delivery.named_models import no_models
from localtrack_sync.protocol.effects import Load, ReadModel, ReadModelMetrics
from localtrack_sync.protocol.findings import Finding, Standing
from localtrack_sync.protocol.jobs import Ending, JobResult
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import Parked, Record, Rejected, RunBinding
from localtrack_sync.protocol.request import UID_TAG, get, get_model
from localtrack_sync.protocol.snapshot import RemoteModel, model_of, run_of
from localtrack_sync.protocol.steps import Ask, Bound, Desk, Ended, Need, Part, read
from localtrack_sync.protocol.values import canonical
from localtrack_sync.protocol.verdict import Judged, Verdict
from localtrack_sync.verification.compare_run import different
from localtrack_sync.verification.verify_files import compare_files

VERIFY_MODEL, VERIFY_RUN, VERIFY_EXPERIMENT = "verify_model", "verify_run", "verify_experiment"


def verify_model(desk: Desk, model_id: str) -> Part[JobResult]:
    """Compare one logged model; the result holds what was found, or why it could not be compared."""
    ledger = Ledger("model", model_id)
    yield from ledger.load()
    try:
        desired: DesiredModel | None = yield ReadModel(model_id)
        if desired is None:
            raise Ended(Ending.OWED, "this store has no such logged model")  # noqa: TRY301 - one way out
        yield Need("remote", "")
        p = ModelPass(desk, ledger, desired)
        body, twins = (yield from _seen(p)) if desk.models else (None, [])
        remote_id = model_of(body).model_id if body is not None else ""
        yield Bound(remote_id)
        found = [Finding("model", twin, "twice", model_id, twin) for twin in twins]
        found += (yield from _compared(p, body)) if body is not None else _absent(p)
    except Ended as end:
        return JobResult(VERIFY_MODEL, model_id, end.ending, end.reason)
    found = [_explained(p, one) for one in found]
    return JobResult(VERIFY_MODEL, model_id, Ending.DELIVERED, "", remote_id, findings=tuple(found))


def _absent(p: ModelPass) -> list[Finding]:
    if not p.desk.models:
        return [Finding("model", "", "missing", p.uid, None, 1, Standing.KNOWN, no_models(p.desk))]
    return [] if p.desired.deleted else [Finding("model", "", "missing", p.uid)]


def _seen(p: ModelPass) -> Part[tuple[dict[str, Any] | None, list[str]]]:
    """The model as the remote shows it, deleted or not, and the ids of others that carry its uid."""
    # One that was made inside an attached run is in that run's experiment, which the store does not know.
    known_here = bool(p.desired.experiment_id)
    experiment: Bound | None = (yield Need(VERIFY_EXPERIMENT, p.desired.experiment_id)) if known_here else None
    carrying: list[RemoteModel] = []
    if experiment is not None and experiment.remote_id:
        judged: Judged = yield Ask(p.search((experiment.remote_id,), ""), safe=True, optional=True)
        if judged.verdict is not Verdict.OK:
            raise Ended(Ending.PARKED, f"the remote cannot be searched: {judged.words}")
        carrying = [one for one in map(model_of, judged.body.get("models") or ()) if one.uid == p.uid]
    known = p.ledger.run.remote_id if p.ledger.run is not None else ""
    for remote_id in dict.fromkeys((known, *(one.model_id for one in sorted(carrying, key=rank)))):
        body = (yield from _look(p, remote_id)) if remote_id else None
        if body is not None:
            return body, [one.model_id for one in carrying if one.model_id != remote_id]
    return None, []


def _look(p: ModelPass, remote_id: str) -> Part[dict[str, Any] | None]:
    """As the reply shows it, with "deleted" as we found out."""
    for deleted in (False, True):
        request = get_model(remote_id, deleted=deleted)
        judged: Judged = yield Ask(request, safe=True, expects=p.MADE, optional=True)
        if judged.verdict is Verdict.OK:
            return {**judged.body["model"], "deleted": deleted}
        if judged.verdict is not Verdict.GONE:
            raise Ended(Ending.PARKED, judged.words)
    return None


def _compared(p: ModelPass, body: dict[str, Any]) -> Part[list[Finding]]:
    desired, info, remote = p.desired, body["info"], model_of(body)
    found = [*different("lifecycle", "", _life(deleted=desired.deleted), _life(deleted=body["deleted"]))]
    if desired.deleted and body["deleted"]:
        return found  # nothing more is owed to it
    if desired.name:
        found += different("name", "", desired.name, str(info.get("name") or ""))
    found += different("type", "", desired.model_type or "", str(info.get("model_type") or ""))
    found += different("status", "", desired.status, remote.status)
    if desired.source_run_id:
        found += yield from _source_run(desired.source_run_id, str(info.get("source_run_id") or ""))
    for key in sorted({*p.params(), *remote.params}):
        found += different("param", key, p.params().get(key), remote.params.get(key))
    found += _tags(p, remote)
    found += yield from compare_files(p, remote.model_id, remote.artifact_uri)
    return found + (yield from _metrics(p, remote))


def _source_run(run_id: str, theirs: str) -> Part[list[Finding]]:
    """The run that the model names; no call changes it later."""
    source = yield from _source(run_id)
    found = list(different("source run", "", source, theirs))
    if not found or not theirs:
        return found
    judged = yield from read(get("runs/get", run_id=theirs), "run", "info", "run_id")
    if judged.verdict is not Verdict.OK or run_of(judged.body["run"]).uid != run_id:
        return found
    words = "it names a second run that was made for the same one and deleted since"
    return [replace(one, standing=Standing.KNOWN, reason=words) for one in found]


def _source(run_id: str) -> Part[str]:
    """Id of the source run on the remote; an id that the store does not have is the remote's own."""
    records: tuple[Record, ...] = yield Load("run", run_id)
    for record in records:
        if isinstance(record, RunBinding) and record.remote_id:
            return record.remote_id
    bound: Bound | None = yield Need(VERIFY_RUN, run_id)
    return bound.remote_id if bound is not None and bound.remote_id else run_id


def _tags(p: ModelPass, remote: RemoteModel) -> Iterator[Finding]:
    wanted = p.tags()
    for key in sorted({*wanted, *remote.tags}):
        if key in wanted:
            yield from different("tag", key, wanted[key], remote.tags.get(key))
        elif not is_reserved(key) and key != "mlflow.modelVersions":  # the server's own
            yield Finding("tag", key, "extra", None, remote.tags[key][:200], 1, Standing.FOREIGN, "others added it")
    yield from different("tag", UID_TAG, p.uid, remote.tags.get(UID_TAG))


def _metrics(p: ModelPass, remote: RemoteModel) -> Part[list[Finding]]:
    """The last point of each metric, run and dataset: more is not to be had from every server.

    The file store shows only the last of a metric and dataset, of whichever run: those before it are taken to be there.
    """
    latest: tuple[Metric, ...] = yield ReadModelMetrics(p.uid)
    there = {_identity(one) for one in remote.metrics}
    found: list[Finding] = []
    for metric in latest:
        run_id = yield from _source(metric.run_id or "")
        value = canonical(metric.value)
        kept = 0.0 if value == "nan" else value  # a model keeps NaN as 0.0
        name, digest = metric.dataset_name or "", metric.dataset_digest or ""
        if (metric.key, metric.step, metric.timestamp, kept, name, digest, run_id) in there:
            continue
        if not p.desk.dedupes and _hidden(metric, remote):
            continue
        ours = f"step {metric.step} at {metric.timestamp}: {metric.value} of run {metric.run_id}"
        reason = yield from _refused(metric, p.uid)
        known = (Standing.KNOWN, reason) if reason else (Standing.DIFFERENT, "")
        found.append(Finding("metric", metric.key, "missing", ours, None, 1, *known))
    return found


def _hidden(metric: Metric, remote: RemoteModel) -> bool:
    """Whether the remote shows a later point of the same metric and dataset."""
    group = (metric.key, metric.dataset_name or "", metric.dataset_digest or "")
    shown = map(_identity, remote.metrics)
    return any(
        (k, n, d) == group and (step, ts) >= (metric.step, metric.timestamp) for k, step, ts, _, n, d, _ in shown
    )


def _identity(metric: Any) -> tuple[Any, ...]:
    value = canonical(float(metric.get("value") or 0.0))
    name, digest = str(metric.get("dataset_name") or ""), str(metric.get("dataset_digest") or "")
    where = (str(metric.get("key", "")), int(metric.get("step") or 0), int(metric.get("timestamp") or 0))
    return (*where, 0.0 if value == "nan" else value, name, digest, str(metric.get("run_id") or ""))


def _refused(metric: Metric, model_id: str) -> Part[str]:
    """Why the run keeps a point that its model does not, "" when nothing says so."""
    records: tuple[Record, ...] = yield Load("run", metric.run_id or "")
    for record in records:
        if not isinstance(record, Rejected | Parked) or record.kind not in ("run", "metric", "model_metric"):
            continue
        if (
            record.kind == "run"
            or record.key == model_id
            or (record.value and _is_row_of(json.loads(record.value), metric))
        ):
            return f"{'rejected' if isinstance(record, Rejected) else 'parked'}: {record.reason}"
    return ""


def _is_row_of(row: dict[str, Any], metric: Metric) -> bool:
    return (row["key"], row["step"], row["timestamp"]) == (metric.key, metric.step, metric.timestamp)


def _explained(p: ModelPass, one: Finding) -> Finding:
    if one.standing is not Standing.DIFFERENT:
        return one
    key = STATUS if one.kind == "status" else one.key
    ledger, whole, reason = p.ledger, p.ledger.whole_parked(), ""
    if (one.kind, key) in ledger.conflicts:
        reason = "conflict: the remote holds another value, which was left alone"
    elif (one.kind, key) in ledger.rejected:
        reason = f"rejected: {ledger.rejected[one.kind, key].reason}"
    elif (one.kind, key) in ledger.parked:
        reason = f"parked: {ledger.parked[one.kind, key].reason}"
    elif one.kind == "status" and any(kind == "file" for kind, _ in ledger.parked):
        reason = "parked: a model that is READY is whole, and some of its files are parked"
    elif whole is not None and one.what != "twice":
        reason = f"parked: {whole.reason}"
    return replace(one, standing=Standing.KNOWN, reason=reason) if reason else one


def _life(*, deleted: bool) -> str:
    return "deleted" if deleted else "active"
