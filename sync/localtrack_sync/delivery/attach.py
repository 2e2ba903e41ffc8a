"""A run that was created elsewhere: bound to the remote run with its id or uid, never created. Pure.

A launcher creates the run on the remote and hands its id down (MLFLOW_RUN_ID), or another machine created it and has
delivered, or will deliver, its creation. Others write to such a run too, before us and while we do. So the binding is
never fresh: everything is compared with what is there before it is sent.
"""

from __future__ import annotations

from dataclasses import replace

from localtrack_sync.delivery.bind import find, rank
from localtrack_sync.delivery.item_pass import STATUS
from localtrack_sync.delivery.repair import DOUBTED
from localtrack_sync.delivery.repair_run import re_examine
from localtrack_sync.delivery.run_pass import RunPass, status_text
from localtrack_sync.protocol.cells import spelled
from localtrack_sync.protocol.jobs import Ending, JobResult
from localtrack_sync.protocol.records import Cell, Conflict, RunBinding
from localtrack_sync.protocol.request import get, search_experiments
from localtrack_sync.protocol.snapshot import RemoteItem, RemoteRun, run_of
from localtrack_sync.protocol.steps import Bound, Desk, Ended, Need, Part, read
from localtrack_sync.protocol.verdict import Verdict

#: Id of the job, of kind "remote", that lists the experiments.
EXPERIMENTS = "experiments"
#: Pages of the list of experiments; as many experiments as a thousand pages hold are nobody's.
PAGES = 1000
#: Statuses of a run that has ended.
ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})


def attach(p: RunPass) -> Part[None]:
    """Bind the run to its counterpart; park it while there is none.

    Raises:
        Ended: there is none now, or it cannot be seen.
    """
    if p.ledger.run is not None and p.ledger.run.state == "bound":
        return
    if p.ledger.run is not None and p.ledger.run.state == DOUBTED:
        if (yield from re_examine(p)):
            return
        yield from p.ledger.save(drops=p.ledger.everything())
    found, words = yield from _by_id(p)
    if found is None:
        found = yield from _by_uid(p)
    if found is None:
        run_id = p.desired.run_id
        yield from p.park_whole(words or f"no run {run_id} on this server yet; it is delivered once it exists")
        return
    by_uid = found.remote_id != p.desired.run_id
    bound = RunBinding(
        "run",
        p.desired.run_id,
        state="bound",
        remote_id=found.remote_id,
        experiment_remote_id=found.experiment_id,
        artifact_uri=found.artifact_uri,
        bound_wall_s=p.desk.wall_s,
        sweep_wall_s=p.desk.wall_s + p.desk.settle_s if by_uid else 0.0,
    )
    yield from p.ledger.save(bound)
    p.must_look = True


def _by_id(p: RunPass) -> Part[tuple[RemoteRun | None, str]]:
    """The run with this id; or None, and why it cannot be told whether it is there ("": it is not)."""
    judged = yield from read(get("runs/get", run_id=p.desired.run_id), "run", "info", "run_id")
    if judged.verdict is Verdict.OK:
        return run_of(judged.body["run"]), ""
    if judged.verdict is Verdict.FORBIDDEN:  # with MLflow's basic login also the answer for a run that does not exist
        return None, f"no run {p.desired.run_id} on this server that these credentials may see: {judged.words}"
    return None, ""  # no such run; or an id that this server never gives


def _by_uid(p: RunPass) -> Part[RemoteRun | None]:
    """The run that localtrack made from the creation of a run with this id, on another machine."""
    listed: Bound | None = yield Need("remote", EXPERIMENTS)
    if listed is None or not listed.remote_id:
        raise Ended(Ending.PARKED, listed.reason if listed is not None else "the remote's experiments were not listed")
    ids, most = p.desk.experiment_ids, p.desk.limits.search_experiments
    found: list[RemoteItem] = []
    for start in range(0, len(ids), most):
        found += yield from find(p, *ids[start : start + most])
    chosen = min(found, key=rank, default=None)
    assert chosen is None or isinstance(chosen, RemoteRun), "runs were searched for"
    return chosen


def experiments_job(desk: Desk) -> Part[JobResult]:
    """List the experiments of the remote, once in a pass, for all runs that have to be searched for everywhere."""
    ids: list[str] = []
    token, words = "", ""
    for _ in range(PAGES):
        judged = yield from read(search_experiments(desk.limits.experiments_page, token))
        if judged.verdict is not Verdict.OK:
            words = f"the experiments of the remote cannot be listed: {judged.words}"
            break
        ids += [str(one.get("experiment_id") or "") for one in judged.body.get("experiments") or ()]
        before, token = token, str(judged.body.get("next_page_token") or "")
        if not token or token == before:
            break
    desk.experiment_ids = tuple(dict.fromkeys(ids))
    yield Bound("" if words else EXPERIMENTS, reason=words)
    return JobResult("remote", EXPERIMENTS, Ending.DELIVERED)


def watch_twins(p: RunPass) -> Part[None]:
    """A run that was found by its uid may be a second one, which whoever made it will delete: then go to the other one.

    Raises:
        Ended: it was deleted, and there is another one; the next pass delivers everything to that.
    """
    binding = p.binding
    if not binding.sweep_wall_s or p.desk.wall_s < binding.sweep_wall_s:
        return
    found = yield from find(p, binding.experiment_remote_id)
    live = [run.remote_id for run in found if not run.deleted]
    if live and binding.remote_id not in live and not p.desired.deleted:
        yield from p.ledger.save(drops=p.ledger.everything())
        raise Ended(Ending.OWED, "it was a second run for the same uid and is deleted; the next pass goes to the first")
    if len(live) <= 1:
        yield from p.ledger.save(replace(binding, sweep_wall_s=0.0))


def ended_elsewhere(p: RunPass) -> Part[bool]:
    """Whether somebody else ended the run later than it was ended here: the later end stands."""
    remote = yield from p.look()
    desired, theirs = p.desired, status_text(remote.status, remote.end_time)
    cell = p.ledger.cells.get(STATUS)
    ours = {p.status()} if cell is None else {p.status(), cell.base}
    unsure = () if cell is None else (cell.unsettled, *cell.poss)
    if remote.status not in ENDED or remote.end_time is None or theirs in ours or spelled(theirs) in unsure:
        return False
    if remote.end_time <= (desired.end_time if desired.end_time is not None else desired.start_time):
        return False
    known = Cell("run", desired.run_id, STATUS, p.status(), wrote_wall_s=p.desk.wall_s)
    if remote.status == desired.status or desired.status not in ENDED:
        old = p.ledger.conflicts.get(("status", STATUS))
        yield from p.ledger.save(known, drops=(old,) if old is not None else ())
    else:
        conflict = Conflict("run", desired.run_id, "status", STATUS, p.status(), theirs, since_wall_s=p.desk.wall_s)
        yield from p.ledger.save(known, conflict)
    return True
