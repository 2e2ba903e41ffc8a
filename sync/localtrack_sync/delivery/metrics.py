"""Metric points to the remote, each once. Pure.

Points travel in windows: a stretch of the run's journals from the watermarks on. Before the first point of a window is
sent, an intent with the window's end is saved; when every point is settled, one transaction drops the intent and
moves the watermarks. A window that is found open at a start is read back before anything of it is sent, and on a
remote that does not remove duplicates absence is believed only when the settle time has passed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from localtrack.catalog.desired import Point
from localtrack_sync.delivery.isolate import TRIES, Line
from localtrack_sync.delivery.model_metrics import (
    ModelCourier,
    apart,
    left_out,
    note_waiting,
    refuse_twins,
    retry_links,
    send_apart,
    unknown_models,
)
from localtrack_sync.delivery.named_models import find_models
from localtrack_sync.delivery.points import PointCourier, name_of
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.effects import ReadPoints
from localtrack_sync.protocol.plan import Batch, cut
from localtrack_sync.protocol.records import Intent, Parked, Record, Watermark
from localtrack_sync.protocol.steps import Part, Turn
from localtrack_sync.protocol.values import INFINITY

#: A window that is found open is read whole, however large it was when it was opened.
ALL = 1 << 40


def deliver_metrics(p: RunPass) -> Part[None]:
    """Bring every point that is known now to an end: delivered, rejected or parked."""
    yield from _retry_parked(p)
    yield from retry_links(p)
    yield from _mark_suspects(p)
    while "metrics" in p.ledger.intents or p.owed_heads():
        yield from _window(p)
        if p.owed_heads():  # else little is left of the run: it would wait long for that, and be kept in memory
            yield Turn()


def _mark_suspects(p: RunPass) -> Part[None]:
    """In a run that this delivery state did not make, everything may be there already: verify up to the head."""
    if p.binding.fresh:
        return
    new = [
        Watermark("run", p.desired.run_id, inc, verify_upto=head)
        for inc, head in sorted(p.desired.head.items())
        if inc not in p.ledger.watermarks
    ]
    yield from p.ledger.save(*new)


def _window(p: RunPass) -> Part[None]:
    desk, ledger = p.desk, p.ledger
    intent = ledger.intents.get("metrics")
    upto = _marks_of(intent) if intent is not None else p.desired.head
    after = {inc: mark.upto for inc, mark in ledger.watermarks.items()}
    limit = ALL if intent is not None else desk.settings.window
    points: tuple[Point, ...] = yield ReadPoints(
        p.desired.run_id,
        tuple(sorted(after.items())),
        limit,
        upto=tuple(sorted(upto.items())),
        distinct=not desk.dedupes,
    )
    end = _end_of(upto, points, limit)
    twins = () if desk.dedupes else (yield from left_out(p, after, end, points))
    named = [*twins, *(q for q in points if q.model_id is not None)]
    unknown = unknown_models(p, named)
    if unknown:
        del points, named  # while their models are waited for, nothing is held in memory
        yield from find_models(p, unknown)
        return
    plain, linked = apart(p, points) if named else (points, ())
    if twins:
        yield from refuse_twins(p, twins)
    if not points:
        yield from note_waiting(p, twins)
        yield from _close(p, end, points)
        return
    # While any stretch may be there already, every point may: its twin may lie in that stretch.
    suspect = intent is not None or any(mark.upto < mark.verify_upto for mark in ledger.watermarks.values())
    # Others log to a run that was created elsewhere; what they have in flight at this moment nobody can know.
    verify = suspect or (p.desired.attached and not desk.dedupes)
    if intent is None:
        covers = tuple(f"{inc}={pos}" for inc, pos in sorted(end.items()))
        yield from ledger.save(Intent("run", p.desired.run_id, "metrics", covers))
    courier = PointCourier(p, top_ts=max((m.top_ts for m in ledger.watermarks.values()), default=-1))
    sent: list[Point] = []
    if verify:
        plain, linked, sent = yield from _unsent(p, courier, plain, linked, p.unknown_since() if suspect else -INFINITY)
    courier.provable = not verify and not p.desired.attached
    yield from Line(desk, courier, cut(plain, desk.limits, nan_apart=not desk.nan_safe)).run()
    if linked or sent:
        yield from send_apart(p, courier, linked, sent)
    yield from note_waiting(p, named)
    yield from _close(p, end, points)


def _unsent(
    p: RunPass, courier: PointCourier, plain: Sequence[Point], linked: Sequence[Point], since: float
) -> Part[tuple[list[Point], list[Point], list[Point]]]:
    """Points of a window that may have been sent before: what is missing, and what belongs to models and is there."""
    plain = [q for q in plain if not p.ledger.is_stuck("metric", name_of(q))]
    linked = [q for q in linked if not p.ledger.is_stuck("metric", name_of(q))]
    if p.desk.dedupes or not linked:  # what the run shows proves nothing of the model's side, and a repeat is harmless
        return (yield from courier.missing(plain, since)), list(linked), []
    missing = set(map(id, (yield from courier.missing([*plain, *linked], since))))
    rest = [q for q in linked if id(q) in missing]
    return [q for q in plain if id(q) in missing], rest, [q for q in linked if id(q) not in missing]


def _close(p: RunPass, end: dict[str, int], points: Sequence[Point]) -> Part[None]:
    """All points up to `end` are settled."""
    marks: list[Record] = []
    for inc, pos in sorted(end.items()):
        old = p.ledger.watermarks.get(inc) or Watermark("run", p.desired.run_id, inc)
        top = max((q.ts for q in points if q.incarnation == inc), default=-1)
        if pos > old.upto:
            marks.append(Watermark("run", p.desired.run_id, inc, pos, old.verify_upto, max(old.top_ts, top)))
    yield from p.ledger.save(*marks, drops=_intents(p))


def _intents(p: RunPass) -> list[Record]:
    return [intent for kind, intent in p.ledger.intents.items() if kind == "metrics"]


def _end_of(upto: dict[str, int], points: Sequence[Point], limit: int) -> dict[str, int]:
    """How far a read got: to the end, or to the last point that fitted."""
    if len(points) < limit:
        return dict(upto)
    last = points[-1]
    end = {inc: pos for inc, pos in upto.items() if inc < last.incarnation}
    end[last.incarnation] = last.pos
    return end


def _marks_of(intent: Intent) -> dict[str, int]:
    pairs = (cover.rpartition("=") for cover in intent.covers)
    return {inc: int(pos) for inc, _, pos in pairs}


def _retry_parked(p: RunPass) -> Part[None]:
    """Points that were parked: verified, then tried again."""
    parked = {key: r for (kind, key), r in sorted(p.ledger.parked.items()) if kind == "metric"}
    parked = {key: r for key, r in parked.items() if not p.rests("metric", key)}
    if not parked:
        return
    courier = PointCourier(p, top_ts=0)
    courier.provable = False
    points = [_point_of(r) for r in parked.values()]
    plain = [q for q in points if q.model_id is None or not p.desk.models]
    linked = [q for q in points if q.model_id is not None and p.desk.models]
    if not p.desk.dedupes:
        linked = yield from courier.missing(linked, p.unknown_since())
    plain = yield from courier.missing(plain, p.unknown_since())
    alone = [half for batch in cut(plain, p.desk.limits, nan_apart=True) for half in _singles(batch)]
    yield from Line(p.desk, courier, alone, tries=TRIES - 1).run()
    there = {q.model_id: q.model_id for q in linked if q.model_id is not None}
    alone = [half for batch in cut(linked, p.desk.limits, nan_apart=True, models=there) for half in _singles(batch)]
    yield from Line(p.desk, ModelCourier(p, courier, there), alone, tries=TRIES - 1).run()
    done = [r for key, r in parked.items() if ("metric", key) not in p.put_off]
    yield from p.ledger.save(drops=done)


def _singles(batch: Batch) -> list[Batch]:
    return [Batch([point], [row]) for point, row in zip(batch.points, batch.rows, strict=True)]


def _point_of(parked: Parked) -> Point:
    inc, _, pos = parked.key.rpartition(":")
    row = json.loads(parked.value)
    more = (row.get("model_id"), row.get("dataset_name"), row.get("dataset_digest"))
    return Point(inc, int(pos), row["key"], float(row["value"]), row["timestamp"], row["step"], *more)
