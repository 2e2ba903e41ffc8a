"""Metric points that were logged to a logged model: they travel apart, under the model's id on the remote. Pure.

MLflow stores such a point twice, in the run and then, in a transaction of its own, under the model. So what the run
shows proves nothing of the model's side. Where repeated points are stored once, that is harmless: the same batch goes
out again. A model takes one value for a name, step and time of a run; what it refuses is rejected by name, and the
point itself is delivered to the run without its model.

On remotes that store whatever arrives, a point that the run has is never sent again, also when its model lacks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from localtrack.catalog.desired import Point
from localtrack_sync.delivery.isolate import Line
from localtrack_sync.delivery.named_models import find_models, no_models
from localtrack_sync.delivery.points import PointCourier, name_of
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.effects import ReadPoints, Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.plan import Batch, cut, row_of
from localtrack_sync.protocol.records import Parked, Rejected
from localtrack_sync.protocol.request import API, get_model
from localtrack_sync.protocol.steps import Ask, Ended, Part, Turn
from localtrack_sync.protocol.values import canonical
from localtrack_sync.protocol.verdict import Judged, Verdict

MODEL_METRIC = "model_metric"
TAKEN = "the logged model has another value, or another dataset, at this name, step and time"
TOO_LATE = "the run has the point, its logged model does not show it; sending it again would store it twice"

#: However many there are in a stretch.
EVERY = 1 << 40

#: Where a model keeps a value: (name, step, timestamp) of one run; and what it keeps: (value, dataset name, digest).
Place: TypeAlias = tuple[str, int, int]
Content: TypeAlias = tuple[float | str, str | None, str | None]


def apart(p: RunPass, points: Sequence[Point]) -> tuple[list[Point], list[Point]]:
    """Points that travel as they are, and points that travel under their models, which are bound.

    Points of a model that cannot be bound now are delivered to the run; see `note_waiting`.
    """
    for model_id in {q.model_id for q in points if q.model_id is not None and q.model_id in p.without}:
        ending, reason = p.without[model_id]
        if ending is Ending.OWED and not p.desk.dedupes:
            raise Ended(Ending.OWED, reason)  # once a point is there, its model would never get it
    linked = [q for q in points if q.model_id in p.models and (MODEL_METRIC, name_of(q)) not in p.ledger.rejected]
    if not linked:
        return list(points), []
    there = set(map(id, linked))
    return [q for q in points if id(q) not in there], linked


def note_waiting(p: RunPass, points: Sequence[Point]) -> Part[None]:
    """Note the models that lack points, because they cannot be bound now; before the watermark passes these points."""
    rejected = p.ledger.rejected
    waiting = {q.model_id for q in points if q.model_id in p.without and ("metric", name_of(q)) not in rejected}
    for model_id in sorted(one for one in waiting if one is not None):
        if (MODEL_METRIC, model_id) not in p.put_off:
            yield from p.park(MODEL_METRIC, model_id, "", p.without[model_id][1])


def left_out(
    p: RunPass, after: Mapping[str, int], end: Mapping[str, int], points: Sequence[Point]
) -> Part[tuple[Point, ...]]:
    """Points of models that a remote which stores whatever arrives must not get: an equal one is sent, or was."""
    read = ReadPoints(
        p.uid, tuple(sorted(after.items())), EVERY, upto=tuple(sorted(end.items())), distinct=False, model_id=""
    )
    every: tuple[Point, ...] = yield read
    sent = {(q.incarnation, q.pos) for q in points if q.model_id is not None}
    return tuple(q for q in every if (q.incarnation, q.pos) not in sent)


def refuse_twins(p: RunPass, twins: Sequence[Point]) -> Part[None]:
    """Say of each by name that its model does not get it; or by model, as long as that is not there."""
    for point in twins:
        if point.model_id in p.models and (MODEL_METRIC, name_of(point)) not in p.ledger.rejected:
            row = row_of(point, json.dumps(point.key), p.models)
            yield from p.ledger.save(Rejected("run", p.uid, MODEL_METRIC, name_of(point), row, TOO_LATE, p.desk.wall_s))


def unknown_models(p: RunPass, points: Iterable[Point]) -> set[str]:
    """Models of points of which nothing is known yet."""
    named = {q.model_id for q in points if q.model_id is not None}
    return {one for one in named if one not in p.models and one not in p.without}


def send_apart(p: RunPass, courier: PointCourier, linked: Sequence[Point], sent: Sequence[Point]) -> Part[None]:
    """Deliver points under their models.

    Args:
        p: the pass.
        courier: of the same window: it knows what was sent.
        linked: that belong to models.
        sent: those of them that may have been sent before, and that the run does not show as missing.
    """
    mine = ModelCourier(p, courier, p.models)
    if not p.desk.dedupes and sent:
        yield from mine.look_at_models(sent)
    batches = cut(linked, p.desk.limits, nan_apart=not p.desk.nan_safe, models=p.models)
    yield from Line(p.desk, mine, batches).run()


def retry_links(p: RunPass) -> Part[None]:
    """Points that went to the run alone: under their models, now that these are there."""
    waiting = [r for (kind, key), r in sorted(p.ledger.parked.items()) if kind == MODEL_METRIC]
    waiting = [r for r in waiting if not p.rests(MODEL_METRIC, r.key)]
    yield from find_models(p, [r.key for r in waiting])
    for record in waiting:
        if record.key in p.without:
            yield from p.park(MODEL_METRIC, record.key, "", p.without[record.key][1])
        elif p.desk.dedupes:
            yield from _send_again(p, record)
        else:
            words = Rejected("run", p.uid, MODEL_METRIC, record.key, "", TOO_LATE, p.desk.wall_s)
            yield from p.ledger.save(words, drops=(record,))


def _send_again(p: RunPass, record: Parked) -> Part[None]:
    upto = {inc: mark.upto for inc, mark in p.ledger.watermarks.items()}
    after: dict[str, int] = {}
    limit = p.desk.settings.window
    courier = PointCourier(p, top_ts=0)
    while True:
        points: tuple[Point, ...] = yield ReadPoints(
            p.uid,
            tuple(sorted(after.items())),
            limit,
            upto=tuple(sorted(upto.items())),
            model_id=record.key,
        )
        linked = [q for q in points if (MODEL_METRIC, name_of(q)) not in p.ledger.rejected]
        linked = [q for q in linked if ("metric", name_of(q)) not in p.ledger.rejected]
        yield from send_apart(p, courier, linked, ())
        if len(points) < limit:
            break
        last = points[-1]
        after |= {inc: pos for inc, pos in upto.items() if inc < last.incarnation}
        after[last.incarnation] = last.pos
        yield Turn()
    if (MODEL_METRIC, record.key) not in p.put_off:  # the model may have gone meanwhile
        yield from p.ledger.save(drops=(record,))


class ModelCourier(PointCourier):
    """Points of models as parcels that are batches.

    Args:
        p: the pass.
        courier: of the same window: it knows what was sent.
        models: ids of the points' models -> ids on the remote.
    """

    def __init__(self, p: RunPass, courier: PointCourier, models: Mapping[str, str]) -> None:
        super().__init__(p, courier.top_ts)
        self.models = models
        self.provable = False
        self.sent = courier.sent

    def request(self, parcel: Batch) -> Request:
        """See isolate.Courier."""
        assert self.p.desk.models or all(q.model_id is None for q in parcel.points), no_models(self.p.desk)
        for point in parcel.points:
            self.sent[point.key] = max(point.ts, self.sent.get(point.key, -1))
        return Request("POST", f"{API}/runs/log-batch", parcel.body(self.p.remote_id))

    def recheck(self, parcel: Batch, since: float, judged: Judged) -> Part[Batch]:
        """See isolate.Courier."""
        parcel.fence = None
        if self.p.desk.dedupes:
            if judged.verdict is Verdict.MAYBE:
                return (yield from self._explain(parcel))
            yield from self.p.look()
            return parcel
        rest = yield from super().recheck(parcel, since, judged)
        left = set(map(id, rest.points))
        yield from self.look_at_models([q for q in parcel.points if id(q) not in left])
        return rest

    # --- remotes that store a repeated point once ---

    def _explain(self, parcel: Batch) -> Part[Batch]:
        """Why it was refused: the model is gone, or holds something else. What is sent again, and how."""
        held: dict[str, dict[Place, Content] | None] = {}
        plain: set[int] = set()
        for index, point in enumerate(parcel.points):
            model_id = point.model_id
            if model_id is None:
                continue
            if model_id not in held:
                held[model_id] = yield from self._held(model_id)
            places = held[model_id]
            if places is None:
                yield from self.p.park(MODEL_METRIC, model_id, "", "its logged model is not on the remote any more")
                plain.add(index)
            elif places.setdefault(_place(point), _content(point)) != _content(point):
                yield from self._refuse(point, parcel.rows[index], TAKEN)
                plain.add(index)
        points = [q._replace(model_id=None) if i in plain else q for i, q in enumerate(parcel.points)]
        return Batch(points, [row_of(q, json.dumps(q.key), self.models) for q in points])

    def _held(self, model_id: str) -> Part[dict[Place, Content] | None]:
        """What a model holds of this run; None when it is not there."""
        shown = yield from self._metrics(model_id)
        if shown is None:
            return None
        mine = [one for one in shown if one.get("run_id") == self.p.remote_id]
        return {_place_of(one): _content_of(one) for one in mine}

    def _metrics(self, model_id: str) -> Part[Sequence[Any] | None]:
        remote_id = self.models[model_id]
        judged: Judged = yield Ask(get_model(remote_id, deleted=True), safe=True, expects=("model",), optional=True)
        if judged.verdict is Verdict.GONE:
            return None
        if judged.verdict is not Verdict.OK:
            raise Ended(Ending.PARKED, f"logged model {model_id} cannot be read: {judged.words}")
        data = judged.body["model"].get("data") or {}
        return list(data.get("metrics") or ())

    def _refuse(self, point: Point, row: str, words: str) -> Part[None]:
        record = Rejected("run", self.p.uid, MODEL_METRIC, name_of(point), row, words, self.p.desk.wall_s)
        yield from self.p.ledger.save(record)

    # --- remotes that store whatever arrives ---

    def look_at_models(self, points: Sequence[Point]) -> Part[None]:
        """Points that the run has: reject by name what their models do not show.

        The file store shows only the latest metric of a name and dataset: this run's older ones are taken to be there,
        unless others log to the run as well, so that it need not have been we who sent the point.
        """
        latest: dict[str, dict[tuple[str, str | None, str | None], tuple[int, int]]] = {}
        for point in points:
            model_id = point.model_id
            if model_id is None:
                continue
            if model_id not in latest:
                latest[model_id] = {}
                for one in (yield from self._metrics(model_id)) or ():
                    if one.get("run_id") not in (None, "", self.p.remote_id):
                        continue  # it hides what this run has there
                    group = (str(one.get("key")), one.get("dataset_name"), one.get("dataset_digest"))
                    order = (int(one.get("step") or 0), int(one.get("timestamp") or 0))
                    latest[model_id][group] = max(order, latest[model_id].get(group, order))
            newest = latest[model_id].get((point.key, point.dataset_name, point.dataset_digest))
            mine = (point.step, point.ts)
            if newest is None or newest < mine or (self.p.desired.attached and newest != mine):
                yield from self._refuse(point, row_of(point, json.dumps(point.key), self.models), TOO_LATE)


def _place(point: Point) -> Place:
    return (point.key, point.step, point.ts)


def _content(point: Point) -> Content:
    return (_kept(point.value), point.dataset_name, point.dataset_digest)


def _place_of(metric: dict[str, Any]) -> Place:
    return (str(metric.get("key", "")), int(metric.get("step") or 0), int(metric.get("timestamp") or 0))


def _content_of(metric: dict[str, Any]) -> Content:
    name, digest = metric.get("dataset_name") or None, metric.get("dataset_digest") or None
    return (_kept(float(metric.get("value") or 0.0)), name, digest)


def _kept(value: float) -> float | str:
    """A value as a model keeps it: NaN becomes 0.0 there."""
    kept = canonical(value)
    return 0.0 if kept == "nan" else kept
