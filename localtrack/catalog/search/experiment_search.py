"""Searching experiments: which names and comparators there are, and what they mean in SQL. Pure.

Source of the rules: `SearchExperimentsUtils` and `_get_search_experiments_filter_clauses` of MLflow 3.17.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from localtrack import rules
from localtrack.catalog.merge import TAG
from localtrack.catalog.search import grammar
from localtrack.catalog.search.fields import (
    ATTRIBUTE,
    NUMERIC,
    TAGS,
    Condition,
    Field,
    Order,
    listed,
    number,
    quoted,
)
from localtrack.catalog.search.grammar import ILIKE, IN, IS_NOT_NULL, IS_NULL, LIKE, NOT_IN, Clause
from localtrack.catalog.search.sql import Fragment, Search, Term, Value, comparison, marks, nulls_last
from localtrack.catalog.search.tokens import LIST, NAME, Token, key_of
from localtrack.errors import TrackingError

_KINDS = {"attribute": ATTRIBUTE, "tag": TAGS, "tags": TAGS}
_NUMBERS = ("creation_time", "last_update_time")
_ATTRIBUTES = ("name", "experiment_id", *_NUMBERS)
_COLUMN = {
    "name": "e.name",
    "experiment_id": "e.experiment_id",
    # Experiment 0 has no time of creation: it was there before all others.
    "creation_time": "coalesce(e.creation_ms, 0)",
    "last_update_time": "e.updated_ms",
}
_COLUMNS = "e.experiment_id, e.name, e.artifact_location, e.deleted, e.creation_ms, e.updated_ms"
_DEFAULT = ("creation_time DESC", "experiment_id ASC")
_ID = re.compile(r"\s*[+-]?\d{1,64}\s*")


def experiment_search(filter_string: str | None, order_by: Sequence[str] | None, stages: tuple[int, ...]) -> Search:
    """A search of experiments.

    Args:
        filter_string: over name, experiment_id, creation_time, last_update_time and tags; None or "" for all.
        order_by: clauses like "name ASC"; nothing is the newest first.
        stages: 0 for active, 1 for deleted experiments.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE.
    """
    conditions = [_condition(clause) for clause in grammar.clauses_of(filter_string or "")]
    orders = [_order(clause) for clause in grammar.orders_of(order_by) or _DEFAULT]
    return Search(
        question=("experiments", stages, tuple(conditions), tuple(orders)),
        columns=_COLUMNS,
        source=Fragment("experiment e"),
        conditions=(
            Fragment(f"e.create_stamp IS NOT NULL AND e.deleted IN ({marks(stages)})", stages),
            *map(_sql, conditions),
        ),
        terms=_terms(orders),
    )


def _field(identifier: str) -> Field:
    prefix, period, key = identifier.partition(".")
    kind = _KINDS.get(prefix) if period else ATTRIBUTE
    if kind is None:
        raise TrackingError(f"Invalid entity type {rules.shown(prefix)}. Valid entity types are {list(_KINDS)}")
    key = key_of(key if period else identifier)
    if kind == ATTRIBUTE and key not in _ATTRIBUTES:
        raise TrackingError(f"Invalid attribute key {rules.shown(key)} specified. Valid keys are {list(_ATTRIBUTES)}")
    return Field(kind, key)


def _condition(clause: Clause) -> Condition:
    if clause.left.kind != NAME:
        raise TrackingError(f"Invalid comparison clause. Expected 'Identifier' found {rules.shown(clause.left.text)}")
    field, comparator = _field(clause.left.text), clause.comparator
    if clause.right is None:
        if field.kind != TAGS:
            raise TrackingError(f"IS NULL / IS NOT NULL is only supported for tags, not for attribute '{field.key}'")
        return Condition(field, comparator, "")
    value = _value(field, clause.right)
    # MLflow: in upper case only, here.
    if comparator not in _comparators(field) or isinstance(value, tuple) != (comparator in (IN, NOT_IN)):
        raise TrackingError(
            f"Invalid comparator {rules.shown(comparator)} for {field.kind} {rules.shown(field.key)}: "
            f"must be one of {list(_comparators(field))}"
        )
    return Condition(field, comparator, value)


def _comparators(field: Field) -> tuple[str, ...]:
    if field.kind == ATTRIBUTE and field.key in _NUMBERS:
        return NUMERIC
    if field == Field(ATTRIBUTE, "experiment_id"):
        return ("=", "!=", IN, NOT_IN)
    return ("=", "!=", LIKE, ILIKE)


def _value(field: Field, token: Token) -> Value | tuple[str, ...]:
    if field.kind == ATTRIBUTE and field.key in _NUMBERS:
        value = number(field.key, token)
        if isinstance(value, float):
            raise TrackingError(f"Invalid value for numeric attribute '{field.key}': {rules.shown(token.text)}")
        return value
    if field != Field(ATTRIBUTE, "experiment_id"):
        if token.kind == LIST and field.kind == ATTRIBUTE:
            raise TrackingError("Only ['experiment_id'] attributes support comparison with a list of quoted strings.")
        return quoted(field.kind, token)
    if token.kind == LIST:
        return tuple(map(_experiment_id, listed(token)))
    return _experiment_id(quoted(field.kind, token))


def _experiment_id(text: str) -> str:
    """Ids are whole numbers, as on a server; however the number is written."""
    if not _ID.fullmatch(text):
        raise TrackingError(f"Invalid experiment ID: {rules.shown(text)}")
    return str(int(text))


def _sql(condition: Condition) -> Fragment:
    (kind, key), comparator, value = condition
    if kind == ATTRIBUTE:
        return comparison(_COLUMN[key], comparator, value)
    tag = (
        f"SELECT 1 FROM experiment_cell c WHERE c.experiment_id = e.experiment_id AND c.kind = '{TAG}' AND c.key = ? "
        "AND c.value IS NOT NULL"
    )
    if comparator == IS_NULL:
        return Fragment(f"NOT EXISTS ({tag})", (key,))
    if comparator == IS_NOT_NULL:
        return Fragment(f"EXISTS ({tag})", (key,))
    compared = comparison("c.value", comparator, value)
    return Fragment(f"EXISTS ({tag} AND {compared.text})", (key, *compared.values))


def _order(clause: object) -> Order:
    identifier, ascending = grammar.order_of(clause)
    field = _field(identifier)
    if field.kind != ATTRIBUTE:
        raise TrackingError(f"Invalid order_by entity: {field.kind}")
    return Order(field, ascending)


def _terms(orders: Sequence[Order]) -> tuple[Term, ...]:
    terms: list[Term] = []
    for order in orders:
        descending = not order.ascending
        if order.field.key == "experiment_id":
            terms += _by_id(descending=descending)
        elif order.field.key == "name":
            terms.append(Term(Fragment("e.name"), str, descending))
        elif order.field.key == "creation_time":
            terms.append(Term(Fragment(_COLUMN["creation_time"]), int, descending))
        else:
            terms += nulls_last(Fragment("e.updated_ms"), int, descending=descending)
    if all(order.field.key != "experiment_id" for order in orders):
        terms += _by_id(descending=True)
    return tuple(terms)


def _by_id(*, descending: bool) -> tuple[Term, Term]:
    """Ids are numbers, also where they stand as text; the text tells apart what is none."""
    return (
        Term(Fragment("CAST(e.experiment_id AS INTEGER)"), int, descending),
        Term(Fragment("e.experiment_id"), str, descending),
    )
