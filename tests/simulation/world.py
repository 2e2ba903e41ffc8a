"""The training side of the simulation: journals with ops, and a catalog that knows a prefix of each.

A small model of its own, so that a mistake in the product's merge cannot hide one in replay: tags, status, name and
life by last writer, params by the owner's first claim, points by (incarnation, position).
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from localtrack.catalog.desired import DesiredExperiment, DesiredModel, DesiredRun, ParamConflict, Point, StoredFile
from localtrack.entities import Dataset, DatasetInput, InputTag, Metric, PagedList
from localtrack.journal.ops import ENDED_BY_TAG
from localtrack_sync.protocol.effects import ReadPoints, Upload
from localtrack_sync.protocol.values import identity

#: A key with this sign is refused by the model remote; a value like this breaks it (HTTP 500) every time.
POISON_SIGN = "!"
CURSED_VALUE = 666.0


#: One point of an op: name, value, time, step, logged model, dataset name and digest.
Row: TypeAlias = tuple[str, float, int, int, str | None, str | None, str | None]


@dataclass
class Journal:
    """One writing process: its ops in order, and how many of them the catalog has imported."""

    incarnation: str
    ops: list[tuple[int, str, str, Any]] = field(default_factory=list)  # stamp, kind, run id, payload
    imported: int = 0


@dataclass
class RunPlan:
    """A run as it was created."""

    run_id: str
    experiment_id: str
    owner: str
    name: str
    start_time: int
    attached: bool = False


@dataclass
class ModelPlan:
    """A logged model as it was created."""

    model_id: str
    experiment_id: str
    owner: str
    name: str
    source_run_id: str | None


class World:
    """Journals, what they say, and what is imported of them."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.journals = [Journal(f"{i}{rng.randrange(16**6):06x}") for i in range(rng.choice([1, 1, 2, 3]))]
        self.experiments = [f"exp{i}" for i in range(rng.choice([1, 1, 2]))]
        self.experiment_ops: dict[str, list[tuple[int, str, Any]]] = {e: [] for e in self.experiments}
        self.experiment_imported = dict.fromkeys(self.experiments, 0)
        self.plans: dict[str, RunPlan] = {}
        self.models: dict[str, ModelPlan] = {}
        self.clock = 1000
        self.times = 0
        self._cache: dict[str, tuple[tuple[int, ...], DesiredRun | None]] = {}
        self._write()
        self._attach(random.Random(self.clock * 1000 + self.times))
        self._keep_files(random.Random(self.clock * 1000 + self.times + 1))
        self._abandon(random.Random(self.clock * 1000 + self.times + 2))

    # --- making it up ---

    def _stamp(self) -> int:
        self.clock += self.rng.randrange(1, 5)
        return self.clock

    def _add(self, journal: Journal, kind: str, run_id: str, payload: Any) -> None:
        journal.ops.append((self._stamp(), kind, run_id, payload))

    def _write(self) -> None:
        for _ in range(self.rng.choice([1, 1, 2, 3])):
            self._begin_run()
        if self.rng.random() < 0.5:
            self._begin_models()
        for _ in range(self.rng.randrange(0, 26)):
            run_id = self.rng.choice(list(self.plans))
            journal = self._owner(run_id) if self.rng.random() < 0.6 else self.rng.choice(self.journals)
            self._log(journal, run_id)
        for _ in range(self.rng.choice([1, 3, 6] if self.models else [0, 0, 1])):
            self._link(self.rng.choice(self.journals), self.rng.choice(list(self.plans)))
        for run_id in self.plans:
            self._end_run(run_id)
        for model_id in self.models:
            self._log_to_model(model_id)
        for experiment in self.experiments:
            self._change(experiment)

    def _attach(self, rng: random.Random) -> None:
        """Some worlds have runs that somebody else creates (random numbers of their own: the other worlds stay)."""
        if rng.random() < 0.7:
            return
        mine, self.rng = self.rng, rng
        for _ in range(rng.choice([1, 1, 2])):
            run_id = f"a{rng.randrange(16**8):08x}"
            journals = rng.sample(self.journals, min(len(self.journals), rng.choice([1, 2])))
            self.plans[run_id] = RunPlan(run_id, "", journals[0].incarnation, "", self._ms(), attached=True)
            for journal in journals:
                self._add(journal, "attach", run_id, None)
            for _ in range(rng.randrange(1, 12)):
                self._log(rng.choice(self.journals), run_id)
            if rng.random() < 0.7:
                self._end_run(run_id)
        self.rng = mine

    def _owner(self, run_id: str) -> Journal:
        return next(j for j in self.journals if j.incarnation == self.plans[run_id].owner)

    def _begin_run(self) -> None:
        rng = self.rng
        journal = rng.choice(self.journals)
        run_id = f"{rng.randrange(16**8):08x}"
        plan = RunPlan(run_id, rng.choice(self.experiments), journal.incarnation, f"name-{run_id[:4]}", self._ms())
        tags = {f"t{i}": self._value("v") for i in range(rng.randrange(3))}
        if self.plans and rng.random() < 0.4:
            tags["mlflow.parentRunId"] = rng.choice(list(self.plans))
        self.plans[run_id] = plan
        self._add(journal, "create", run_id, tags)

    def _begin_models(self) -> None:
        rng = self.rng
        for _ in range(rng.choice([1, 1, 2, 3])):
            model_id = f"m-{rng.randrange(16**8):08x}"
            source = rng.choice(list(self.plans)) if rng.random() < 0.8 else None
            # (In the journal of its run: a model that is known before its source run is, names it by its local id.
            # docs/replay.md names the limit.)
            journal = self._owner(source) if source is not None else rng.choice(self.journals)
            experiment = self.plans[source].experiment_id if source is not None else rng.choice(self.experiments)
            plan = ModelPlan(model_id, experiment, journal.incarnation, f"model-{model_id[2:6]}", source)
            self.models[model_id] = plan
            tags = {f"t{i}": self._value("v") for i in range(rng.randrange(3))}
            params = {f"p{i}": self._value("x") for i in range(rng.randrange(3))}
            self._add(journal, "model", model_id, (tags, params))

    def _log_to_model(self, model_id: str) -> None:
        rng = self.rng
        for _ in range(rng.randrange(0, 5)):
            journal = rng.choice(self.journals)
            if rng.random() < 0.4:
                self._add(journal, "model param", model_id, (f"p{rng.randrange(4)}", self._value("x")))
            else:
                value = None if rng.random() < 0.2 else self._value("v")
                self._add(journal, "model tag", model_id, (f"t{rng.randrange(4)}", value))
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            self._add(rng.choice(self.journals), "model status", model_id, rng.choice(["READY", "READY", "FAILED"]))
        if rng.random() < 0.15:
            self._add(rng.choice(self.journals), "model deleted", model_id, payload=True)

    def _abandon(self, rng: random.Random) -> None:
        """In some worlds trainers die: a daemon ends their runs, and jobs that are queued again resume some of them."""
        if rng.random() < 0.6:
            return
        mine, self.rng = self.rng, rng
        for run_id in self.plans:
            for _ in range(rng.choice([0, 1, 1, 2])):
                self._add(rng.choice(self.journals), "killed", run_id, (f"gone {rng.randrange(3)}", self._ms()))
                if rng.random() < 0.6:
                    self._add(self._owner(run_id), "status", run_id, ("RUNNING", None))
                if rng.random() < 0.4:
                    self._add(self._owner(run_id), "status", run_id, ("FINISHED", self._ms()))
        self.rng = mine

    def _end_run(self, run_id: str) -> None:
        rng, owner = self.rng, self._owner(run_id)
        if rng.random() < 0.8:
            self._add(owner, "status", run_id, (rng.choice(["FINISHED", "FAILED", "KILLED"]), self._ms()))
        if rng.random() < 0.15:
            self._log(rng.choice(self.journals), run_id)
        if rng.random() < 0.1:
            self._add(owner, "status", run_id, ("RUNNING", None))
        if rng.random() < 0.15:
            self._add(owner, "deleted", run_id, payload=True)
            if rng.random() < 0.5:
                self._log(rng.choice(self.journals), run_id)
            if rng.random() < 0.4:
                self._add(owner, "deleted", run_id, payload=False)

    def _change(self, experiment: str) -> None:
        rng = self.rng
        for _ in range(rng.choice([0, 0, 0, 1, 2])):
            kind = rng.choice(["tag", "tag", "name", "deleted"])
            value = {
                "tag": ("et", None if rng.random() < 0.2 else self._value("e")),
                "name": f"{experiment}-{rng.randrange(3)}",
                "deleted": rng.random() < 0.7,
            }[kind]
            self.experiment_ops[experiment].append((self._stamp(), kind, value))

    def _keep_files(self, rng: random.Random) -> None:
        """Some worlds have files (random numbers of their own: the other worlds stay)."""
        if rng.random() < 0.5:
            return
        mine, self.rng = self.rng, rng
        for owner in (*self.plans, *self.models):
            self._store_files(owner)
        self.rng = mine

    def _store_files(self, owner: str) -> None:
        """Files, some of them written again with other content, here and there one that the remote cannot take."""
        rng = self.rng
        often = rng.random() < 0.3  # one file that is written again and again
        for _ in range(12 if often else rng.choice([0, 0, 0, 1, 2, 4, 8])):
            sign = POISON_SIGN if rng.random() < 0.02 else ""
            path = "often" if often else f"{rng.choice(['', 'a/', 'a/b/'])}f{rng.randrange(3)}{sign}"
            if rng.random() < 0.1:
                path = "model/MLmodel"
            text = f"{'model' if owner in self.models else 'run'}_id: {owner}\n" if path.endswith("MLmodel") else ""
            # Contents of one length: their size alone tells nothing.
            content = (text + str(rng.randrange(3)) * rng.choice([1, 1, 1, 40])).encode()
            journal = rng.choice(self.journals)
            place = rng.randrange(len(journal.ops) + 1)  # anywhere, as late as what is logged before it
            stamp = journal.ops[place - 1][0] if place else 1
            journal.ops.insert(place, (stamp, "file", owner, (path, content)))

    def _ms(self) -> int:
        self.times += self.rng.randrange(1, 30)
        return 1_700_000_000_000 + self.times

    def _value(self, prefix: str) -> str:
        return f"{prefix}{self.rng.randrange(4)}"

    def _log(self, journal: Journal, run_id: str) -> None:
        rng = self.rng
        kind = rng.choice(["metrics", "metrics", "metrics", "param", "param", "tag", "tag", "tag", "drop", "name"])
        if kind == "metrics":
            self._add(journal, kind, run_id, self._points(journal, run_id))
        elif kind == "param":
            sign = POISON_SIGN if rng.random() < 0.03 else ""
            self._add(journal, kind, run_id, (f"p{rng.randrange(4)}{sign}", self._value("x")))
        elif kind == "tag":
            sign = POISON_SIGN if rng.random() < 0.03 else ""
            self._add(journal, kind, run_id, (f"t{rng.randrange(4)}{sign}", self._value("v")))
        elif kind == "drop":
            self._add(journal, "tag", run_id, (f"t{rng.randrange(4)}", None))
        else:
            self._add(journal, "name", run_id, f"name-{rng.randrange(5)}")

    def _points(self, journal: Journal, run_id: str) -> list[Row]:
        rng = self.rng
        points: list[Row] = []
        for _ in range(rng.choice([1, 1, 2, 5, 9])):
            value = rng.choice([0.5, 1.0, -0.0, 0.25, float("nan"), float("inf"), -1e300, 3.0])
            if rng.random() < 0.01:
                value = CURSED_VALUE
            sign = POISON_SIGN if rng.random() < 0.01 else ""
            points.append((f"m{rng.randrange(3)}{sign}", value, self._ms(), rng.randrange(3), *self._named(journal)))
        if rng.random() < 0.3:  # the same again: from this journal or, as another rank would, from any
            points.append(rng.choice(points))
        earlier = [op for j in self.journals for op in j.ops if op[1] == "metrics" and op[2] == run_id]
        if earlier and rng.random() < 0.3:
            points.append((*rng.choice(rng.choice(earlier)[3])[:4], None, None, None))
        if self.models and rng.random() < 0.1:  # another value where the model has one: it takes only the first
            key, value, ts, step, model_id, name, digest = rng.choice(points)
            points.append((key, value + 1.0 if value != CURSED_VALUE else 7.5, ts, step, model_id, name, digest))
        return points

    def _named(self, journal: Journal) -> tuple[str | None, str | None, str | None]:
        """The logged model and dataset that a point is logged to."""
        mine = [m.model_id for m in self.models.values() if m.owner == journal.incarnation]
        if not mine or self.rng.random() < 0.4:
            return (None, None, None)
        dataset = ("data", f"d{self.rng.randrange(2)}") if self.rng.random() < 0.3 else (None, None)
        return (self.rng.choice(mine), *dataset)

    def _link(self, journal: Journal, run_id: str) -> None:
        """Datasets and models in, models out, entries of log_model."""
        rng = self.rng
        mine = [m.model_id for m in self.models.values() if m.owner == journal.incarnation]
        kind = rng.choice(["inputs", "inputs", "outputs", "log_model"])
        if kind == "inputs":
            names = {(f"data{rng.randrange(2)}", f"d{rng.randrange(2)}") for _ in range(rng.randrange(1, 4))}
            datasets = [
                DatasetInput(Dataset(*name, "local", "{}"), (InputTag("mlflow.data.context", "train"),))
                for name in sorted(names)
            ]
            models = [rng.choice(mine)] if mine and rng.random() < 0.5 else []
            self._add(journal, kind, run_id, (datasets, models))
        elif kind == "outputs":
            models = [rng.choice(mine)] if mine else []
            models += ["m-elsewhere"] if rng.random() < 0.1 else []
            self._add(journal, kind, run_id, [(model_id, rng.randrange(3)) for model_id in models])
        else:
            entry = {
                "run_id": run_id,
                "artifact_path": f"a{rng.randrange(3)}",
                "utc_time_created": "now",
                "flavors": {},
            }
            entry |= {"model_uuid": rng.choice(mine)} if mine else {}
            self._add(journal, kind, run_id, json.dumps(entry))

    # --- the catalog ---

    def import_more(self) -> None:
        """Some journals grow; a journal is imported in order, journals in any order."""
        for journal in self.journals:
            if self.rng.random() < 0.6:
                journal.imported = min(len(journal.ops), journal.imported + self.rng.randrange(0, 12))
        for experiment, ops in self.experiment_ops.items():
            if self.rng.random() < 0.2:
                self.experiment_imported[experiment] = min(len(ops), self.experiment_imported[experiment] + 1)

    def import_all(self) -> None:
        """Everything is imported."""
        for journal in self.journals:
            journal.imported = len(journal.ops)
        self.experiment_imported = {e: len(ops) for e, ops in self.experiment_ops.items()}

    def known_runs(self) -> list[str]:
        """Runs whose creation is imported."""
        ops = (op for j in self.journals for op in j.ops[: j.imported])
        return list(dict.fromkeys(op[2] for op in ops if op[1] in ("create", "attach")))

    def known_models(self) -> list[str]:
        """Models whose creation is imported."""
        return [op[2] for j in self.journals for op in j.ops[: j.imported] if op[1] == "model"]

    def desired_model(self, model_id: str) -> DesiredModel | None:
        """What the catalog says of a logged model."""
        ops = [op for op in self._ops(model_id) if op[3] != "file"]
        if not any(op[3] == "model" for op in ops):
            return None
        plan, status, deleted = self.models[model_id], "PENDING", False
        tags: dict[str, str | None] = {}
        ever: dict[str, set[str]] = {}
        params: dict[str, str] = {}
        for _, _, _, kind, payload in ops:
            if kind == "model":
                changed, claimed = payload
            elif kind == "model tag":
                changed, claimed = dict([payload]), {}
            elif kind == "model param":
                changed, claimed = {}, dict([payload])
            else:
                changed, claimed = {}, {}
                status, deleted = (payload, deleted) if kind == "model status" else (status, payload)
            tags.update(changed)
            for key, value in changed.items():
                ever.setdefault(key, set()).update({value} - {None})
            params = {**claimed, **params}
        return DesiredModel(
            model_id,
            plan.experiment_id,
            plan.name,
            None,
            plan.source_run_id,
            status,
            deleted,
            params=params,
            tags={k: v for k, v in tags.items() if v is not None},
            dropped_tags=tuple(sorted(k for k, v in tags.items() if v is None)),
            ever={k: tuple(sorted(v)) for k, v in ever.items()},
        )

    def _ops(self, run_id: str) -> list[tuple[int, str, int, str, Any]]:
        """Imported ops of a run in order of their stamps: (stamp, incarnation, n, kind, payload)."""
        return sorted(
            (
                (op[0], j.incarnation, n, op[1], op[3])
                for j in self.journals
                for n, op in enumerate(j.ops[: j.imported], start=1)
                if op[2] == run_id
            ),
            key=lambda op: op[:3],
        )

    def desired_run(self, run_id: str) -> DesiredRun | None:
        """What the catalog says of a run."""
        state = (*(j.imported for j in self.journals), *self.experiment_imported.values())
        cached = self._cache.get(run_id)
        if cached is not None and cached[0] == state:
            return cached[1]
        run = self._merge(run_id)
        self._cache[run_id] = (state, run)
        return run

    def _merge(self, run_id: str) -> DesiredRun | None:  # noqa: C901, PLR0912, PLR0915 - one branch for each kind of op
        plan, ops = self.plans.get(run_id), self._ops(run_id)
        born = [op for op in ops if op[3] in ("create", "attach")]
        if plan is None or not born:
            return None
        status = "" if plan.attached else "RUNNING"
        run = DesiredRun(run_id, plan.experiment_id, plan.name, "me", status, plan.start_time, None, deleted=False)
        fields: dict[str, Any] = {"name": plan.name, "status": status, "end_time": None, "deleted": False}
        tags: dict[str, str | None] = {}
        ever: dict[str, set[str]] = {"mlflow.runName": {plan.name} - {""}}
        claims: dict[str, list[tuple[bool, int, str, int, str]]] = {}
        head: dict[str, int] = {}
        killed: int | None = None
        datasets: dict[tuple[str, str], DatasetInput] = {}
        inputs: set[str] = set()
        outputs: dict[str, int] = {}
        entries: list[str] = []
        decided, owner, *_ = min(born)
        for stamp, inc, n, kind, payload in ops:
            if kind == "create":
                for key, value in payload.items():
                    tags[key] = value
                    ever.setdefault(key, set()).add(value)
            elif kind == "tag":
                key, value = payload
                tags[key] = value
                if value is not None:
                    ever.setdefault(key, set()).add(value)
            elif kind == "param":
                claims.setdefault(payload[0], []).append((inc != owner, stamp, inc, n, payload[1]))
            elif kind == "status":
                fields["status"], killed = payload[0], None
                if ENDED_BY_TAG in tags:
                    tags[ENDED_BY_TAG] = None
                fields["end_time"] = payload[1] if payload[1] is not None else fields["end_time"]
            elif kind == "killed":
                fields["status"], (tags[ENDED_BY_TAG], killed) = "KILLED", payload
                ever.setdefault(ENDED_BY_TAG, set()).add(payload[0])
            elif kind == "name":
                fields["name"] = payload
                ever["mlflow.runName"].add(payload)
            elif kind == "deleted":
                fields["deleted"], decided = payload, stamp
            elif kind == "metrics":
                head[inc] = n * 4096 + len(payload) - 1
            elif kind == "inputs":
                for dataset in payload[0]:
                    datasets.setdefault((dataset.dataset.name, dataset.dataset.digest), dataset)
                inputs |= set(payload[1])
            elif kind == "outputs":
                outputs = {**dict(reversed(payload)), **outputs}
            elif kind == "log_model":
                entries.append(payload)
        for stamp, kind, value in self._experiment_ops(plan.experiment_id):
            if kind == "deleted" and stamp > decided:
                fields["deleted"] = value
        params, conflicts = {}, []
        for key, found in claims.items():
            winner = min(found)[4]
            params[key] = winner
            others = tuple(sorted({(value, inc) for _, _, inc, _, value in found if value != winner}))
            if others:
                conflicts.append(ParamConflict(key, winner, others))
        return DesiredRun(
            run.run_id,
            run.experiment_id,
            fields["name"],
            run.user_id,
            fields["status"],
            run.start_time,
            fields["end_time"] if killed is None else killed,
            fields["deleted"],
            params=params,
            param_conflicts=tuple(sorted(conflicts, key=lambda c: c.key)),
            tags={k: v for k, v in tags.items() if v is not None},
            dropped_tags=tuple(sorted(k for k, v in tags.items() if v is None)),
            ever={k: tuple(sorted(v)) for k, v in ever.items()},
            head=head,
            datasets=tuple(datasets[name] for name in sorted(datasets)),
            model_inputs=tuple(sorted(inputs)),
            model_outputs=tuple(sorted(outputs.items())),
            models_logged=tuple(entries),
            attached=plan.attached,
        )

    def _experiment_ops(self, experiment_id: str) -> list[tuple[int, str, Any]]:
        return self.experiment_ops.get(experiment_id, [])[: self.experiment_imported.get(experiment_id, 0)]

    def desired_experiment(self, experiment_id: str) -> DesiredExperiment | None:
        """What the catalog says of an experiment."""
        if experiment_id not in self.experiments:
            return None
        tags: dict[str, str | None] = {}
        ever: dict[str, set[str]] = {}
        names, deleted = [experiment_id], False
        for _, kind, value in self._experiment_ops(experiment_id):
            if kind == "tag":
                tags[value[0]] = value[1]
                if value[1] is not None:
                    ever.setdefault(value[0], set()).add(value[1])
            elif kind == "name":
                names.append(value)
            else:
                deleted = value
        return DesiredExperiment(
            experiment_id,
            names[-1],
            None,
            deleted,
            tags={k: v for k, v in tags.items() if v is not None},
            dropped_tags=tuple(k for k, v in tags.items() if v is None),
            ever={k: tuple(sorted(v)) for k, v in ever.items()},
            names_ever=tuple(sorted(set(names))),
        )

    def contents(self, run_id: str) -> dict[str, bytes]:
        """Path -> content of the files that the catalog knows of, as they lie on the disk."""
        return {op[4][0]: op[4][1] for op in self._ops(run_id) if op[3] == "file"}

    def files(self, run_id: str) -> tuple[StoredFile, ...]:
        """Answer a ReadFiles."""
        found = sorted(self.contents(run_id).items())
        return tuple(StoredFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in found)

    def content(self, upload: Upload) -> bytes | None:
        """What a file holds now; None when that is not what it was when it was registered."""
        data = self.contents(upload.directory.split("/")[-2]).get(upload.path)
        return data if data is not None and hashlib.sha256(data).hexdigest() == upload.sha256 else None

    def ever_deleted(self, run_id: str) -> bool:
        """Whether the journals ever deleted the run, though they may have restored it since."""
        ops = [(op[3], op[4]) for op in self._ops(run_id)]
        ops += [(kind, value) for _, kind, value in self._experiment_ops(self.plans[run_id].experiment_id)]
        return ("deleted", True) in ops

    def all_points(self, run_id: str) -> list[Point]:
        """Imported points of a run in (incarnation, position) order."""
        return self._points_of(run_id, {j.incarnation: j.imported for j in self.journals})

    def every_point(self, run_id: str) -> list[Point]:
        """All points of a run, also those that are not imported yet."""
        return self._points_of(run_id, {})

    def _points_of(self, run_id: str, imported: dict[str, int]) -> list[Point]:
        points = []
        for journal in sorted(self.journals, key=lambda j: j.incarnation):
            for n, op in enumerate(journal.ops[: imported.get(journal.incarnation)], start=1):
                if op[1] == "metrics" and op[2] == run_id:
                    for i, (key, value, ts, step, *named) in enumerate(op[3]):
                        points.append(Point(journal.incarnation, n * 4096 + i, key, value, ts, step, *named))
        return points

    def keys(self, run_id: str) -> tuple[str, ...]:
        """Names of the imported metrics of a run."""
        return tuple(sorted({point.key for point in self.all_points(run_id)}))

    def history(self, run_id: str, key: str) -> PagedList[Metric]:
        """One imported metric of a run, in the catalog's order."""
        found = {
            (p.ts, p.step, p.value if p.value == p.value else 0.0, p.value != p.value) for p in self._of(run_id, key)
        }
        return PagedList(
            [Metric(key, float("nan") if nan else value, ts, step) for ts, step, value, nan in sorted(found)]
        )

    def model_metrics(self, model_id: str) -> tuple[Metric, ...]:
        """The last imported point of each metric, run and dataset of a model."""
        latest: dict[Any, Metric] = {}
        for run_id in self.known_runs():
            mine = [p for p in self.all_points(run_id) if p.model_id == model_id]
            for p in sorted(
                mine, key=lambda p: (p.step, p.ts, p.value if p.value == p.value else 0.0, p.value != p.value)
            ):
                more = (p.model_id, p.dataset_name, p.dataset_digest, run_id)
                latest[p.key, run_id, p.dataset_name, p.dataset_digest] = Metric(p.key, p.value, p.ts, p.step, *more)
        return tuple(latest.values())

    def _of(self, run_id: str, key: str) -> list[Point]:
        return [point for point in self.all_points(run_id) if point.key == key]

    def points(self, read: ReadPoints) -> tuple[Point, ...]:
        """Answer a ReadPoints."""
        after, upto = dict(read.after), dict(read.upto)
        found: list[Point] = []
        seen = set()
        every = self.all_points(read.run_id)
        if read.distinct:
            seen = {identity(p) for p in every if p.pos <= after.get(p.incarnation, 0)}
        for point in every:
            if not after.get(point.incarnation, 0) < point.pos <= upto.get(point.incarnation, 0):
                continue
            if read.distinct:
                if identity(point) in seen:
                    continue
                seen.add(identity(point))
            if read.model_id in (None, point.model_id) or (read.model_id == "" and point.model_id):
                found.append(point)
        return tuple(found[: read.limit])
