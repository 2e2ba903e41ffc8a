"""What went into a run and what came out of it: datasets and logged models, each once. Pure.

MLflow stores the same input once however often it comes, and refuses an output that is there already (400
BAD_REQUEST): the same request again is harmless, and a read of the run tells the two apart. Remotes that promise
nothing of the kind are read back when the settle time has passed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from localtrack.entities import DatasetInput
from localtrack_sync.delivery.isolate import Line
from localtrack_sync.delivery.named_models import find_models
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.records import Conflict, Intent, Linked, Record, Rejected
from localtrack_sync.protocol.request import encode, log_inputs, log_outputs
from localtrack_sync.protocol.snapshot import RemoteRun
from localtrack_sync.protocol.steps import Part, settled
from localtrack_sync.protocol.verdict import Judged

DATASET, MODEL_INPUT, OUTPUT = "dataset", "model_input", "output"
#: Links in one request; MLflow takes more, and says nothing of how many.
MOST = 100
#: What is saved while a request is under way whose repetition the remote may store twice.
INTENT = "links"


@dataclass(frozen=True, slots=True)
class Link:
    """One input or output.

    Attributes:
        kind, key: as in records.Linked.
        body: as MLflow's JSON has it; `remote_id` is the model's id there, `step` that of an output.
    """

    kind: str
    key: str
    body: dict[str, Any]
    remote_id: str = ""
    step: int = 0


def deliver_links(p: RunPass) -> Part[None]:
    """Bring every input and output to an end; one whose model is not bound yet stays owed."""
    owed = p.owed_links()
    if not owed and INTENT not in p.ledger.intents:
        return
    yield from find_models(p, (key for kind, key in owed if kind != DATASET))
    ready: list[Link] = []
    for kind, key in owed:
        without = p.without.get(key) if kind != DATASET else None
        if without is None:
            ready.append(_link(p, kind, key))
        elif without[0] is Ending.PARKED:
            yield from p.park(kind, key, "", without[1])
        else:
            p.put_off.add((kind, key))
            p.waits_for = without[1]
    yield from _send(p, ready)


def _send(p: RunPass, links: Sequence[Link]) -> Part[None]:
    courier = LinkCourier(p)
    rest = tuple(links)
    if rest and (INTENT in p.ledger.intents or not p.binding.fresh or p.must_look):
        rest = yield from courier.absent(rest, p.desk.started)  # a lost delivery state may have left one under way
    careful = not p.desk.limits.links_once
    if careful and rest:
        yield from p.ledger.save(Intent("run", p.uid, INTENT))
    for kinds in ((DATASET, MODEL_INPUT), (OUTPUT,)):
        yield from Line(p.desk, courier, _parcels(p, [one for one in rest if one.kind in kinds])).run()
    done = p.ledger.intents.get(INTENT)
    yield from p.ledger.save(drops=(done,) if done is not None else ())


def dataset_key(one: DatasetInput) -> str:
    """Name of a dataset input in the delivery state."""
    return json.dumps([one.dataset.name, one.dataset.digest])


def _link(p: RunPass, kind: str, key: str) -> Link:
    if kind == DATASET:
        return Link(kind, key, _dataset(next(one for one in p.desired.datasets if dataset_key(one) == key)))
    remote_id = p.models[key]
    step = dict(p.desired.model_outputs)[key] if kind == OUTPUT else 0
    return Link(kind, key, {"model_id": remote_id, "step": step}, remote_id, step)


def _dataset(one: DatasetInput) -> dict[str, Any]:
    dataset = one.dataset
    body = {
        "name": dataset.name,
        "digest": dataset.digest,
        "source_type": dataset.source_type,
        "source": dataset.source,
        "schema": dataset.schema,
        "profile": dataset.profile,
    }
    return {
        "dataset": {name: value for name, value in body.items() if value is not None},
        "tags": [{"key": tag.key, "value": tag.value} for tag in one.tags],
    }


def _parcels(p: RunPass, links: Iterable[Link]) -> list[tuple[Link, ...]]:
    """Cut to the limits."""
    parcels: list[tuple[Link, ...]] = []
    parcel: list[Link] = []
    size = 0
    for link in links:
        more = len(encode(link.body)) + 1
        if parcel and (len(parcel) >= MOST or size + more > p.desk.limits.body_bytes - 1000):
            parcels.append(tuple(parcel))
            parcel, size = [], 0
        parcel.append(link)
        size += more
    return [*parcels, tuple(parcel)]


class LinkCourier:
    """Inputs, or outputs, as parcels."""

    index = None
    optional = True

    def __init__(self, p: RunPass) -> None:
        self.p = p

    def request(self, parcel: tuple[Link, ...]) -> Request:
        """See isolate.Courier."""
        if parcel[0].kind == OUTPUT:
            return log_outputs(self.p.remote_id, [(one.remote_id, one.step) for one in parcel])
        datasets = [one.body for one in parcel if one.kind == DATASET]
        return log_inputs(self.p.remote_id, datasets, [one.remote_id for one in parcel if one.kind == MODEL_INPUT])

    def size(self, parcel: tuple[Link, ...]) -> int:
        """See isolate.Courier."""
        return len(parcel)

    def pick(self, parcel: tuple[Link, ...], indexes: Sequence[int]) -> tuple[Link, ...]:
        """See isolate.Courier."""
        return tuple(parcel[i] for i in indexes)

    def delivered(self, parcel: tuple[Link, ...]) -> Part[None]:
        """See isolate.Courier."""
        p = self.p
        yield from p.ledger.save(
            *(Linked("run", p.uid, one.kind, one.key) for one in parcel), drops=self._obsolete(parcel)
        )
        outputs = sum(one.kind == OUTPUT for one in parcel)
        p.desk.progress.outputs += outputs
        p.desk.progress.inputs += len(parcel) - outputs

    def recheck(self, parcel: tuple[Link, ...], since: float, judged: Judged) -> Part[tuple[Link, ...]]:
        """See isolate.Courier."""
        del judged
        return (yield from self.absent(parcel, since))

    def absent(self, links: tuple[Link, ...], since: float) -> Part[tuple[Link, ...]]:
        """Settle what the remote shows; what it does not have.

        Args:
            links: that may be there.
            since: since when an outcome has been unknown.
        """
        begun = self.p.desk.now
        rest = yield from self._compare(links, (yield from self.p.look()))
        if not rest or self.p.desk.limits.links_once or begun >= since + self.p.desk.settle_s:
            return rest
        yield from settled(self.p.desk, since)
        return (yield from self._compare(rest, (yield from self.p.look())))

    def _compare(self, links: tuple[Link, ...], remote: RemoteRun) -> Part[tuple[Link, ...]]:
        there = tuple(one for one in links if _is_there(one, remote))
        other = [one for one in there if one.kind == OUTPUT and remote.model_outputs[one.remote_id] != one.step]
        same = tuple(one for one in there if one not in other)
        if same:
            yield from self.delivered(same)
        for one in other:
            theirs = str(remote.model_outputs[one.remote_id])
            record = Conflict("run", self.p.uid, OUTPUT, one.key, str(one.step), theirs, self.p.desk.wall_s)
            yield from self.p.ledger.save(record, drops=self._obsolete((one,)))
        return tuple(one for one in links if one not in there)

    def reject(self, parcel: tuple[Link, ...], words: str) -> Part[None]:
        """See isolate.Courier."""
        (one,) = parcel
        record = Rejected("run", self.p.uid, one.kind, one.key, "", words, self.p.desk.wall_s)
        yield from self.p.ledger.save(record, drops=self._obsolete(parcel))

    def park(self, parcel: tuple[Link, ...], words: str) -> Part[None]:
        """See isolate.Courier."""
        (one,) = parcel
        yield from self.p.park(one.kind, one.key, "", words)

    def _obsolete(self, parcel: Iterable[Link]) -> list[Record]:
        parked = (self.p.ledger.parked.get((one.kind, one.key)) for one in parcel)
        return [record for record in parked if record is not None]


def _is_there(link: Link, remote: RemoteRun) -> bool:
    if link.kind == DATASET:
        name, digest = json.loads(link.key)
        return (name, digest) in remote.datasets
    return link.remote_id in (remote.model_inputs if link.kind == MODEL_INPUT else remote.model_outputs)
