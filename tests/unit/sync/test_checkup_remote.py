"""Findings about a remote, from what was seen of it."""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest

from localtrack_sync.checkup.answer_checks import TESTED_TO, skew
from localtrack_sync.checkup.finding import Finder, Finding, hide
from localtrack_sync.checkup.proxies import passwords, proxy_for
from localtrack_sync.checkup.remote_checks import nothing_named, remote_findings
from localtrack_sync.checkup.remote_kinds import REMOTE
from localtrack_sync.checkup.remote_look import Answered, Contact, RemoteLook, Trouble
from localtrack_sync.protocol.effects import Failure, Outcome, Reply
from localtrack_sync.protocol.records import RemoteFacts

NOW = 1_700_000_000.0
MODERN = RemoteFacts("remote", "", version="3.17.2", store_type="SqlStore", dedupes=True, nan_safe=True, models=True)


def reply(status: int = 200, body: Any = None, text: str = "", ahead_s: float = 0.0, **headers: str) -> Reply:
    """A reply of a server whose clock is so far ahead."""
    return Reply(status, body, text, None, {"date": formatdate(NOW + ahead_s, usegmt=True), **headers})


def answered(outcome: Outcome, seconds: float = 0.01) -> Answered:
    """A first answer."""
    return Answered(outcome, NOW, NOW + seconds, seconds)


FINE = answered(reply(body={"experiment": {}}))
LOOK = RemoteLook("http://tracking.example:5000", first=FINE, about=MODERN, seconds=5.0)


def error(status: int, code: str = "", message: str = "", **more: Any) -> dict[str, Any]:
    """A first answer that is an error: MLflow's when it has a code."""
    body = {"error_code": code, "message": message} if code else None
    return {"first": answered(reply(status, body, message, **more))}


def ids(findings: list[Finding]) -> set[str]:
    """Ids of the findings that are not simply in order."""
    return {finding.kind.id for finding in findings if finding.kind.why}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"contact": Contact.UNTRUSTED, "first": None}, {"remote-untrusted"}),
        ({"contact": Contact.UNNAMED, "first": None}, {"remote-unnamed"}),
        ({"contact": Contact.UNUSABLE, "reason": Trouble("no host", "Write one")}, {"remote-unusable"}),
        ({"contact": Contact.OFFLINE, "first": None}, {"not-contacted"}),
        ({"settings": Trouble("CA file is missing"), "first": None}, {"connection-settings"}),
        ({"login": Trouble("no login"), "first": None}, {"credentials-unusable"}),
        ({"no_token": "connection refused.", "first": None}, {"token-unavailable"}),
        ({"unchecked": True}, {"tls-unchecked"}),
        ({"source": "MLFLOW_TRACKING_TOKEN"}, {"plain-http"}),
        ({"source": "MLFLOW_TRACKING_TOKEN", "url": "http://127.0.0.1:5000"}, set()),
        ({"source": "MLFLOW_TRACKING_TOKEN", "url": "http://[::1]:5000"}, set()),
        ({"source": "MLFLOW_TRACKING_TOKEN", "url": "http://127.example.com"}, {"plain-http"}),
        ({"source": "MLFLOW_TRACKING_TOKEN", "url": "https://tracking.example", "authorities": "certifi"}, set()),
        ({"proxy": "http://proxy:3128"}, {"proxy"}),
        ({"no_name": "tracking.example: Name or service not known.", "first": None}, {"name-unknown"}),
        ({"first": None}, {"remote-away"}),
        ({"first": answered(Failure(sent=False, reason="refused"))}, {"remote-away"}),
        (
            {"first": answered(Failure(sent=False, reason="[SSL: CERTIFICATE_VERIFY_FAILED] x"))},
            {"certificate-refused"},
        ),
        ({"first": answered(reply(body={"experiment": {}}), 3.0)}, {"remote-slow"}),
        ({"about": None}, {"remote-slow"}),
        (error(404, "RESOURCE_DOES_NOT_EXIST", "No Experiment with id=0 exists"), set()),
        (error(401, "", "You are not authenticated"), {"credentials-refused"}),
        (error(403, "", "Permission denied"), {"credentials-forbidden"}),
        (
            {**error(403, "", "Permission denied"), "listing": reply(body={"experiments": []})},
            {"default-experiment-forbidden"},
        ),
        ({**error(403, "", "no"), "listing": reply(403, text="no")}, {"credentials-forbidden"}),
        (error(407, "", "login"), {"proxy-login"}),
        (error(404, "", "<html>nothing here"), {"not-mlflow"}),
        (error(200, "", "<html>Welcome to our hotel"), {"captive-portal"}),
        (error(302, location="https://login.example/a?token=secret"), {"redirects"}),
        (error(503, "", "try later"), {"remote-trouble"}),
        (error(429, "REQUEST_LIMIT_EXCEEDED", "slow down"), {"remote-trouble"}),
        (
            {"about": replace(MODERN, version="2.22.0", dedupes=False, models=False)},
            {"keeps-duplicates", "no-logged-models"},
        ),
        ({"about": replace(MODERN, version="2.9.2", models=False)}, {"server-older", "no-logged-models"}),
        ({"about": replace(MODERN, version="99.0")}, {"server-newer"}),
        ({"about": replace(MODERN, store_type="FileStore", dedupes=False)}, {"keeps-duplicates"}),
        ({"about": replace(MODERN, version="", dedupes=False)}, {"server-unnamed", "keeps-duplicates"}),
        ({"about": replace(MODERN, version="", dedupes=False), "dialect": "databricks"}, set()),
        ({"first": answered(Reply(200, {"experiment": {}}))}, {"clock-unknown"}),
        ({"first": answered(reply(body={}, ahead_s=5))}, set()),
        ({"first": answered(reply(body={}, ahead_s=-30))}, {"clock-off"}),
        ({"first": answered(reply(body={}, ahead_s=3600))}, {"clock-far-off"}),
        ({"first": answered(reply(401, text="login", ahead_s=3600))}, {"credentials-refused", "clock-far-off"}),
        ({"first": answered(reply(200, text="<html>", ahead_s=3600))}, {"captive-portal"}),
    ],
)
def test_remote(changes: dict[str, Any], expected: set[str]) -> None:
    """Each thing that is amiss with a remote is found, and nothing else; a portal's clock is nobody's."""
    assert ids(remote_findings(replace(LOOK, **changes))) == expected


