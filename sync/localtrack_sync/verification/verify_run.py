"""The job that reads one run back, whole, and compares it with the store. It writes nothing anywhere. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from localtrack.catalog.desired import DesiredModel, DesiredRun
from localtrack_sync.delivery.attach import EXPERIMENTS
from localtrack_sync.delivery.bind import rank
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.delivery.verify_points import KnownPoints, compare_points
from localtrack_sync.protocol.effects import Load, ReadKeys, ReadModel, ReadRun
from localtrack_sync.protocol.findings import Finding, Standing
from localtrack_sync.protocol.history import models_in
from localtrack_sync.protocol.jobs import Ending, JobResult
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import Record, RunBinding
from localtrack_sync.protocol.request import PARENT_TAG, get, search_uid
from localtrack_sync.protocol.snapshot import run_of
from localtrack_sync.protocol.steps import Bound, Desk, Ended, Need, Part, Turn, read
from localtrack_sync.protocol.verdict import Verdict
from localtrack_sync.verification.compare_run import compare_run
from localtrack_sync.verification.evidence import SeenRun, seen_of
from localtrack_sync.verification.verify_experiment import VERIFY_EXPERIMENT
from localtrack_sync.verification.verify_files import compare_files
from localtrack_sync.verification.verify_model import VERIFY_MODEL

VERIFY_RUN = "verify_run"
#: Pages of a search for one uid.
PAGES = 20


def verify_run(desk: Desk, run_id: str) -> Part[JobResult]:
    """Compare one run; the result holds what was found, or why it could not be compared."""
    ledger = Ledger("run", run_id)
    yield from ledger.load()
    remote_id = ""
    try:
        desired: DesiredRun | None = yield ReadRun(run_id)
        if desired is None:
            raise Ended(Ending.OWED, "this store has no such run")  # noqa: TRY301 - one way out for all endings
        yield Need("remote", "")
        p = RunPass(desk, ledger, desired)
        experiment = yield from _experiment(desired)
        seen, twins = yield from _seen(p, experiment)
        if seen is None:
            return _result(run_id, "", _absent(p))
        remote_id = seen.run.run_id
        yield Bound(remote_id)
        # For this comparison it is bound to what was found, whatever the delivery state says.
        ledger.run = RunBinding("run", run_id, state="bound", remote_id=remote_id)
        p.parent = yield from _parent(p, experiment)
        yield from _models(p)
        found = [Finding("run", twin, "twice", run_id, twin) for twin in twins]
        found += compare_run(p, seen, experiment)
        found += yield from _metrics(p, seen)
        if not seen.run.deleted:
            found += map(_parked(p), (yield from compare_files(p, remote_id, seen.run.artifact_uri)))
    except Ended as end:
        return JobResult(VERIFY_RUN, run_id, end.ending, end.reason, remote_id)
    return _result(run_id, remote_id, found)


def _result(run_id: str, remote_id: str, found: list[Finding]) -> JobResult:
    return JobResult(VERIFY_RUN, run_id, Ending.DELIVERED, "", remote_id, findings=tuple(found))


def _absent(p: RunPass) -> list[Finding]:
    """The run is not on the remote."""
    return [_parked(p)(Finding("run", "", "missing", p.desired.run_id))]


def _parked(p: RunPass) -> Callable[[Finding], Finding]:
    """What is missing of a run that is parked as a whole is known."""
    whole = p.ledger.whole_parked()

    def known(one: Finding) -> Finding:
        if whole is None or one.what != "missing" or one.standing is not Standing.DIFFERENT:
            return one
        return replace(one, standing=Standing.KNOWN, reason=f"parked: {whole.reason}")

    return known


# --- which run it is ---


def _experiment(desired: DesiredRun) -> Part[str]:
    """Id of the run's experiment on the remote, "" when it is not there."""
    if not desired.experiment_id:
        return ""
    bound: Bound | None = yield Need(VERIFY_EXPERIMENT, desired.experiment_id)
    return bound.remote_id if bound is not None else ""


def _seen(p: RunPass, experiment: str) -> Part[tuple[SeenRun | None, list[str]]]:
    """The run as the remote shows it, and the ids of others that are live and carry its uid."""
    binding = p.ledger.run
    known = binding.remote_id if binding is not None else ""
    if p.desired.attached:
        return (yield from _attached(p, known)), []
    carrying = yield from _carrying(p, p.desired.run_id, (experiment,))
    if not known:
        live = sorted((run_of(body) for body in carrying), key=rank)
        known = live[0].run_id if live else ""
    seen = (yield from _look(known)) if known else None
    if seen is None and carrying:
        seen = seen_of(min(carrying, key=lambda body: rank(run_of(body))))
    others = [run_of(body) for body in carrying]
    return seen, [run.run_id for run in others if seen and run.run_id != seen.run.run_id and not run.deleted]


