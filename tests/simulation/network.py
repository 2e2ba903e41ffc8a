"""Between the engine and the modelled remote: replies get lost, requests die, come late, or half-way. Virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from localtrack_sync.protocol.effects import Failure, Outcome, Reply, Request
from tests.simulation.remote import Remote

#: How long before the end of the settle time the last late execution, or late read, may come.
EPSILON = 1.0
#: What may happen to a request, the more often the worse it is to recover from.
TROUBLES = (
    *("refused", "throttled", "throttled", "unauthorized", "lost", "lost after", "lost after", "zombie", "zombie"),
    *("half", "half", "half", "html", "html after", "500", "503", "503 after", "twin"),
)


class Network:
    """Carries requests to the remote, in virtual time.

    Attributes:
        faults: share of requests that something happens to.
        script: names the trouble that a request gets; None: what chance says.
        log: what was executed, for the report of a failure.
    """

    def __init__(self, rng: random.Random, remote: Remote, settle_s: float, faults: float) -> None:
        self.rng = rng
        self.remote = remote
        self.settle_s = settle_s
        self.faults = faults
        self.stale = 0.3
        self.now = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.requests = 0
        self.script: Callable[[Request], str | None] = lambda _request: None
        self.log: list[str] = []
        self.after_write: Callable[[Request, float], None] = lambda _request, _at: None
        self.after_look: Callable[[Request, float], None] = lambda _request, _at: None

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something at a time."""
        self.count += 1
        heapq.heappush(self.queue, (when, self.count, what))

    def run_until(self, when: float) -> None:
        """Let everything happen that happens before a time."""
        while self.queue and self.queue[0][0] <= when:
            at, _, what = heapq.heappop(self.queue)
            self.now = max(self.now, at)
            what()
        self.now = max(self.now, when)

    def next_event(self) -> float | None:
        """When something happens next."""
        return self.queue[0][0] if self.queue else None

    def send(self, request: Request, answer: Callable[[Outcome], None]) -> None:
        """Start a request; the outcome comes later."""
        self.requests += 1
        started = self.now
        took = self.rng.uniform(0.01, 0.2)
        named = self.script(request)
        if self.rng.random() >= self.faults and named in (None, "stale", "twice"):
            if named == "twice":
                self.at(started + took / 3, lambda: self._unheard(request, started))
            stale = named == "stale" or None
            self.at(
                started + took / 2, lambda: self._execute_then(request, started, started + took, answer, stale=stale)
            )
            return
        self._trouble(request, started, answer, named)

    def _execute_then(
        self,
        request: Request,
        started: float,
        until: float,
        answer: Callable[[Outcome], None],
        *,
        stale: bool | None = None,
    ) -> None:
        reply = self._execute(request, started, gave_up=until, heard=True, stale=stale)
        self.at(until, lambda: answer(reply))

    def _execute(
        self, request: Request, started: float, gave_up: float, *, heard: bool = False, stale: bool | None = None
    ) -> Reply:
        """The server does it, now; `heard`: its reply will arrive; `stale`: it shows an old state (None: by chance)."""
        remote, rng = self.remote, self.rng
        remote.now = self.now
        writes = request.method != "GET" and not request.path.endswith("/search")
        by_chance = not writes and rng.random() < self.stale
        stale = by_chance if stale is None else stale and not writes
        # Late reads may show the old state until a settle time after whoever asked for the change stopped waiting.
        late_until = rng.uniform(self.now, gave_up + self.settle_s - EPSILON)
        reply = remote.handle(request, stale=stale, late_until=late_until)
        self._note(request, reply, stale=stale)
        if request.method == "POST" and writes:
            self.after_write(request, started)
        elif heard:
            self.after_look(request, -1.0 if stale else self.now)
        return reply

    def _note(self, request: Request, reply: Reply, *, stale: bool) -> None:
        sent = f"{dict(request.query)} {(request.body or b'').decode()[:300]}"
        what = f"{request.method} {request.path.rpartition('mlflow/')[2]} {sent}"
        answer = f"{reply.status} {str(reply.body)[:300]}{' STALE' if stale else ''}"
        self.log.append(f"{self.now:9.2f} {what} -> {answer}")

    def _trouble(
        self, request: Request, started: float, answer: Callable[[Outcome], None], named: str | None = None
    ) -> None:
        rng = self.rng
        kind = named or rng.choice(TROUBLES)
        took = 100.0 if kind == "slow" else rng.uniform(0.01, 3.0)
        end = started + took
        self.log.append(f"{self.now:9.2f} {request.path.rpartition('mlflow/')[2]}: {kind}")
        lost, html = Failure(sent=True, reason="connection reset"), Reply(200, None, "<html>please log in")
        broken = Reply(500, {"error_code": "INTERNAL_ERROR", "message": "database is away"}, "database is away")
        busy = Reply(503, {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "locked"}, "locked")
        asked = rng.choice([None, 0.0, 1.0, 20.0, 10.0**9]) if rng.random() < 0.3 else None
        outcomes: dict[str, Outcome] = {
            "refused": Failure(sent=False, reason="connection refused"),
            "throttled": Reply(429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}, "", asked),
            "unauthorized": Reply(401, None, "who are you?"),
            "lost": lost,
            "html": html,
            "500": broken,
            "503": Reply(503, None, "busy", asked),
            "forbidden": Reply(403, {"error_code": "PERMISSION_DENIED", "message": "not yours"}, "not yours"),
            "misrouted": Reply(404, None, "<html>no such page"),
            "redirect": Reply(302, None, "", headers={"location": "http://elsewhere"}),
        }
        if kind in outcomes:
            self.at(end, lambda: answer(outcomes[kind]))
        elif kind == "slow" or kind.endswith(" after"):
            after: dict[str, Outcome] = {"lost after": lost, "html after": html, "503 after": busy, "slow": lost}
            after |= {"500 after": broken, "cut after": Reply(200, None, '{"run": {"info": {"run')}
            self.at(started + took / 2, lambda: self._unheard(request, started))
            self.at(end, lambda: answer(after[kind]))
        elif kind == "zombie":
            late = rng.uniform(end, started + self.settle_s - EPSILON)  # (a kill may end our waiting before `end`)
            self.at(late, lambda: self._unheard(request, started))
            self.at(end, lambda: answer(lost))
        elif kind == "twin":  # a uniqueness error of the database, although nothing was written
            unique = Reply(400, {"error_code": "BAD_REQUEST", "message": "UNIQUE constraint failed"}, "UNIQUE")
            outcome: Outcome = unique if request.path.endswith(("/log-batch", "/params", "/outputs")) else lost
            self.at(end, lambda: answer(outcome))
        else:
            self.at(started + took / 2, lambda: self._half(request, started))
            died: Outcome = rng.choice((lost, broken))
            self.at(end, lambda: answer(died))

    def _unheard(self, request: Request, started: float) -> None:
        """Executed, and nobody will know."""
        self._execute(request, started, gave_up=started)

    def _half(self, request: Request, started: float) -> None:
        """The server dies in the middle of a batch."""
        self.remote.row_limit = self.rng.randrange(0, 8)
        self._execute(request, started, gave_up=started)
        self.remote.row_limit = None
