"""The deprecated log_model, where its entries do not fit into a tag that we may set: appended by the server. Pure.

Everywhere else the tag mlflow.log-model.history is a tag like any other (`tags`). An append is the one write that is
harmless on no server when it is repeated: an entry goes out alone, with an intent, and after an unknown outcome the tag
is read, at once and when the settle time has passed, before the entry is sent again.
"""

from __future__ import annotations

import json
from typing import Any

from localtrack.json_text import loaded
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.history import entry_names
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.records import Intent, Linked, Record, Rejected
from localtrack_sync.protocol.request import HISTORY_TAG, log_model
from localtrack_sync.protocol.steps import Ask, Ended, Gone, Inactive, Part, settled
from localtrack_sync.protocol.verdict import NOT_EXECUTED, Judged, Verdict

LOG_MODEL = "log_model"
#: Unknown outcomes of one entry in one pass, after which it is parked.
TRIES = 3
#: What the server keeps of an entry, and what tells entries apart.
KEPT = ("run_id", "utc_time_created", "artifact_path", "model_uuid")


def deliver_log_model(p: RunPass) -> Part[None]:
    """Append every entry that is owed."""
    intent = p.ledger.intents.get(LOG_MODEL)
    if intent is None and not p.owed_entries():
        return
    if intent is not None or not p.binding.fresh or p.must_look:
        yield from _recall(p, p.desk.started)  # a lost delivery state may have left an append under way as well
        yield from p.ledger.save(drops=(intent,) if intent is not None else ())
    for name in p.owed_entries():
        yield from _append(p, name)


def _append(p: RunPass, name: str) -> Part[None]:
    entry = dict(zip(entry_names(p.desired.models_logged), p.mapped_entries(), strict=True))[name]
    for _ in range(TRIES):
        intent = Intent("run", p.uid, LOG_MODEL, (name,))
        yield from p.ledger.save(intent)
        try:
            judged: Judged = yield Ask(log_model(p.remote_id, entry), optional=True)
        except Ended:
            yield from p.ledger.save(drops=(intent,))
            raise
        if judged.verdict is Verdict.OK:
            yield from _done(p, [name], intent)
            return
        if judged.verdict in (Verdict.UNKNOWN, Verdict.MAYBE, Verdict.EXISTS, Verdict.PARAM_CONFLICT):
            yield from _recall(p, p.desk.now)
        yield from p.ledger.save(drops=(intent,))
        if (LOG_MODEL, name) in p.ledger.linked:
            return
        yield from _refused(p, name, judged)
        if (LOG_MODEL, name) in p.ledger.rejected:
            return
    yield from p.park(LOG_MODEL, name, "", "no answer to log-model")


def _refused(p: RunPass, name: str, judged: Judged) -> Part[None]:
    match judged.verdict:
        case Verdict.GONE:
            raise Gone(judged.words)
        case Verdict.INACTIVE:
            raise Inactive(judged.words)
        case Verdict.FORBIDDEN:
            raise Ended(Ending.PARKED, judged.words)
        case Verdict.REFUSED | Verdict.TOO_LARGE | Verdict.MISROUTED:
            yield from p.ledger.save(
                Rejected("run", p.uid, LOG_MODEL, name, "", judged.words, p.desk.wall_s),
                drops=[r for r in (p.ledger.parked.get((LOG_MODEL, name)),) if r is not None],
            )
        case verdict:
            assert verdict in NOT_EXECUTED or verdict in (
                Verdict.UNKNOWN,
                Verdict.MAYBE,
                Verdict.EXISTS,
                Verdict.PARAM_CONFLICT,
            ), verdict


def _recall(p: RunPass, since: float) -> Part[None]:
    """Note the entries that the remote has; absence is believed only a settle time after `since`."""
    begun = p.desk.now
    yield from _compare(p)
    if p.owed_entries() and begun < since + p.desk.settle_s:
        yield from settled(p.desk, since)
        yield from _compare(p)


def _compare(p: RunPass) -> Part[None]:
    remote = yield from p.look()
    left = [signature(one) for one in entries_of(remote.tags.get(HISTORY_TAG))]
    there = []
    for name, entry in zip(entry_names(p.desired.models_logged), p.mapped_entries(), strict=True):
        mine = signature(json.loads(entry))
        if mine in left:
            left.remove(mine)
            there.append(name)
    yield from _done(p, [name for name in there if (LOG_MODEL, name) not in p.ledger.linked], None)


def _done(p: RunPass, names: list[str], intent: Intent | None) -> Part[None]:
    drops: list[Record] = [r for name in names if (r := p.ledger.parked.get((LOG_MODEL, name))) is not None]
    drops += [intent] if intent is not None else []
    yield from p.ledger.save(*(Linked("run", p.uid, LOG_MODEL, name) for name in names), drops=drops)
    p.desk.progress.outputs += len(names)


def entries_of(tag: str | None) -> list[dict[str, Any]]:
    """The entries that the tag holds."""
    try:
        found = loaded(tag) if tag else []
    except ValueError:  # cut, or written by hand
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def signature(entry: dict[str, Any]) -> str:
    """What tells entries apart."""
    return json.dumps({name: entry.get(name) for name in KEPT}, sort_keys=True)
