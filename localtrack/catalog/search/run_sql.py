"""SQL of a search of runs: its conditions and its order. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from localtrack.catalog.merge import HISTORY_TAG, RUN_NAME_TAG, TAG
from localtrack.catalog.search.fields import ATTRIBUTE, DATASET, METRIC, PARAM, TAGS, Condition, Field, Order
from localtrack.catalog.search.grammar import IS_NOT_NULL, IS_NULL
from localtrack.catalog.search.sql import Fragment, Term, Value, comparison, nulls_last
from localtrack.errors import TrackingError

#: Attributes of runs that are numbers.
NUMBERS = ("start_time", "end_time")
#: SQL functions that who asks must provide: the tag with its entries, and the context among a dataset's tags.
HISTORY_FUNCTION, CONTEXT_FUNCTION = "localtrack_history_tag", "localtrack_dataset_context"

_METRIC_KEY = "(SELECT id FROM metric_key WHERE key = ?)"
#: In one text, separated by a character that JSON never has.
_ENTRIES = (
    "(SELECT group_concat(entry, char(30)) FROM (SELECT h.entry FROM model_history h WHERE h.run = r.id "
    "ORDER BY h.stamp, h.incarnation, h.n))"
)


def condition_sql(condition: Condition, artifacts: str) -> Fragment:
    """The condition on table `run`, named r; `artifacts` is the store's directory of artifacts."""
    (kind, key), comparator, value = condition
    if kind == ATTRIBUTE and key != "run_name":
        column = _attribute(key, artifacts)
        compared = comparison(column.text, comparator, value)
        return Fragment(compared.text, (*column.values, *compared.values))
    if kind == DATASET:
        column_text = f"{CONTEXT_FUNCTION}(d.tags)" if key == "context" else f"d.{key}"
        compared = comparison(column_text, comparator, value)
        return _exists(f"dataset_input d WHERE d.run = r.id AND {compared.text}", compared.values)
    if kind == METRIC:
        compared = comparison("l.value", comparator, value)
        # A NaN differs from every number, and compares with none. Its place is held by 0.
        numbers = f"(l.nan OR {compared.text})" if comparator == "!=" else f"NOT l.nan AND {compared.text}"
        return _exists(
            f"metric_latest l WHERE l.run = r.id AND l.key = {_METRIC_KEY} AND {numbers}", (key, *compared.values)
        )
    if kind == TAGS and key == HISTORY_TAG:
        return _history(comparator, value)
    if kind == PARAM:
        return _keyed("param p WHERE p.run = r.id AND p.key = ?", "p.value", key, comparator, value)
    # MLflow: a run's name in a filter is its tag.
    tag = RUN_NAME_TAG if kind == ATTRIBUTE else key
    present = f"run_cell c WHERE c.run = r.id AND c.kind = '{TAG}' AND c.key = ? AND c.value IS NOT NULL"
    return _keyed(present, "c.value", tag, comparator, value)


def _keyed(present: str, column: str, key: str, comparator: str, value: Value | tuple[str, ...]) -> Fragment:
    if comparator == IS_NULL:
        return Fragment(f"NOT EXISTS (SELECT 1 FROM {present})", (key,))
    if comparator == IS_NOT_NULL:
        return _exists(present, (key,))
    compared = comparison(column, comparator, value)
    return _exists(f"{present} AND {compared.text}", (key, *compared.values))


def _exists(rest: str, values: tuple[Value, ...]) -> Fragment:
    return Fragment(f"EXISTS (SELECT 1 FROM {rest})", values)


def _history(comparator: str, value: Value | tuple[str, ...]) -> Fragment:
    tag = _history_column()
    if comparator in (IS_NULL, IS_NOT_NULL):
        return Fragment(f"{tag.text} {comparator}", tag.values)
    compared = comparison(tag.text, comparator, value)
    return Fragment(compared.text, (*tag.values, *compared.values))


def _history_column() -> Fragment:
    tag = f"(SELECT c.value FROM run_cell c WHERE c.run = r.id AND c.kind = '{TAG}' AND c.key = ?)"
    return Fragment(f"{HISTORY_FUNCTION}({tag}, {_ENTRIES})", (HISTORY_TAG,))


def _attribute(key: str, artifacts: str) -> Fragment:
    if key == "artifact_uri":
        # As Store.run_artifacts.
        experiment = "CASE r.experiment_id WHEN '' THEN 'attached/' ELSE r.experiment_id || '/' END"
        return Fragment(f"(? || {experiment} || r.run_id || '/artifacts')", (f"{artifacts}/",))
    return Fragment("r.name" if key == "run_name" else f"r.{key}")


def order_sql(orders: Sequence[Order], artifacts: str) -> tuple[Fragment, tuple[Term, ...]]:
    """Joins that bring in what is sorted by, and the order with MLflow's own behind it."""
    fields = [order.field for order in orders]
    if len(set(fields)) < len(fields):
        raise TrackingError(f"`order_by` contains duplicate fields: {[field.key for field in fields]}")
    joins, values, terms = "", list[Value](), list[Term]()
    for number, order in enumerate(orders):
        join, own = _terms(f"o{number}", order, artifacts)
        joins += join.text
        values += join.values
        terms += own
    start = Field(ATTRIBUTE, "start_time")
    if start not in fields:
        terms.append(Term(Fragment("r.start_time"), int, descending=True))
    terms.append(Term(Fragment("r.run_id"), str))
    return Fragment(joins, tuple(values)), tuple(terms)


def _terms(name: str, order: Order, artifacts: str) -> tuple[Fragment, tuple[Term, ...]]:
    (kind, key), descending = order.field, not order.ascending
    if kind == ATTRIBUTE:
        kind_of = int if key in NUMBERS else str
        column = _attribute(key, artifacts)
        if key in ("end_time", "user_id"):
            return Fragment(""), nulls_last(column, kind_of, descending=descending)
        return Fragment(""), (Term(column, kind_of, descending),)
    if kind == METRIC:
        join = f" LEFT JOIN metric_latest {name} ON {name}.run = r.id AND {name}.key = {_METRIC_KEY}"
        # Numbers, then NaN, then what is missing, in both directions.
        rank = Term(Fragment(f"CASE {name}.nan WHEN 0 THEN 0 WHEN 1 THEN 1 ELSE 2 END"), int)
        return Fragment(join, (key,)), (rank, Term(Fragment(f"coalesce({name}.value, 0.0)"), float, descending))
    if kind == TAGS and key == HISTORY_TAG:
        return Fragment(""), nulls_last(_history_column(), str, descending=descending)
    if kind == PARAM:
        join = f" LEFT JOIN param {name} ON {name}.run = r.id AND {name}.key = ?"
    else:
        join = f" LEFT JOIN run_cell {name} ON {name}.run = r.id AND {name}.kind = '{TAG}' AND {name}.key = ?"
    return Fragment(join, (key,)), nulls_last(Fragment(f"{name}.value"), str, descending=descending)
