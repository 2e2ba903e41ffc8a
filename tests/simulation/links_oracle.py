"""What must hang on a run in the end: inputs, outputs, entries of log_model, and points under their logged models."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

from localtrack.catalog.desired import DesiredRun, Point
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.protocol.records import Conflict, Parked, Record, Rejected, RunBinding
from localtrack_sync.protocol.request import HISTORY_TAG
from localtrack_sync.protocol.values import canonical
from tests.simulation.models import ModelMetric
from tests.simulation.remote import Remote, RunState
from tests.simulation.world import CURSED_VALUE, POISON_SIGN, World


class LinksOracle:
    """Compares; `wrong` is told what is not as it must be.

    Attributes:
        lost: a delivery state was lost: a deleted model that no search finds was made again, and a run may be linked
            to both (docs/replay.md names the limit).
    """

    def __init__(
        self, world: World, remote: Remote, state: MemoryState, wrong: Callable[[str, str], None], *, lost: bool
    ) -> None:
        self.lost = lost
        self.world = world
        self.remote = remote
        self.state = state
        self.wrong = wrong

    def check(self, desired: DesiredRun, run: RunState) -> None:
        """One run that is bound and live."""
        old = self.remote.flavour == "old"
        datasets = {(one.dataset.name, one.dataset.digest) for one in desired.datasets}
        if set(run.inputs) != datasets:
            self.wrong(desired.run_id, f"datasets {set(run.inputs)}, not {datasets}")
        inputs = [] if old else sorted(self._there(one) for one in desired.model_inputs)
        if self._without_twins(run.model_inputs, inputs) != set(inputs):
            self.wrong(desired.run_id, f"model inputs {run.model_inputs}, not {inputs}")
        conflicts = {r.key for r in self._of(desired.run_id, Conflict) if r.kind == "output"}
        outputs = {} if old else {self._there(one): step for one, step in desired.model_outputs}
        shown = self._without_twins(run.outputs, outputs)
        differ = {one for one in {*shown, *outputs} if run.outputs.get(one) != outputs.get(one)}
        if differ - {self._there(one) for one in conflicts} or shown != set(outputs):
            self.wrong(desired.run_id, f"outputs {run.outputs}, not {outputs}, conflicts {conflicts}")
        named = {(r.kind, r.key) for r in self._of(desired.run_id, Parked)}
        wanted = {("model_input", one) for one in desired.model_inputs}
        wanted |= {("output", one) for one, _ in desired.model_outputs}
        if old and not wanted <= named:
            self.wrong(desired.run_id, f"nothing says that {wanted - named} wait for an upgrade")
        twins = [what for run_id, what in self.remote.twins if run_id == run.run_id]
        if twins:
            self.wrong(desired.run_id, f"linked twice: {twins}")
        self._history(desired, run)
        self._model_metrics(desired, run)

    def _history(self, desired: DesiredRun, run: RunState) -> None:
        shown = json.loads(run.tags.get(HISTORY_TAG, "[]"))
        wanted = [json.loads(one) for one in desired.models_logged]
        for one in wanted:
            one["run_id"] = run.run_id
            if "model_uuid" in one and self.remote.flavour != "old":
                one["model_uuid"] = self._there(one["model_uuid"])
        here, there = Counter(map(_text, shown)), Counter(map(_text, wanted))
        models = [one["model_uuid"] for one in wanted if "model_uuid" in one]
        extra = [json.loads(text).get("model_uuid", "") for text in here - there]
        if there - here or self._without_twins(extra, models):
            self.wrong(desired.run_id, f"log_model entries {shown}, not {wanted}")

    def _model_metrics(self, desired: DesiredRun, run: RunState) -> None:
        points = self.world.all_points(desired.run_id)
        linked = [q for q in points if q.model_id and POISON_SIGN not in q.key and q.value != CURSED_VALUE]
        rejected = {r.key for r in self._of(desired.run_id, Rejected) if r.kind == "model_metric"}
        parked = {r.key for r in self._of(desired.run_id, Parked) if r.kind == "model_metric"}
        stored: dict[str, list[ModelMetric]] = defaultdict(list)
        for model_id in {q.model_id for q in linked if q.model_id}:
            model = self.remote.logged.models.get(self._there(model_id))
            stored[model_id] = [m for m in model.metrics if m[6] == run.run_id] if model is not None else []
        flavour = self.remote.flavour
        if flavour == "old":
            named = {q.model_id for q in points if q.model_id and POISON_SIGN not in q.key}
            if parked != named:
                self.wrong(desired.run_id, f"parked {parked}, but points name {[q.model_id for q in linked]}")
            return
        if parked:
            self.wrong(desired.run_id, f"points wait for models without need: {parked}")
        for point in linked:
            assert point.model_id is not None, "it is linked"
            there = _content(point) in {_shown(m) for m in stored[point.model_id]}
            name = f"{point.incarnation}:{point.pos}"
            if flavour == "sql":
                excused = name in rejected and self._taken(point, linked)
            else:
                excused = name in rejected or point.model_id in rejected
                # (The server may die between the run's row and the model's: docs/replay.md names the limit.)
                excused = excused or (point.model_id, point.key) in self.remote.torn
            if not there and not excused:
                self.wrong(desired.run_id, f"{point} is not under its model: {stored[point.model_id]}")
        every = {(q.model_id, *_content(q)) for q in points}
        for model_id, metrics in stored.items():
            if {(model_id, *_shown(m)) for m in metrics} - every or len(set(metrics)) < len(metrics):
                self.wrong(desired.run_id, f"model {model_id} has {metrics}")

    def _taken(self, point: Point, linked: list[Point]) -> bool:
        """Whether another point of the run wants the same place of the model."""
        place = (point.model_id, point.key, point.step, point.ts)
        rivals = [q for q in linked if (q.model_id, q.key, q.step, q.ts) == place]
        return len({_content(q) for q in rivals}) > 1

    def _without_twins(self, shown: Iterable[str], wanted: Collection[str]) -> set[str]:
        """What is shown, without models that were made for the same local model as a wanted one."""
        uids = {self.remote.logged.uid(one) for one in wanted} - {""}
        return {one for one in shown if not (self.lost and one not in wanted and self.remote.logged.uid(one) in uids)}

    def _there(self, model_id: str) -> str:
        for record in self._of(model_id, RunBinding):
            return str(record.remote_id)
        return model_id

    def _of(self, scope_id: str, kind: type[Record]) -> list[Any]:
        return [r for r in self.state.all() if isinstance(r, kind) and r.scope_id == scope_id]


def _content(point: Point) -> tuple[Any, ...]:
    kept = canonical(point.value)
    return (point.key, point.step, point.ts, 0.0 if kept == "nan" else kept, point.dataset_name, point.dataset_digest)


def _shown(metric: ModelMetric) -> tuple[Any, ...]:
    kept = canonical(metric[3])
    return (*metric[:3], 0.0 if kept == "nan" else kept, *metric[4:6])


def _text(entry: dict[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True)
