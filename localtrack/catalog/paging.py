"""Page tokens: where the next page begins, as opaque text. Pure.

A token holds the sort key of the last row shown (not an offset), so pages neither skip nor repeat rows while others are
added; and a digest of the query, so that a token is refused by another query instead of giving a wrong page.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Sequence
from typing import TypeAlias

from localtrack.errors import TrackingError

SortValue: TypeAlias = str | int | float

#: MLflow's own limit for one page (SEARCH_MAX_RESULTS_THRESHOLD).
MAX_RESULTS = 50_000


def check_max_results(max_results: int) -> None:
    """Raise TrackingError INVALID_PARAMETER_VALUE unless 1 <= max_results <= 50,000, as MLflow's server does."""
    if not 1 <= max_results <= MAX_RESULTS:
        raise TrackingError(
            f"Invalid value {max_results} for parameter 'max_results' supplied. "
            f"It must be a positive integer of at most {MAX_RESULTS}"
        )


def token_after(query: Sequence[object], last: Sequence[SortValue]) -> str:
    """The token for the page after the row with sort key `last` of `query`."""
    text = json.dumps([_digest(query), *last], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def start_of(query: Sequence[object], token: str | None, shape: Sequence[type]) -> list[SortValue] | None:
    """The sort key after which the page begins, None for the first page.

    Args:
        query: what is asked, as given to `token_after`.
        token: what the caller of the API handed in; None or "" for the first page.
        shape: types of the values of a sort key.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE; not a token, or one of another query.
    """
    if not token:
        return None
    try:
        parsed = json.loads(base64.urlsafe_b64decode(token.encode("ascii")))
    except (binascii.Error, UnicodeError, ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, list) or [type(value) for value in parsed] != [int, *shape]:
        raise TrackingError(f"Invalid page token: {token[:100]!r}")
    if parsed[0] != _digest(query):
        raise TrackingError("Invalid page token: it belongs to another query")
    if not all(_can_be_bound(value) for value in parsed[1:]):
        raise TrackingError(f"Invalid page token: {token[:100]!r}")
    return parsed[1:]


def _can_be_bound(value: SortValue) -> bool:
    """Whether SQLite takes it: a token that somebody made up may hold what no row does."""
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, float) or -(2**63) <= value < 2**63


def _digest(query: Sequence[object]) -> int:
    return zlib.crc32(repr(query).encode("utf-8", "surrogatepass"))
