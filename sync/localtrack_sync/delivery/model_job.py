"""The job of one logged model: bind it, bring its params, tags and files, then its status, then its end. Pure.

It needs its source run bound, never delivered; a run needs it bound for what names it. So nobody waits in a circle.
"""

from __future__ import annotations

from localtrack.catalog.desired import DesiredModel, DesiredRun
from localtrack_sync.delivery.bind import bind, sweep
from localtrack_sync.delivery.item_pass import DELETED, STATUS
from localtrack_sync.delivery.lifecycle import register
from localtrack_sync.delivery.model_pass import ModelPass
from localtrack_sync.delivery.named_models import no_models
from localtrack_sync.delivery.params import ParamCourier, deliver_params
from localtrack_sync.delivery.run_job import (
    bound_experiment,
    deliver_all_files,
    refuse_reserved,
    remote_run,
    result_of,
)
from localtrack_sync.delivery.tags import Tagger
from localtrack_sync.protocol.cells import after_write, before_write
from localtrack_sync.protocol.effects import Load, ReadFiles, ReadModel, ReadRun
from localtrack_sync.protocol.jobs import Ending, JobResult
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import Record, RunBinding
from localtrack_sync.protocol.request import delete_model, finalize_model
from localtrack_sync.protocol.snapshot import STATUSES, RemoteModel
from localtrack_sync.protocol.steps import Ask, Bound, Desk, Ended, Gone, Inactive, Need, Part, settled
from localtrack_sync.protocol.verdict import Judged, Verdict
from localtrack_sync.uploads.file_place import file_open

#: Rounds in one pass: each ends with a new look at the catalog.
ROUNDS = 50
#: Tries at the deletion in one pass.
TRIES = 8
#: Statuses of the journals -> on the wire.
ON_THE_WIRE = {status: wire for wire, status in STATUSES.items()}


def model_job(desk: Desk, model_id: str) -> Part[JobResult]:
    """Bring one logged model to the remote."""
    ledger = Ledger("model", model_id)
    yield from ledger.load()
    try:
        yield from _deliver(desk, ledger, model_id)
    except Ended as end:
        if ledger.run is None or ledger.run.state != "bound":
            yield Bound("", reason=end.reason, ending=end.ending)
        return result_of(ledger, end.ending, end.reason)
    stuck = sorted({kind for kind, _ in ledger.parked})
    if stuck:
        return result_of(ledger, Ending.PARKED, f"{len(ledger.parked)} records are parked ({', '.join(stuck)})")
    return result_of(ledger, Ending.DELIVERED, "")


def _deliver(desk: Desk, ledger: Ledger, model_id: str) -> Part[None]:
    desired: DesiredModel | None = yield ReadModel(model_id)
    if desired is None:
        raise Ended(Ending.OWED, "this store has no such logged model")
    p = ModelPass(desk, ledger, desired)
    p.files = yield ReadFiles(model_id)
    if p.nothing_owed():
        yield Bound(p.remote_id)
        return
    yield from _bind(p)
    yield Bound(p.remote_id)
    if not (yield from _bring(p, patient=p.desired.deleted)):
        # A delivery state that was lost deleted it, most likely: sure as soon as no read can be late any more.
        yield from settled(desk, desk.now)
        yield from _bring(p, patient=False)


def _bring(p: ModelPass, *, patient: bool) -> Part[bool]:
    """Deliver all of it, now that it is bound; False, for a patient caller: the remote does not show it yet."""
    try:
        yield from _rounds(p)
        yield from sweep(p)
    except Gone as gone:
        if p.desk.wall_s >= p.binding.bound_wall_s + p.desk.settle_s:
            yield from p.park_whole(f"not on the remote any more: {gone}")
        if not patient:
            raise Ended(Ending.OWED, f"the remote does not show the new model yet: {gone}") from None
        return False
    except Inactive as inactive:
        raise Ended(Ending.OWED, str(inactive)) from None
    return True


def _bind(p: ModelPass) -> Part[None]:
    desk, desired = p.desk, p.desired
    yield Need("remote", "")
    if not desk.models:
        yield from p.park_whole(no_models(desk))
    experiment = (yield from bound_experiment(desired.experiment_id)) if desired.experiment_id else Bound("")
    if not p.is_bound and desired.source_run_id:
        p.source = yield from remote_run(desired.source_run_id)
        if p.source is None:
            raise Ended(Ending.OWED, "waits for its source run")
        p.earlier = yield from _was_adopted(desired.source_run_id)
        if not desired.experiment_id:
            experiment = yield from _experiment_of(desired.source_run_id)
    yield from bind(p, experiment)


