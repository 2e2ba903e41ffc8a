"""Whether and when a request may start: what one remote is spared, and what it costs us. Pure.

Backoff, throttling, breaker and patience; a budget for repeats (`budget`); as many connections as the remote bears
(`congestion`); and what keeps a crowd of daemons from coming at once: see docs/replay.md, "When requests go out".
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field, replace

from localtrack_sync.engine.backoff import delay, overloads, throttles
from localtrack_sync.engine.budget import RetryBudget
from localtrack_sync.engine.congestion import FIRST, Window
from localtrack_sync.engine.slot import Slot
from localtrack_sync.protocol.gate import Condition, GateSettings, GateStanding
from localtrack_sync.protocol.request import API
from localtrack_sync.protocol.verdict import TRANSIENT, Judged, Verdict

#: Seconds by which a burst may run ahead of the pace that a remote allows.
BURST_S = 0.5
#: Failures in a row after which only a probe may go out.
BREAKER = 5
#: Refusals of the credentials in a row after which a replay with patience ends: waiting does not mend a password.
LOGIN_TRIES = 2
#: A single failure that is followed by the next attempt within so many seconds is not shown to anybody.
HICCUP_S = 5.0


@dataclass(slots=True)
class Gate:
    """Whether and when the remote may be asked. It may outlive the engines that ask it.

    Attributes:
        rng: uniform random numbers in [0, 1).
        settings: see there.
        pace: see `limits.Limits`; the first that fits a request's path counts.
        failures: failures in a row; throttled: of these, at the end, those that said that there is too much to do.
        logins: refusals of the credentials; without patience a probe that is answered does not end them.
        ready_at: nothing starts before.
        away_since: time of the first failure in a row, None while the remote answers.
        answers: answers so far that show that the remote works.
        trouble: words of the last failure.
        due: beginning of a path -> when a request to it would be due at exactly its pace.
        fine_since: when the first requests might go out, or when the last trouble ended.
        put_off_at: when it was decided to put requests off on purpose, until `fine_since`.
        refused: the last failure was one of the credentials.
        hiccup: there was one failure only, and the next attempt follows soon.
        paused_since: when the credentials were refused first.
    """

    rng: Callable[[], float]
    settings: GateSettings
    pace: tuple[tuple[str, float], ...] = ()
    failures: int = 0
    throttled: int = 0
    logins: int = 0
    ready_at: float = 0.0
    away_since: float | None = None
    answers: int = 0
    trouble: str = ""
    due: dict[str, float] = field(default_factory=dict)
    fine_since: float | None = None
    put_off_at: float = 0.0
    paused_since: float = 0.0
    refused: bool = False
    hiccup: bool = False
    _budget: RetryBudget = field(init=False)
    _window: Window = field(init=False)

    def __post_init__(self) -> None:
        s = self.settings
        self._budget = RetryBudget(s.budget_ratio, s.budget_window_s, s.budget_floor)
        self._window = Window(s.connections_max, float(s.connections_start))

    # --- what may go out ---

    @property
    def connections(self) -> int:
        """Requests that may be open at once; a trial of refused credentials travels alone."""
        return 1 if self._paused else self._window.connections

    def is_open(self, now: float) -> bool:
        """Whether anything may start now."""
        if self.fine_since is None:
            self._put_off(now, self.settings.splay_s)
        return now >= self.ready_at

    def probing(self, now: float) -> bool:
        """Whether only a probe may go out: the remote is away, or failures have used up what may be repeated."""
        if not self.failures:
            return False
        return self.failures >= BREAKER or self._paused or self._budget.opens_at(now) > now

    def take(self, asking: MutableSequence[Slot], now: float) -> Slot | None:
        """Take the first job out of the line whose request may go out now."""
        for place, slot in enumerate(asking):
            if self._opens_for(slot, now)[0] <= now:
                for prefix, per_second in self._pace_of(slot):
                    self.due[prefix] = max(self.due.get(prefix, now), now) + 1 / per_second
                self._budget.count(now, repeat=self._repeats(slot))
                del asking[place]
                return slot
        return None

    def opens(self, asking: MutableSequence[Slot], now: float) -> tuple[float, str]:
        """When the next request may go out, and why not before."""
        away = f"the remote is away: {self.trouble}" if self.failures else "put off, so that not all begin at once"
        if self.probing(now):
            return max(self.ready_at, now), away
        at, why = min(self._opens_for(slot, now) for slot in asking)
        return (at, why) if self.ready_at < at else (max(self.ready_at, now), away)

    def _opens_for(self, slot: Slot, now: float) -> tuple[float, str]:
        """When this request may go out by everything but `ready_at`, and why not before."""
        paced = max((self.due.get(prefix, 0.0) - BURST_S for prefix, _ in self._pace_of(slot)), default=0.0)
        budget = self._budget.opens_at(now) if self._repeats(slot) else 0.0
        return max(
            (paced, "the remote allows only so many requests per second"),
            (self._window.pause_until, "the remote is busy"),
            (budget, "too many requests had to be repeated"),
        )

    def _repeats(self, slot: Slot) -> bool:
        """Whether a request counts as a repeat: it failed before, or the last one did, whichever it was."""
        return slot.tries > 0 or self.failures > 0

    def _pace_of(self, slot: Slot) -> tuple[tuple[str, float], ...]:
        assert slot.ask is not None, "it stands in line with a request"
        path = slot.ask.request.path.removeprefix(API).lstrip("/")
        return tuple(pair for pair in self.pace if path.startswith(pair[0]))[:1]

    # --- what came of it ---

    def meaning(self, judged: Judged) -> Judged:
        """What an outcome means to whoever waits for ever: somebody else's page is an outage, not a mistake.

        A captive portal, or a proxy whose server is away, answers in the remote's place; nothing was executed.
        """
        if judged.verdict is Verdict.MISROUTED and self.settings.patience_s is None:
            words = f"this does not look like an MLflow server: {judged.words}"
            return replace(judged, verdict=Verdict.NOT_APPLIED, words=words)
        return judged

    def waits_for(self, judged: Judged) -> bool:
        """Whether that is refused to everybody, for as long as it takes, so that no job's tries are counted."""
        return judged.verdict is Verdict.UNAUTHORIZED and self.settings.patience_s is None

    def note(self, judged: Judged, now: float, sent_at: float | None = None, *, probe: bool = False) -> None:
        """Learn from an outcome.

        Args:
            judged: what came of a request.
            now: clock reading.
            sent_at: when the request went out; None: now.
            probe: it was a probe.
        """
        sent_at = now if sent_at is None else sent_at
        if judged.verdict in TRANSIENT:
            self._failed(judged, now, sent_at)
        else:
            self._answered(now, sent_at, probe=probe)

    def _answered(self, now: float, sent_at: float, *, probe: bool) -> None:
        away, broken = self.away_since, self.failures >= BREAKER
        self.failures = self.throttled = 0
        self.away_since = None
        self.answers += 1
        if not (probe and self._paused):
            self.logins = 0
            self.trouble = ""
        if away is not None and now - away > self.settings.long_outage_s:
            self._put_off(now, self.settings.reconnect_splay_s)
            return
        if away is not None:
            self.fine_since = now
        if broken:
            self._window.size = min(self._window.size, 1.0)
        elif not probe:
            self._window.grow(sent_at, now, self.rng)

    def _failed(self, judged: Judged, now: float, sent_at: float) -> None:
        self.failures += 1
        if judged.verdict is Verdict.UNAUTHORIZED:
            self.paused_since = self.paused_since if self.logins else now
            self.logins += 1
        elif self.settings.patience_s is not None:
            self.logins = 0
        self.throttled = self.throttled + 1 if throttles(judged) else 0
        self.refused = judged.verdict is Verdict.UNAUTHORIZED
        self.trouble = judged.words
        if self.away_since is None:
            self.away_since = now
        in_row = self.throttled or max(self.failures, self.logins)
        self.ready_at = max(self.ready_at, now + delay(judged, in_row, self.settings.retry_cap_s, self.rng))
        self.hiccup = self.failures == 1 and self.ready_at <= now + HICCUP_S
        if self.throttled or overloads(judged):
            self._window.cut(sent_at, now, self.rng, throttled=self.throttled > 0)

    def _put_off(self, now: float, splay_s: float) -> None:
        """Begin as somebody who does not know the remote, and not at once."""
        s = self.settings
        self.put_off_at = now
        self.fine_since = self.ready_at = max(self.ready_at, now + (splay_s * self.rng() if splay_s else 0.0))
        known = 1.0 if s.ramp_s else float(s.connections_start)
        # Where nothing is put off no crowd is feared, and nobody is made to wait for others.
        self._window.restart(FIRST if splay_s else known, self.ready_at + s.ramp_s)

    # --- how it stands ---

    @property
    def _paused(self) -> bool:
        """Whether the credentials are refused, for somebody who waits for others."""
        return self.logins > 0 and self.settings.patience_s is None

    def give_up(self, now: float) -> str:
        """Why to end the replay, "" while there is no reason to."""
        patience_s = self.settings.patience_s
        if patience_s is None or self.away_since is None:
            return ""
        if self.logins >= LOGIN_TRIES:
            return f"the remote does not accept the credentials: {self.trouble}"
        if now >= self.away_since + patience_s:
            return f"the remote is away: {self.trouble}"
        return ""

    def gives_up_at(self) -> float | None:
        """When patience will end if the remote stays away."""
        if self.settings.patience_s is None or self.away_since is None:
            return None
        return self.away_since + self.settings.patience_s

    def standing(self, now: float) -> GateStanding:
        """How it stands at `now`; a single failure that is soon followed by the next attempt is not worth a word."""
        fine_since = now if self.fine_since is None else self.fine_since
        what, since = Condition.OK, fine_since
        if self._paused and (self.refused or not self.failures):
            what, since = Condition.PAUSED, self.paused_since
        elif self.away_since is not None and not self.hiccup:
            what, since = Condition.THROTTLED if self.throttled else Condition.OFFLINE, self.away_since
        elif now < fine_since:
            what, since = Condition.STARTING, self.put_off_at
        closed = what is not Condition.OK and self.ready_at > now
        trouble = self.trouble if what is not Condition.OK else ""
        return GateStanding(what, since, trouble, self.ready_at if closed else None, self.connections)
