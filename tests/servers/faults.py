"""What can go wrong with one request, as values for the fault proxy (tests/servers/proxy.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Pass:
    """Forward the request, hand back the reply."""


@dataclass(frozen=True)
class CutBefore:
    """Read the request, forward nothing, close the connection."""


@dataclass(frozen=True)
class CutHalf:
    """Forward the head and the first half of the body, close both connections: the server sees a request break off."""


@dataclass(frozen=True)
class DropReply:
    """Forward the request, wait until the server has answered, close the connection without a byte."""


@dataclass(frozen=True)
class Later:
    """Close the connection now; the request reaches the server `seconds` later (a zombie)."""

    seconds: float


@dataclass(frozen=True)
class Answer:
    """Answer with a reply of one's own; `forward`: only after the server has executed the request.

    Attributes:
        headers: lines to add, e.g. ("Retry-After: 1",).
    """

    status: int
    body: bytes
    forward: bool = False
    content_type: str = "text/html"
    headers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drip:
    """Forward the request, then hand back the reply one byte every `every` seconds (from the status line on)."""

    every: float


@dataclass(frozen=True)
class Truncate:
    """Forward the request, hand back the head and the first half of the body, close the connection."""


@dataclass(frozen=True)
class Twice:
    """Forward the request twice (as some gateways do), hand back the second reply."""


@dataclass(frozen=True)
class Slow:
    """Forward the request `seconds` after it came, hand back the reply."""

    seconds: float


Fault: TypeAlias = Pass | CutBefore | CutHalf | DropReply | Later | Answer | Drip | Truncate | Twice | Slow

UNAVAILABLE = b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "database is locked"}'
PORTAL = b"<html><body>Please accept the terms of use of this network.</body></html>"


def unavailable(*, committed: bool) -> Answer:
    """503, after the server has executed the request or instead of it."""
    return Answer(503, UNAVAILABLE, forward=committed, content_type="application/json")


def portal(*, committed: bool = False) -> Answer:
    """200 with HTML, as a captive portal or a login page answers."""
    return Answer(200, PORTAL, forward=committed)


def too_many(retry_after: str) -> Answer:
    """429 with a Retry-After header."""
    body = b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slow down"}'
    return Answer(429, body, content_type="application/json", headers=(f"Retry-After: {retry_after}",))