def test_every_finding_names_its_remote() -> None:
    """With several remotes it is known which one is meant."""
    assert {finding.remote for finding in remote_findings(LOOK)} == {LOOK.url}
    assert nothing_named().remote == ""


def test_a_redirect_is_shown_without_what_may_be_secret() -> None:
    """User, query and fragment of the address are left out."""
    location = "https://user:word@login.example/a?token=secret#x"
    [found] = [f for f in remote_findings(replace(LOOK, **error(302, location=location))) if f.kind.id == "redirects"]
    assert found.detail == "It answers with a redirect to https://login.example/a."


@pytest.mark.parametrize(
    ("date", "took_s", "ahead_s", "at_least_s"),
    [
        (formatdate(NOW, usegmt=True), 0.0, 0.5, 0.0),
        (formatdate(NOW + 100, usegmt=True), 0.0, 100.5, 100.0),
        (formatdate(NOW - 100, usegmt=True), 10.0, -104.5, 99.0),
        (formatdate(NOW + 3, usegmt=True), 8.0, -0.5, 0.0),
    ],
)
def test_skew_is_counted_as_far_as_it_is_certain(date: str, took_s: float, ahead_s: float, at_least_s: float) -> None:
    """A Date tells whole seconds, and was written at some moment between request and reply."""
    found = skew(date, NOW, NOW + took_s)
    assert found is not None
    assert (found.ahead_s, found.at_least_s) == pytest.approx((ahead_s, at_least_s))


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 99 Foo 2026 99:00:00 GMT"])
def test_a_date_that_is_none_says_nothing(date: str | None) -> None:
    """No header, or nonsense, is no skew."""
    assert skew(date, NOW, NOW) is None


def test_secrets_are_hidden_wherever_they_appear() -> None:
    """In details and advice, quoted for an address too, the longer one first; what is short is no secret."""
    find = Finder(REMOTE, "http://a")
    found = find("remote-unusable", "told tok-1234-more, tok-1234 and a%2Fb%20c", hint="drop tok-1234, abc")
    [shown] = hide([found], ["tok-1234", "tok-1234-more", "a/b c", "abc"])
    assert (shown.detail, shown.advice) == ("told ***, *** and ***", "drop ***, abc")


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, ""),
        ({"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ({"http_proxy": "proxy:3128", "HTTP_PROXY": "other:1"}, "http://proxy:3128"),
        ({"HTTP_PROXY": "http://user:word@proxy:3128/"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, ""),
        ({"ALL_PROXY": "socks5://proxy:1080"}, "socks5://proxy:1080"),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "tracking.example"}, ""),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "localhost, .example"}, ""),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "ing.example"}, "http://p:1"),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "*"}, ""),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "tracking.example:5000"}, ""),
        ({"HTTP_PROXY": "p:1", "NO_PROXY": "tracking.example:80"}, "http://p:1"),
    ],
)
def test_proxy_of_the_environment(environ: dict[str, str], proxy: str) -> None:
    """The proxy that is used, without user and password; none where NO_PROXY names the host."""
    assert proxy_for("http://tracking.example:5000", environ) == proxy


def test_passwords_of_proxies_are_known_as_secrets() -> None:
    """So that nothing that quotes the variable can show them."""
    assert passwords({"HTTP_PROXY": "http://user:w0rd@proxy:3128", "all_proxy": "u:other@p", "HTTPS_PROXY": "p:1"}) == [
        "w0rd", "other",
    ]  # fmt: skip


def test_the_newest_tested_server_is_the_one_that_the_tests_use() -> None:
    """The number in the code is that of the server that tests are run against."""
    from tests.servers.venv import MLFLOW_VERSION

    assert MLFLOW_VERSION.startswith(f"{TESTED_TO[0]}.{TESTED_TO[1]}.")
