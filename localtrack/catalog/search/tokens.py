"""A filter or an order as tokens. Pure.

MLflow reads filters with sqlparse, a reader of SQL in general; what is left of that after MLflow's own checks is this
small language. Quoted text keeps what is between the quotes as it stands: MLflow takes no escapes out of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from localtrack import rules
from localtrack.errors import TrackingError

#: Kinds of tokens.
NAME, NUMBER, STRING, LIST, COMPARATOR, OPERATION, OTHER = "name", "number", "string", "list", "comparator", "op", "?"

#: Characters of a filter. Ours: longer than any list of ids that SQLite takes at once.
LONGEST = 2_000_000

_SINGLE = r"'(?:''|\\'|[^'])*'"
_DOUBLE = r'"(?:""|\\"|[^"])*"'
_BACKTICKS = r"`(?:``|[^`])*`"
_PART = rf"(?:[\w@]+|{_BACKTICKS}|{_DOUBLE}|{_SINGLE})"
_IDENTIFIER = rf"(?:\w+|{_BACKTICKS}|{_DOUBLE})(?:\.{_PART})*\.?"
_TOKEN = re.compile(
    rf"""
    \s*(?:
      (?P<{NUMBER}>-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE]-?\d+)?(?![\w.]))
    | (?P<{STRING}>{_SINGLE})
    | (?P<{OPERATION}>{_IDENTIFIER}(?:[-/]+[\w.]+)+)
    | (?P<{NAME}>{_IDENTIFIER})
    | (?P<{LIST}>\((?:{_SINGLE}|{_DOUBLE}|[^()'"])*\))
    | (?P<{COMPARATOR}>[<>=~!]+)
    | (?P<{"other"}>\S)
    )""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of a filter: what kind it is, and how it is written."""

    kind: str
    text: str

    def is_word(self, word: str) -> bool:
        """Whether it is this word (given in upper case), in any case."""
        return self.kind == NAME and self.text.upper() == word


def tokens_of(text: str) -> list[Token]:
    """All tokens of a text, white space left out.

    Raises:
        TrackingError: not text that a database can be asked with, or too long.
    """
    rules.text("A filter or order", text, LONGEST)
    found, at = [], 0
    while match := _TOKEN.match(text, at):
        kind = match.lastgroup
        assert kind is not None, "one of the alternatives has matched"
        found.append(Token(OTHER if kind == "other" else kind, match[kind]))
        at = match.end()
    return found


def unquoted(text: str) -> str | None:
    """What is between single or double quotes; None: it is not quoted."""
    for quote in "'\"":
        if len(text) > 1 and text.startswith(quote) and text.endswith(quote):
            return text[1:-1]
    return None


def key_of(text: str) -> str:
    """A key without the quotes or backticks around it."""
    inner = unquoted(text)
    text = text if inner is None else inner
    return text[1:-1] if len(text) > 1 and text.startswith("`") and text.endswith("`") else text


def list_of(text: str) -> tuple[str, ...]:
    """The texts of a list like `('a', "b")`, written as Python writes them, as MLflow reads it.

    Raises:
        TrackingError: not a list of quoted texts.
    """
    from ast import literal_eval

    try:
        found = literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise TrackingError(
            "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list: "
            f"{rules.shown(text)}"
        ) from None
    found = found if isinstance(found, tuple) else (found,)
    if not all(isinstance(one, str) for one in found):
        raise TrackingError(
            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different "
            f"type in list: {rules.shown(found)}"
        )
    return tuple(rules.text("A value in a list", one, LONGEST) for one in found)