def _attached(p: RunPass, known: str) -> Part[SeenRun | None]:
    """A run that was created elsewhere: by the id that it was bound to, by its own, or by its uid in any experiment."""
    for remote_id in dict.fromkeys((known or p.desired.run_id, p.desired.run_id)):
        seen = yield from _look(remote_id)
        if seen is not None:
            return seen
    listed: Bound | None = yield Need("remote", EXPERIMENTS)
    if listed is None or not listed.remote_id:
        raise Ended(Ending.PARKED, listed.reason if listed is not None else "the remote's experiments were not listed")
    carrying = yield from _carrying(p, p.desired.run_id, p.desk.experiment_ids)
    return seen_of(min(carrying, key=lambda body: rank(run_of(body)))) if carrying else None


def _look(remote_id: str) -> Part[SeenRun | None]:
    judged = yield from read(get("runs/get", run_id=remote_id), "run", "info", "run_id")
    if judged.verdict is Verdict.GONE:
        return None
    if judged.verdict is not Verdict.OK:
        raise Ended(Ending.PARKED, judged.words)
    return seen_of(judged.body["run"])


def _carrying(p: RunPass, run_id: str, experiments: tuple[str, ...]) -> Part[list[dict[str, object]]]:
    """The runs of some experiments that carry a uid, deleted ones too."""
    found: list[dict[str, object]] = []
    ids, most = [one for one in experiments if one], p.desk.limits.search_experiments
    for start in range(0, len(ids), most):
        found += yield from _searched(p, run_id, tuple(ids[start : start + most]))
    return found


def _searched(p: RunPass, run_id: str, experiments: tuple[str, ...]) -> Part[list[dict[str, object]]]:
    found: list[dict[str, object]] = []
    token = ""
    for _ in range(PAGES):
        judged = yield from read(search_uid(experiments, run_id, p.desk.limits.search_page, token))
        if judged.verdict is not Verdict.OK:
            raise Ended(Ending.PARKED, f"the remote cannot be searched: {judged.words}")
        found += judged.body.get("runs") or ()
        token = str(judged.body.get("next_page_token") or "")
        if not token:
            break
    return [body for body in found if run_of(body).uid == run_id]


def _parent(p: RunPass, experiment: str) -> Part[str | None]:
    """What tag mlflow.parentRunId should be on the remote, None when the parent is not there."""
    parent = p.desired.tags.get(PARENT_TAG, "")
    if not parent:
        return None
    records: tuple[Record, ...] = yield Load("run", parent)
    for record in records:
        if isinstance(record, RunBinding) and record.state == "bound":
            return record.remote_id
    known: DesiredRun | None = yield ReadRun(parent)
    if known is None:
        return parent  # an id that is not ours is the remote's own
    if known.experiment_id != p.desired.experiment_id:
        experiment = yield from _experiment(known)
    carrying = sorted((run_of(body) for body in (yield from _carrying(p, parent, (experiment,)))), key=rank)
    return carrying[0].run_id if carrying else None


def _models(p: RunPass) -> Part[None]:
    """Ids on the remote of the logged models that the run names; an id that the store does not have is the remote's."""
    desired = p.desired
    named = {*desired.model_inputs, *(one for one, _ in desired.model_outputs), *models_in(desired.models_logged)}
    for model_id in sorted(named):
        records: tuple[Record, ...] = yield Load("model", model_id)
        ids = [one.remote_id for one in records if isinstance(one, RunBinding) and one.remote_id]
        if ids:
            p.models[model_id] = ids[0]
            continue
        known: DesiredModel | None = yield ReadModel(model_id)
        bound: Bound | None = (yield Need(VERIFY_MODEL, model_id)) if known is not None else Bound(model_id)
        if bound is not None and bound.remote_id:
            p.models[model_id] = bound.remote_id


# --- its points ---


def _metrics(p: RunPass, seen: SeenRun) -> Part[list[Finding]]:
    """Compare the whole history of every metric, one after the other."""
    keys: tuple[str, ...] = yield ReadKeys(p.desired.run_id)
    known = KnownPoints(p.ledger)
    found: list[Finding] = []
    for key in sorted({*keys, *seen.run.latest}):
        found += map(_parked(p), (yield from compare_points(p, seen.run.run_id, key, known)))
        yield Turn()
    return found
