"""A local run and its remote counterpart: found by the uid tag, else created. Pure.

runs/create takes no id from us, and a create whose reply was lost may be executed later. So each create carries the
local run id as a tag; after an unknown outcome the remote is searched for it, at once (presence proves) and again
when the settle time has passed (only then does absence prove anything), before another create is sent.
"""

from __future__ import annotations

from dataclasses import replace

from localtrack_sync.cells import spelled
from localtrack_sync.jobs import Ending
from localtrack_sync.records import Cell, Record, RunBinding
from localtrack_sync.request import ATTEMPT_TAG, UID_TAG, create_run, on_run, search_uid, size_of
from localtrack_sync.run_pass import DELETED, STATUS, RunPass
from localtrack_sync.snapshot import RemoteRun, run_of
from localtrack_sync.steps import Ask, Bound, Ended, Part, read, settled
from localtrack_sync.verdict import Judged, Verdict

#: Creates sent in one pass; each later one costs a settle time.
CREATES = 4
#: Pages of a search for one uid: one run is normal, two are an accident, hundreds are somebody's mistake.
PAGES = 20


def bind(p: RunPass, experiment: Bound) -> Part[None]:
    """Bind the run to its counterpart, making it if it is not there.

    Raises:
        Ended: it cannot be made now.
    """
    binding = p.ledger.run
    if binding is not None and binding.state == "bound":
        return
    if binding is not None:  # an earlier pass died, or gave up, between create and knowing
        if (yield from _adopt_any(p, experiment, creates=binding.attempts)):
            return
        yield from settled(p.desk, p.desk.started)
        if (yield from _adopt_any(p, experiment, creates=binding.attempts)):
            return
    elif not experiment.virgin and (yield from _adopt_any(p, experiment, creates=0)):
        return
    yield from _create(p, experiment)


def _create(p: RunPass, experiment: Bound) -> Part[None]:
    bare = False
    for _ in range(CREATES):
        binding = yield from _announce(p, experiment)
        tags = {} if bare else _first_tags(p)
        proof = {UID_TAG: p.desired.run_id, ATTEMPT_TAG: attempt_name(binding)}
        desired = p.desired
        name = desired.name[: p.desk.limits.tag_value]
        request = create_run(experiment.remote_id, desired.user_id, name, desired.start_time, {**proof, **tags})
        try:
            judged: Judged = yield Ask(request, repeat=True, expects=("run", "info", "run_id"))
        except Ended:
            yield from p.ledger.save(drops=(binding,) if binding.attempts == 1 else ())
            raise
        if judged.verdict is Verdict.OK:
            yield from _created(p, run_of(judged.body["run"]), tags)
            return
        if judged.verdict in (Verdict.REFUSED, Verdict.TOO_LARGE) and not bare:
            bare = True  # a tag of the user's may be at fault: it will be found when tags are sent on their own
            continue
        if judged.verdict not in (Verdict.UNKNOWN, Verdict.MAYBE):
            yield from p.ledger.save(drops=(binding,) if binding.attempts == 1 else ())
            yield from p.park_whole(f"the run cannot be created: {judged.words}")
        since = p.desk.now
        if (yield from _adopt_any(p, experiment, creates=binding.attempts)):
            return
        yield from settled(p.desk, since)
        if (yield from _adopt_any(p, experiment, creates=binding.attempts)):
            return
    raise Ended(Ending.OWED, "no create of the run was answered")


def _announce(p: RunPass, experiment: Bound) -> Part[RunBinding]:
    """Save that a create will be sent, before it is sent."""
    attempts = p.ledger.run.attempts + 1 if p.ledger.run is not None else 1
    # A delivery state that was lost may have had a create in flight: for one settle time nobody can see it coming.
    young = p.desk.wall_s < p.desk.born_wall_s + p.desk.settle_s
    risky = attempts > 1 or (young and not experiment.virgin)
    binding = RunBinding(
        "run",
        p.desired.run_id,
        state="creating",
        experiment_remote_id=experiment.remote_id,
        attempts=attempts,
        nonce=p.ledger.run.nonce if p.ledger.run is not None else f"{int(p.desk.rng() * 2**32):08x}",
        sweep_wall_s=p.desk.wall_s + p.desk.settle_s if risky else 0.0,
    )
    yield from p.ledger.save(binding)
    return binding


def attempt_name(binding: RunBinding) -> str:
    """Name of a create: number, and a nonce that tells this delivery state's creates from a lost one's."""
    return f"{binding.attempts:04d}-{binding.nonce}"


