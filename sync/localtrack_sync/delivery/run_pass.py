"""One run on its way to the remote in this pass: what is wanted, what is known, what is still owed. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from localtrack.catalog.desired import DesiredRun
from localtrack.catalog.linked_queries import history_tag
from localtrack.store import ATTACHED
from localtrack_sync.delivery.item_pass import CONFLICT_PREFIX, DELETED, STATUS, ItemPass, is_reserved
from localtrack_sync.protocol.cells import is_settled
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.history import entry_names, is_part_of, mapped
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.records import Watermark
from localtrack_sync.protocol.request import (
    HISTORY_TAG,
    PARENT_TAG,
    RUN_NAME_TAG,
    create_run,
    get,
    log_params,
    log_tags,
    on_run,
    search_uid,
    size_of,
    update_run,
)
from localtrack_sync.protocol.snapshot import RemoteRun, run_of
from localtrack_sync.protocol.steps import Ended, Gone, Part, read
from localtrack_sync.protocol.values import INFINITY
from localtrack_sync.protocol.verdict import Verdict

#: A conflict tag shows this many characters of a value, and is itself at most this long: MLflow's oldest documented
#: limit.
SHOWN_CHARS, CONFLICT_TAG_CHARS = 100, 5000


@dataclass
class RunPass(ItemPass):
    """What the parts of a run's job share.

    Attributes:
        parent: what tag mlflow.parentRunId should be on the remote; None while the parent is not there.
        models: local ids of logged models -> ids on the remote, as far as they are known.
        without: ids of models that cannot be bound now -> how their job ended, and why.
        waits_for: why something of the run is owed until a later pass, "" when nothing is.
        closed: the run is deleted on the remote, by us, and nothing of it is owed.
        last_unknown: when the outcome of a batch of metrics last became unknown in this pass.
    """

    desired: DesiredRun
    parent: str | None = None
    models: dict[str, str] = field(default_factory=dict, kw_only=True)
    without: dict[str, tuple[Ending, str]] = field(default_factory=dict, kw_only=True)
    waits_for: str = field(default="", kw_only=True)
    closed: bool = field(default=False, kw_only=True)
    last_unknown: float = field(default=-INFINITY, kw_only=True)

    NOUN: ClassVar[str] = "run"
    MADE: ClassVar[tuple[str, ...]] = ("run", "info", "run_id")
    BORN: ClassVar[Mapping[str, str]] = {STATUS: "RUNNING", DELETED: "0"}

    def look(self) -> Part[RemoteRun]:
        """The run as the remote shows it; see ItemPass."""
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

    # --- requests ---

    def create(self, experiment_remote_id: str, proof: Mapping[str, str], *, bare: bool) -> Request:
        """See ItemPass."""
        desired = self.desired
        tags = {**proof, **({} if bare else self.first()[1])}
        name = desired.name[: self.desk.limits.tag_value]
        return create_run(experiment_remote_id, desired.user_id, name, desired.start_time, tags)

    def first(self) -> tuple[dict[str, str], dict[str, str]]:
        """See ItemPass. MLflow's create of a run takes no params."""
        limits, size = self.desk.limits, 0
        tags: dict[str, str] = {}
        for key, value in self.tags().items():
            if value is None or len(tags) >= limits.create_tags - 2 or not limits.sure(key, value):
                continue
            size += size_of([(key, value)])
            if size > limits.create_tag_bytes:
                break
            tags[key] = value
        return {}, tags

    def made(self, body: Mapping[str, Any]) -> RemoteRun:
        """See ItemPass."""
        return run_of(body["run"])

    def search(self, experiment_remote_ids: tuple[str, ...], token: str) -> Request:
        """See ItemPass."""
        return search_uid(experiment_remote_ids, self.uid, self.desk.limits.search_page, token)

    def listed(self, body: Mapping[str, Any]) -> Sequence[RemoteRun]:
        """See ItemPass."""
        return [run_of(run) for run in body.get("runs") or ()]

    def remove(self, remote_id: str) -> Request:
        """See ItemPass."""
        return on_run("delete", remote_id)

    def send_params(self, params: Mapping[str, str]) -> Request:
        """See ItemPass."""
        return log_params(self.remote_id, params)

    def send_tags(self, tags: Mapping[str, str]) -> Request:
        """See ItemPass."""
        return log_tags(self.remote_id, tags)

    def send_apart(self, key: str, want: str | None) -> Request | None:
        """See ItemPass. The name of a run is a tag and a field, kept in step by the server."""
        if want is None:
            return on_run("delete-tag", self.remote_id, key=key)
        return update_run(self.remote_id, run_name=want) if key == RUN_NAME_TAG else None

    def shown(self, tag: str | None) -> str | None:
        """See ItemPass. Longer values are cut by the server, or by us."""
        return None if tag is None else tag[: self.desk.limits.tag_value]

    def is_surely_ours(self, key: str, shown: str | None) -> bool:
        """See ItemPass. A lost delivery state may have known the parent by another id."""
        if key == PARENT_TAG and key not in self.ledger.cells and not self.desired.attached:
            return True
        if key == HISTORY_TAG and key not in self.ledger.cells and shown is not None:
            return is_part_of(shown, self.history_text() or "")
        return super().is_surely_ours(key, shown)

    def is_deleted(self) -> bool:
        """See ItemPass."""
        return self.desired.deleted

    def dropped_tags(self) -> tuple[str, ...]:
        """See ItemPass."""
        return self.desired.dropped_tags

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
        if desired.models_logged:
            wanted.pop(HISTORY_TAG, None)
            if self.is_bound and not self.appends():
                wanted[HISTORY_TAG] = self.history_text()
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

    def mapped_entries(self) -> list[str]:
        """Entries of the deprecated log_model, with ids as the remote knows them."""
        desired = self.desired
        return [mapped(one, desired.run_id, self.remote_id, self.models) for one in desired.models_logged]

    def history_text(self) -> str | None:
        """The tag mlflow.log-model.history with the entries of log_model; None without any."""
        if not self.desired.models_logged:
            return None
        return history_tag(self.desired.tags.get(HISTORY_TAG), self.mapped_entries())

    def appends(self) -> bool:
        """Whether entries of log_model do not fit into a tag that we may set: the server has to append them."""
        limits = self.desk.limits
        return HISTORY_TAG in limits.skip_tags or len(self.history_text() or "") > limits.tag_value

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

    def owed_heads(self) -> dict[str, int]:
        """Journals with metric points beyond the watermark: incarnation -> head."""
        marks = self.ledger.watermarks
        return {
            inc: head
            for inc, head in sorted(self.desired.head.items())
            if head > marks.get(inc, Watermark("", "", "")).upto
        }

    def directory(self) -> str:
        """See ItemPass."""
        return f"{self.desired.experiment_id or ATTACHED}/{self.uid}/artifacts"

    def ids(self, root: str) -> dict[str, str]:
        """See ItemPass."""
        return {self.uid: self.remote_id, f"{self.uid}/artifacts": root}

    def owed_links(self) -> list[tuple[str, str]]:
        """Inputs and outputs (kind and key, as in records.Linked) that are neither delivered nor settled otherwise."""
        ledger = self.ledger
        settled = ledger.linked.keys() | ledger.rejected.keys() | ledger.conflicts.keys()
        return [one for one in self.links() if one not in settled and not self.rests(*one)]

    def links(self) -> list[tuple[str, str]]:
        """Every input and output."""
        desired = self.desired
        every = [("dataset", json.dumps([one.dataset.name, one.dataset.digest])) for one in desired.datasets]
        every += [("model_input", model_id) for model_id in desired.model_inputs]
        return every + [("output", model_id) for model_id, _ in desired.model_outputs]

    def owed_entries(self) -> list[str]:
        """Names of log_model entries that the server still has to append."""
        if not self.desired.models_logged or not self.is_bound or not self.appends():
            return []
        names = [("log_model", name) for name in entry_names(self.desired.models_logged)]
        settled = self.ledger.linked.keys() | self.ledger.rejected.keys()
        return [one[1] for one in names if one not in settled and not self.rests(*one)]

    def rest_models(self) -> None:
        """The remote has no logged models: what is parked because of that is left alone in this pass."""
        kinds = ("model_input", "output", "model_metric")
        self.put_off.update(one for one in self.ledger.parked if one[0] in kinds)

    def data_owed(self) -> bool:
        """Whether any param, metric, tag, input, output or file is owed, or an earlier try left something open."""
        new_conflicts = any(("journals", c.key) not in self.ledger.conflicts for c in self.desired.param_conflicts)
        return bool(
            self.ledger.intents
            or self.owed_heads()
            or self.owed_params()
            or self.owed_tags()
            or self.files_owed()
            or self.owed_links()
            or self.owed_entries()
            or new_conflicts
            or any(key and not self.rests(kind, key) for kind, key in self.ledger.parked)
        )

    def status_owed(self) -> bool:
        """Whether status and end time have to be sent: not of a run created elsewhere until they are set here."""
        if not self.desired.status:
            return False
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


def status_text(status: str, end_time: int | None) -> str:
    """Status and end time as one text; without an end time the remote's does not matter."""
    return status if end_time is None else f"{status} {end_time}"


def conflict_key(kind: str, key: str) -> str:
    """Tag that shows a conflict; short, because a key may be as long as a tag's key may be."""
    return CONFLICT_PREFIX + hashlib.sha256(f"{kind} {key}".encode()).hexdigest()[:12]


def _short(claims: Iterable[tuple[str, str]]) -> list[list[str]]:
    return [[value[:SHOWN_CHARS], journal[:12]] for value, journal in claims]


def _text(content: dict[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False, sort_keys=True)[:CONFLICT_TAG_CHARS]
