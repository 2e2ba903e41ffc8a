from __future__ import annotations

import posixpath
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from localtrack import rules
from localtrack.errors import TrackingError


@given(st.text(alphabet=st.sampled_from("abé中_-. :/@\n\t😀0")) | st.text())
@example("a\n")
@example("a//b")
@example("..a")
@example(".")
@example(" ")
def test_keys_are_those_of_mlflow(name: str) -> None:
    """A key passes exactly when MLflow's server accepts it: its character class, its path rule, 250 characters."""
    allowed = (
        0 < len(name) <= 250
        and re.fullmatch(r"[/\w.\- :]*", name) is not None
        and posixpath.normpath(name) == name
        and name != "."
        and not name.startswith(("..", "/"))
    )
    if allowed:
        assert rules.key("metric", name) == name
    else:
        with pytest.raises(TrackingError) as caught:
            rules.key("metric", name)
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"], float("nan"), object()])
def test_a_key_is_a_str(name: object) -> None:
    """A key of another type is refused, also one that cannot be hashed."""
    with pytest.raises(TrackingError, match="key must be a str"):
        rules.key("param", name)


def test_a_str_subclass_becomes_a_str() -> None:
    """What is kept of a str subclass is an exact str: its text for keys, its str() for values."""

    class Shout(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "LOUD"

    assert type(rules.key("tag", Shout("quiet"))) is str
    assert rules.key("tag", Shout("quiet")) == "quiet"
    assert rules.tag_value("t", Shout("quiet"), rules.refuse_long) == "LOUD"


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x\udfff"])
def test_text_that_cannot_be_sent_is_refused(value: str) -> None:
    """NUL characters and lone surrogates are refused in values, and the message can be printed."""
    with pytest.raises(TrackingError) as caught:
        rules.param_value("p", value, rules.refuse_long)
    assert str(caught.value).isprintable()


def test_long_values_are_cut_or_refused_as_the_policy_says() -> None:
    """A param of 6001 characters is handed to the policy; 6000 pass untouched."""
    seen = []

    def cut(what: str, text: str, limit: int) -> str:
        seen.append((what, len(text), limit))
        return text[:limit]

    assert rules.param_value("p", "x" * 6000, cut) == "x" * 6000
    assert rules.param_value("p", "x" * 6001, cut) == "x" * 6000
    assert rules.tag_value("t", "x" * 8001, cut) == "x" * 8000
    assert seen == [("Value of param 'p'", 6001, 6000), ("Value of tag 't'", 8001, 8000)]
    with pytest.raises(TrackingError, match="6001 characters; at most 6000"):
        rules.param_value("p", "x" * 6001, rules.refuse_long)
    with pytest.raises(TrackingError, match="at most 20000"):
        rules.experiment_tag("t", "x" * 20_001)


def test_a_value_whose_str_fails_is_bad_input() -> None:
    """An exception in a value's __str__ or __repr__ becomes a TrackingError that names the param."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(TrackingError, match="param 'p' cannot be turned into a str"):
        rules.param_value("p", Broken(), rules.refuse_long)
    assert rules.shown(Broken()) == "a value of type Broken"


@pytest.mark.parametrize("name", ["", " ", "\t\n", None, 7, "x" * 501])
def test_experiment_names_that_servers_refuse(name: object) -> None:
    """Empty, white and overlong experiment names are refused, and what is no str."""
    with pytest.raises(TrackingError):
        rules.experiment_name(name)


def test_experiment_ids() -> None:
    """Ids are short words; an int is taken for its digits; anything else is refused."""
    assert rules.experiment_id(7) == "7"
    assert rules.experiment_id("1-a_b") == "1-a_b"
    for bad in ("", "a b", "-a", None, 1.0, "a" * 65, True):
        if bad is True:
            assert rules.experiment_id(bad) == "1"
            continue
        with pytest.raises(TrackingError):
            rules.experiment_id(bad)


@pytest.mark.parametrize("length", [0, -1, 50_001, 1.0, True, None, "7"])
def test_page_lengths(length: object) -> None:
    """A page has 1 to 50,000 items."""
    with pytest.raises(TrackingError):
        rules.max_results(length)


def test_valid_keys_do_not_grow_without_end() -> None:
    """A program that makes a new key per step does not fill the memory with remembered keys."""
    for i in range(100_050):
        rules.key("metric", f"k{i}")
    assert len(rules.VALID_KEYS) <= 100_000
