"""The protocol, broken on purpose, each time in one place: the proof that the simulator would notice.

Nothing in the product knows of these. A breakage is an ordinary argument of the engine (another verdict table, other
settings), or sits where the shell performs the engine's steps: it changes what is saved, loaded, sent or answered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from localtrack_sync.engine.engine import Engine
from localtrack_sync.engine.memory_state import MemoryState
from localtrack_sync.protocol.effects import Effect, Failure, Load, Outcome, ReadPoints, Reply, Request, Save
from localtrack_sync.protocol.jobs import Job, ReplaySettings
from localtrack_sync.protocol.records import (
    Cell,
    Conflict,
    FileDelivered,
    Intent,
    Linked,
    ParamDelivered,
    Parked,
    Record,
    RunBinding,
    Watermark,
)
from localtrack_sync.protocol.verdict import Judged, Verdict, judge
from tests.simulation.simulate import Shell, Simulation


class Verdicts(Shell):
    """Outcomes mean something else."""

    def changed(self, outcome: Outcome, judged: Judged) -> Judged:
        """Another verdict."""
        raise NotImplementedError

    def engine(self, settings: ReplaySettings, jobs: Sequence[Job], rng: Callable[[], float]) -> Engine:
        return Engine(settings, jobs, rng, lambda outcome: self.changed(outcome, judge(outcome)))


class BlindResend(Verdicts):
    """What nobody knows is taken for "not applied"."""

    def changed(self, outcome: Outcome, judged: Judged) -> Judged:
        del outcome
        return replace(judged, verdict=Verdict.NOT_APPLIED) if judged.verdict is Verdict.UNKNOWN else judged


class BadRequestIsFinal(Verdicts):
    """A 400 that may be the echo of an earlier try is taken for a refusal."""

    def changed(self, outcome: Outcome, judged: Judged) -> Judged:
        del outcome
        return replace(judged, verdict=Verdict.REFUSED) if judged.verdict is Verdict.MAYBE else judged


class AnyAnswerIsGood(Verdicts):
    """HTTP 200 is enough, whatever it carries."""

    def changed(self, outcome: Outcome, judged: Judged) -> Judged:
        fine = isinstance(outcome, Reply) and outcome.status == 200
        return replace(judged, verdict=Verdict.OK) if fine else judged


class LostMeansDone(Verdicts):
    """A reply that is lost is taken for a success."""

    def changed(self, outcome: Outcome, judged: Judged) -> Judged:
        return replace(judged, verdict=Verdict.OK) if isinstance(outcome, Failure) and outcome.sent else judged


class NoSettleTime(Shell):
    """Absence is believed at once."""

    def engine(self, settings: ReplaySettings, jobs: Sequence[Job], rng: Callable[[], float]) -> Engine:
        return super().engine(replace(settings, settle_s=0.0), jobs, rng)


class TrustsEveryServer(Shell):
    """Every server is taken for one that removes duplicates."""

    def engine(self, settings: ReplaySettings, jobs: Sequence[Job], rng: Callable[[], float]) -> Engine:
        return super().engine(replace(settings, dedupes=True), jobs, rng)


class Saves(Shell):
    """What is saved is changed on the way."""

    def saved(self, record: Record) -> Record | None:
        """What is saved instead; None: nothing."""
        raise NotImplementedError

    def perform(self, effect: Effect) -> Any:
        if isinstance(effect, Save):
            puts = [self.saved(record) for record in effect.puts]
            effect = Save(tuple(record for record in puts if record is not None), effect.drops)
        return super().perform(effect)


class AcknowledgeBeforeSending(Saves):
    """The watermark is moved when the intent is saved."""

    def saved(self, record: Record) -> Record | None:
        return None if isinstance(record, Intent) else record

    def perform(self, effect: Effect) -> Any:
        if isinstance(effect, Save):
            for record in effect.puts:
                if isinstance(record, Intent):
                    advance(self.simulation.state, record)
        return super().perform(effect)


class WatermarkBeforeReply(Shell):
    """The watermark is moved when the request goes out, not when it is answered."""

    def sending(self, job: int, request: Request) -> None:
        del job
        if b'"metrics"' in (request.body or b""):
            for record in self.simulation.state.all():
                if isinstance(record, Intent):
                    advance(self.simulation.state, record)


def advance(state: MemoryState, intent: Intent) -> None:
    """Settle all points that an intent covers."""
    if intent.kind != "metrics":
        return
    marks = []
    for cover in intent.covers:
        inc, _, pos = cover.rpartition("=")
        marks.append(Watermark(intent.scope, intent.scope_id, inc, int(pos)))
    state.save(Save(tuple(marks), (intent,)))


class NoIntents(Saves):
    """Nothing is remembered of points that are about to be sent."""

    def saved(self, record: Record) -> Record | None:
        return None if isinstance(record, Intent) else record


class CreateNotAnnounced(Saves):
    """Nothing is remembered of a create that is about to be sent."""

    def saved(self, record: Record) -> Record | None:
        return None if isinstance(record, RunBinding) and record.state == "creating" else record


class NoSweep(Saves):
    """Second runs are never searched for."""

    def saved(self, record: Record) -> Record | None:
        return replace(record, sweep_wall_s=0.0) if isinstance(record, RunBinding) else record


class WritesNotRemembered(Saves):
    """Nothing is remembered of a tag that is about to be written."""

    def saved(self, record: Record) -> Record | None:
        return None if isinstance(record, Cell) and record.unsettled else record


class PinsForgotten(Saves):
    """What somebody else wrote is taken for ours at the next look."""

    def saved(self, record: Record) -> Record | None:
        return replace(record, pinned=False) if isinstance(record, Cell) else record


class OutsideEditsOverwritten(Shell):
    """Whatever stands in a tag counts as ours."""

    def perform(self, effect: Effect) -> Any:
        answer = super().perform(effect)
        if isinstance(effect, Load) and effect.scope == "run":
            remote = self.simulation.remote.runs
            ids = [r.remote_id for r in answer if isinstance(r, RunBinding) and r.remote_id in remote]
            answer = tuple(
                replace(r, base=remote[ids[0]].tags.get(r.key), pinned=False)
                if isinstance(r, Cell) and ids and not r.key.startswith("@")
                else r
                for r in answer
            )
        return answer


class NothingFound(Shell):
    """A search for the uid finds nothing."""

    def outcome(self, request: Request, outcome: Outcome) -> Outcome:
        if request.path.endswith("runs/search") and isinstance(outcome, Reply) and outcome.status == 200:
            return Reply(200, {})
        return outcome


class TwinsSent(Shell):
    """Identical points are sent as often as they were logged."""

    def perform(self, effect: Effect) -> Any:
        return super().perform(replace(effect, distinct=False) if isinstance(effect, ReadPoints) else effect)


class OthersOverlooked(Shell):
    """What others wrote to a run that they made is not seen."""

    def outcome(self, request: Request, outcome: Outcome) -> Outcome:
        launched = {one.run.run_id for one in self.simulation.launcher.launched.values()}
        known = request.path.endswith("runs/get") and dict(request.query)["run_id"] in launched
        if known and isinstance(outcome, Reply) and isinstance(outcome.body, dict) and "run" in outcome.body:
            return Reply(200, {"run": {**outcome.body["run"], "data": {}}})
        return outcome


class SavesNotDurable(Shell):
    """A kill takes the last saves with it: a state that is not written through to the disk."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.recent: list[Save] = []

    def perform(self, effect: Effect) -> Any:
        if not isinstance(effect, Save):
            return super().perform(effect)
        self.recent.append(effect)
        if len(self.recent) > 2:
            self.simulation.state.save(self.recent.pop(0))
        return None

    def engine(self, settings: ReplaySettings, jobs: Sequence[Job], rng: Callable[[], float]) -> Engine:
        if self.simulation.peace:
            for save in self.recent:
                self.simulation.state.save(save)
        self.recent = []
        return super().engine(settings, jobs, rng)


