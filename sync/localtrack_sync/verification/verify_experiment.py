"""The job that reads one experiment back and compares it with the store. It writes nothing anywhere. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from localtrack.catalog.desired import DesiredExperiment
from localtrack_sync.delivery.experiment_pass import ExperimentPass
from localtrack_sync.delivery.item_pass import DELETED, is_reserved
from localtrack_sync.delivery.repair import NAME, same_experiment
from localtrack_sync.protocol.effects import ReadExperiment
from localtrack_sync.protocol.findings import Finding, Standing
from localtrack_sync.protocol.jobs import Ending, JobResult
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.request import UID_TAG, get
from localtrack_sync.protocol.snapshot import RemoteExperiment, experiment_of
from localtrack_sync.protocol.steps import Bound, Desk, Ended, Need, Part, read
from localtrack_sync.protocol.verdict import Verdict
from localtrack_sync.verification.compare_run import different

VERIFY_EXPERIMENT = "verify_experiment"


def verify_experiment(desk: Desk, experiment_id: str) -> Part[JobResult]:
    """Compare one experiment; the result holds what was found, or why it could not be compared."""
    ledger = Ledger("experiment", experiment_id)
    yield from ledger.load()
    try:
        desired: DesiredExperiment | None = yield ReadExperiment(experiment_id)
        if desired is None:
            raise Ended(Ending.OWED, "this store has no such experiment")  # noqa: TRY301 - one way out for all endings
        yield Need("remote", "")
        p = ExperimentPass(desk, ledger, desired)
        p.settle_in()
        remote = yield from _find(p)
    except Ended as end:
        return JobResult(VERIFY_EXPERIMENT, experiment_id, end.ending, end.reason)
    yield Bound(remote.experiment_id if remote is not None else "")
    found = [Finding("experiment", "", "missing", desired.name)] if remote is None else list(_all(p, remote))
    known = tuple(_explained(p, remote, one) for one in found)
    remote_id = remote.experiment_id if remote is not None else ""
    return JobResult(VERIFY_EXPERIMENT, experiment_id, Ending.DELIVERED, "", remote_id, findings=known)


def _find(p: ExperimentPass) -> Part[RemoteExperiment | None]:
    """By its id, when the delivery state knows it; else by its name, or by an earlier one when it carries our uid."""
    if p.ledger.experiment is not None:
        found = yield from _read("get", experiment_id=p.binding.remote_id)
        if found is not None and same_experiment(p.ledger, p.desired, found):
            return found
    found = yield from _read("get-by-name", experiment_name=p.desired.name)
    for name in p.desired.names_ever:
        if found is None and name != p.desired.name:
            older = yield from _read("get-by-name", experiment_name=name)
            found = older if older is not None and older.tags.get(UID_TAG) == p.desired.experiment_id else None
    return found


def _read(verb: str, **query: str) -> Part[RemoteExperiment | None]:
    judged = yield from read(get(f"experiments/{verb}", **query), "experiment", "experiment_id")
    if judged.verdict is Verdict.GONE:
        return None
    if judged.verdict is not Verdict.OK:
        raise Ended(Ending.PARKED, judged.words)
    return experiment_of(judged.body["experiment"])


def _all(p: ExperimentPass, remote: RemoteExperiment) -> Iterator[Finding]:
    yield from different("name", "", p.desired.name, remote.name)
    yield from different("lifecycle", "", _life(deleted=p.desired.deleted), _life(deleted=remote.deleted))
    wanted, most = p.tags(), p.desk.limits.experiment_tag_value
    shown = {key: value[:most] for key, value in remote.tags.items()}
    for key in sorted({*wanted, *shown}):
        if key in wanted:
            yield from different("tag", key, wanted[key], shown.get(key))
        elif not is_reserved(key) and key not in p.desk.limits.skip_tags:
            yield Finding("tag", key, "extra", None, shown[key][:200], 1, Standing.FOREIGN, "others added it")


def _explained(p: ExperimentPass, remote: RemoteExperiment | None, one: Finding) -> Finding:
    reason = _reason(p, remote, one) if one.standing is Standing.DIFFERENT else ""
    return replace(one, standing=Standing.KNOWN, reason=reason) if reason else one


def _reason(p: ExperimentPass, remote: RemoteExperiment | None, one: Finding) -> str:
    key = {"name": NAME, "lifecycle": DELETED}.get(one.kind, one.key)
    if (one.kind, key) in p.ledger.conflicts:
        return "conflict: the remote holds another value, which was left alone"
    rejected = p.ledger.rejected.get(("tag", key))
    if rejected is not None:
        return f"rejected: {rejected.reason}"
    whole = p.ledger.whole_parked()
    if whole is not None:
        return f"parked: {whole.reason}"
    if one.kind == "lifecycle" and remote is not None and remote.tags.get(UID_TAG) != p.desired.experiment_id:
        return "made by others on the remote: it is left as it is"
    return ""


def _life(*, deleted: bool) -> str:
    return "deleted" if deleted else "active"
