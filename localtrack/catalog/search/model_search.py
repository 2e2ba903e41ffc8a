"""Searching logged models: which names and comparators there are, and what they mean in SQL. Pure.

Source of the rules: `search_logged_model_utils` and `SqlAlchemyStore.search_logged_models` of MLflow 3.17. Two answers
of that store are not copied: text in double quotes keeps its quotes there and matches nothing; and so does every
status, which it compares with a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from localtrack import rules
from localtrack.catalog.merge import TAG
from localtrack.catalog.search import grammar
from localtrack.catalog.search.fields import NUMERIC, Condition, Field
from localtrack.catalog.search.grammar import ILIKE, IN, LIKE, NOT_IN, Clause
from localtrack.catalog.search.sql import Fragment, Search, Term, Value, comparison, marks, nulls_last
from localtrack.catalog.search.tokens import LIST, NAME, OPERATION, Token, key_of, list_of, unquoted
from localtrack.errors import TrackingError

_ATTRIBUTES, _METRICS, _PARAMS, _TAGS = KINDS = ("attributes", "metrics", "params", "tags")
_ALIASES = {
    "creation_time": "creation_timestamp",
    "creation_timestamp_ms": "creation_timestamp",
    "last_updated_time": "last_updated_timestamp",
    "last_updated_timestamp_ms": "last_updated_timestamp",
}
_NUMBERS = {"creation_timestamp": "m.creation_ms", "last_updated_timestamp": "m.updated_ms"}
_TEXTS = {
    "name": "m.name",
    "model_id": "m.model_id",
    "model_type": "m.model_type",
    "status": "m.status",
    "source_run_id": "m.source_run_id",
}
_TEXTUAL = ("=", "!=", LIKE, ILIKE, IN, NOT_IN)
#: MLflow orders by the numbers of the statuses.
_STATUS_RANK = "CASE m.status WHEN 'PENDING' THEN 1 WHEN 'READY' THEN 2 WHEN 'FAILED' THEN 3 ELSE 0 END"
_COLUMNS = (
    "m.id, m.model_id, m.experiment_id, m.name, m.model_type, m.source_run_id, m.status, m.deleted, m.creation_ms, "
    "m.updated_ms"
)
_POINTS = (
    "metric_extra x JOIN metric p ON p.extra = x.id AND p.extra <> 0 "
    "AND p.key = (SELECT id FROM metric_key WHERE key = ?)"
)
#: The latest point of a metric for each model.
_LATEST = (
    "(SELECT x.model_id, p.value, p.nan, row_number() OVER (PARTITION BY x.model_id "
    "ORDER BY p.ts DESC, p.step DESC, r.run_id, p.nan, p.value DESC) AS place "
    f"FROM {_POINTS} JOIN run r ON r.id = p.run WHERE x.model_id IS NOT NULL%s)"
)


class OnDataset(NamedTuple):
    """A dataset that metrics must be on; the digest None is any."""

    name: str
    digest: str | None


class ModelOrder(NamedTuple):
    """One clause of an order; `dataset` is for metrics only."""

    field: Field
    ascending: bool
    dataset: OnDataset | None


def model_search(
    experiment_ids: Sequence[str],
    filter_string: str | None,
    datasets: Sequence[Mapping[str, str]] | None,
    order_by: Sequence[Mapping[str, object]] | None,
) -> Search:
    """A search of logged models; deleted ones are never found.

    Args:
        experiment_ids: the experiments to search, at least one.
        filter_string: over attributes, metrics, params and tags; None or "" for all.
        datasets: `dataset_name`, and `dataset_digest` if it matters: metrics of the filter must be on one of them;
            without metrics in the filter, a model must have any metric on one of them.
        order_by: `field_name` (an attribute or `metrics.<key>`), `ascending` (True), `dataset_name` and
            `dataset_digest`; behind them the newest first, then by id.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE.
    """
    conditions = [_condition(clause) for clause in grammar.clauses_of(filter_string or "")]
    wanted = tuple(_dataset(one, "datasets") for one in _dicts("datasets", datasets))
    orders = [_order(one) for one in grammar.orders_of(order_by)]
    ids = tuple(sorted(set(experiment_ids)))
    joins, terms = _sorting(orders)
    found = [_sql(condition, wanted) for condition in conditions]
    if wanted and all(condition.field.kind != _METRICS for condition in conditions):
        found.append(_any_metric(wanted))
    return Search(
        question=("logged models", ids, tuple(conditions), wanted, tuple(orders)),
        columns=_COLUMNS,
        source=Fragment(f"model m{joins.text}", joins.values),
        conditions=(
            Fragment("m.create_stamp IS NOT NULL AND NOT m.deleted"),
            Fragment(f"m.experiment_id IN ({marks(ids)})", ids),
            *found,
        ),
        terms=terms,
    )


# --- what the names mean -------------------------------------------------------------------------------------------


def _field(identifier: str) -> Field:
    kind, period, key = identifier.partition(".")
    if not period:
        kind, key = _ATTRIBUTES, identifier
    if kind not in KINDS:
        raise TrackingError(f"Invalid entity type: {rules.shown(kind)}. Expected one of {list(KINDS)}.")
    key = key_of(key)
    if kind != _ATTRIBUTES:
        return Field(kind, key)
    key = _ALIASES.get(key, key)
    if key not in _NUMBERS and key not in _TEXTS:
        valid = [*_TEXTS, *_NUMBERS]
        raise TrackingError(f"Invalid attribute key {rules.shown(key)} specified. Valid keys are {valid}")
    return Field(kind, key)


def _is_numeric(field: Field) -> bool:
    return field.kind == _METRICS or (field.kind == _ATTRIBUTES and field.key in _NUMBERS)


def _condition(clause: Clause) -> Condition:
    if clause.left.kind not in (NAME, OPERATION):
        raise TrackingError(f"Invalid comparison clause. Expected 'Identifier' found {rules.shown(clause.left.text)}")
    field, comparator = _field(clause.left.text), clause.comparator.upper()
    valid = NUMERIC if _is_numeric(field) else _TEXTUAL
    if comparator not in valid or clause.right is None:
        raise TrackingError(
            f"Invalid comparison operator for {field.kind}.{field.key}: {rules.shown(comparator)}. "
            f"Expected one of {list(valid)}."
        )
    return Condition(field, comparator, _value(field, comparator, clause.right))


def _value(field: Field, comparator: str, token: Token) -> Value | tuple[str, ...]:
    if _is_numeric(field):
        try:
            return float(token.text)
        except ValueError:
            message = f"Expected numeric value type for {field.kind}.{field.key}. Found {rules.shown(token.text)}"
            raise TrackingError(message) from None
    if (token.kind == LIST) != (comparator in (IN, NOT_IN)):
        raise TrackingError(
            f"Invalid value for the comparison {rules.shown(comparator)} of {field.kind}.{field.key}: "
            f"{rules.shown(token.text)}"
        )
    if token.kind == LIST:
        return list_of(token.text)
    text = unquoted(token.text)
    return token.text if text is None else text


def _dicts(what: str, given: object) -> list[Mapping[str, object]]:
    if given is None:
        return []
    if not isinstance(given, list | tuple) or not all(isinstance(one, Mapping) for one in given):
        raise TrackingError(f"`{what}` must be a list of dictionaries, got {rules.shown(given)}")
    return list(given)


def _dataset(given: Mapping[str, object], clause: str) -> OnDataset:
    name, digest = given.get("dataset_name"), given.get("dataset_digest")
    if not name:
        raise TrackingError(f"`dataset_name` in the `{clause}` clause must be specified.")
    digest = rules.text("dataset_digest", digest, rules.DATASET_DIGEST_LENGTH) if digest else None
    return OnDataset(rules.text("dataset_name", name, rules.DATASET_NAME_LENGTH), digest)


def _order(clause: object) -> ModelOrder:
    if not isinstance(clause, Mapping):
        raise TrackingError("`order_by` must be a list of dictionaries.")
    name, ascending = clause.get("field_name"), clause.get("ascending", True)
    if not isinstance(name, str):
        raise TrackingError("`field_name` in the `order_by` clause must be specified.")
    if ascending not in (True, False):
        raise TrackingError(
            f"Value of `ascending` in the `order_by` clause must be a boolean, got {rules.shown(ascending)} for field "
            f"{rules.shown(name)}."
        )
    rules.text("field_name", name, rules.TAG_LENGTH)
    kind, period, key = name.partition(".")
    if period and kind != _METRICS:
        raise TrackingError(f"Invalid order by field name: {rules.shown(name)}. Only metrics are supported.")
    field = Field(_METRICS, key) if period else _field(name.strip())
    dataset = None
    if clause.get("dataset_name") or clause.get("dataset_digest"):
        dataset = _dataset(clause, "order_by")
    return ModelOrder(field, bool(ascending), dataset if period else None)


# --- SQL -----------------------------------------------------------------------------------------------------------


def _sql(condition: Condition, datasets: Sequence[OnDataset]) -> Fragment:
    (kind, key), comparator, value = condition
    if kind == _ATTRIBUTES:
        return comparison(_NUMBERS.get(key) or _TEXTS[key], comparator, value)
    if kind == _METRICS:
        compared = comparison("p.value", comparator, value)
        numbers = f"(p.nan OR {compared.text})" if comparator == "!=" else f"NOT p.nan AND {compared.text}"
        on = _on(datasets)
        text = f"m.model_id IN (SELECT x.model_id FROM {_POINTS} WHERE {numbers}{on.text})"
        return Fragment(text, (key, *compared.values, *on.values))
    table = (
        "model_param t WHERE t.model = m.id"
        if kind == _PARAMS
        else f"model_cell t WHERE t.model = m.id AND t.kind = '{TAG}' AND t.value IS NOT NULL"
    )
    compared = comparison("t.value", comparator, value)
    return Fragment(f"EXISTS (SELECT 1 FROM {table} AND t.key = ? AND {compared.text})", (key, *compared.values))


def _any_metric(datasets: Sequence[OnDataset]) -> Fragment:
    on = _on(datasets)
    points = "metric_extra x WHERE EXISTS (SELECT 1 FROM metric p WHERE p.extra = x.id AND p.extra <> 0)"
    return Fragment(f"m.model_id IN (SELECT x.model_id FROM {points}{on.text})", on.values)


def _on(datasets: Sequence[OnDataset]) -> Fragment:
    """That a point is on one of the datasets; nothing when any will do."""
    if not datasets:
        return Fragment("")
    texts, values = list[str](), list[Value]()
    for name, digest in datasets:
        texts.append("x.dataset_name = ?" if digest is None else "x.dataset_name = ? AND x.dataset_digest = ?")
        values += [name] if digest is None else [name, digest]
    return Fragment(f" AND ({' OR '.join(texts)})", tuple(values))


def _sorting(orders: Sequence[ModelOrder]) -> tuple[Fragment, tuple[Term, ...]]:
    joins, values, terms = "", list[Value](), list[Term]()
    for number, (field, ascending, dataset) in enumerate(orders):
        if field.kind == _METRICS:
            on = _on([] if dataset is None else [dataset])
            name = f"o{number}"
            joins += f" LEFT JOIN {_LATEST % on.text} {name} ON {name}.model_id = m.model_id AND {name}.place = 1"
            values += [field.key, *on.values]
            terms.append(Term(Fragment(f"CASE {name}.nan WHEN 0 THEN 0 WHEN 1 THEN 1 ELSE 2 END"), int))
            terms.append(Term(Fragment(f"coalesce({name}.value, 0.0)"), float, not ascending))
        elif field.key in _NUMBERS:
            terms.append(Term(Fragment(_NUMBERS[field.key]), int, not ascending))
        elif field.key == "status":
            terms.append(Term(Fragment(_STATUS_RANK), int, not ascending))
        else:
            terms += nulls_last(Fragment(_TEXTS[field.key]), str, descending=not ascending)
    keys = [order.field.key for order in orders if order.field.kind == _ATTRIBUTES]
    if "creation_timestamp" not in keys:
        terms.append(Term(Fragment("m.creation_ms"), int, descending=True))
    terms.append(Term(Fragment("m.model_id"), str))
    return Fragment(joins, tuple(values)), tuple(terms)
