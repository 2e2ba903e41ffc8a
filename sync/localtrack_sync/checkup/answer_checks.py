"""Findings about what a remote answered: who answers, whether it lets us in, what it can do, its clock. Pure."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from localtrack.cli import wording
from localtrack_sync.checkup.finding import Finder, Finding
from localtrack_sync.checkup.remote_look import Answered, RemoteLook
from localtrack_sync.delivery.remote_job import number_of
from localtrack_sync.protocol.effects import Failure, Reply
from localtrack_sync.protocol.records import RemoteFacts
from localtrack_sync.protocol.verdict import Judged, Verdict, judge

#: Major and minor number of the oldest and the newest MLflow that the tests run against.
TESTED_FROM, TESTED_TO = (2, 22), (3, 17)
#: Seconds.
SLOW_S = 2.0
CLOCK_NOTE_S, CLOCK_WARNING_S = 5.0, 60.0
_PROXY_LOGIN = 407
#: Verdicts of a server that runs, has MLflow's API and lets us in, whatever it says of the experiment we asked for.
_LET_IN = (Verdict.OK, Verdict.GONE, Verdict.INACTIVE)
_CERTIFICATE = ("CERTIFICATE_VERIFY_FAILED", "certificate verify failed", "Hostname mismatch")


def failure_finding(find: Finder, failure: Failure) -> Finding:
    """Why no answer came."""
    refused = any(words in failure.reason for words in _CERTIFICATE)
    return find("certificate-refused" if refused else "remote-away", f"{failure.reason}.")


def answer_findings(find: Finder, look: RemoteLook) -> list[Finding]:
    """What a reply, and those after it, say of a remote."""
    first = look.first
    assert first is not None, "there was a reply"
    assert isinstance(first.outcome, Reply), "there was a reply"
    refusal = _refusal(find, look, first.outcome, judge(first.outcome))
    clock = _clock(find, first, first.outcome)
    if refusal is not None and not refusal.kind.id.startswith("default-"):
        # A stranger's clock says nothing about the server's.
        return [refusal] if refusal.kind.id in ("captive-portal", "redirects", "proxy-login") else [refusal, *clock]
    found = [] if refusal is None else [refusal]
    told = f"credentials from {look.source} accepted" if look.source else "no credentials, none wanted"
    return [*found, _speed(find, look, first), find("credentials", told), *_server(find, look), *clock]


def _refusal(find: Finder, look: RemoteLook, reply: Reply, judged: Judged) -> Finding | None:
    """Why this is no answer to work with, or None."""
    if judged.verdict in _LET_IN:
        return None
    words = f"{judged.words}." if judged.words else ""
    kind = _kind_of_refusal(look, reply, judged.verdict)
    if kind == "redirects":
        words = f"It answers with a redirect to {bare(reply.headers.get('location', ''))}."
    elif kind == "credentials-refused":
        source = f"They come from {look.source}. " if look.source else "None are configured, and it wants some. "
        words = source + words
    return find(kind, words)


def _kind_of_refusal(look: RemoteLook, reply: Reply, verdict: Verdict) -> str:
    if reply.status == _PROXY_LOGIN:
        return "proxy-login"
    if 300 <= reply.status <= 399:  # noqa: PLR2004 - HTTP's own numbers
        return "redirects"
    if verdict is Verdict.FORBIDDEN:
        lists = look.listing is not None and judge(look.listing).verdict is Verdict.OK
        return "default-experiment-forbidden" if lists else "credentials-forbidden"
    if 200 <= reply.status <= 299:  # noqa: PLR2004
        return "captive-portal"
    by_verdict = {Verdict.UNAUTHORIZED: "credentials-refused", Verdict.MISROUTED: "not-mlflow"}
    return by_verdict.get(verdict, "remote-trouble")


def bare(address: str) -> str:
    """An address without user, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "an address that cannot be read"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) or "nowhere"


def _speed(find: Finder, look: RemoteLook, first: Answered) -> Finding:
    if look.about is None:
        return find("remote-slow", f"Not every question was answered within {look.seconds:g} s.")
    if first.seconds > SLOW_S:
        return find("remote-slow", f"The first answer took {first.seconds:.1f} s.")
    return find("reachable", f"answered in {first.seconds * 1000:.0f} ms")


def _server(find: Finder, look: RemoteLook) -> list[Finding]:
    """Which server it is, and what it can do."""
    about = look.about
    if about is None:
        return []
    if look.dialect == "databricks":
        return [find("server", "Databricks")]
    if not about.version:
        found = [find("server-unnamed")]
    else:
        found = [find("server", _describe(about, multipart=look.multipart)), *_age(find, about)]
    if not about.dedupes:
        found.append(find("keeps-duplicates", _why_duplicates(about)))
    if not about.models:
        found.append(find("no-logged-models", f"It is MLflow {about.version}." if about.version else ""))
    return found


def _describe(about: RemoteFacts, *, multipart: bool) -> str:
    able = {
        "stores a repeated point once": about.dedupes,
        "NaN may be repeated": about.nan_safe,
        "logged models": about.models,
        "large files in parts": multipart,
    }
    named = ", ".join(what for what, has in able.items() if has)
    store = f" on {about.store_type}" if about.store_type else ""
    return f"MLflow {about.version}{store}" + (f" ({named})" if named else "")


def _why_duplicates(about: RemoteFacts) -> str:
    if about.store_type and about.store_type != "SqlStore":
        return f"Its store is a {about.store_type}."
    return f"It is MLflow {about.version}." if about.version else ""


def _age(find: Finder, about: RemoteFacts) -> list[Finding]:
    number = number_of(about.version)
    if number < TESTED_FROM:
        return [
            find("server-older", f"It is MLflow {about.version}; the oldest that is tested is {_dotted(TESTED_FROM)}.")
        ]
    if number > TESTED_TO:
        return [
            find("server-newer", f"It is MLflow {about.version}; the newest that is tested is {_dotted(TESTED_TO)}.")
        ]
    return []


def _dotted(number: tuple[int, int]) -> str:
    return f"{number[0]}.{number[1]}"


@dataclass(frozen=True, slots=True)
class Skew:
    """How far the server's clock is ahead of ours, seconds, and by how much that may be wrong."""

    ahead_s: float
    error_s: float

    @property
    def at_least_s(self) -> float:
        """How far the clocks are apart for certain."""
        return max(0.0, abs(self.ahead_s) - self.error_s)


def skew(date: str | None, sent: float, received: float) -> Skew | None:
    """The difference of two clocks, from a `Date` header (whole seconds) and when its request left and came back.

    Returns:
        None when the header is missing or is no date.
    """
    if not date:
        return None
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    # It was written at some moment between the two, in some part of that second.
    return Skew(theirs + 0.5 - (sent + received) / 2, 0.5 + max(0.0, received - sent) / 2)


def _clock(find: Finder, first: Answered, reply: Reply) -> list[Finding]:
    found = skew(reply.headers.get("date"), first.sent, first.received)
    if found is None:
        return [find("clock-unknown")]
    if found.at_least_s <= CLOCK_NOTE_S:
        return [find("clock", "clocks agree within 5 s")]
    side = "ahead of" if found.ahead_s > 0 else "behind"
    how = f"The server's clock is {wording.span(abs(found.ahead_s))} {side} ours."
    return [find("clock-far-off" if found.at_least_s > CLOCK_WARNING_S else "clock-off", how)]
