"""How long a remote is left alone after a failure. Pure.

Full jitter for network errors (a crowd of clients spreads out), equal jitter for throttling (full jitter collapses to
nothing there), after the AWS Architecture Blog "Exponential Backoff and Jitter" and the AWS SDKs' retry behaviour.
"""

from __future__ import annotations

from collections.abc import Callable

from localtrack_sync.protocol.verdict import Judged, Verdict

BASE_S = 1.0
THROTTLE_BASE_S = 5.0
#: Longest Retry-After that is honoured, seconds; servers have been seen to ask for years.
RETRY_AFTER_CAP_S = 3600.0
#: The part of a Retry-After that may come on top of it.
SPREAD = 0.25
#: HTTP statuses that may come from a server, or from something before it, that has too much to do.
_OVERLOAD = frozenset({408, 502, 504})


def throttles(judged: Judged) -> bool:
    """Whether the remote says that it has too much to do (for now), not that it is broken."""
    if judged.verdict is Verdict.THROTTLED:
        return True
    return judged.status == 503 or "TEMPORARILY_UNAVAILABLE" in judged.words  # noqa: PLR2004 - HTTP's own number


def overloads(judged: Judged) -> bool:
    """Whether an answer in time failed to come, which may mean the same."""
    return judged.verdict is Verdict.UNKNOWN and (judged.status == 0 or judged.status in _OVERLOAD)


def delay(judged: Judged, in_row: int, cap_s: float, rng: Callable[[], float]) -> float:
    """Seconds to stay away.

    What the remote asks for is the least, with a spread. It is believed alone only at first: a crowd that is told "in
    one second" over and over must thin out as if it had not been told.

    Args:
        judged: the failure.
        in_row: how many of its kind there were in a row, this one included.
        cap_s: the longest pause; twice that for throttling.
        rng: uniform in [0, 1).
    """
    asked = None
    if judged.retry_after_s is not None:
        asked = min(max(judged.retry_after_s, 0.0), RETRY_AFTER_CAP_S) * (1.0 + SPREAD * rng())
        in_row -= 1
        if in_row < 1:
            return asked
    exponent = min(in_row - 1, 16)
    if throttles(judged):
        ceiling = min(2.0 * cap_s, THROTTLE_BASE_S * 2.0**exponent)
        own = ceiling / 2 + ceiling / 2 * rng()
    else:
        own = min(cap_s, BASE_S * 2.0**exponent) * rng()
    return own if asked is None else max(asked, own)
