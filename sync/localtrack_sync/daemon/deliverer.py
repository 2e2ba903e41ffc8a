"""Delivers to one remote with an engine that lives for minutes, and hears of news while it works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

from localtrack.catalog.entries import RunEntry
from localtrack_sync.daemon.agenda import Agenda
from localtrack_sync.daemon.counts import Counts
from localtrack_sync.daemon.parcel import Parcel
from localtrack_sync.engine.engine import Engine
from localtrack_sync.engine.schedule import Gate
from localtrack_sync.protocol.jobs import Job, Progress, ReplaySettings
from localtrack_sync.protocol.limits import DIALECTS
from localtrack_sync.shell.replay import Bench, Drive, Stop
from localtrack_sync.store.accounts import item_account
from localtrack_sync.store.choice import Item
from localtrack_sync.store.state import StateDb

#: Seconds between two looks at results, and at what is to be tried again.
_LOOK_S = 0.1
#: Seconds for which a delivered run has to stay as it is before that is noted: a live one changes every second.
_QUIET_S = 10.0
#: Runs and models that are noted at once, and seconds until the next.
_SETTLED_AT_ONCE, _SETTLE_PAUSE_S = 20, 1.0
#: Seconds that a remote was away after which it is asked anew what it is: it may have been upgraded meanwhile.
_NEW_REMOTE_S = 60.0
#: Seconds for which an engine believes what it learned of the remote (what it is, where experiments are).
_ENGINE_S = 600.0
_BACK = "the remote is back: what it is has to be asked anew"


@dataclass(frozen=True, slots=True)
class Seen:
    """How a deliverer is getting on.

    Attributes:
        jobs: that have not ended.
        waiting: what the engine waits for, "" while it works.
        lag_s: for how long the oldest of what could be delivered has been waiting.
        answered: the remote answered since this was made last.
    """

    jobs: int
    waiting: str
    lag_s: float
    answered: bool


@final
class Deliverer:
    """One remote at work, driven by one thread.

    Args:
        bench: what an engine works with; its state is open, its lock is held.
        state: the same delivery state.
        gate: outlives the engines.
        counts: of records that were delivered.
        stop: looked at all the time.
        retry_cap_s: the longest pause before what could not be delivered is tried again.
        stop_wait_s: how long to wait for open requests at the end.
        inbox: news since it was asked last.
    """

    def __init__(
        self,
        bench: Bench,
        state: StateDb,
        gate: Gate,
        counts: Counts,
        stop: Stop,
        retry_cap_s: float,
        stop_wait_s: float,
        inbox: Callable[[], Parcel | None],
    ) -> None:
        self._bench, self._state = bench, state
        self._gate, self._counts, self._stop = gate, counts, stop
        self._stop_wait_s = stop_wait_s
        self._inbox = inbox
        settle_s = bench.settings.settle_s
        self._agenda = Agenda(
            bench.rng, retry_cap_s, DIALECTS[bench.settings.dialect].settle_s if settle_s is None else settle_s
        )
        self._agenda.tried = {Job(account.kind, one): content for one, (content, account) in state.settled().items()}
        self._settled = set(self._agenda.tried)
        self._asked = state.asked()
        self._items: dict[Job, Item] = {}
        self._held: dict[Job, None] = {}
        self._engine: Engine | None = None
        self._drive: Drive | None = None
        self._look_at = self._settle_at = 0.0
        self._counted = self._answers = 0
        self._away_since: float | None = None
        self._waiting = ""
        self._rests = True
        self._engine_until = 0.0

    def step(self) -> bool:
        """Do one step of work; False: there is nothing to do now (see `wait`)."""
        now = self._bench.clock()
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._look(now)
        if self._drive is None or self._rests:
            return False
        if not self._drive.step():
            self._rest(self._bench.clock())
        return True

    def wait(self, most_s: float) -> None:
        """Wait until there may be something to do, at most so many seconds; whoever brings news wakes the wires."""
        self._state.flush()
        now = self._bench.clock()
        due = self._agenda.next_due()
        times = [now + most_s] if due is None else [now + most_s, due]
        if self._agenda.delivered:
            times.append(max(self._settle_at, now + _SETTLE_PAUSE_S))
        self._bench.wires.answer(max(0.0, min(times) - now))
        self._look_at = 0.0

    def close(self) -> None:
        """Note what was delivered, at the end."""
        self._state.flush()
        self._note_settled(self._agenda.take_delivered(self._bench.clock(), 0.0, 10 * _SETTLED_AT_ONCE))

    def seen(self) -> Seen:
        """How it is getting on."""
        answers, self._answers = self._answers, self._gate.answers
        return Seen(
            0 if self._engine is None else self._engine.jobs_left,
            self._waiting,
            self._agenda.lag(self._bench.clock()),
            self._gate.answers > answers,
        )

    def _rest(self, now: float) -> None:
        """All jobs have ended. The engine is kept for the next: it has learned what the remote is."""
        assert self._engine is not None, "something has ended"
        self._bench.state.flush()
        self._collect(now)
        self._rests = True
        self._look_at = 0.0
        self._waiting = ""
        if now >= self._engine_until or self._engine.results.stopped:
            self._engine = self._drive = None

    # --- what is handed to the engine ---

    def _look(self, now: float) -> None:
        """Take results out of the engine, and put news into it."""
        jobs: list[Job] = []
        if self._engine is not None:
            self._collect(now)
            self._renew(self._engine)
        parcel = self._inbox()
        if parcel is not None:
            self._items.update(parcel.items)
            jobs += self._agenda.news(parcel.contents, now)
        jobs += self._agenda.due(now)
        self._settle(now)
        if self._engine is not None and self._engine.results.stopped:
            self._held.update(dict.fromkeys(jobs))  # it takes no more; the next one does
        elif (jobs or self._held) and not self._stop.wanted:
            jobs, self._held = [*self._held, *(job for job in jobs if job not in self._held)], {}
            self._hand(jobs)

    def _hand(self, jobs: list[Job]) -> None:
        """They are owed before anything of them is sent: whoever looks next knows it, wherever this one dies."""
        news = [job.id for job in jobs if job.kind != "experiment" and self._is_new(job)]
        if news:
            self._state.ask(news)
            self._asked.update(news)
            self._settled.difference_update(jobs)
        offset = self._bench.wall() - self._bench.clock()
        self._rests = False
        if self._engine is None:
            settings: ReplaySettings = replace(self._bench.settings, wall_offset_s=offset)
            self._engine = Engine(settings, jobs, self._bench.rng, gate=self._gate)
            self._drive = Drive(self._bench, self._engine, self._stop, self._told, self._stop_wait_s)
            self._counted = 0
            self._engine_until = self._bench.clock() + _ENGINE_S
            return
        for job in jobs:
            if self._engine.works_on(job):
                self._agenda.again(job, self._bench.clock())
        self._engine.set_wall(offset)
        self._engine.add(jobs)

    def _is_new(self, job: Job) -> bool:
        return job.id not in self._asked or job in self._settled

    def _told(self, progress: Progress, waiting: str) -> None:
        self._waiting = waiting
        done = progress.delivered
        self._counts.add(done - self._counted, self._bench.clock())
        self._counted = done

    def _renew(self, engine: Engine) -> None:
        """After an outage nothing that was learned of the remote before is believed."""
        away = self._gate.away_since
        if away is None and self._away_since is not None and self._bench.clock() - self._away_since > _NEW_REMOTE_S:
            engine.stop(_BACK)
            if self._rests:  # nobody would drive it to its end
                self._engine = self._drive = None
        self._away_since = away

    # --- what came of it ---

    def _collect(self, now: float) -> None:
        engine = self._engine
        assert engine is not None, "results come from an engine"
        self._told(engine.progress, self._waiting)
        ended = []
        for one in engine.take():
            if engine.works_on(Job(one.kind, one.id)):
                self._agenda.goes_on(one, now)
            else:
                ended.append(one)
        unswept = self._state.unswept([one.id for one in ended if one.kind != "experiment"]) if ended else set()
        for result in ended:
            self._agenda.ended(result, now, swept=result.id not in unswept, again=result.reason == _BACK)

    def _settle(self, now: float) -> None:
        """Note some of what was delivered a while ago; fewer while there is other work."""
        if now >= self._settle_at and self._agenda.delivered and not self._stop.wanted:
            self._settle_at = now + _SETTLE_PAUSE_S
            most = _SETTLED_AT_ONCE if self._rests else _SETTLED_AT_ONCE // 4
            self._note_settled(self._agenda.take_delivered(now, _QUIET_S, most))

    def _note_settled(self, taken: list[tuple[Job, str]]) -> None:
        rows, names = [], self._names() if any(job.kind == "model" for job, _ in taken) else {}
        for job, content in taken:
            entry = self._items.get(job)
            if entry is None or entry.content != content:
                continue
            account = item_account(self._bench.catalog, self._state, entry, {}, names)
            if account.owed:
                self._agenda.doubt(job, self._bench.clock())
            elif not account.parked:
                rows.append((content, account))
                self._settled.add(job)
        if rows:
            self._state.settle(rows)

    def _names(self) -> dict[str, str]:
        """Names of experiments by id, as far as runs tell."""
        return {e.experiment_id: e.experiment_name for e in self._items.values() if isinstance(e, RunEntry)}