def _experiment_of(run_id: str) -> Part[Bound]:
    """The experiment of a run that was attached to: the store does not know it, but the remote does."""
    records: tuple[Record, ...] = yield Load("run", run_id)
    for record in records:
        if isinstance(record, RunBinding) and record.experiment_remote_id:
            return Bound(record.experiment_remote_id)
    raise Ended(Ending.OWED, "the experiment of its source run is not known yet")


def _was_adopted(run_id: str) -> Part[bool]:
    """Whether a run that we create was found on the remote: a delivery state that is lost put it there.

    A second remote model would stay linked to its run for ever: no API takes an output back. So it is worth a wait.
    """
    run: DesiredRun | None = yield ReadRun(run_id)
    records: tuple[Record, ...] = yield Load("run", run_id)
    adopted = any(isinstance(r, RunBinding) and r.state == "bound" and not r.fresh for r in records)
    return adopted and run is not None and not run.attached


def _rounds(p: ModelPass) -> Part[None]:
    for _ in range(ROUNDS):
        yield from _open(p)
        if p.gone_with_us():
            yield from _end_parked(p)
            return
        yield from refuse_reserved(p, p.desired.tags)
        yield from deliver_params(p)
        yield from Tagger(p).run()
        yield from p.unpark_done()
        if p.files:  # before its status: a model that is READY is whole
            if p.source is None and p.desired.source_run_id:
                p.source = yield from remote_run(p.desired.source_run_id)
            yield from deliver_all_files(p)
        latest: DesiredModel = yield ReadModel(p.uid)
        p.desired = latest
        p.files = yield ReadFiles(p.uid)
        if p.data_owed():
            continue
        if not any(file_open(p.ledger, file) for file in p.files):
            yield from _finalize(p)
        if p.desired.deleted:
            yield from _delete(p)
            yield from _end_parked(p)
        return
    raise Ended(Ending.OWED, "new records came faster than they could be delivered")


def _open(p: ModelPass) -> Part[None]:
    """Make sure that it is there and live, unless we deleted it ourselves."""
    cell = p.ledger.cells.get(DELETED)
    if p.new or p.gone_with_us():
        return
    if cell is not None and cell.base == "0" and not cell.unsettled and p.ledger.whole_parked() is None:
        return
    remote: RemoteModel = yield from p.look()
    if remote.deleted and not p.desired.deleted:
        yield from p.park_whole("deleted on the remote by somebody else; nothing restores a logged model")
    known = p.blank(DELETED) if cell is None else cell
    if remote.deleted:
        yield from p.ledger.save(after_write(known, "1", still_unsettled=False))
    elif cell is None:
        yield from p.ledger.save(after_write(known, "0", still_unsettled=False))
    yield from p.unpark_whole()


def _end_parked(p: ModelPass) -> Part[None]:
    """Params that were parked when the model was deleted: there after all, or refused for good, as nothing restores it.

    They are believed to be missing only when no request of ours can be executed any more.
    """
    parked = [r for (kind, _), r in sorted(p.ledger.parked.items()) if kind == "param"]
    old = [r for r in parked if p.desk.wall_s >= r.since_wall_s + p.desk.settle_s]
    if not old:
        return
    remote: RemoteModel = yield from p.look()
    courier = ParamCourier(p)
    for key, value in (yield from courier.compare(tuple((r.key, r.value) for r in old), remote)):
        yield from courier.reject(((key, value),), "its logged model was deleted before it arrived")
    yield from p.ledger.save(drops=[r for r in old if ("param", r.key) in p.ledger.parked])


def _finalize(p: ModelPass) -> Part[None]:
    """The status, when everything else that is known is there."""
    if p.status_owed():
        status = p.desired.status
        request = finalize_model(p.remote_id, ON_THE_WIRE.get(status, status))
        yield from register(p, STATUS, status, request, lambda model: str(model.status))


def _delete(p: ModelPass) -> Part[None]:
    """Delete it, last. Nothing restores it, so the same request again is harmless however late an earlier one comes."""
    cell = p.ledger.cells.get(DELETED) or p.blank(DELETED)
    pending = before_write(p.blank(DELETED), cell, cell.base, "1", quiet=False)
    yield from p.ledger.save(pending)
    for _ in range(TRIES):
        try:
            judged: Judged = yield Ask(delete_model(p.remote_id), repeat=True, optional=True)
        except Ended:
            yield from p.ledger.save(pending)
            raise
        if judged.verdict in (Verdict.OK, Verdict.GONE):
            yield from p.ledger.save(after_write(pending, "1", still_unsettled=False))
            return
        if judged.verdict not in (Verdict.UNKNOWN, Verdict.MAYBE):
            raise Ended(Ending.PARKED, judged.words)
    raise Ended(Ending.OWED, "no answer to the deletion of the model")
