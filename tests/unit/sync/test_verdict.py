"""The verdict table, row by row, with the answers that servers were seen to give."""

from __future__ import annotations

from typing import Any

import pytest

from localtrack_sync.protocol.effects import Failure, Outcome, Reply
from localtrack_sync.protocol.verdict import NOT_EXECUTED, RULES, TRANSIENT, Verdict, judge


def answer(status: int, code: str = "", message: str = "", text: str = "") -> Reply:
    """A reply as MLflow or something before it sends it."""
    body: Any = {"error_code": code, "message": message} if code else None
    return Reply(status, body, text or message)


CASES: list[tuple[Outcome, Verdict]] = [
    (answer(302, text="<html>login</html>"), Verdict.UNKNOWN),
    (answer(401, text="You are not authenticated"), Verdict.UNAUTHORIZED),
    (answer(400, "UNAUTHENTICATED", "who are you"), Verdict.UNAUTHORIZED),
    (answer(403, "CUSTOMER_UNAUTHORIZED", "no"), Verdict.UNAUTHORIZED),
    (answer(407, text="proxy"), Verdict.UNAUTHORIZED),
    (answer(403, "403", "Invalid access token."), Verdict.UNAUTHORIZED),
    (answer(403, text="Invalid Token"), Verdict.UNAUTHORIZED),
    (answer(403, text="Permission denied"), Verdict.FORBIDDEN),
    (
        answer(
            400,
            "BAD_REQUEST",
            "Unable to log new or update existing logged model metrics for model m-1, exceeded maximum allowed number "
            "of logged model metrics per logged model: 1000. To raise this quota please contact the support team.",
        ),
        Verdict.FULL,
    ),
    (answer(429, "RESOURCE_EXHAUSTED", "You have exceeded your quota limit of runs per experiment."), Verdict.FULL),
    (answer(429, "RESOURCE_EXHAUSTED", "Too many requests. Please wait a moment and try again."), Verdict.THROTTLED),
    (answer(400, "RESOURCE_EXHAUSTED", "slow down"), Verdict.THROTTLED),
    (answer(400, "PERMISSION_DENIED", "no"), Verdict.FORBIDDEN),
    (answer(429, "REQUEST_LIMIT_EXCEEDED", "slow down"), Verdict.THROTTLED),
    (answer(429, text="<html>"), Verdict.THROTTLED),
    (answer(400, "REQUEST_LIMIT_EXCEEDED", "slow down"), Verdict.THROTTLED),
    (answer(413, text="<html>too large</html>"), Verdict.TOO_LARGE),
    (answer(400, "INVALID_PARAMETER_VALUE", "Changing param values is not allowed. ..."), Verdict.PARAM_CONFLICT),
    (answer(500, "INTERNAL_ERROR", "Changing param values is not allowed."), Verdict.PARAM_CONFLICT),
    (
        answer(400, "INVALID_PARAMETER_VALUE", "Parameter with key p was already logged with a value of 1."),
        Verdict.PARAM_CONFLICT,
    ),
    (
        answer(400, "INVALID_PARAMETER_VALUE", "The run r must be in the 'active' state. Current state is deleted."),
        Verdict.INACTIVE,
    ),
    (answer(400, "INVALID_PARAMETER_VALUE", "The run r must be in 'active' lifecycle_stage."), Verdict.INACTIVE),
    (answer(500, "INVALID_STATE", "Cannot rename a non-active experiment."), Verdict.INACTIVE),
    (answer(400, "RESOURCE_ALREADY_EXISTS", "Experiment(name=a) already exists."), Verdict.EXISTS),
    (answer(409, "ALREADY_EXISTS", "Node named a already exists"), Verdict.EXISTS),
    (answer(400, "INVALID_PARAMETER_VALUE", "Node named 'a' already exists"), Verdict.EXISTS),
    (answer(404, "RESOURCE_DOES_NOT_EXIST", "Parent directory /Users/x/y does not exist."), Verdict.GONE),
    (answer(404, "ENDPOINT_NOT_FOUND", "No API found"), Verdict.MISROUTED),
    (answer(404, "RESOURCE_DOES_NOT_EXIST", "Run with id=r not found"), Verdict.GONE),
    (answer(404, "NOT_FOUND", "gone"), Verdict.GONE),
    (answer(404, text="<!doctype html><title>404 Not Found</title>"), Verdict.MISROUTED),
    (answer(405, text="Method Not Allowed"), Verdict.MISROUTED),
    (answer(400, "BAD_REQUEST", "(sqlite3.IntegrityError) UNIQUE constraint failed: params.key"), Verdict.MAYBE),
    (
        answer(400, "INVALID_PARAMETER_VALUE", "Invalid value \"a@b\" for parameter 'metrics[3].name' supplied"),
        Verdict.REFUSED,
    ),
    (answer(500, "INVALID_STATE", "no"), Verdict.REFUSED),
    (answer(501, "NOT_IMPLEMENTED", "no"), Verdict.REFUSED),
    (answer(500, "INTERNAL_ERROR", "database is away"), Verdict.UNKNOWN),
    (answer(500, text="<html>Internal Server Error</html>"), Verdict.UNKNOWN),
    (answer(503, "TEMPORARILY_UNAVAILABLE", "database is locked"), Verdict.UNKNOWN),
    (answer(502, text="Bad Gateway"), Verdict.UNKNOWN),
    (answer(504, text="Gateway Timeout"), Verdict.UNKNOWN),
    (answer(408, text="Request Timeout"), Verdict.UNKNOWN),
    (answer(409, "ABORTED", "try again"), Verdict.UNKNOWN),
    (answer(400, text="<html>400 The plain HTTP request was sent to HTTPS port</html>"), Verdict.UNKNOWN),
    (answer(418, "SOMETHING_NEW", "?"), Verdict.UNKNOWN),
    (Reply(200, {}), Verdict.OK),
    (Reply(200, {"run": {}}), Verdict.OK),
    (Reply(200, None, "<html>welcome to the hotel</html>"), Verdict.UNKNOWN),
    (Reply(200, [1, 2], "[1, 2]"), Verdict.UNKNOWN),
    (Failure(sent=False, reason="connection refused"), Verdict.NOT_APPLIED),
    (Failure(sent=True, reason="read timeout"), Verdict.UNKNOWN),
]


