"""Other people at the remote: they set and remove tags, and delete runs. Watches that nobody overwrites them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from localtrack_sync.protocol.effects import Request
from tests.simulation.remote import Remote, RunState


@dataclass
class Edit:
    """A tag that somebody changed by hand, and that has not been written by localtrack since.

    Attributes:
        value: None: removed.
        near_write: localtrack wrote the cell so shortly before that a removal may look like a write that was lost, or
            has no knowledge of the cell at all.
    """

    value: str | None
    at: float
    near_write: bool


class People:
    """Edits, and the proof that they stand.

    Attributes:
        knows: whether the delivery state knows anything of a tag of a run.
        wanted_absent: whether localtrack, too, believes a tag to be absent.
        deleted_here: whether the run is deleted in the journals; a lost delivery state may then have deleted it there.
        shared: whether a run was created elsewhere: its first look says nothing of who deleted it.
        edits: (remote run, key) -> the edit that stands there.
        deleted: remote runs that somebody deleted.
        perhaps: remote runs that somebody deleted while localtrack could not know whether it had done so itself.
        restored: experiments that localtrack restored: whose deletion of a run there was the last, it cannot tell.
        excused: cells where an edit was lost in a gap that the documentation names.
        forgetful: the delivery state was lost at some time: a removal before that cannot be told from "never written".
    """

    def __init__(self, rng: random.Random, remote: Remote, settle_s: float) -> None:
        self.rng = rng
        self.remote = remote
        self.knows: Callable[[str, str], bool] = lambda _uid, _key: True
        self.wanted_absent: Callable[[str, str], bool] = lambda _uid, _key: False
        self.deleted_here: Callable[[str], bool] = lambda _uid: False
        self.shared: Callable[[str], bool] = lambda _uid: False
        self.settle_s = settle_s
        self.edits: dict[tuple[str, str], Edit] = {}
        self.deleted: set[str] = set()
        self.wrote: dict[tuple[str, str], float] = {}
        self.looks: dict[str, list[tuple[float, float]]] = {}
        self.perhaps: set[str] = set()
        self.restored: set[str] = set()
        self.excused: set[tuple[str, str]] = set()
        self.lost_state_at = -1.0
        self.count = 0
        self.violations: list[str] = []

    @staticmethod
    def local(run: RunState) -> str:
        """Local id of a remote run."""
        return run.tags.get("localtrack.uid", run.run_id)

    def act(self, now: float) -> str:
        """Somebody does something; what."""
        runs = [r for r in self.remote.runs.values() if not r.deleted]
        if not runs:
            return "nothing"
        run = self.rng.choice(runs)
        if self.rng.random() < 0.07:
            run.deleted = True
            known = run.experiment_id not in self.restored and self.knows(self.local(run), "@deleted")
            (self.deleted if known else self.perhaps).add(run.run_id)
            return f"delete {run.run_id}"
        key = f"t{self.rng.randrange(4)}"
        self.count += 1
        value = None if self.rng.random() < 0.3 else f"by-hand-{self.count}"
        if value is None:
            if key not in run.tags:
                return "nothing"
            del run.tags[key]
        else:
            run.tags[key] = value
        wrote = max(self.wrote.get((run.run_id, key), -1e9), run.born if key in run.born_with else -1e9)
        # What people wrote, people removed: as if nothing had been. Nor can localtrack miss what it never knew of.
        unknown = wrote < 0.0 or not self.knows(self.local(run), key)
        near = now - wrote < 2 * self.settle_s or unknown
        self.edits[run.run_id, key] = Edit(value, now, near)
        return f"make {key} of {run.run_id} {value}"

    def on_look(self, request: Request, now: float) -> None:
        """We looked at a run, and was shown its state as of `now` (-1: an older one)."""
        query = dict(request.query)
        if request.path.endswith("runs/get"):
            self.looks.setdefault(query["run_id"], []).append((self.remote.now, now))

    def on_write(self, request: Request, started: float) -> None:  # noqa: C901 - one branch for each kind of write
        """A write of localtrack's was executed."""
        given = json.loads(request.body or b"{}")
        run_id = given.get("run_id", "")
        run = self.remote.runs.get(run_id)
        now = self.remote.now
        if request.path.endswith("experiments/restore") and given["experiment_id"] in self.remote.restored:
            revived = {r.run_id for r in self.remote.runs.values() if r.experiment_id == given["experiment_id"]}
            self.deleted -= revived  # MLflow restores all runs of an experiment, whoever deleted them
            self.restored.add(given["experiment_id"])
        if request.path.endswith("runs/delete"):
            self.deleted.discard(run_id)  # now it was localtrack as well
        unsure = self.lost_state_at >= 0.0 or (run is not None and self.shared(self.local(run)))
        ours = unsure and run is not None and self.deleted_here(self.local(run))
        if request.path.endswith("runs/restore") and run_id in self.deleted and not ours:
            self.violations.append(f"revived run {run_id} that somebody else deleted")
        if run is None or run.deleted:
            return
        keys = [t["key"] for t in given.get("tags", ())]
        if request.path.endswith("/delete-tag"):
            keys.append(given["key"])
        for key in keys:
            edit = self.edits.get((run_id, key))
            if edit is not None and run.tags.get(key) == edit.value:
                continue  # the request died before it got here
            self.wrote[run_id, key] = now
            if edit is None:
                continue
            del self.edits[run_id, key]
            self.excused.add((run_id, key))
            if self._shown(run_id, started) <= edit.at or started <= edit.at:
                continue  # gap (a): edited between our look and our write, or while the write was under way
            believed = self.wanted_absent(self.local(run), key)
            if edit.value is None and (edit.near_write or self.lost_state_at >= 0.0 or believed):
                continue  # gaps (b), (d): a removal that looks like a write that was never executed
            self.violations.append(f"overwrote the edit {edit} of tag {key} of run {run_id}: {given}")

    def _shown(self, run_id: str, before: float) -> float:
        """Up to when the last look before a request showed the run."""
        looks = [view for heard, view in self.looks.get(run_id, ()) if heard <= before]
        return looks[-1] if looks else -1.0
