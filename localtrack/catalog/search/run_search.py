"""Searching runs: which names and comparators there are, and what they mean in SQL. Pure.

Source of the rules: `SearchUtils` and `_get_sqlalchemy_filter_clauses` of MLflow 3.17.
"""

from __future__ import annotations

from collections.abc import Sequence

from localtrack import rules
from localtrack.catalog.search import grammar
from localtrack.catalog.search.fields import (
    ATTRIBUTE,
    DATASET,
    METRIC,
    NUMERIC,
    PARAM,
    TAGS,
    Condition,
    Field,
    Order,
    listed,
    number,
    quoted,
)
from localtrack.catalog.search.grammar import ILIKE, IN, IS_NOT_NULL, IS_NULL, LIKE, NOT_IN, Clause
from localtrack.catalog.search.run_sql import NUMBERS, condition_sql, order_sql
from localtrack.catalog.search.sql import Fragment, Search, Value, marks
from localtrack.catalog.search.tokens import LIST, NAME, NUMBER, Token, key_of
from localtrack.errors import TrackingError

_KINDS = {
    **dict.fromkeys(("metric", "metrics"), METRIC),
    **dict.fromkeys(("parameter", "parameters", "param", "params"), PARAM),
    **dict.fromkeys(("tag", "tags"), TAGS),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), ATTRIBUTE),
    **dict.fromkeys(("dataset", "datasets"), DATASET),
}
_ORDER_ALIASES = {"created": "start_time", "Created": "start_time"}
_ALIASES = {**_ORDER_ALIASES, **dict.fromkeys(("run name", "Run name", "Run Name"), "run_name")}
_ATTRIBUTES = ("run_id", "run_name", "user_id", "status", "artifact_uri", *NUMBERS)
_DATASET_KEYS = ("name", "digest", "context")

_TEXTUAL = ("=", "!=", LIKE, ILIKE)
_COMPARATORS = {
    METRIC: NUMERIC,
    PARAM: (*_TEXTUAL, IS_NULL, IS_NOT_NULL),
    TAGS: (*_TEXTUAL, IS_NULL, IS_NOT_NULL),
    ATTRIBUTE: (*_TEXTUAL, IN, NOT_IN),
    DATASET: (*_TEXTUAL, IN, NOT_IN),
}
_COLUMNS = "r.id, r.run_id, r.experiment_id, r.name, r.user_id, r.status, r.start_time, r.end_time, r.deleted"


def run_search(
    experiment_ids: Sequence[str],
    filter_string: str | None,
    order_by: Sequence[str] | None,
    stages: tuple[int, ...],
    artifacts: str,
) -> Search:
    """A search of runs.

    Args:
        experiment_ids: the experiments to search, at least one.
        filter_string: MLflow's filter language; None or "" for all.
        order_by: clauses like "metrics.loss DESC"; behind them by start time, latest first, then by run id.
        stages: 0 for active, 1 for deleted runs.
        artifacts: the store's directory of artifacts, of which artifact_uri is made.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE.
    """
    conditions = [_condition(clause) for clause in grammar.clauses_of(filter_string or "")]
    orders = [_order(clause) for clause in grammar.orders_of(order_by)]
    ids = tuple(sorted(set(experiment_ids)))
    joins, terms = order_sql(orders, artifacts)
    return Search(
        question=("runs", ids, stages, tuple(conditions), tuple(orders)),
        columns=_COLUMNS,
        source=Fragment(f"run r{joins.text}", joins.values),
        conditions=(
            Fragment(f"r.create_stamp IS NOT NULL AND r.deleted IN ({marks(stages)})", stages),
            Fragment(f"r.experiment_id IN ({marks(ids)})", ids),
            *(condition_sql(condition, artifacts) for condition in conditions),
        ),
        terms=terms,
    )


# --- what the names mean -------------------------------------------------------------------------------------------


def _field(identifier: str, aliases: dict[str, str]) -> Field:
    prefix, key = grammar.split_identifier(identifier)
    kind = ATTRIBUTE if prefix is None else _KINDS.get(prefix)
    if kind is None:
        names = [METRIC, PARAM, TAGS, ATTRIBUTE, DATASET]
        raise TrackingError(f"Invalid entity type {rules.shown(prefix)}. Valid values are {names}")
    key = key_of(key)
    if kind == ATTRIBUTE and key not in _ATTRIBUTES and key not in aliases:
        valid = sorted((*_ATTRIBUTES, *aliases))
        raise TrackingError(f"Invalid attribute key {rules.shown(key)} specified. Valid keys are {valid}")
    if kind == DATASET and key not in _DATASET_KEYS:
        raise TrackingError(f"Invalid dataset key {rules.shown(key)} specified. Valid keys are {list(_DATASET_KEYS)}")
    return Field(kind, aliases.get(key, key) if kind == ATTRIBUTE else key)


def _condition(clause: Clause) -> Condition:
    if clause.left.kind != NAME:
        raise TrackingError(f"Invalid comparison clause. Expected 'Identifier' found {rules.shown(clause.left.text)}")
    field = _field(clause.left.text, _ALIASES)
    comparator = clause.comparator.upper()
    if clause.right is None and field.kind not in (TAGS, PARAM):
        raise TrackingError(
            f"IS NULL / IS NOT NULL is only supported for tags and params, not for '{field.kind}' '{field.key}'"
        )
    value = "" if clause.right is None else _value(field, clause.right)
    numeric = field.kind == ATTRIBUTE and field.key in NUMBERS
    valid = NUMERIC if numeric else _COMPARATORS[field.kind]
    if comparator not in valid or isinstance(value, tuple) != (comparator in (IN, NOT_IN)):
        raise TrackingError(f"Invalid comparator {rules.shown(comparator)} not one of {list(valid)}")
    return Condition(field, comparator, value)


def _value(field: Field, token: Token) -> Value | tuple[str, ...]:
    if field.kind == METRIC:
        if token.kind != NUMBER:
            raise TrackingError(f"Expected numeric value type for metric. Found {rules.shown(token.text)}")
        return float(token.text)
    if field.kind == ATTRIBUTE and field.key in NUMBERS:
        return number(field.key, token)
    if token.kind == LIST and field.kind in (ATTRIBUTE, DATASET):
        if field.kind == ATTRIBUTE and field.key != "run_id":
            raise TrackingError("Only ['run_id'] attributes support comparison with a list of quoted string values.")
        return listed(token)
    return quoted(field.kind, token)


def _order(clause: object) -> Order:
    identifier, ascending = grammar.order_of(clause)
    field = _field(identifier, _ORDER_ALIASES)
    if field.kind == DATASET:
        raise TrackingError(f"Invalid identifier type '{field.kind}'")
    return Order(field, ascending)
