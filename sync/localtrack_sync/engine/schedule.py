"""When a request may start: backoff, throttling, breaker and patience for one remote. Pure.

Numbers: full jitter for network errors (a crowd of clients spreads out), equal jitter for throttling (full jitter
collapses to nothing there), after the AWS Architecture Blog "Exponential Backoff and Jitter" and the AWS SDKs' retry
behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field

from localtrack_sync.engine.slot import Slot
from localtrack_sync.protocol.request import API
from localtrack_sync.protocol.verdict import Judged, Verdict

BASE_S, CAP_S = 1.0, 300.0
THROTTLE_BASE_S, THROTTLE_CAP_S = 5.0, 600.0
#: HTTP statuses that mean "too much", not "broken".
THROTTLING = (429, 503)
#: Longest Retry-After that is honoured, seconds; servers have been seen to ask for years.
RETRY_AFTER_CAP_S = 3600.0
#: Seconds by which a burst may run ahead of the pace that a remote allows.
BURST_S = 0.5
#: Failures in a row after which only a probe may go out.
BREAKER = 5
#: Refusals of the credentials in a row after which a replay with patience ends: waiting does not mend a password.
LOGIN_TRIES = 2


@dataclass(slots=True)
class Gate:
    """Whether and when the remote may be asked.

    Attributes:
        rng: uniform random numbers in [0, 1).
        patience_s: how long the remote may be away before the replay is given up; None: for ever.
        failures: failures in a row.
        ready_at: nothing starts before.
        away_since: time of the first failure in a row, None while the remote answers.
        answers: answers so far that show that the remote works.
        trouble: words of the last failure.
        pace: see `limits.Limits`; the first that fits a request's path counts.
        due: beginning of a path -> when a request to it would be due at exactly its pace.
    """

    rng: Callable[[], float]
    patience_s: float | None
    failures: int = 0
    logins: int = 0
    ready_at: float = 0.0
    away_since: float | None = None
    answers: int = 0
    trouble: str = ""
    pace: tuple[tuple[str, float], ...] = ()
    due: dict[str, float] = field(default_factory=dict)

    @property
    def probing(self) -> bool:
        """Whether only a probe may go out."""
        return self.failures >= BREAKER

    def take(self, asking: MutableSequence[Slot], now: float) -> Slot | None:
        """Take the first job out of the line whose request may go out now by the remote's pace."""
        for place, slot in enumerate(asking):
            if self._paced_at(slot) <= now:
                for prefix, per_second in self._pace_of(slot):
                    self.due[prefix] = max(self.due.get(prefix, now), now) + 1 / per_second
                del asking[place]
                return slot
        return None

    def opens(self, asking: MutableSequence[Slot], now: float) -> tuple[float, str]:
        """When the next request may go out, and why not before."""
        paced = min(self._paced_at(slot) for slot in asking)
        if self.ready_at < paced and not self.probing:
            return paced, "the remote allows only so many requests per second"
        return max(self.ready_at, now), f"the remote is away: {self.trouble}"

    def _pace_of(self, slot: Slot) -> tuple[tuple[str, float], ...]:
        assert slot.ask is not None, "it stands in line with a request"
        path = slot.ask.request.path.removeprefix(API).lstrip("/")
        return tuple(pair for pair in self.pace if path.startswith(pair[0]))[:1]

    def _paced_at(self, slot: Slot) -> float:
        return max((self.due.get(prefix, 0.0) - BURST_S for prefix, _ in self._pace_of(slot)), default=0.0)

    def note(self, judged: Judged, now: float) -> None:
        """Learn from an outcome."""
        verdict = judged.verdict
        if verdict in (Verdict.NOT_APPLIED, Verdict.UNKNOWN, Verdict.THROTTLED, Verdict.UNAUTHORIZED):
            self._failed(judged, now)
        else:
            self.failures = self.logins = 0
            self.away_since = None
            self.trouble = ""
            self.answers += 1

    def give_up(self, now: float) -> str:
        """Why to end the replay, "" while there is no reason to."""
        if self.patience_s is None or self.away_since is None:
            return ""
        if self.logins >= LOGIN_TRIES:
            return f"the remote does not accept the credentials: {self.trouble}"
        if now >= self.away_since + self.patience_s:
            return f"the remote is away: {self.trouble}"
        return ""

    def gives_up_at(self) -> float | None:
        """When patience will end if the remote stays away."""
        if self.patience_s is None or self.away_since is None:
            return None
        return self.away_since + self.patience_s

    def _failed(self, judged: Judged, now: float) -> None:
        self.failures += 1
        self.logins = self.logins + 1 if judged.verdict is Verdict.UNAUTHORIZED else 0
        self.trouble = judged.words
        if self.away_since is None:
            self.away_since = now
        self.ready_at = max(self.ready_at, now + self._delay(judged))

    def _delay(self, judged: Judged) -> float:
        """Seconds to stay away: what the remote asked for, else exponential with jitter."""
        if judged.retry_after_s is not None:
            asked = min(max(judged.retry_after_s, 0.0), RETRY_AFTER_CAP_S)
            return asked * (1.0 + 0.25 * self.rng())
        exponent = min(self.failures - 1, 16)
        if (
            judged.verdict is Verdict.THROTTLED
            or "HTTP 503" in judged.words
            or "TEMPORARILY_UNAVAILABLE" in judged.words
        ):
            ceiling = min(THROTTLE_CAP_S, THROTTLE_BASE_S * 2.0**exponent)
            return ceiling / 2 + ceiling / 2 * self.rng()
        return min(CAP_S, BASE_S * 2.0**exponent) * self.rng()
