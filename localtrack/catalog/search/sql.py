"""SQL of a search: conditions, the order with its tie-breakers, and pages that begin behind a row. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from localtrack.catalog.paging import SortValue
from localtrack.catalog.search.grammar import ILIKE, IN, LIKE, NOT_IN
from localtrack.errors import TrackingError

Value: TypeAlias = str | int | float

#: SQLite's limits: bytes of a LIKE or GLOB pattern, bound variables of a statement.
LONGEST_PATTERN = 50_000
MOST_VALUES = 32_000

#: How GLOB writes what LIKE writes with % and _, and the characters that are its own.
_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


class Fragment(NamedTuple):
    """A piece of SQL and the values of its question marks."""

    text: str
    values: tuple[Value, ...] = ()


class Term(NamedTuple):
    """One column of the order. `kind` is the type of its values, which are never NULL."""

    value: Fragment
    kind: type
    descending: bool = False


class Search(NamedTuple):
    """A search, ready to be asked.

    Attributes:
        question: what makes it this search and no other: page tokens of others are refused.
        columns: what is selected.
        source: FROM and joins.
        conditions: all must hold.
        terms: the order; the last one tells any two rows apart.
    """

    question: tuple[object, ...]
    columns: str
    source: Fragment
    conditions: tuple[Fragment, ...]
    terms: tuple[Term, ...]


def comparison(column: str, comparator: str, value: Value | tuple[str, ...]) -> Fragment:
    """`column` compared as MLflow's SQLite store does: LIKE tells cases apart, ILIKE does not for ASCII letters."""
    if isinstance(value, tuple):
        assert comparator in (IN, NOT_IN), comparator
        return Fragment(f"{column} {comparator} ({marks(value)})", value)
    if comparator == LIKE:
        # SQLite's own LIKE ignores cases, and the switch for that is one of the whole connection.
        return Fragment(f"{column} GLOB ?", (_pattern(str(value).translate(_GLOB)),))
    if comparator == ILIKE:
        return Fragment(f"{column} LIKE ?", (_pattern(str(value)),))
    return Fragment(f"{column} {comparator} ?", (value,))


def marks(values: Sequence[object]) -> str:
    """Question marks for `values`."""
    return ", ".join("?" * len(values))


def _pattern(text: str) -> str:
    if len(text.encode()) > LONGEST_PATTERN:
        raise TrackingError(f"A LIKE pattern can have at most {LONGEST_PATTERN} bytes; this one has more")
    return text


def nulls_last(value: Fragment, kind: type, *, descending: bool) -> tuple[Term, Term]:
    """The order by something that may be NULL: as everywhere in MLflow, what is missing comes last."""
    empty: Value = "" if kind is str else kind()
    return (
        Term(Fragment(f"({value.text}) IS NULL", value.values), int),
        Term(Fragment(f"coalesce({value.text}, ?)", (*value.values, empty)), kind, descending),
    )


def statement(search: Search, start: Sequence[SortValue] | None, limit: int) -> Fragment:
    """The SELECT for one page: the columns of `search`, then the sort key.

    Args:
        search: what is asked.
        start: sort key of the row behind which the page begins; None for the first page.
        limit: rows at most.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE; more values than SQLite takes.
    """
    keys = ", ".join(f"{term.value.text} AS sort{number}" for number, term in enumerate(search.terms))
    where = " AND ".join(f"({condition.text})" for condition in search.conditions)
    values = [value for term in search.terms for value in term.value.values]
    values += search.source.values
    values += [value for condition in search.conditions for value in condition.values]
    text = f"SELECT {search.columns}, {keys} FROM {search.source.text} WHERE {where}"
    if start is not None:
        beyond = _beyond(search.terms, start)
        text = f"SELECT * FROM ({text}) WHERE {beyond.text}"
        values += beyond.values
    order = ", ".join(f"sort{number}{' DESC' * term.descending}" for number, term in enumerate(search.terms))
    if len(values) > MOST_VALUES:
        raise TrackingError(f"A search can name at most {MOST_VALUES} values; this one names {len(values)}")
    return Fragment(f"{text} ORDER BY {order} LIMIT ?", (*values, limit))


def _beyond(terms: Sequence[Term], start: Sequence[SortValue]) -> Fragment:
    """That a row comes after the one with sort key `start`."""
    # Not nested, which would be shorter: SQLite's parser takes no more than some twenty levels of parentheses.
    cases, values = list[str](), list[Value]()
    equal = ""
    for number, term in enumerate(terms):
        cases.append(f"{equal}sort{number} {'<' if term.descending else '>'} ?")
        values += start[: number + 1]
        equal += f"sort{number} = ? AND "
    # Said once more for the first column alone, so that an index can be entered at the right place.
    first = f"sort0 {'<=' if terms[0].descending else '>='} ?"
    return Fragment(f"{first} AND ({' OR '.join(cases)})", (start[0], *values))
