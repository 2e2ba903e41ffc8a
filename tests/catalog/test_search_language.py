from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.catalog.search.experiment_search import experiment_search
from localtrack.catalog.search.grammar import order_of
from localtrack.catalog.search.model_search import model_search
from localtrack.catalog.search.run_search import run_search
from localtrack.catalog.search.sql import Search, statement
from localtrack.errors import TrackingError


def runs(filter_string: str, order_by: Any = None) -> Search:
    """The search of runs."""
    return run_search(["7"], filter_string, order_by, (0,), "/a")


def conditions(filter_string: str) -> list[tuple[Any, ...]]:
    """Kind, key, comparator and value of each comparison of a filter on runs."""
    found: Any = runs(filter_string).question[3]
    return [(*condition.field, condition.comparator, condition.value) for condition in found]


def refused(filter_string: str, order_by: Any = None) -> str:
    """The message of the refusal."""
    with pytest.raises(TrackingError) as caught:
        runs(filter_string, order_by)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    return caught.value.message


def test_a_filter_is_read_as_comparisons() -> None:
    """Aliases, quotes and lower case come out as one canonical form, so that equal questions are equal."""
    assert conditions(
        """metrics.`a b` >= -1.5e-3 and param."p" like 'x%' AND tag.k.y is not null AND attr.`run name` != "it's" """
        """AND run.run_id not in ('a', "b") AND Created < 5 AND dataset.context = ''"""
    ) == [
        ("metric", "a b", ">=", -0.0015),
        ("parameter", "p", "LIKE", "x%"),
        ("tag", "k.y", "IS NOT NULL", ""),
        ("attribute", "run_name", "!=", "it's"),
        ("attribute", "run_id", "NOT IN", ("a", "b")),
        ("attribute", "start_time", "<", 5),
        ("dataset", "context", "=", ""),
    ]
    assert conditions("") == []


@pytest.mark.parametrize("word", ["values", "from", "in", "case", "order", "and", "null", "timestamp"])
def test_words_of_sql_are_keys_like_others(word: str) -> None:
    """A param may be called like a word of SQL."""
    assert conditions(f"params.{word} = 'x' AND params.{word} IS NULL")[0] == ("parameter", word, "=", "x")
    assert order_of(f"params.{word} DESC") == (f"params.{word}", False)


def test_text_keeps_what_is_between_its_quotes() -> None:
    """No escapes are taken out, as in MLflow; a keyword or a comparison within quotes is text."""
    texts = [
        value for *_, value in conditions(r"""params.a = 'it''s' AND params.a = "x AND y > 1" AND tags.b = 'a\'b'""")
    ]
    assert texts == ["it''s", "x AND y > 1", r"a\'b"]


