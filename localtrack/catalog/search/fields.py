"""What comparisons and orders are about, and the values that something is compared with. Pure."""

from __future__ import annotations

from typing import NamedTuple

from localtrack import rules
from localtrack.catalog.search.sql import Value
from localtrack.catalog.search.tokens import NAME, NUMBER, STRING, Token, list_of, unquoted
from localtrack.errors import TrackingError

METRIC, PARAM, TAGS, ATTRIBUTE, DATASET = "metric", "parameter", "tag", "attribute", "dataset"
NUMERIC = ("=", "!=", ">", ">=", "<", "<=")


class Field(NamedTuple):
    """What a comparison or an order is about: METRIC and so on, and the key."""

    kind: str
    key: str


class Condition(NamedTuple):
    """One comparison that was found to make sense; the value of IS NULL is ''."""

    field: Field
    comparator: str
    value: Value | tuple[str, ...]


class Order(NamedTuple):
    """One clause of an order that was found to make sense."""

    field: Field
    ascending: bool


def number(key: str, token: Token) -> int | float:
    """The value that a numeric attribute is compared with.

    Raises:
        TrackingError: not a number, or an integer of more than 64 bits.
    """
    if token.kind != NUMBER:
        raise TrackingError(
            f"Expected numeric value type for numeric attribute: {key}. Found {rules.shown(token.text)}"
        )
    try:
        value = int(token.text)
    except ValueError:
        return float(token.text)
    return value if rules.INT64_MIN <= value <= rules.INT64_MAX else float(token.text)


def quoted(kind: str, token: Token) -> str:
    """The text that something is compared with, which must be quoted.

    Raises:
        TrackingError: it is not.
    """
    text = unquoted(token.text) if token.kind in (STRING, NAME) else None
    if text is None:
        raise TrackingError(
            f"Expected a quoted string value for {kind} (e.g. 'my-value'). Got value {rules.shown(token.text)}. "
            "Use either single or double quotes."
        )
    return text


def listed(token: Token) -> tuple[str, ...]:
    """The texts of a list.

    Raises:
        TrackingError: none in it, or not a list.
    """
    found = list_of(token.text)
    if not found:
        raise TrackingError(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list"
        )
    return found
