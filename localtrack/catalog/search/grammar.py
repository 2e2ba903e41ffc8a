"""Comparisons of a filter and the field of an order, before anybody asks what their names mean. Pure."""

from __future__ import annotations

from typing import NamedTuple

from localtrack import rules
from localtrack.catalog.search.tokens import COMPARATOR, LIST, NAME, NUMBER, OPERATION, OTHER, STRING, Token, tokens_of
from localtrack.errors import TrackingError

IS_NULL, IS_NOT_NULL, IN, NOT_IN, LIKE, ILIKE = "IS NULL", "IS NOT NULL", "IN", "NOT IN", "LIKE", "ILIKE"

#: Comparisons in one filter. Ours: SQLite evaluates at most 1000 nested expressions.
MOST_CLAUSES = 300
#: Clauses of one order. Ours: SQLite joins at most 64 tables.
MOST_ORDERS = 50

_WORD_COMPARATORS = ("LIKE", "ILIKE", "RLIKE", "REGEXP")
_OPERANDS = (NAME, OPERATION, NUMBER, STRING)


class Clause(NamedTuple):
    """One comparison: left side, comparator as it is written (IS NULL, IN: in upper case), right side (None: none)."""

    left: Token
    comparator: str
    right: Token | None


def clauses_of(filter_string: str) -> list[Clause]:
    """The comparisons of a filter; all of them must hold.

    As in MLflow, AND may be left out, doubled or hang over; OR, NOT and parentheses are not in the language.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE; not a list of comparisons.
    """
    if not filter_string:
        return []
    tokens = tokens_of(filter_string)
    if not tokens:
        raise TrackingError(f"Invalid filter {rules.shown(filter_string)}. Could not be parsed.")
    found, at = [], 0
    while at < len(tokens):
        if tokens[at].is_word("AND"):
            at += 1
            continue
        clause, length = _clause(tokens[at : at + 4])
        if clause is None:
            raise _invalid(filter_string, tokens[at:])
        found.append(clause)
        at += length
    if len(found) > MOST_CLAUSES:
        raise TrackingError(f"A filter can have at most {MOST_CLAUSES} comparisons; this one has {len(found)}")
    return found


def _clause(tokens: list[Token]) -> tuple[Clause | None, int]:
    """The comparison that begins here and how many tokens it has; None: there is none."""
    left, one, two, three = tokens + [Token(OTHER, "")] * (4 - len(tokens))
    found: tuple[Clause | None, int] = None, 0
    if left.kind not in _OPERANDS:
        pass
    elif one.is_word("IS") and two.is_word("NULL"):
        found = Clause(left, IS_NULL, None), 3
    elif one.is_word("IS") and two.is_word("NOT") and three.is_word("NULL"):
        found = Clause(left, IS_NOT_NULL, None), 4
    elif one.is_word("IN") and two.kind == LIST:
        found = Clause(left, one.text, two), 3
    elif one.is_word("NOT") and two.is_word("IN") and three.kind == LIST:
        found = Clause(left, NOT_IN, three), 4
    elif one.is_word("NOT") and two.text.upper() in _WORD_COMPARATORS:
        found = Clause(left, f"{one.text} {two.text}", three), 4
    elif (one.kind == COMPARATOR or one.text.upper() in _WORD_COMPARATORS) and two.kind in (*_OPERANDS, LIST):
        found = Clause(left, one.text, two), 3
    return found


def _invalid(filter_string: str, rest: list[Token]) -> TrackingError:
    if rest[0].text == ";" and len(rest) > 1:
        return TrackingError(
            f"Search filter contained multiple expression {rules.shown(filter_string)}. Provide AND-ed expression list."
        )
    clauses = " ".join(token.text for token in rest[:4])
    return TrackingError(f"Invalid clause(s) in filter string: {rules.shown(clauses)}")


def split_identifier(text: str) -> tuple[str | None, str]:
    """What stands before the first period, without backticks (None: there is no period), and what stands behind it."""
    kind, period, key = text.partition(".")
    if not period:
        return None, text
    return (kind[1:-1] if len(kind) > 1 and kind.startswith("`") and kind.endswith("`") else kind), key


def order_of(order_by: object) -> tuple[str, bool]:
    """The identifier of an order clause and whether it is ascending (which it is when nothing is said).

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE; not `identifier`, `identifier ASC` or `identifier DESC`.
    """
    unparsable = TrackingError(f"Invalid order_by clause {rules.shown(order_by)}. Could not be parsed.")
    if not isinstance(order_by, str) or order_by != order_by.strip():
        raise unparsable
    tokens = tokens_of(order_by)
    if not tokens or any(token.kind != NAME for token in tokens):
        raise unparsable
    identifier, *directions = tokens
    if len(directions) > 1 or _direction(identifier):
        raise unparsable
    if directions and not _direction(directions[0]):
        raise TrackingError(f"Invalid ordering key in order_by clause {rules.shown(order_by)}.")
    return identifier.text, not directions or directions[0].is_word("ASC")


def _direction(token: Token) -> bool:
    return token.is_word("ASC") or token.is_word("DESC")


def orders_of(order_by: object) -> list[object]:
    """The clauses of an order_by argument: a list, or None for none.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE; not a list.
    """
    if order_by is None:
        return []
    if not isinstance(order_by, list | tuple):
        raise TrackingError(f"order_by must be a list, got {rules.shown(order_by)}")
    if len(order_by) > MOST_ORDERS:
        raise TrackingError(f"order_by can have at most {MOST_ORDERS} clauses, got {len(order_by)}")
    return list(order_by)
