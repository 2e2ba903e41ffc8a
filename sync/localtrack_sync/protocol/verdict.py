"""What an outcome means: one table, decided by error_code and words, never by the status class alone. Pure.

Three things can be true of a request: it was applied, it was not, or nobody knows. The verdicts refine these. The table
is read from the top; the first row that fits decides. Sources: what MLflow 2.22, 3.17 and 3.18 answer on SQL stores
and on the file store, and Databricks' error codes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from localtrack_sync.protocol.answers import CODE_CHARS, cut
from localtrack_sync.protocol.effects import Failure, Outcome, Reply


class Verdict(Enum):
    """What to believe, and what to do about it."""

    OK = "applied"
    NOT_APPLIED = "not applied: send again"
    THROTTLED = "not applied: send again later"
    UNAUTHORIZED = "not applied: the credentials are not accepted; pause the whole remote"
    UNKNOWN = "nobody knows: read back before anything else"
    MAYBE = "refused because (a part of) it is there already, or applied in part: read back"
    REFUSED = "not applied, for good: find the record that is meant"
    PARAM_CONFLICT = "a param has another value on the remote: read back and compare"
    INACTIVE = "not applied: the run or experiment is deleted on the remote"
    EXISTS = "not applied: the name is taken; adopt what has it"
    GONE = "not applied: no such thing on the remote"
    FORBIDDEN = "not applied: these credentials may not touch this object"
    TOO_LARGE = "not applied: split it"
    UNREADABLE = "not applied: the file on this machine is not what it was when it was registered"
    FULL = "not applied: a quota is used up; find what still fits"
    MISROUTED = "not applied: this is no MLflow server (or the path is wrong); stop"


#: Outcomes after which the very same request may go out again: it was certainly not executed.
NOT_EXECUTED = frozenset({Verdict.NOT_APPLIED, Verdict.THROTTLED, Verdict.UNAUTHORIZED})
#: Outcomes that say nothing about the request, only about the way there; a read is simply repeated after these.
TRANSIENT = NOT_EXECUTED | {Verdict.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with what it was made from.

    Attributes:
        body: parsed JSON of the reply (an object), else {}.
        words: what the remote said, for people.
        status: HTTP status, 0 without a reply.
        retry_after_s: as asked for by the remote, or None.
        headers: of the reply, as far as they are kept (lower case).
    """

    verdict: Verdict
    body: dict[str, Any]
    words: str
    status: int = 0
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row: every condition that is given must hold.

    Attributes:
        statuses: HTTP statuses, both ends included.
        codes: error codes of the JSON body.
        words: pattern that the error message must contain, case ignored.
        json: whether the body is a JSON object with an error_code (False: HTML, text, nothing).
    """

    verdict: Verdict
    why: str
    statuses: tuple[int, int] | None = None
    codes: tuple[str, ...] = ()
    words: str = ""
    json: bool | None = None

    def fits(self, status: int, code: str, message: str) -> bool:
        """Whether this row decides."""
        if self.statuses is not None and not self.statuses[0] <= status <= self.statuses[1]:
            return False
        if self.json is not None and self.json != bool(code):
            return False
        if self.codes and code not in self.codes:
            return False
        return not self.words or re.search(self.words, message, re.IGNORECASE) is not None


RULES: tuple[Rule, ...] = (
    Rule(Verdict.UNKNOWN, "a redirect of a POST is never followed: it would come out as a GET", statuses=(300, 399)),
    Rule(Verdict.UNAUTHORIZED, "login needed", statuses=(401, 401)),
    Rule(Verdict.UNAUTHORIZED, "login needed", codes=("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")),
    Rule(Verdict.UNAUTHORIZED, "the proxy wants a login", statuses=(407, 407)),
    Rule(
        Verdict.FULL,
        "a quota of Databricks (metric steps, params, tags, runs); waiting does not help",
        words=r"exceeded maximum allowed number|raise this quota|quota limit",
        json=True,
    ),
    Rule(
        Verdict.UNAUTHORIZED,
        "Databricks says 403 to a token that is wrong or has ended",
        statuses=(403, 403),
        words=r"invalid access token|invalid token|token is expired|token has expired",
    ),
    Rule(Verdict.FORBIDDEN, "no permission", statuses=(403, 403)),
    Rule(Verdict.FORBIDDEN, "no permission", codes=("PERMISSION_DENIED",)),
    Rule(Verdict.THROTTLED, "too many requests", statuses=(429, 429)),
    Rule(Verdict.THROTTLED, "too many requests", codes=("REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")),
    Rule(Verdict.TOO_LARGE, "body too large", statuses=(413, 413)),
    Rule(
        Verdict.PARAM_CONFLICT,
        "400 on SQL stores, 500 INTERNAL_ERROR on the file store, other words on Databricks; permanent in every case",
        words=r"changing param values|already logged with a value",
        json=True,
    ),
    Rule(
        Verdict.INACTIVE,
        "deleted run or experiment; the second words are the file store's",
        words=r"must be in the 'active' state|must be in 'active' lifecycle_stage|non-active",
        json=True,
    ),
    Rule(Verdict.EXISTS, "the name is taken (400 or 409)", codes=("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS")),
    Rule(Verdict.EXISTS, "the name is taken in a workspace", words=r"node named .* already exists", json=True),
    Rule(Verdict.MISROUTED, "no such route", codes=("ENDPOINT_NOT_FOUND",)),
    Rule(Verdict.GONE, "no such run, experiment or tag", codes=("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")),
    Rule(Verdict.MISROUTED, "404 without an error code: not MLflow's API", statuses=(404, 405), json=False),
    Rule(
        Verdict.MAYBE,
        "400 BAD_REQUEST: a uniqueness error of the database, also of a request that met its own late twin",
        codes=("BAD_REQUEST",),
    ),
    Rule(Verdict.REFUSED, "bad value", codes=("INVALID_PARAMETER_VALUE",)),
    Rule(Verdict.REFUSED, "a 500 that is permanent", codes=("INVALID_STATE", "NOT_IMPLEMENTED")),
    Rule(
        Verdict.UNKNOWN,
        "everything else: 408, 409, 5xx (MLflow sends 503 also after a commit), proxies' pages, unknown codes",
    ),
)

Judge: TypeAlias = Callable[[Outcome], Judged]


def judge(outcome: Outcome, rules: tuple[Rule, ...] = RULES) -> Judged:
    """The verdict on an outcome."""
    if isinstance(outcome, Failure):
        if outcome.local:
            return Judged(Verdict.UNREADABLE, {}, outcome.reason)
        return Judged(Verdict.UNKNOWN if outcome.sent else Verdict.NOT_APPLIED, {}, outcome.reason)
    body = outcome.body if isinstance(outcome.body, dict) else {}
    if 200 <= outcome.status <= 299:  # noqa: PLR2004 - HTTP's own numbers
        if isinstance(outcome.body, dict):
            return Judged(Verdict.OK, body, "")
        words = f"HTTP {outcome.status} with something that is not an answer: {_short(outcome)}"
        return Judged(Verdict.UNKNOWN, {}, words, outcome.status)
    # Cut before any pattern looks at it: a message may be as long as a reply.
    code = cut(str(body.get("error_code") or ""), CODE_CHARS)
    message = cut(str(body.get("message") or outcome.text))
    words = f"{code}: {message}" if code else f"HTTP {outcome.status}: {_short(outcome)}"
    for rule in rules:
        if rule.fits(outcome.status, code, message):
            return Judged(rule.verdict, body, words, outcome.status, outcome.retry_after_s)
    raise AssertionError("the last row of the table fits everything")


def _short(reply: Reply) -> str:
    """The beginning of a reply's text on one line."""
    text = " ".join(reply.text.split())
    location = reply.headers.get("location") or reply.headers.get("Location")
    return f"redirect to {location[:200]}" if location else text[:200] or "no text"