@pytest.mark.parametrize(
    ("filter_string", "message"),
    [
        ("foo.bar = 'x'", "Invalid entity type 'foo'"),
        ("foo = 'x'", "Invalid attribute key 'foo' specified"),
        ("dataset.foo = 'x'", "Invalid dataset key 'foo' specified"),
        ("metrics.a = 'x'", "Expected numeric value type for metric. Found \"'x'\""),
        ("params.a = 5", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value '5'"),
        ("params.a > 'x'", "Invalid comparator '>' not one of"),
        ("metrics.a == 1", "Invalid comparator '==' not one of"),
        ("status IN ('a')", "Only ['run_id'] attributes support comparison with a list"),
        ("run_id IN ()", "expected a non-empty list of string values, but got empty list"),
        ("run_id IN (a)", "expected a non-empty list of string values, but got ill-formed list"),
        ("run_id IN (1)", "different type in list: (1,)"),
        ("run_id = ('a')", "Invalid comparator '='"),
        ("metrics.a IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params, not for 'metric' 'a'"),
        ("1 < metrics.a", "Invalid comparison clause. Expected 'Identifier' found '1'"),
        ("metrics.a-b > 1", "Invalid comparison clause. Expected 'Identifier' found 'metrics.a-b'"),
        ("metrics.a > 1 OR metrics.b > 1", "Invalid clause(s) in filter string: 'OR metrics.b > 1'"),
        ("metrics.a > 1; metrics.b > 1", "Search filter contained multiple expression"),
        (" ", "Invalid filter ' '. Could not be parsed."),
        ("params.a = 'x\0'", "NUL"),
        ("params.a = '\ud800'", "surrogate"),
        (" AND ".join(["metrics.a > 1"] * 301), "at most 300 comparisons"),
        ("params.a LIKE '" + "%" * 50_001 + "'", "at most 50000 bytes"),
    ],
)
def test_a_bad_filter_is_refused_with_mlflows_words(filter_string: str, message: str) -> None:
    """The message names the piece and the rule, as close to MLflow's as can be."""
    assert message in refused(filter_string)


@pytest.mark.parametrize(
    ("order_by", "message"),
    [
        (["start_time up"], "Invalid ordering key in order_by clause 'start_time up'"),
        (["a, b"], "Invalid order_by clause 'a, b'. Could not be parsed."),
        ([3], "Invalid order_by clause 3"),
        (["metrics.a", "metric.`a` DESC"], "`order_by` contains duplicate fields"),
        ("start_time", "order_by must be a list"),
        ([f"metrics.a{i}" for i in range(51)], "at most 50 clauses"),
    ],
)
def test_a_bad_order_is_refused(order_by: Any, message: str) -> None:
    """Another order is an error, never silently another result."""
    assert message in refused("", order_by)


def test_more_values_than_sqlite_takes_are_refused() -> None:
    """A list of more ids than can be bound is an error of the caller, not one of the disk."""
    listed = ", ".join(f"'{number}'" for number in range(32_000))
    with pytest.raises(TrackingError, match="at most 32000 values"):
        statement(runs(f"run_id IN ({listed})"), None, 10)


@pytest.mark.parametrize(
    "arguments",
    [
        {"filter_string": "name = 'a' AND foo.b = 'x'"},
        {"filter_string": "name > 'a'"},
        {"filter_string": "foo = 'a'"},
        {"filter_string": "metrics.a > 'x'"},
        {"filter_string": "name IN 'a'"},
        {"filter_string": "name = ('a')"},
        {"filter_string": "name IS NULL"},
        {"order_by": ["name"]},
        {"order_by": [{}]},
        {"order_by": [{"field_name": "params.a"}]},
        {"order_by": [{"field_name": "foo"}]},
        {"order_by": [{"field_name": "name", "ascending": "no"}]},
        {"order_by": [{"field_name": "metrics.a", "dataset_digest": "d"}]},
        {"datasets": "iris"},
        {"datasets": [{}]},
        {"datasets": [{"dataset_name": 3}]},
    ],
)
def test_a_bad_search_of_models_is_refused(arguments: dict[str, Any]) -> None:
    """INVALID_PARAMETER_VALUE, also where MLflow fails inside."""
    with pytest.raises(TrackingError) as caught:
        model_search(["7"], **{"filter_string": None, "datasets": None, "order_by": None, **arguments})
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


_PIECES = ("metrics", ".", "a", "'", '"', "`", "(", ")", ">", "=", "1", "AND", "IN", "IS", "NOT", "NULL", "LIKE", "-")


def fate(ask: Callable[[], Search]) -> str:
    """The error code of a refusal, or "read"."""
    try:
        return "read" if ask().terms else "no order"
    except TrackingError as error:
        return error.error_code


@given(st.text(max_size=60) | st.lists(st.sampled_from(_PIECES)).map(" ".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever is given, a search comes out or INVALID_PARAMETER_VALUE: nothing else is raised."""
    fates = {
        fate(lambda: runs(text)),
        fate(lambda: runs("", [text])),
        fate(lambda: experiment_search(text, None, (0,))),
        fate(lambda: experiment_search(None, [text], (0,))),
        fate(lambda: model_search(["7"], text, None, None)),
        fate(lambda: model_search(["7"], None, None, [{"field_name": text}])),
    }
    assert fates <= {"read", "INVALID_PARAMETER_VALUE"}