class ParamsTaken(Saves):
    """A param counts as delivered whatever value the remote has: nothing records the difference."""

    def perform(self, effect: Effect) -> Any:
        if isinstance(effect, Save):
            puts = [
                ParamDelivered(r.scope, r.scope_id, r.key, str(r.ours))
                if isinstance(r, Conflict) and r.kind == "param"
                else r
                for r in effect.puts
            ]
            effect = Save(tuple(puts), effect.drops)
        return Shell.perform(self, effect)

    def saved(self, record: Record) -> Record | None:
        return record


class UploadsNotRemembered(Saves):
    """Nothing is remembered of a file that is about to be sent."""

    def saved(self, record: Record) -> Record | None:
        if not isinstance(record, FileDelivered) or not record.unsettled:
            return record
        return replace(record, unsettled=()) if record.sha256 else None


class ChangedFilesKept(Shell):
    """A file that was delivered once is never sent again, whatever it holds now."""

    def perform(self, effect: Effect) -> Any:
        answer = super().perform(effect)
        if isinstance(effect, Load) and effect.scope == "run":
            now = {file.path: file.sha256 for file in self.simulation.world.files(effect.scope_id)}
            answer = tuple(
                replace(r, sha256=now[r.path]) if isinstance(r, FileDelivered) and r.sha256 and r.path in now else r
                for r in answer
            )
        return answer


class ModelsForgotten(Saves):
    """Nothing is remembered of a logged model that is about to be created, nor that it was."""

    def saved(self, record: Record) -> Record | None:
        return None if isinstance(record, RunBinding) and record.scope == "model" else record


class LinksForgotten(Saves):
    """An entry of log_model is sent without an intent, and nothing is noted when it has arrived."""

    def saved(self, record: Record) -> Record | None:
        named = isinstance(record, Intent | Linked) and record.kind == "log_model"
        return None if named else record


class LinksNotRead(Saves):
    """Nothing is remembered of inputs and outputs that are about to go to a remote that keeps them twice."""

    def saved(self, record: Record) -> Record | None:
        return None if isinstance(record, Intent) and record.kind == "links" else record


class RunProvesModel(Verdicts):
    """A 400 about a point of a logged model counts as done, because the run has the point."""

    def changed(self, outcome: Outcome, judged: Judged) -> Judged:
        told = isinstance(outcome, Reply) and "logged_model_metrics" in str(outcome.body)
        return replace(judged, verdict=Verdict.OK) if told else judged


class LocalModelIds(Shell):
    """A logged model keeps its local id in what names it."""

    def perform(self, effect: Effect) -> Any:
        answer = super().perform(effect)
        if isinstance(effect, Load) and effect.scope == "model":
            return tuple(replace(r, remote_id=r.scope_id) if isinstance(r, RunBinding) else r for r in answer)
        return answer


class ModelsAssumed(Saves):
    """Points of models that are waited for are forgotten: their runs have them, that is enough."""

    def saved(self, record: Record) -> Record | None:
        return None if isinstance(record, Parked) and record.kind == "model_metric" else record


@dataclass(frozen=True)
class Breakage:
    """One of them, and within how many seeds it has to be noticed."""

    shell: type[Shell]
    seeds: int

    @property
    def name(self) -> str:
        """As in the documentation."""
        return self.shell.__name__
