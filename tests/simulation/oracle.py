"""What the remote must hold in the end: a function of the journals and of what other people did there."""

from __future__ import annotations

import hashlib
import json
from typing import TypeVar

from localtrack.catalog.desired import DesiredRun
from localtrack_sync.delivery.item_pass import CONFLICT_PREFIX
from localtrack_sync.delivery.run_pass import conflict_key
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.protocol.places import place
from localtrack_sync.protocol.records import (
    Conflict,
    ExperimentBinding,
    Intent,
    Parked,
    Record,
    Rejected,
    RunBinding,
    Watermark,
)
from localtrack_sync.protocol.request import HISTORY_TAG
from localtrack_sync.protocol.values import identity
from localtrack_sync.uploads.manifest import MANIFEST
from tests.simulation.launcher import Launcher
from tests.simulation.links_oracle import LinksOracle
from tests.simulation.people import People
from tests.simulation.remote import Remote, RunState
from tests.simulation.world import CURSED_VALUE, POISON_SIGN, World

R = TypeVar("R", bound=Record)


class Oracle:
    """Compares; `problems` is empty when all is as it must be."""

    def __init__(self, world: World, remote: Remote, people: People, state: MemoryState, launcher: Launcher) -> None:
        self.world = world
        self.remote = remote
        self.people = people
        self.state = state
        self.launcher = launcher
        self.problems: list[str] = list(people.violations)

    def check(self) -> list[str]:
        """Everything that is wrong."""
        for run_id in self.world.known_runs():
            if not self._not_launched(run_id):
                self._run(run_id)
        for model_id in self.world.known_models():
            self._model(model_id)
        for experiment in self.world.experiments:
            self._experiment(experiment)
        return self.problems

    def _wrong(self, run_id: str, what: str) -> None:
        self.problems.append(f"run {run_id}: {what}")

    def _experiment(self, experiment_id: str) -> None:
        desired = self.world.desired_experiment(experiment_id)
        used = [r for r in self.world.known_runs() if self.world.plans[r].experiment_id == experiment_id]
        if desired is None or not used:
            return
        records = [r for r in self.state.all() if r.scope == "experiment" and r.scope_id == experiment_id]
        bindings = [r for r in records if isinstance(r, ExperimentBinding)]
        mine = [e for e in self.remote.experiments.values() if e["tags"].get("localtrack.uid") == experiment_id]
        if len(bindings) != 1 or len(mine) > 1 or bindings[0].remote_id not in self.remote.experiments:
            self.problems.append(f"experiment {experiment_id} is bound as {bindings}, made {len(mine)} times")
            return
        found, made = self.remote.experiments[bindings[0].remote_id], bindings[0].created
        name = place(desired.name, self.remote.folder) if self.remote.folder else desired.name
        if found["name"] != name and (made or not any(isinstance(r, Conflict) for r in records)):
            self.problems.append(f"experiment {experiment_id} has name {found['name']}, not {name}")
        if found["deleted"] != (desired.deleted and made):
            self.problems.append(f"experiment {experiment_id} deleted={found['deleted']}, desired {desired.deleted}")
        if {k: v for k, v in found["tags"].items() if k != "localtrack.uid"} != desired.tags:
            self.problems.append(f"experiment {experiment_id} has tags {found['tags']}, not {desired.tags}")
        self.problems += [
            f"open in experiment {experiment_id}: {r}" for r in records if isinstance(r, Parked | Rejected)
        ]

    def _model(self, model_id: str) -> None:
        desired = self.world.desired_model(model_id)
        assert desired is not None, "its creation is imported"
        parked = self._records(model_id, Parked)
        if self.remote.flavour == "old":
            if not any("no logged models" in record.reason for record in parked):
                self.problems.append(f"model {model_id}: nothing says that the server has no models")
            return
        carrying = [m for m in self.remote.logged.models.values() if m.tags.get("localtrack.uid") == model_id]
        bindings = self._records(model_id, RunBinding)
        live = [m.model_id for m in carrying if not m.deleted]
        wanted = [] if desired.deleted else [bindings[0].remote_id] if bindings else ["one"]
        if len(bindings) != 1 or bindings[0].state != "bound" or live != wanted:
            self.problems.append(f"model {model_id}: live on the remote as {live}, bound {bindings}, {desired}")
            return
        model = self.remote.logged.models[bindings[0].remote_id]
        self.problems += [f"model {model_id}: left open {record}" for record in parked if record.kind != "file"]
        self.problems += [f"model {model_id}: refused {record}" for record in self._records(model_id, Rejected)]
        if desired.deleted:
            return
        held_up = any(POISON_SIGN in path for path in self.world.contents(model_id))  # by a file that cannot arrive
        if not held_up and model.status != f"LOGGED_MODEL_{desired.status.replace('FAILED', 'UPLOAD_FAILED')}":
            self.problems.append(f"model {model_id}: status {model.status}, not {desired.status}")
        # (A run that was made twice and swept, because delivery states were lost, may be the one that it names.)
        # (So may one that was lost before a repair made it again: the source of a model cannot be changed.)
        source = self.remote.runs.get(model.source_run_id)
        found = source.tags.get("localtrack.uid") if source else None
        if model.name != desired.name or (
            found != desired.source_run_id and model.source_run_id not in self.remote.lost
        ):
            self.problems.append(f"model {model_id}: is {model}, not {desired}")
        tags = {key: value for key, value in model.tags.items() if not key.startswith("localtrack.")}
        if tags != desired.tags:
            self.problems.append(f"model {model_id}: tags {tags}, not {desired.tags}")
        conflicts = {r.key for r in self._records(model_id, Conflict) if r.kind == "param"}
        differ = {k for k in {*model.params, *desired.params} if model.params.get(k) != desired.params.get(k)}
        if differ - conflicts or set(model.params) - set(desired.params):
            self.problems.append(f"model {model_id}: params {model.params}, not {desired.params}")
        self._files(model_id, model.model_id, f"models/{model.model_id}")

    def _not_launched(self, run_id: str) -> bool:
        """Whether nobody made a run that is attached to; then it waits, and is not made by us."""
        if not self.world.plans[run_id].attached or run_id in self.launcher.launched:
            return False
        made = [r.run_id for r in self.remote.runs.values() if self.people.local(r) == run_id]
        bound = self._records(run_id, RunBinding)
        parked = [r.reason for r in self._records(run_id, Parked)]
        if made or bound or [words[:7] for words in parked] != ["no run "]:
            self._wrong(run_id, f"nobody made it, but it is {made}, bound as {bound}, parked as {parked}")
        return True

    def _run(self, run_id: str) -> None:
        desired = self.world.desired_run(run_id)
        assert desired is not None, "its creation is imported"
        carrying = [r for r in self.remote.runs.values() if self.people.local(r) == run_id]
        bindings = [r for r in self.state.all() if isinstance(r, RunBinding) and r.scope_id == run_id]
        run = self.remote.runs.get(bindings[0].remote_id) if bindings else None
        if len(bindings) != 1 or bindings[0].state != "bound" or run is None:
            self._wrong(run_id, f"bound as {bindings}, on the remote {[r.run_id for r in carrying]}")
            return
        if run.run_id in self.people.deleted and not desired.deleted:
            unknowable = self.people.lost_state_at >= 0.0 and self.world.ever_deleted(run_id)
            if not run.deleted and not unknowable:
                self._wrong(run_id, "revived, though somebody else deleted it")
            return
        if run.deleted and run.run_id in self.people.perhaps:
            return  # it stays deleted; when something is owed it is parked
        if run.deleted and not desired.deleted and self.people.lost_state_at >= 0.0 and self.world.ever_deleted(run_id):
            return  # with the delivery state the knowledge is gone that it was we who deleted it: it stays deleted
        if len(carrying) > 1 and run.deleted and self.people.lost_state_at >= 0.0 and self._records(run_id, Parked):
            return  # two lost delivery states, two runs, and a late read showed the one that had been swept away
        live = [r.run_id for r in carrying if not r.deleted and r.run_id not in self.people.deleted]
        if live != ([] if desired.deleted else [run.run_id]):
            self._wrong(run_id, f"live on the remote as {live}, bound to {run.run_id}, deleted={desired.deleted}")
        if run.run_id in self.people.deleted:
            return
        self._metrics(desired, run)
        self._params(desired, run)
        self._tags(desired, run)
        self._info(desired, run)
        self._files(run_id, run.run_id, run.run_id)
        self._books(desired)
        lost = self.people.lost_state_at >= 0.0
        LinksOracle(self.world, self.remote, self.state, self._wrong, lost=lost).check(desired, run)

    def _metrics(self, desired: DesiredRun, run: RunState) -> None:
        points = self.world.all_points(desired.run_id)
        bad = {identity(p) for p in points if POISON_SIGN in p.key}
        cursed = {identity(p) for p in points if p.value == CURSED_VALUE}
        expected = {identity(p) for p in points} - bad - cursed
        if desired.attached:
            expected |= self.launcher.launched[desired.run_id].metrics
        if set(run.metrics) != expected:
            lost, extra = expected - set(run.metrics), set(run.metrics) - expected
            self._wrong(desired.run_id, f"missing points {sorted(map(str, lost))}, too many {sorted(map(str, extra))}")
        elif len(run.metrics) != len(expected):
            twice = sorted(str(p) for p in expected if run.metrics.count(p) > 1)
            self._wrong(desired.run_id, f"points stored twice: {twice}")
        rejected = {r.key for r in self._records(desired.run_id, Rejected) if r.kind == "metric"}
        parked = {r.key for r in self._records(desired.run_id, Parked) if r.kind == "metric"}
        for name, wanted, keys in (("rejected", bad, rejected), ("parked", cursed - bad, parked)):
            named = {identity(p) for p in points if f"{p.incarnation}:{p.pos}" in keys}
            if named != wanted:
                self._wrong(desired.run_id, f"{name} points {named}, not {wanted}")

    def _params(self, desired: DesiredRun, run: RunState) -> None:
        conflicts = {(r.kind, r.key): r for r in self._records(desired.run_id, Conflict)}
        disagreed = {c.key: {c.winner, *(value for value, _ in c.others)} for c in desired.param_conflicts}
        theirs = self.launcher.launched[desired.run_id].params if desired.attached else {}
        for key, value in desired.params.items():
            if POISON_SIGN in key:
                if key in run.params or not self._rejected(desired.run_id, "param", key):
                    self._wrong(desired.run_id, f"param {key} should be rejected")
                continue
            held = run.params.get(key)
            possible = {theirs[key]} if key in theirs else disagreed.get(key, set())
            if held != value and (("param", key) not in conflicts or held not in possible):
                self._wrong(desired.run_id, f"param {key} is {held!r}, not {value!r}")
            if key in disagreed and ("journals", key) not in conflicts:
                self._wrong(desired.run_id, f"nothing says that journals disagree about {key}")
            if key in disagreed and conflict_key("param", key) not in run.tags:
                self._wrong(desired.run_id, f"no tag shows that journals disagree about {key}")
            if key not in disagreed and ("param", key) in conflicts and theirs.get(key, value) == value:
                self._wrong(desired.run_id, f"param {key} is in conflict with nobody")
        if set(run.params) - set(desired.params) - set(theirs):
            self._wrong(desired.run_id, f"params from nowhere: {set(run.params) - set(desired.params)}")

    def _tags(self, desired: DesiredRun, run: RunState) -> None:
        wanted: dict[str, str | None] = {**dict.fromkeys(desired.dropped_tags), **desired.tags}
        wanted["mlflow.runName"] = desired.name
        parent = desired.tags.get("mlflow.parentRunId")
        if parent:
            wanted["mlflow.parentRunId"] = self._parent(parent)
        pinned = {r.key for r in self._records(desired.run_id, Conflict) if r.kind == "tag"}
        for key in {*wanted, *run.tags}:
            if key.startswith((CONFLICT_PREFIX, "localtrack.")) or key == HISTORY_TAG:
                continue
            held, want = run.tags.get(key), wanted.get(key)
            edit = self.people.edits.get((run.run_id, key))
            if POISON_SIGN in key:
                created = self.remote.flavour != "file"  # a create does not validate its tags on SQL
                if (
                    not (created and held == want)
                    and not self._rejected(desired.run_id, "tag", key)
                    and want is not None
                ):
                    self._wrong(desired.run_id, f"tag {key} should be rejected")
            elif edit is not None:
                if held != edit.value:
                    self._wrong(desired.run_id, f"tag {key} is {held!r}, but somebody made it {edit.value!r}")
            elif held != want and (run.run_id, key) in self.people.excused and (key in pinned):
                pass  # an edit that was lost in a gap was seen once more, by a late read, and is left alone since
            elif held != want:
                self._wrong(desired.run_id, f"tag {key} is {held!r}, not {want!r}")

    def _parent(self, parent: str) -> str | None:
        for record in self.state.all():
            if isinstance(record, RunBinding) and record.scope_id == parent and record.state == "bound":
                return record.remote_id
        return None

    def _files(self, owner: str, remote_id: str, root: str) -> None:
        local = self.world.contents(owner)
        wanted = {path: data.replace(owner.encode(), remote_id.encode()) for path, data in local.items()}
        there = {
            path.removeprefix(f"{root}/"): data
            for path, data in self.remote.files.items()
            if path.startswith(f"{root}/")
        }
        manifest = json.loads(there.pop(MANIFEST, b'{"files": {}}'))["files"]
        parked = {r.key for r in self._records(owner, Parked) if r.kind == "file"}
        for path, data in wanted.items():
            if POISON_SIGN in path:
                if path not in parked or path in there:
                    self._wrong(owner, f"file {path} should be parked")
            elif there.get(path) != data:
                self._wrong(owner, f"file {path} is {there.get(path)!r}, not {data!r}")
        fine = {p: {"size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for p, d in there.items()}
        if set(there) - set(wanted) or manifest != fine:
            self._wrong(owner, f"files {sorted(there)}, manifest {manifest}")

    def _info(self, desired: DesiredRun, run: RunState) -> None:
        if desired.attached:
            self._attached_info(desired, run)
            return
        if run.status != desired.status:
            self._wrong(desired.run_id, f"status {run.status}, not {desired.status}")
        if desired.end_time is not None and run.end_time != desired.end_time:
            self._wrong(desired.run_id, f"end time {run.end_time}, not {desired.end_time}")
        if desired.end_time is None and run.end_time and self.remote.flavour != "file":
            self._wrong(desired.run_id, f"end time {run.end_time} of a run that goes on")
        if run.start_time != desired.start_time:
            self._wrong(desired.run_id, f"start time {run.start_time}, not {desired.start_time}")
        if run.name != desired.name and (run.run_id, "mlflow.runName") not in self.people.excused:
            self._wrong(desired.run_id, f"name {run.name}, not {desired.name}")

    def _attached_info(self, desired: DesiredRun, run: RunState) -> None:
        """Of a run that others made: its status is ours when we set it, and nobody ended it later."""
        one, ours = self.launcher.launched[desired.run_id], (desired.status, desired.end_time)
        stands = self.launcher.stands(desired.run_id, desired.end_time or desired.start_time)
        wanted = (one.status, one.end_time) if stands or not desired.status else ours
        shown = (run.status, run.end_time if wanted[1] is not None else None)
        if shown != wanted:
            self._wrong(desired.run_id, f"status {shown}, not {wanted}; ours is {ours}")
        collided = [r for r in self._records(desired.run_id, Conflict) if r.kind == "status"]
        if bool(collided) != (stands and desired.status not in ("", "RUNNING", one.status)):
            self._wrong(desired.run_id, f"status conflict {collided}: {ours}, theirs {one.status, one.end_time}")

    def _books(self, desired: DesiredRun) -> None:
        """Nothing is unaccounted for, and nothing that is fine stands in the wrong list."""
        for intent in self._records(desired.run_id, Intent):
            self._wrong(desired.run_id, f"left open: {intent}")
        marks = {r.incarnation: r.upto for r in self._records(desired.run_id, Watermark)}
        if any(marks.get(inc, 0) < head for inc, head in desired.head.items()):
            self._wrong(desired.run_id, f"watermarks {marks}, heads {desired.head}")
        for record in self._records(desired.run_id, Parked):
            cursed = record.kind == "metric" and "666.0" in record.value
            upgrade = self.remote.flavour == "old" and "no logged models" in record.reason
            if not cursed and not upgrade and record.kind != "file":
                self._wrong(desired.run_id, f"parked: {record}")
        for refused in self._records(desired.run_id, Rejected):
            if POISON_SIGN not in refused.value + refused.key and refused.kind != "model_metric":
                self._wrong(desired.run_id, f"rejected, though it is fine: {refused}")

    def _rejected(self, run_id: str, kind: str, key: str) -> bool:
        return any((r.kind, r.key) == (kind, key) for r in self._records(run_id, Rejected))

    def _records(self, run_id: str, kind: type[R]) -> list[R]:
        return [r for r in self.state.all() if isinstance(r, kind) and r.scope_id == run_id]
