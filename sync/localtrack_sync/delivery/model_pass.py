"""One logged model on its way to the remote in this pass: what is wanted, what is known, what is still owed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from localtrack.catalog.desired import DesiredModel
from localtrack.store import ATTACHED
from localtrack_sync.delivery.item_pass import DELETED, STATUS, ItemPass, is_reserved
from localtrack_sync.protocol.cells import is_settled
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.request import (
    create_model,
    delete_model,
    drop_model_tag,
    get,
    get_model,
    log_model_params,
    search_model,
    set_model_tags,
    size_of,
)
from localtrack_sync.protocol.snapshot import RemoteItem, RemoteModel, model_of, run_of
from localtrack_sync.protocol.steps import Ask, Ended, Gone, Part
from localtrack_sync.protocol.verdict import Judged, Verdict

#: A newly created logged model is this, until it is finalized.
PENDING = "PENDING"


@dataclass
class ModelPass(ItemPass):
    """What the parts of a logged model's job share.

    Attributes:
        source: id of its source run on the remote, or None.
        source_open: it has a source run, which is not on the remote yet.
    """

    desired: DesiredModel
    source: str | None = None
    source_open: bool = field(default=False, kw_only=True)

    NOUN: ClassVar[str] = "model"
    MADE: ClassVar[tuple[str, ...]] = ("model", "info", "model_id")
    BORN: ClassVar[Mapping[str, str]] = {STATUS: PENDING, DELETED: "0"}
    OPTIONAL: ClassVar[bool] = True

    def look(self) -> Part[RemoteModel]:
        """The model as the remote shows it; see ItemPass. Whether it is deleted shows in who sees it."""
        self.looked_wall_s = self.desk.wall_s
        judged = yield from self._read(deleted=False)
        if judged.verdict is not Verdict.GONE:
            return model_of(judged.body["model"])
        words = judged.words
        judged = yield from self._read(deleted=True)
        # A late read does not show a new model yet, and the next read does: that is no deletion.
        if judged.verdict is Verdict.GONE or (self._is_young() and not self.gone_with_us()):
            raise Gone(words)
        return model_of(judged.body["model"], deleted=True)

    def _is_young(self) -> bool:
        """Whether a read may be older than the model itself."""
        return self.looked_wall_s < self.binding.bound_wall_s + self.desk.settle_s

    def _read(self, *, deleted: bool) -> Part[Judged]:
        request = get_model(self.remote_id, deleted=deleted)
        judged: Judged = yield Ask(request, safe=True, expects=self.MADE, optional=True)
        if judged.verdict not in (Verdict.OK, Verdict.GONE):
            raise Ended(Ending.PARKED, judged.words)
        return judged

    def hidden(self) -> Part[Sequence[RemoteItem]]:
        """See ItemPass. No search shows a deleted model; but its source run still names it."""
        if not self.desired.deleted or self.source is None:
            return ()
        judged: Judged = yield Ask(get("runs/get", run_id=self.source), safe=True)
        if judged.verdict is not Verdict.OK:
            return ()
        run = run_of(judged.body["run"])
        found = []
        for model_id in sorted({*run.model_outputs, *run.model_inputs}):
            judged = yield Ask(get_model(model_id, deleted=True), safe=True, optional=True)
            if judged.verdict is Verdict.OK and judged.body.get("model"):
                found.append(model_of(judged.body["model"]))
        return [model for model in found if model.uid == self.uid]

    # --- requests ---

    def create(self, experiment_remote_id: str, proof: Mapping[str, str], *, bare: bool) -> Request:
        """See ItemPass."""
        desired = self.desired
        params, tags = ({}, {}) if bare else self.first()
        return create_model(
            experiment_remote_id, desired.name, desired.model_type, self.source, params, {**proof, **tags}
        )

    def first(self) -> tuple[dict[str, str], dict[str, str]]:
        """See ItemPass. Params of a model cannot be sent twice: in the create they cost no second request."""
        limits, size = self.desk.limits, 0
        params: dict[str, str] = {}
        tags: dict[str, str] = {}
        for into, items, most in ((params, self.params(), limits.params), (tags, self.tags(), limits.create_tags - 2)):
            for key, value in items.items():
                if value is None or len(into) >= most or not limits.sure(key, value):
                    continue
                size += size_of([(key, value)])
                if size > limits.create_tag_bytes:
                    return params, tags
                into[key] = value
        return params, tags

    def made(self, body: Mapping[str, Any]) -> RemoteModel:
        """See ItemPass."""
        return model_of(body["model"])

    def search(self, experiment_remote_ids: tuple[str, ...], token: str) -> Request:
        """See ItemPass."""
        page = min(self.desk.limits.search_page, 50)  # Databricks' limit for logged models
        return search_model(experiment_remote_ids, self.uid, page, token)

    def listed(self, body: Mapping[str, Any]) -> Sequence[RemoteModel]:
        """See ItemPass."""
        return [model_of(model) for model in body.get("models") or ()]

    def remove(self, remote_id: str) -> Request:
        """See ItemPass."""
        return delete_model(remote_id)

    def send_params(self, params: Mapping[str, str]) -> Request:
        """See ItemPass."""
        return log_model_params(self.remote_id, params)

    def send_tags(self, tags: Mapping[str, str]) -> Request:
        """See ItemPass."""
        return set_model_tags(self.remote_id, tags)

    def send_apart(self, key: str, want: str | None) -> Request | None:
        """See ItemPass."""
        return drop_model_tag(self.remote_id, key) if want is None else None

    # --- what is wanted ---

    def params(self) -> dict[str, str]:
        """See ItemPass. Nothing is cut here: the server keeps them as they are."""
        return self.desired.params

    def tags(self) -> dict[str, str | None]:
        """See ItemPass."""
        wanted: dict[str, str | None] = {**dict.fromkeys(self.desired.dropped_tags), **self.desired.tags}
        return {key: value for key, value in wanted.items() if not is_reserved(key)}

    def ever(self, key: str) -> tuple[str, ...]:
        """See ItemPass."""
        return self.desired.ever.get(key, ())

    def is_deleted(self) -> bool:
        """See ItemPass."""
        return self.desired.deleted

    def dropped_tags(self) -> tuple[str, ...]:
        """See ItemPass."""
        return self.desired.dropped_tags

    def directory(self) -> str:
        """See ItemPass."""
        return f"{self.desired.experiment_id or ATTACHED}/models/{self.uid}/artifacts"

    def ids(self, root: str) -> dict[str, str]:
        """See ItemPass."""
        ids = {self.uid: self.remote_id, f"{self.uid}/artifacts": root}
        if self.desired.source_run_id and self.source:
            ids[self.desired.source_run_id] = self.source
        return ids

    # --- what is owed ---

    def gone_with_us(self) -> bool:
        """Whether we deleted it there, for good: no API restores a logged model, so nothing more is owed to it."""
        cell = self.ledger.cells.get(DELETED)
        return self.desired.deleted and cell is not None and cell.base == "1"

    def data_owed(self) -> bool:
        """Whether any param, tag or file is owed."""
        return bool(
            self.owed_params()
            or self.owed_tags()
            or self.files_owed()
            or any(key and not self.rests(kind, key) for kind, key in self.ledger.parked)
        )

    def status_owed(self) -> bool:
        """Whether the status has to be sent."""
        rejected = self.ledger.rejected.get(("status", STATUS))
        if rejected is not None and rejected.value == self.desired.status:
            return False
        return not is_settled(self.ledger.cells.get(STATUS), self.desired.status)

    def nothing_owed(self) -> bool:
        """Whether the remote has everything that is known now, as far as we know without asking it."""
        if not self.is_bound or self.ledger.whole_parked() is not None:
            return False
        binding = self.binding
        if binding.sweep_wall_s and self.desk.wall_s >= binding.sweep_wall_s:
            return False
        if self.gone_with_us():
            return not any(kind == "param" for kind, _ in self.ledger.parked)
        return not (self.desired.deleted or self.data_owed() or self.status_owed())
