"""A job's place in the engine, and what an answer means to the request that it answers. Pure."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

from localtrack_sync.protocol.answers import malformed
from localtrack_sync.protocol.effects import Outcome, Reply, Request
from localtrack_sync.protocol.jobs import JobResult
from localtrack_sync.protocol.steps import Ask, Bound, Wish
from localtrack_sync.protocol.verdict import Judge, Judged, Verdict

#: Beginnings of the paths of MLflow's API.
_API = ("/api/2.0/mlflow/", "/api/3.0/mlflow/", "/api/2.0/mlflow-artifacts/mpu/")
#: Below it lie the files themselves.
_LISTING = "/api/2.0/mlflow-artifacts/artifacts"
#: Kind and local id of a job.
Key = tuple[str, str]


@dataclass(eq=False, slots=True)
class Slot:
    """One job at work, as the engine sees it.

    Attributes:
        answer: what to send into the generator next; an Ended is thrown instead.
        started: see `steps.Desk`.
        again: there was news while it ran: it runs once more when it ends.
        news: it came with news while others were at work, and has not had a turn yet.
        active: holds one of the places for jobs that may keep points in memory.
        needed: (experiments) some run waits for it.
        tries: failures of the present request.
        answers_then: the gate's answers when the present request was first sent.
        sent_at: clock reading when it was last sent.
    """

    number: int
    key: Key
    job: Generator[Wish, Any, JobResult]
    answer: Any = None
    begun: bool = False
    again: bool = False
    news: bool = False
    started: float = 0.0
    active: bool = False
    needed: bool = False
    ask: Ask | None = None
    tries: int = 0
    answers_then: int = 0
    sent_at: float = 0.0
    until: float | None = None
    why: str = ""
    bound: Bound | None = None
    done: bool = False
    waits_for: Key | None = None
    waiters: list[Slot] = field(default_factory=list)


def understand(judge: Judge, ask: Ask, outcome: Outcome) -> Judged:
    """The verdict, with the shape of the answer looked at."""
    judged = judge(outcome)
    good = isinstance(outcome, Reply) and 200 <= outcome.status <= 299  # noqa: PLR2004 - HTTP's own numbers
    if isinstance(outcome, Reply) and good and (ask.text or (ask.empty and not outcome.text.strip())):
        return Judged(Verdict.OK, {}, outcome.text, judged.status, headers=outcome.headers)
    if judged.verdict is Verdict.OK:
        if isinstance(outcome, Reply):
            judged = replace(judged, headers=outcome.headers)
        found: Any = judged.body
        for name in ask.expects:
            found = found.get(name) if isinstance(found, dict) else None
        if ask.expects and not found:
            return Judged(Verdict.UNKNOWN, {}, f"an answer without {'.'.join(ask.expects)}", judged.status)
        words = malformed(judged.body) if _of_the_api(ask.request) else ""
        if words:
            return Judged(Verdict.UNKNOWN, {}, words, judged.status)
    return judged


def _of_the_api(request: Request) -> bool:
    """Whether MLflow's API answers, whose fields are known; not a storage, a user's file or another API."""
    return not request.url and (request.path == _LISTING or request.path.startswith(_API))