@pytest.mark.parametrize(("outcome", "verdict"), CASES, ids=lambda value: str(getattr(value, "name", value))[:60])
def test_what_an_answer_means(outcome: Outcome, verdict: Verdict) -> None:
    """Each answer that servers, proxies and networks give has the one meaning that the table says."""
    assert judge(outcome).verdict is verdict


@pytest.mark.parametrize("row", range(len(RULES)))
def test_every_row_of_the_table_decides_something(row: int) -> None:
    """No row is dead: without it, or before it, some case above would come out otherwise or is decided by it."""
    decided = set()
    for outcome, _ in CASES:
        if isinstance(outcome, Failure) or 200 <= outcome.status <= 299:
            continue
        body = outcome.body or {}
        code, message = body.get("error_code", ""), body.get("message", "")
        decided.add(next(i for i, rule in enumerate(RULES) if rule.fits(outcome.status, code, message)))
    assert row in decided


def test_only_what_was_not_executed_may_be_sent_again_without_a_look() -> None:
    """The engine repeats by itself what was certainly not executed, and reads; an unknown write is not among them."""
    assert Verdict.UNKNOWN not in NOT_EXECUTED
    assert {Verdict.UNKNOWN} == TRANSIENT - NOT_EXECUTED


def test_the_words_of_the_server_are_kept() -> None:
    """What people are shown is the server's own sentence, with its error code; a page is cut to one line."""
    assert judge(answer(400, "INVALID_PARAMETER_VALUE", "bad")).words == "INVALID_PARAMETER_VALUE: bad"
    assert judge(answer(502, text="Bad\n  Gateway")).words == "HTTP 502: Bad Gateway"
    redirected = Reply(302, None, "", headers={"location": "https://login"})
    assert judge(redirected).words == "HTTP 302: redirect to https://login"