def _first_tags(p: RunPass) -> dict[str, str]:
    """Tags that travel in the create: it makes the run whole at once, and saves a request."""
    limits, size = p.desk.limits, 0
    tags: dict[str, str] = {}
    for key, value in p.tags().items():
        if value is None or len(tags) >= limits.create_tags - 2 or not limits.sure(key, value):
            continue
        size += size_of([(key, value)])
        if size > limits.create_tag_bytes:
            break
        tags[key] = value
    return tags


def _created(p: RunPass, run: RemoteRun, tags: dict[str, str]) -> Part[None]:
    """The create was answered."""
    assert p.ledger.run is not None, "announced before"
    bound = replace(
        p.ledger.run,
        state="bound",
        remote_id=run.run_id,
        artifact_uri=run.artifact_uri,
        fresh=True,
        bound_wall_s=p.desk.wall_s,
    )
    absent = spelled(None)
    cells: list[Record] = [
        replace(p.blank(key), base=value, poss=(absent,) if value is not None else ()) for key, value in tags.items()
    ]
    cells += [p.blank(key) for key in p.desired.dropped_tags]
    cells += [replace(p.blank(STATUS), base="RUNNING"), replace(p.blank(DELETED), base="0")]
    parked = p.ledger.whole_parked()
    yield from p.ledger.save(bound, *cells, drops=(parked,) if parked is not None else ())
    p.new = True
    p.desk.progress.runs_created += 1
    p.desk.progress.tags += len(tags)


def _adopt_any(p: RunPass, experiment: Bound, *, creates: int) -> Part[bool]:
    """Bind to a run that carries our uid, if there is one."""
    found = yield from find(p, experiment.remote_id)
    if not found:
        return False
    chosen = min(found, key=_rank)
    nonce = p.ledger.run.nonce if p.ledger.run is not None else ""
    mine = bool(creates and nonce) and chosen.attempt.endswith(nonce)
    bound = RunBinding(
        "run",
        p.desired.run_id,
        state="bound",
        remote_id=chosen.run_id,
        experiment_remote_id=chosen.experiment_id or experiment.remote_id,
        attempts=creates,
        nonce=nonce,
        artifact_uri=chosen.artifact_uri,
        fresh=mine,
        bound_wall_s=p.desk.wall_s,
        sweep_wall_s=p.desk.wall_s + p.desk.settle_s,
    )
    cells: tuple[Cell, ...] = ()
    if mine:
        absent = (spelled(None),)
        sent = {k: v for k, v in chosen.tags.items() if v in p.ever(k)}  # nothing but its create has been sent yet
        cells = tuple(replace(p.blank(key), base=value, poss=absent) for key, value in sent.items())
        cells += (replace(p.blank(STATUS), base="RUNNING"), replace(p.blank(DELETED), base="0"))
    yield from p.ledger.save(bound, *cells)
    p.must_look = not mine
    return True


def _rank(run: RemoteRun) -> tuple[bool, int, str, str]:
    """Which of several runs with our uid to keep: a live one, with the most in it, from the earliest create."""
    return (run.deleted, -(len(run.params) + len(run.latest) + len(run.tags)), run.attempt, run.run_id)


def find(p: RunPass, experiment_remote_id: str) -> Part[list[RemoteRun]]:
    """Runs of the experiment that carry our uid."""
    found: list[RemoteRun] = []
    token = ""
    for _ in range(PAGES):
        request = search_uid(experiment_remote_id, p.desired.run_id, p.desk.limits.search_page, token)
        judged = yield from read(request)
        if judged.verdict is not Verdict.OK:
            raise Ended(Ending.PARKED, f"the remote cannot be searched: {judged.words}")
        found += [run_of(run) for run in judged.body.get("runs") or ()]
        token = str(judged.body.get("next_page_token") or "")
        if not token:
            break
    return [run for run in found if run.uid == p.desired.run_id]


def sweep(p: RunPass) -> Part[None]:
    """Look for other runs that carry our uid, and soft-delete them: everything owed has been delivered to ours."""
    binding = p.binding
    if not binding.sweep_wall_s or p.desk.wall_s < binding.sweep_wall_s:
        return
    found = yield from find(p, binding.experiment_remote_id)
    for other in found:
        if other.run_id == binding.remote_id or other.deleted:
            continue
        assert other.uid == p.desired.run_id, "only runs of ours are deleted"
        judged: Judged = yield Ask(on_run("delete", other.run_id), repeat=True)
        if judged.verdict not in (Verdict.OK, Verdict.GONE):
            return  # the mark stays: a later pass looks again
    yield from p.ledger.save(replace(p.binding, sweep_wall_s=0.0))
