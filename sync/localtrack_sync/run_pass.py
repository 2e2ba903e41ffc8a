"""One run on its way to the remote in this pass: what is wanted, what is known, what is still owed. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from localtrack.catalog.desired import DesiredRun, StoredFile
from localtrack_sync.cells import is_quiet, is_settled, spelled
from localtrack_sync.files import Place, manifest_owed, owed_files
from localtrack_sync.jobs import Ending
from localtrack_sync.ledger import Ledger
from localtrack_sync.manifest import MANIFEST
from localtrack_sync.records import Cell, Parked, RunBinding, Watermark
from localtrack_sync.request import ATTEMPT_TAG, PARENT_TAG, RUN_NAME_TAG, UID_TAG, get
from localtrack_sync.snapshot import RemoteRun, run_of
from localtrack_sync.steps import Desk, Ended, Gone, Part, read
from localtrack_sync.values import INFINITY
from localtrack_sync.verdict import Verdict

CONFLICT_PREFIX = "localtrack.conflict."
RESERVED_TAGS = frozenset({UID_TAG, ATTEMPT_TAG})
STATUS, DELETED = "@status", "@deleted"
#: Tries of a parked record in a run that is deleted: each one restores the run, and deletes it again.
DELETED_TRIES = 5
#: A conflict tag shows this many characters of a value, and is itself at most this long: MLflow's oldest documented
#: limit.
SHOWN_CHARS, CONFLICT_TAG_CHARS = 100, 5000


@dataclass
class RunPass:
    """What the parts of a run's job share.

    Attributes:
        parent: what tag mlflow.parentRunId should be on the remote; None while the parent is not there.
        new: the remote run was made by a create of this pass, answered: nobody can have touched it yet.
        must_look: the remote said something that does not fit; look at it before anything else.
        put_off: records that got parked in this pass: (kind, key).
        closed: the run is deleted on the remote, by us, and nothing of it is owed.
        inactive: how often the remote called the run inactive in this pass.
        looked_wall_s: when the last look began: what settled later may not be in it.
        last_unknown: when the outcome of a batch of metrics last became unknown in this pass.
        files: what the run has in files.
    """

    desk: Desk
    ledger: Ledger
    desired: DesiredRun
    parent: str | None = None
    new: bool = False
    must_look: bool = False
    put_off: set[tuple[str, str]] = field(default_factory=set)
    closed: bool = False
    inactive: int = 0
    looked_wall_s: float = 0.0
    last_unknown: float = -INFINITY
    files: tuple[StoredFile, ...] = ()

    @property
    def binding(self) -> RunBinding:
        """The binding of a run that is bound."""
        assert self.ledger.run is not None, "used before it was bound"
        assert self.ledger.run.state == "bound", "used before it was bound"
        return self.ledger.run

    @property
    def remote_id(self) -> str:
        """Run id on the remote."""
        return self.binding.remote_id

    def look(self) -> Part[RemoteRun]:
        """The run as the remote shows it.

        Raises:
            Gone: it is not there.
            Ended: these credentials may not see it, or the answer makes no sense.
        """
        self.looked_wall_s = self.desk.wall_s
        judged = yield from read(get("runs/get", run_id=self.remote_id), "run", "info", "run_id")
        if judged.verdict is Verdict.GONE:
            raise Gone(judged.words)
        if judged.verdict is not Verdict.OK:
            raise Ended(Ending.PARKED, judged.words)
        return run_of(judged.body["run"])

    def unknown_since(self) -> float:
        """Since when points that this delivery state may have sent have been unknown."""
        return max(self.desk.started, self.last_unknown)

    def since(self, key: str) -> float:
        """Since when a write to a cell has been unknown: since the start, when it was loaded like that."""
        return self.ledger.unknown.get(key, self.desk.started)

    def quiet(self, cell: Cell) -> bool:
        """Whether all writes of ours to a cell had settled when the last look began, so that it showed the present."""
        return is_quiet(cell, self.looked_wall_s, self.desk.settle_s)

    def blank(self, key: str) -> Cell:
        """A cell that nothing is known of."""
        return Cell("run", self.desired.run_id, key, None, wrote_wall_s=self.desk.wall_s)

    # --- what is wanted ---

    def params(self) -> dict[str, str]:
        """Params as the remote can hold them."""
        most = self.desk.limits.param_value
        return {key: value[:most] for key, value in self.desired.params.items()}

    def tags(self) -> dict[str, str | None]:
        """Tags as the remote should hold them; None: to be absent."""
        desired, limits = self.desired, self.desk.limits
        wanted: dict[str, str | None] = dict.fromkeys(desired.dropped_tags)
        wanted.update({key: value[: limits.tag_value] for key, value in desired.tags.items()})
        wanted.pop(RUN_NAME_TAG, None)
        if desired.name:
            wanted[RUN_NAME_TAG] = desired.name[: limits.tag_value]
        if wanted.get(PARENT_TAG) is not None:
            wanted[PARENT_TAG] = self.parent
            if self.parent is None:
                del wanted[PARENT_TAG]
        for key in [k for k in wanted if is_reserved(k) or k in limits.skip_tags]:
            del wanted[key]
        wanted.update(self.conflict_tags())
        return wanted

    def ever(self, key: str) -> tuple[str, ...]:
        """Values that we may find in a tag as our own."""
        values = self.desired.ever.get(key, ())
        if key == PARENT_TAG and self.parent is not None:
            return (*values, self.parent)
        if key == RUN_NAME_TAG:
            values = (*values, self.desired.name)
        return tuple(value[: self.desk.limits.tag_value] for value in values)

    def status(self) -> str:
        """Status and end time as one text."""
        return status_text(self.desired.status, self.desired.end_time)

    def conflict_tags(self) -> dict[str, str]:
        """Tags that show on the remote what collided; the same bytes whatever the order of arrival."""
        claims = {c.key: sorted({(c.winner, ""), *c.others}) for c in self.desired.param_conflicts}
        tags = {}
        for kind, key in sorted(self.ledger.conflicts):
            if kind == "journals":
                tags[conflict_key("param", key)] = _text({"param": key, "logged": _short(claims.get(key, ()))})
        for (kind, key), conflict in sorted(self.ledger.conflicts.items()):
            if kind == "param" and conflict.theirs not in {value for value, _ in claims.get(key, ())}:
                logged = _short(claims.get(key) or [(conflict.ours or "", "")])
                shown = None if conflict.theirs is None else conflict.theirs[:SHOWN_CHARS]
                tags[conflict_key("param", key)] = _text({"param": key, "logged": logged, "kept": shown})
            elif kind == "tag":
                tags[conflict_key("tag", key)] = _text({"tag": key, "kept": "changed by somebody else; left alone"})
        return tags

    # --- what is owed ---

    def owed_params(self) -> dict[str, str]:
        """Params that are neither delivered nor settled otherwise."""
        open_ = {key: value for key, value in self.params().items() if self._param_open(key, value)}
        return {key: value for key, value in open_.items() if not self.rests("param", key)}

    def _param_open(self, key: str, value: str) -> bool:
        ledger = self.ledger
        delivered, conflict = ledger.params.get(key), ledger.conflicts.get(("param", key))
        rejected = ledger.rejected.get(("param", key))
        return not (
            (delivered is not None and delivered.value == value)
            or (conflict is not None and conflict.ours == value)
            or (rejected is not None and rejected.value == value)
        )

    def owed_tags(self) -> dict[str, str | None]:
        """Tags that are neither as wanted nor settled otherwise."""
        open_ = {key: want for key, want in self.tags().items() if self._tag_open(key, want)}
        return {key: want for key, want in open_.items() if not self.rests("tag", key)}

    def _tag_open(self, key: str, want: str | None) -> bool:
        cell, rejected = self.ledger.cells.get(key), self.ledger.rejected.get(("tag", key))
        if rejected is not None and rejected.value == (want or ""):
            return False
        return not is_settled(cell, want) and not (cell is not None and cell.pinned)

    def unpark_done(self) -> Part[None]:
        """Drop the records of params and tags that were parked and have come to another end since."""
        params, tags = self.params(), self.tags()
        done = []
        for (kind, key), record in self.ledger.parked.items():
            param = kind == "param" and not (key in params and self._param_open(key, params[key]))
            tag = kind == "tag" and not (key in tags and self._tag_open(key, tags[key]))
            if param or tag:
                done.append(record)
        yield from self.ledger.save(drops=done)

    def owed_heads(self) -> dict[str, int]:
        """Journals with metric points beyond the watermark: incarnation -> head."""
        marks = self.ledger.watermarks
        return {
            inc: head
            for inc, head in sorted(self.desired.head.items())
            if head > marks.get(inc, Watermark("", "", "")).upto
        }

    def owed_files(self) -> list[StoredFile]:
        """Files that are neither delivered nor settled otherwise."""
        return owed_files(self.ledger, self.files, self.put_off, DELETED_TRIES if self.desired.deleted else None)

    def place(self, root: str) -> Place:
        """Where the run's files lie here, and the artifact root that they go to."""
        run_id = self.desired.run_id
        return Place(
            run_id, self.remote_id, f"{self.desired.experiment_id}/{run_id}/artifacts".lstrip("/"), root,
            ids={run_id: self.remote_id, f"{run_id}/artifacts": root}, fresh=self.binding.fresh,
            put_off=self.put_off, most_tries=DELETED_TRIES if self.desired.deleted else None,
        )  # fmt: skip

    def data_owed(self) -> bool:
        """Whether any param, metric, tag or file is owed, or an earlier try left something open."""
        new_conflicts = any(("journals", c.key) not in self.ledger.conflicts for c in self.desired.param_conflicts)
        return bool(
            self.ledger.intents
            or self.owed_heads()
            or self.owed_params()
            or self.owed_tags()
            or self.owed_files()
            or (manifest_owed(self.ledger, self.desired.run_id) and not self.rests("file", MANIFEST))
            or new_conflicts
            or any(key and not self.rests(kind, key) for kind, key in self.ledger.parked)
        )

    def status_owed(self) -> bool:
        """Whether status and end time have to be sent."""
        rejected = self.ledger.rejected.get(("status", STATUS))
        if rejected is not None and rejected.value == self.status():
            return False
        return not is_settled(self.ledger.cells.get(STATUS), self.status())

    def nothing_owed(self) -> bool:
        """Whether the remote has everything that is known now, as far as we know without asking it."""
        run = self.ledger.run
        if run is None or run.state != "bound" or self.ledger.whole_parked() is not None:
            return False
        if run.sweep_wall_s and self.desk.wall_s >= run.sweep_wall_s:
            return False
        parent_open = PARENT_TAG in self.desired.tags and PARENT_TAG not in self.ledger.cells
        lifecycle = is_settled(self.ledger.cells.get(DELETED), "1" if self.desired.deleted else "0")
        return lifecycle and not parent_open and not self.data_owed() and not self.status_owed()

    # --- stepping aside ---

    def park(self, kind: str, key: str, value: str, words: str) -> Part[None]:
        """Park one record: nobody refused it, but it cannot be delivered now."""
        self.put_off.add((kind, key))
        old = self.ledger.parked.get((kind, key))
        since, tries = (old.since_wall_s, old.tries + 1) if old is not None else (self.desk.wall_s, 1)
        yield from self.ledger.save(Parked("run", self.desired.run_id, kind, key, value, words, since, tries))

    def rests(self, kind: str, key: str) -> bool:
        """Whether a parked record is left alone: tried in this pass, or often and in a deleted run."""
        parked = self.ledger.parked.get((kind, key))
        tired = parked is not None and self.desired.deleted and parked.tries >= DELETED_TRIES
        return tired or (kind, key) in self.put_off

    def park_whole(self, reason: str) -> Part[None]:
        """Park all of the run and end the job.

        Raises:
            Ended: always.
        """
        old = self.ledger.whole_parked()
        since = old.since_wall_s if old is not None else self.desk.wall_s
        yield from self.ledger.save(Parked("run", self.desired.run_id, "run", "", "", reason, since))
        raise Ended(Ending.PARKED, reason)

    def unpark_whole(self) -> Part[None]:
        """The reason is gone."""
        old = self.ledger.whole_parked()
        if old is not None:
            yield from self.ledger.save(drops=(old,))

    def keep_unknown(self, cell: Cell, key: str) -> bool:
        """Whether a write of the same value, sent before, may still be executed at this moment."""
        return bool(cell.unsettled) and self.desk.now < self.since(key) + self.desk.settle_s

    def suspect(self) -> bool:
        """Whether a lost delivery state may have sent writes that are still under way."""
        return not self.binding.fresh and self.desk.now < self.desk.started + self.desk.settle_s

    def settled_cell(self, cell: Cell) -> Cell:
        """The cell as it is once the time of its unsettled write has passed: that value may be there, or not."""
        if not cell.unsettled or self.keep_unknown(cell, cell.key):
            return cell
        return replace(cell, unsettled="", sure=False, poss=tuple(sorted({*cell.poss, cell.unsettled})))

    def may_write_at(self, key: str, want: str | None) -> float | None:
        """When `want` may be written to a cell, None for now.

        While an unanswered write of another value may still be executed, it would undo ours. In a run that this
        delivery state did not make, a lost one may have left such a write; then only a key that ever had one value is
        safe.
        """
        cell = self.ledger.cells.get(key)
        if cell is None:
            values = {spelled(value) for value in self.ever(key)} | {spelled(want)}
            if self.binding.fresh or (key not in (STATUS, DELETED) and len(values) <= 1):
                return None
            until = self.desk.started + self.desk.settle_s
        elif cell.unsettled in ("", spelled(want)):
            return None
        else:
            until = self.since(key) + self.desk.settle_s
        return until if self.desk.now < until else None


def status_text(status: str, end_time: int | None) -> str:
    """Status and end time as one text; without an end time the remote's does not matter."""
    return status if end_time is None else f"{status} {end_time}"


def is_reserved(key: str) -> bool:
    """Whether a tag belongs to localtrack."""
    return key in RESERVED_TAGS or key.startswith(CONFLICT_PREFIX)


def conflict_key(kind: str, key: str) -> str:
    """Tag that shows a conflict; short, because a key may be as long as a tag's key may be."""
    return CONFLICT_PREFIX + hashlib.sha256(f"{kind} {key}".encode()).hexdigest()[:12]


def _short(claims: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [[value[:SHOWN_CHARS], journal[:12]] for value, journal in claims]


def _text(content: dict[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False, sort_keys=True)[:CONFLICT_TAG_CHARS]
