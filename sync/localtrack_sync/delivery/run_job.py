"""The job of one run: bind it, bring its data, then its status, then its life. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from localtrack.catalog.desired import DesiredRun
from localtrack_sync.delivery.attach import attach, watch_twins
from localtrack_sync.delivery.bind import bind, sweep
from localtrack_sync.delivery.item_pass import DELETED, ItemPass, is_reserved
from localtrack_sync.delivery.lifecycle import close_run, deliver_status, open_run, too_often_inactive
from localtrack_sync.delivery.links import deliver_links
from localtrack_sync.delivery.log_model import deliver_log_model
from localtrack_sync.delivery.metrics import deliver_metrics
from localtrack_sync.delivery.named_models import find_models, recall_models
from localtrack_sync.delivery.params import deliver_params
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.delivery.tags import Tagger
from localtrack_sync.protocol.cells import is_settled
from localtrack_sync.protocol.effects import Load, ReadFiles, ReadRun
from localtrack_sync.protocol.history import models_in
from localtrack_sync.protocol.jobs import Ending, JobResult
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import Cell, ExperimentBinding, Record, Rejected, RunBinding
from localtrack_sync.protocol.request import PARENT_TAG
from localtrack_sync.protocol.steps import Bound, Bring, Desk, Ended, Gone, Inactive, Need, Part
from localtrack_sync.uploads.files import deliver_files

#: Rounds in one pass: each ends with a new look at the catalog, for a run that is being logged to.
ROUNDS = 50


def run_job(desk: Desk, run_id: str) -> Part[JobResult]:
    """Bring one run to the remote."""
    ledger = Ledger("run", run_id)
    yield from ledger.load()
    try:
        reason = yield from _deliver(desk, ledger, run_id)
    except Ended as end:
        return result_of(ledger, end.ending, end.reason)
    stuck = sorted(kind for kind, _ in ledger.parked)
    if stuck:
        return result_of(ledger, Ending.PARKED, f"{len(stuck)} records are parked ({', '.join(sorted(set(stuck)))})")
    return result_of(ledger, Ending.OWED if reason else Ending.DELIVERED, reason)


def result_of(ledger: Ledger, ending: Ending, reason: str) -> JobResult:
    """How a job ended, with the books of its ledger."""
    binding = ledger.run or ledger.experiment
    remote_id = binding.remote_id if binding is not None else ""
    counts = (len(ledger.conflicts), len(ledger.rejected), len(ledger.parked))
    return JobResult(ledger.scope, ledger.scope_id, ending, reason, remote_id, *counts)


def _deliver(desk: Desk, ledger: Ledger, run_id: str) -> Part[str]:
    """Deliver everything; why something is left, "" when nothing is."""
    desired: DesiredRun | None = yield ReadRun(run_id)
    if desired is None:
        raise Ended(Ending.OWED, "this store has no such run")
    p = RunPass(desk, ledger, desired)
    p.files = yield ReadFiles(run_id)
    yield from _notice_restored(p)
    parent = desired.tags.get(PARENT_TAG, "")
    if parent:
        p.parent = yield from _bound_run(parent)
    yield from recall_models(p, models_in(desired.models_logged))
    if (yield from _owes_nothing(p)):
        yield from _pass_over(p)
        return ""
    experiment = None if desired.attached else (yield from bound_experiment(desired.experiment_id))
    if parent and p.parent is None:
        p.parent = yield from remote_run(parent)
    if experiment is None:
        yield from attach(p)
        yield from watch_twins(p)
    else:
        yield from bind(p, experiment)
    yield Bound(p.remote_id)
    try:
        yield from _rounds(p)
        if experiment is not None:
            yield from sweep(p)
    except Gone as gone:
        if desk.wall_s < p.binding.bound_wall_s + desk.settle_s:
            raise Ended(Ending.OWED, f"the remote does not show the new run yet: {gone}") from None
        yield from p.park_whole(f"not on the remote any more: {gone} (localtrack sync --repair makes it again)")
    return "waits for its parent run" if parent and p.parent is None else p.waits_for


def bound_experiment(experiment_id: str) -> Part[Bound]:
    """Wait until an experiment is on the remote.

    Raises:
        Ended: it cannot be brought there now.
    """
    experiment: Bound | None = yield Need("experiment", experiment_id)
    if experiment is None:
        raise Ended(Ending.OWED, "its experiment is not on the remote yet")
    if not experiment.remote_id:
        raise Ended(experiment.ending, f"its experiment: {experiment.reason}")
    return experiment


def _owes_nothing(p: RunPass) -> Part[bool]:
    """Whether there is nothing to do; what the remote is, is only asked when there may be."""
    if p.nothing_owed():
        return True
    yield Need("remote", "")
    if not p.desk.models:
        p.rest_models()
    return p.nothing_owed()


def _pass_over(p: RunPass) -> Part[None]:
    """Nothing is owed: others are told where the run is, and its experiment is looked after."""
    yield Bound(p.remote_id)
    if not p.desired.attached:
        yield Bring("experiment", p.desired.experiment_id)


def _notice_restored(p: RunPass) -> Part[None]:
    """A run that we deleted came back to life if we restored its experiment since (for late data of another run)."""
    run, cell = p.ledger.run, p.ledger.cells.get(DELETED)
    if run is None or cell is None or cell.base != "1":
        return
    records: tuple[Record, ...] = yield Load("experiment", p.desired.experiment_id)
    restores = max((r.restores for r in records if isinstance(r, ExperimentBinding)), default=0)
    gone = any(isinstance(r, Cell) and r.key == DELETED and is_settled(r, "1") for r in records)  # and all runs with it
    if restores != run.restores and not gone:
        poss = tuple(sorted({*cell.poss, "=1", "=0"}))
        yield from p.ledger.save(replace(run, restores=restores), replace(cell, sure=False, poss=poss))


def _bound_run(run_id: str) -> Part[str | None]:
    """Remote id of a run that was delivered earlier."""
    records: tuple[Record, ...] = yield Load("run", run_id)
    for record in records:
        if isinstance(record, RunBinding) and record.state == "bound":
            return record.remote_id
    return None


def remote_run(run_id: str) -> Part[str | None]:
    """Remote id of a run that was delivered earlier, or is now; an id that the store does not have is the remote's own.

    Returns:
        None when it is not on the remote.
    """
    there = yield from _bound_run(run_id)
    if there is not None:
        return there
    known: DesiredRun | None = yield ReadRun(run_id)
    if known is None:
        return run_id
    bound: Bound | None = yield Need("run", run_id)
    return bound.remote_id if bound is not None and bound.remote_id else None


def _rounds(p: RunPass) -> Part[None]:
    for _ in range(ROUNDS):
        try:
            yield from open_run(p)
            if p.closed:
                yield from close_run(p)
                return
            yield from refuse_reserved(p, p.desired.tags)
            yield from deliver_params(p)
            yield from deliver_links(p)
            yield from deliver_metrics(p)
            yield from find_models(p, models_in(p.desired.models_logged) if p.desk.models else ())
            yield from Tagger(p).run()
            yield from deliver_log_model(p)
            yield from p.unpark_done()
            yield from deliver_all_files(p)
            latest: DesiredRun = yield ReadRun(p.desired.run_id)
            p.desired = latest
            p.files = yield ReadFiles(p.desired.run_id)
            if p.data_owed():
                continue
            yield from deliver_status(p)
            yield from close_run(p)
            return
        except Inactive as inactive:
            yield from too_often_inactive(p, str(inactive))
    raise Ended(Ending.OWED, "new records came faster than they could be delivered")


def deliver_all_files(p: ItemPass) -> Part[None]:
    """Files go to the artifact root that the remote names for its run, never to the one that was written down here."""
    if not p.files:
        return
    root = p.binding.artifact_uri or (yield from p.look()).artifact_uri
    yield from deliver_files(p.desk, p.ledger, p.files, p.place(root))


def refuse_reserved(p: ItemPass, tags: Mapping[str, str]) -> Part[None]:
    """Tags that only localtrack may write: never sent, and said so."""
    new: list[Rejected] = []
    for key, value in tags.items():
        old = p.ledger.rejected.get(("tag", key))
        if is_reserved(key) and (old is None or old.value != value):
            words = "this tag is localtrack's own; use another name"
            new.append(Rejected(p.ledger.scope, p.uid, "tag", key, value, words, p.desk.wall_s))
    yield from p.ledger.save(*new)
