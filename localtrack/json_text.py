"""JSON that others wrote (a journal from elsewhere, a server, a tag edited by hand), read within bounds. Pure."""

from __future__ import annotations

import json
from typing import Any

#: Levels of lists and objects that are read. Python's own JSON goes on to thousands, and then whatever walks through
#: the value comes to the end of the stack.
DEPTH = 100
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def loaded(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or is nested deeper than DEPTH.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"JSON that is nested deeper than {DEPTH} levels") from None
    if text.count("[") + text.count("{") > DEPTH and not _is_flat(text) and _too_deep(value):
        raise ValueError(f"JSON that is nested deeper than {DEPTH} levels")
    return value


def _is_flat(text: str) -> bool:
    """Whether brackets fall together in DEPTH steps. False may also mean that some stand within texts. Fast."""
    left = text.encode("utf-8", "surrogatepass").translate(None, _NO_BRACKETS)
    for _ in range(DEPTH):
        if not left:
            return True
        before = len(left)
        left = left.replace(b"{}", b"").replace(b"[]", b"")
        if len(left) == before:
            return False
    return not left


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH + 1):
        level = [below for one in level if isinstance(one, dict | list) for below in _below(one)]
        if not level:
            return False
    return True


def _below(one: dict[str, Any] | list[Any]) -> list[Any]:
    found = one.values() if isinstance(one, dict) else one
    return [below for below in found if isinstance(below, dict | list)]
