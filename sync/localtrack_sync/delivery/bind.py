"""A local run or logged model and its remote counterpart: found by the uid tag, else created. Pure.

A create takes no id from us, and a create whose reply was lost may be executed later. So each create carries the
local id as a tag; after an unknown outcome the remote is searched for it, at once (presence proves) and again
when the settle time has passed (only then does absence prove anything), before another create is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from localtrack_sync.delivery.item_pass import ItemPass
from localtrack_sync.delivery.repair import DOUBTED
from localtrack_sync.delivery.repair_run import re_examine
from localtrack_sync.protocol.cells import spelled
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.records import Cell, ParamDelivered, Record, RunBinding
from localtrack_sync.protocol.request import ATTEMPT_TAG, UID_TAG
from localtrack_sync.protocol.snapshot import RemoteItem
from localtrack_sync.protocol.steps import Ask, Bound, Ended, Part, settled
from localtrack_sync.protocol.verdict import Judged, Verdict

#: Creates sent in one pass; each later one costs a settle time.
CREATES = 4
#: Pages of a search for one uid: one hit is normal, two are an accident, hundreds are somebody's mistake.
PAGES = 20


def bind(p: ItemPass, experiment: Bound) -> Part[None]:
    """Bind it to its counterpart, making that if it is not there.

    Raises:
        Ended: it cannot be made now.
    """
    binding = p.ledger.run
    if binding is not None and binding.state == "bound":
        return
    if binding is not None and binding.state == DOUBTED:
        found = (yield from re_examine(p)) or (yield from _adopt_any(p, experiment, creates=0))
    elif binding is not None:  # an earlier pass died, or gave up, between create and knowing
        found = yield from _find_twice(p, experiment, creates=binding.attempts)
    else:
        found = not experiment.virgin and (yield from _find_earlier(p, experiment))
    if not found:
        yield from _create(p, experiment)


def _find_twice(p: ItemPass, experiment: Bound, *, creates: int) -> Part[bool]:
    """Look, and once more when nothing of an earlier process can be executed any more."""
    if (yield from _adopt_any(p, experiment, creates=creates)):
        return True
    if p.desk.now < p.desk.started + p.desk.settle_s:
        yield from settled(p.desk, p.desk.started)
        return (yield from _adopt_any(p, experiment, creates=creates))
    return False


def _find_earlier(p: ItemPass, experiment: Bound) -> Part[bool]:
    """What a delivery state that was lost may have made."""
    if not p.earlier:
        return (yield from _adopt_any(p, experiment, creates=0))
    if (yield from _find_twice(p, experiment, creates=0)):
        return True
    return (yield from _adopt(p, experiment, (yield from p.hidden()), creates=0))


def _create(p: ItemPass, experiment: Bound) -> Part[None]:
    bare = False
    for _ in range(CREATES):
        binding = yield from _announce(p, experiment)
        request = p.create(experiment.remote_id, {UID_TAG: p.uid, ATTEMPT_TAG: attempt_name(binding)}, bare=bare)
        try:
            judged: Judged = yield Ask(request, repeat=True, expects=p.MADE, optional=p.OPTIONAL)
        except Ended:
            yield from p.ledger.save(drops=(binding,) if binding.attempts == 1 else ())
            raise
        if judged.verdict is Verdict.OK:
            yield from _created(p, p.made(judged.body), *(({}, {}) if bare else p.first()))
            return
        if judged.verdict in (Verdict.REFUSED, Verdict.TOO_LARGE) and not bare:
            bare = True  # a tag or param of the user's may be at fault: it is found when they are sent on their own
            continue
        if judged.verdict not in (Verdict.UNKNOWN, Verdict.MAYBE):
            yield from p.ledger.save(drops=(binding,) if binding.attempts == 1 else ())
            yield from p.park_whole(f"the {p.NOUN} cannot be created: {judged.words}")
        since = p.desk.now
        if (yield from _adopt_any(p, experiment, creates=binding.attempts)):
            return
        yield from settled(p.desk, since)
        if (yield from _adopt_any(p, experiment, creates=binding.attempts)):
            return
    raise Ended(Ending.OWED, f"no create of the {p.NOUN} was answered")


def _announce(p: ItemPass, experiment: Bound) -> Part[RunBinding]:
    """Save that a create will be sent, before it is sent."""
    attempts = p.ledger.run.attempts + 1 if p.ledger.run is not None else 1
    # A delivery state that was lost may have had a create in flight: for one settle time nobody can see it coming.
    young = p.desk.wall_s < p.desk.born_wall_s + p.desk.settle_s
    risky = attempts > 1 or (young and not experiment.virgin)
    binding = RunBinding(
        p.ledger.scope,
        p.uid,
        state="creating",
        experiment_remote_id=experiment.remote_id,
        attempts=attempts,
        nonce=(p.ledger.run.nonce if p.ledger.run is not None else "") or f"{int(p.desk.rng() * 2**32):08x}",
        sweep_wall_s=p.desk.wall_s + p.desk.settle_s if risky else 0.0,
    )
    yield from p.ledger.save(binding)
    return binding


def attempt_name(binding: RunBinding) -> str:
    """Name of a create: number, and a nonce that tells this delivery state's creates from a lost one's."""
    return f"{binding.attempts:04d}-{binding.nonce}"


def _created(p: ItemPass, item: RemoteItem, params: dict[str, str], tags: dict[str, str]) -> Part[None]:
    """The create was answered."""
    assert p.ledger.run is not None, "announced before"
    bound = replace(
        p.ledger.run,
        state="bound",
        remote_id=item.remote_id,
        artifact_uri=item.artifact_uri,
        fresh=True,
        bound_wall_s=p.desk.wall_s,
    )
    absent = spelled(None)
    known: list[Record] = [replace(p.blank(key), base=value, poss=(absent,)) for key, value in tags.items()]
    known += [p.blank(key) for key in p.dropped_tags()]
    known += [replace(p.blank(key), base=value) for key, value in p.BORN.items()]
    known += [ParamDelivered(p.ledger.scope, p.uid, key, value) for key, value in params.items()]
    parked = p.ledger.whole_parked()
    yield from p.ledger.save(bound, *known, drops=(parked,) if parked is not None else ())
    p.new = True
    progress = p.desk.progress
    progress.runs_created += p.NOUN == "run"
    progress.models_created += p.NOUN == "model"
    progress.params += len(params)
    progress.tags += len(tags)


def _adopt_any(p: ItemPass, experiment: Bound, *, creates: int) -> Part[bool]:
    """Bind to what carries our uid, if it is there."""
    return (yield from _adopt(p, experiment, (yield from find(p, experiment.remote_id)), creates=creates))


def _adopt(p: ItemPass, experiment: Bound, found: Sequence[RemoteItem], *, creates: int) -> Part[bool]:
    if not found:
        return False
    chosen = min(found, key=rank)
    nonce = p.ledger.run.nonce if p.ledger.run is not None else ""
    mine = bool(creates and nonce) and chosen.attempt.endswith(nonce)
    bound = RunBinding(
        p.ledger.scope,
        p.uid,
        state="bound",
        remote_id=chosen.remote_id,
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
        cells += tuple(replace(p.blank(key), base=value) for key, value in p.BORN.items())
    yield from p.ledger.save(bound, *cells)
    p.must_look = not mine
    return True


def rank(item: RemoteItem) -> tuple[bool, int, str, str]:
    """Which of several with our uid to keep: a live one, with the most in it, from the earliest create."""
    return (item.deleted, -item.content, item.attempt, item.remote_id)


def find(p: ItemPass, *experiment_remote_ids: str) -> Part[list[RemoteItem]]:
    """What of the experiments carries our uid."""
    found: list[RemoteItem] = []
    token = ""
    for _ in range(PAGES):
        judged: Judged = yield Ask(p.search(experiment_remote_ids, token), safe=True, optional=p.OPTIONAL)
        if judged.verdict is not Verdict.OK:
            raise Ended(Ending.PARKED, f"the remote cannot be searched: {judged.words}")
        found += p.listed(judged.body)
        token = str(judged.body.get("next_page_token") or "")
        if not token:
            break
    return [item for item in found if item.uid == p.uid]


def sweep(p: ItemPass) -> Part[None]:
    """Look for others that carry our uid, and soft-delete them: everything owed has been delivered to ours."""
    binding = p.binding
    if not binding.sweep_wall_s or p.desk.wall_s < binding.sweep_wall_s:
        return
    found = yield from find(p, binding.experiment_remote_id)
    for other in found:
        if other.remote_id == binding.remote_id or other.deleted:
            continue
        assert other.uid == p.uid, "only what is ours is deleted"
        judged: Judged = yield Ask(p.remove(other.remote_id), repeat=True, optional=p.OPTIONAL)
        if judged.verdict not in (Verdict.OK, Verdict.GONE):
            return  # the mark stays: a later pass looks again
    yield from p.ledger.save(replace(p.binding, sweep_wall_s=0.0))
