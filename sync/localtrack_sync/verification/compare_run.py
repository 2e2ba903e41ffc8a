"""What a run on the remote lacks, has more, or has differently, without its metric points. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from localtrack_sync.delivery.item_pass import STATUS, is_reserved
from localtrack_sync.delivery.log_model import entries_of, signature
from localtrack_sync.delivery.run_pass import RunPass, conflict_key
from localtrack_sync.protocol.findings import Finding, Standing
from localtrack_sync.protocol.history import entry_names
from localtrack_sync.protocol.request import HISTORY_TAG, PARENT_TAG, RUN_NAME_TAG, UID_TAG
from localtrack_sync.verification.evidence import SeenRun

#: Characters of a value that a finding shows.
SHOWN = 200


def compare_run(p: RunPass, seen: SeenRun, experiment_remote_id: str) -> list[Finding]:
    """Every difference between a run and its counterpart that one look at it can show.

    Args:
        p: the run as it is wanted, and what the delivery state knows of it.
        seen: what was read back.
        experiment_remote_id: where it should be, "" when that is not known.
    """
    return [_explained(p, seen, one) for one in _all(p, seen, experiment_remote_id)]


def _all(p: RunPass, seen: SeenRun, experiment_remote_id: str) -> Iterator[Finding]:
    yield from _info(p, seen, experiment_remote_id)
    yield from _pairs("param", dict(p.params()), _cut(seen.run.params, p.desk.limits.param_value), p)
    yield from _tags(p, seen)
    yield from _datasets(p, seen)
    yield from _links(p, seen)
    yield from _entries(p, seen)


def different(kind: str, key: str, ours: str | None, theirs: str | None) -> Iterator[Finding]:
    """The finding for two values, if they are not equal; None is absence."""
    if ours == theirs:
        return
    what = "missing" if theirs is None else "extra" if ours is None else "different"
    yield Finding(kind, key, what, _short(ours), _short(theirs))


def _info(p: RunPass, seen: SeenRun, experiment_remote_id: str) -> Iterator[Finding]:
    desired, run = p.desired, seen.run
    if experiment_remote_id and run.experiment_id:
        yield from different("experiment", "", experiment_remote_id, run.experiment_id)
    if desired.name:
        yield from different("name", "", desired.name[: p.desk.limits.tag_value], seen.name)
    yield from different("lifecycle", "", _life(deleted=desired.deleted), _life(deleted=run.deleted))
    if desired.status:
        yield from _ended(p, seen, different("status", "", desired.status, run.status))
    if desired.end_time is not None:
        theirs = None if run.end_time is None else str(run.end_time)
        yield from _ended(p, seen, different("time", "end_time", str(desired.end_time), theirs))
    if desired.attached:
        return  # whoever created it said who and when
    yield from different("time", "start_time", str(desired.start_time), str(seen.start_time))
    if "mlflow.user" not in p.desk.limits.skip_tags:  # else the remote says who it was
        yield from different("user", "", desired.user_id or "", seen.user_id)


def _ended(p: RunPass, seen: SeenRun, found: Iterator[Finding]) -> Iterator[Finding]:
    """Of a run that was created elsewhere, the last end stands."""
    ours, theirs = p.desired.end_time, seen.run.end_time
    later = p.desired.attached and theirs is not None and theirs > (ours if ours is not None else p.desired.start_time)
    for one in found:
        yield replace(one, standing=Standing.FOREIGN, reason="ended later elsewhere") if later else one


def _tags(p: RunPass, seen: SeenRun) -> Iterator[Finding]:
    wanted, shown = p.tags(), _cut(seen.run.tags, p.desk.limits.tag_value)
    for key in sorted({*wanted, *shown} - {RUN_NAME_TAG}):
        if key in wanted:
            yield from different("tag", key, wanted[key], shown.get(key))
        elif not is_reserved(key) and key not in p.desk.limits.skip_tags and key not in (PARENT_TAG, HISTORY_TAG):
            yield Finding("tag", key, "extra", None, _short(shown[key]), 1, Standing.FOREIGN, "others added it")
    for key, value in sorted(p.desired.tags.items()):
        if is_reserved(key):
            yield from different("tag", key, value, shown.get(key))
    if not p.desired.attached:
        yield from different("tag", UID_TAG, p.desired.run_id, shown.get(UID_TAG))


def _pairs(kind: str, ours: dict[str, str], theirs: dict[str, str], p: RunPass) -> Iterator[Finding]:
    for key in sorted({*ours, *theirs}):
        for one in different(kind, key, ours.get(key), theirs.get(key)):
            yield foreign(one) if one.what == "extra" and p.desired.attached else one


def _datasets(p: RunPass, seen: SeenRun) -> Iterator[Finding]:
    wanted = {
        (one.dataset.name, one.dataset.digest): {tag.key: tag.value for tag in one.tags} for one in p.desired.datasets
    }
    for key in sorted({*wanted, *seen.datasets}):
        name, ours, theirs = f"{key[0]} {key[1]}", wanted.get(key), seen.datasets.get(key)
        if ours is None or theirs is None:
            for one in different("dataset", name, _logged(ours), _logged(theirs)):
                yield foreign(one) if one.what == "extra" and p.desired.attached else one
            continue
        for tag in sorted({*ours, *theirs}):
            yield from different("dataset", f"{name}: tag {tag}", ours.get(tag), theirs.get(tag))


def foreign(finding: Finding) -> Finding:
    """The same, as something that others logged to a run that is not ours alone."""
    return Finding(
        finding.kind, finding.key, finding.what, None, finding.theirs, finding.count, Standing.FOREIGN,
        "others logged it to this run, which was created elsewhere",
    )  # fmt: skip


def _explained(p: RunPass, seen: SeenRun, one: Finding) -> Finding:
    """The finding, as known if the delivery state, or the remote run itself, names a reason."""
    if one.standing is not Standing.DIFFERENT:
        return one
    reason = _reason(p, seen, one)
    if not reason:
        return one
    return Finding(one.kind, one.key, one.what, one.ours, one.theirs, one.count, Standing.KNOWN, reason)


def _reason(p: RunPass, seen: SeenRun, one: Finding) -> str:
    kind, key = {
        "name": ("tag", RUN_NAME_TAG),
        "status": ("status", STATUS),
        "time": ("status", STATUS),
        "dataset": ("dataset", _dataset_key(one.key)),
    }.get(one.kind, (one.kind, one.key))
    ledger = p.ledger
    conflict = ledger.conflicts.get((kind, key))
    if conflict is not None and (kind != "param" or _short(conflict.theirs) in (None, one.theirs)):
        return "conflict: the remote holds another value, which was left alone"
    if conflict_key(kind, key) in seen.run.tags and one.what == "different":
        return "conflict: a tag on the remote run says so"
    for name, records in (("rejected", ledger.rejected), ("parked", ledger.parked)):
        if (kind, key) in records:
            return f"{name}: {records[kind, key].reason}"
    whole = ledger.whole_parked()
    if whole is not None and not (kind == "param" and one.what == "different"):
        return f"parked: {whole.reason}"
    return "this tag is localtrack's own; use another name" if kind == "tag" and _users(p, key) else ""


def _dataset_key(key: str) -> str:
    """As in records.Linked: name and digest, which holds no blank, as a JSON list."""
    name, _, digest = key.partition(": tag ")[0].rpartition(" ")
    return json.dumps([name, digest])


def _users(p: RunPass, key: str) -> bool:
    """Whether a reserved tag was set by training code, and therefore is never sent."""
    return is_reserved(key) and key in p.desired.tags


def _links(p: RunPass, seen: SeenRun) -> Iterator[Finding]:
    """Models in and out, by the ids that they have on the remote."""
    local = {remote_id: model_id for model_id, remote_id in p.models.items()}
    ours = {("model_input", one): "logged" for one in p.desired.model_inputs}
    ours |= {("output", one): f"step {step}" for one, step in p.desired.model_outputs}
    theirs = {("model_input", local.get(one, one)): "logged" for one in seen.model_inputs}
    theirs |= {("output", local.get(one, one)): f"step {step}" for one, step in seen.model_outputs}
    for kind, key in sorted({*ours, *theirs}):
        for one in different(kind, key, ours.get((kind, key)), theirs.get((kind, key))):
            yield foreign(one) if one.what == "extra" and p.desired.attached else one


def _entries(p: RunPass, seen: SeenRun) -> Iterator[Finding]:
    """Entries of the deprecated log_model, where the server appends them; elsewhere they are a tag like others."""
    if not p.desired.models_logged or not p.appends():
        return
    there = [signature(one) for one in entries_of(seen.run.tags.get(HISTORY_TAG))]
    for name, entry in zip(entry_names(p.desired.models_logged), p.mapped_entries(), strict=True):
        mine = signature(json.loads(entry))
        if mine in there:
            there.remove(mine)
        else:
            yield Finding("log_model", name, "missing", _short(entry))


def _logged(tags: dict[str, str] | None) -> str | None:
    return None if tags is None else "logged"


def _life(*, deleted: bool) -> str:
    return "deleted" if deleted else "active"


def _cut(values: dict[str, str], most: int) -> dict[str, str]:
    return {key: value[:most] for key, value in values.items()}


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= SHOWN else f"{value[:SHOWN]}… ({len(value):,} characters)"
