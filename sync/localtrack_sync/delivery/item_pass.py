"""A run or a logged model on its way to the remote: what its binding, params, tags and registers have in common. Pure.

Both are made by a create that takes no id from us and are found again by the tag localtrack.uid; both have params that
never change and tags that do. What differs between them is asked of the methods here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from localtrack.catalog.desired import StoredFile
from localtrack_sync.delivery.repair import DOUBTED
from localtrack_sync.protocol.cells import is_quiet, is_settled, spelled
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import Cell, Parked, RunBinding
from localtrack_sync.protocol.request import ATTEMPT_TAG, UID_TAG
from localtrack_sync.protocol.snapshot import RemoteItem
from localtrack_sync.protocol.steps import Desk, Ended, Part
from localtrack_sync.uploads.file_place import Place, manifest_owed, owed_files
from localtrack_sync.uploads.manifest import MANIFEST

CONFLICT_PREFIX = "localtrack.conflict."
RESERVED_TAGS = frozenset({UID_TAG, ATTEMPT_TAG})
STATUS, DELETED = "@status", "@deleted"
#: Tries of a parked record in a run that is deleted: each one restores the run, and deletes it again.
DELETED_TRIES = 5


@dataclass
class ItemPass(ABC):
    """What the parts of a job share.

    Attributes:
        earlier: there was a delivery state before this one, now lost: it may have created this, a moment ago.
        new: it was made by a create of this pass, answered: nobody can have touched it yet.
        must_look: the remote said something that does not fit; look at it before anything else.
        put_off: records that got parked in this pass: (kind, key).
        inactive: how often the remote called it inactive in this pass.
        looked_wall_s: when the last look began: what settled later may not be in it.
        files: what it has in files.
    """

    desk: Desk
    ledger: Ledger
    earlier: bool = field(default=False, kw_only=True)
    new: bool = field(default=False, kw_only=True)
    must_look: bool = field(default=False, kw_only=True)
    put_off: set[tuple[str, str]] = field(default_factory=set, kw_only=True)
    inactive: int = field(default=0, kw_only=True)
    looked_wall_s: float = field(default=0.0, kw_only=True)
    files: tuple[StoredFile, ...] = field(default=(), kw_only=True)

    #: What it is called.
    NOUN: ClassVar[str]
    #: Path to the id in the answer to a create.
    MADE: ClassVar[tuple[str, ...]]
    #: What the registers hold when it has just been made.
    BORN: ClassVar[Mapping[str, str]]
    #: Whether its routes may be missing on a server.
    OPTIONAL: ClassVar[bool] = False

    # --- what differs ---

    @abstractmethod
    def look(self) -> Part[Any]:
        """It, as the remote shows it (a `RemoteItem`).

        Raises:
            Gone: it is not there.
            Ended: these credentials may not see it, or the answer makes no sense.
        """

    @abstractmethod
    def params(self) -> dict[str, str]:
        """Params as the remote can hold them."""

    @abstractmethod
    def tags(self) -> dict[str, str | None]:
        """Tags as the remote should hold them; None: to be absent."""

    @abstractmethod
    def ever(self, key: str) -> tuple[str, ...]:
        """Values that we may find in a tag as our own."""

    @abstractmethod
    def is_deleted(self) -> bool:
        """Whether the journals deleted it."""

    @abstractmethod
    def dropped_tags(self) -> tuple[str, ...]:
        """Tags that the journals removed."""

    @abstractmethod
    def directory(self) -> str:
        """Where its files lie here, below `<store>/artifacts`."""

    @abstractmethod
    def ids(self, root: str) -> dict[str, str]:
        """Ids in its files that become the remote's (see `mlmodel.rewritten`); `root`: its artifact root there."""

    @abstractmethod
    def create(self, experiment_remote_id: str, proof: Mapping[str, str], *, bare: bool) -> Request:
        """The request that makes it; `bare`: with nothing in it but its proof."""

    @abstractmethod
    def first(self) -> tuple[dict[str, str], dict[str, str]]:
        """Params and tags that travel in the create: it makes the thing whole at once, and saves requests."""

    @abstractmethod
    def made(self, body: Mapping[str, Any]) -> RemoteItem:
        """What a create made."""

    @abstractmethod
    def search(self, experiment_remote_ids: tuple[str, ...], token: str) -> Request:
        """The request that finds what carries our uid."""

    @abstractmethod
    def listed(self, body: Mapping[str, Any]) -> Sequence[RemoteItem]:
        """What a search found."""

    @abstractmethod
    def remove(self, remote_id: str) -> Request:
        """The request that soft-deletes a second one."""

    @abstractmethod
    def send_params(self, params: Mapping[str, str]) -> Request:
        """The request that logs params."""

    @abstractmethod
    def send_tags(self, tags: Mapping[str, str]) -> Request:
        """The request that sets tags."""

    @abstractmethod
    def send_apart(self, key: str, want: str | None) -> Request | None:
        """The request that changes a tag which cannot travel with others; None when it can."""

    def hidden(self) -> Part[Sequence[RemoteItem]]:
        """What carries our uid and is found by no search."""
        yield from ()
        return ()

    def shown(self, tag: str | None) -> str | None:
        """A tag's value as the remote shows it, in the form in which it is compared."""
        return tag

    def is_surely_ours(self, key: str, shown: str | None) -> bool:
        """Whether nobody else can have written this to a tag, though we know nothing of it."""
        del shown
        return key.startswith(CONFLICT_PREFIX)

    # --- what is known ---

    @property
    def uid(self) -> str:
        """Local id."""
        return self.ledger.scope_id

    @property
    def binding(self) -> RunBinding:
        """The binding, once bound."""
        assert self.ledger.run is not None, "used before it was bound"
        assert self.ledger.run.state in ("bound", DOUBTED), "used before it was bound"
        return self.ledger.run

    @property
    def is_bound(self) -> bool:
        """Whether its counterpart on the remote is known."""
        return self.ledger.run is not None and self.ledger.run.state == "bound"

    @property
    def remote_id(self) -> str:
        """Its id on the remote."""
        return self.binding.remote_id

    def since(self, key: str) -> float:
        """Since when a write to a cell has been unknown: since the start, when it was loaded like that."""
        return self.ledger.unknown.get(key, self.desk.started)

    def quiet(self, cell: Cell) -> bool:
        """Whether all writes of ours to a cell had settled when the last look began, so that it showed the present."""
        return is_quiet(cell, self.looked_wall_s, self.desk.settle_s)

    def blank(self, key: str) -> Cell:
        """A cell that nothing is known of."""
        return Cell(self.ledger.scope, self.uid, key, None, wrote_wall_s=self.desk.wall_s)

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

    def files_owed(self) -> bool:
        """Whether any file is owed, or the manifest of those that are delivered."""
        if owed_files(self.ledger, self.files, self.put_off, self._most_tries()):
            return True
        return manifest_owed(self.ledger, self.uid) and not self.rests("file", MANIFEST)

    def place(self, root: str) -> Place:
        """Where its files lie here, and the artifact root that they go to."""
        return Place(
            self.uid, self.remote_id, self.directory(), root, ids=self.ids(root), fresh=self._has_fresh_files(),
            put_off=self.put_off, most_tries=self._most_tries(),
        )  # fmt: skip

    def _has_fresh_files(self) -> bool:
        """Whether nothing lies there but what this very delivery state sent; not when that is doubted (`repair`)."""
        manifest = self.ledger.files.get(MANIFEST)
        doubted = manifest is not None and not manifest.sha256 and bool(manifest.sent_sha256)
        return self.binding.fresh and not doubted

    def _most_tries(self) -> int | None:
        return DELETED_TRIES if self.is_deleted() else None

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

    # --- stepping aside ---

    def park(self, kind: str, key: str, value: str, words: str) -> Part[None]:
        """Park one record: nobody refused it, but it cannot be delivered now."""
        self.put_off.add((kind, key))
        old = self.ledger.parked.get((kind, key))
        since, tries = (old.since_wall_s, old.tries + 1) if old is not None else (self.desk.wall_s, 1)
        yield from self.ledger.save(Parked(self.ledger.scope, self.uid, kind, key, value, words, since, tries))

    def rests(self, kind: str, key: str) -> bool:
        """Whether a parked record is left alone: tried in this pass, or often and in a deleted run."""
        parked = self.ledger.parked.get((kind, key))
        tired = parked is not None and self.is_deleted() and parked.tries >= DELETED_TRIES
        return tired or (kind, key) in self.put_off

    def park_whole(self, reason: str) -> Part[None]:
        """Park all of it and end the job.

        Raises:
            Ended: always.
        """
        old = self.ledger.whole_parked()
        since = old.since_wall_s if old is not None else self.desk.wall_s
        scope = self.ledger.scope
        yield from self.ledger.save(Parked(scope, self.uid, scope, "", "", reason, since))
        raise Ended(Ending.PARKED, reason)

    def unpark_whole(self) -> Part[None]:
        """The reason is gone."""
        old = self.ledger.whole_parked()
        if old is not None:
            yield from self.ledger.save(drops=(old,))

    # --- writes that may still be executed ---

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


def is_reserved(key: str) -> bool:
    """Whether a tag belongs to localtrack."""
    return key in RESERVED_TAGS or key.startswith(CONFLICT_PREFIX)
