"""What a remote may say: JSON within bounds, whose known fields are of their kinds. Pure.

A reply is the word of a stranger. It is looked at here once, so that what reads it later need not fear a list where an
object belongs, a number that no column holds, or a text that nothing can print.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localtrack.json_text import loaded

#: Characters of an error message that are looked at and kept; no message that means something is as long.
WORDS_CHARS = 8000
#: Characters of an id.
ID_CHARS = 500
#: Characters of an error code.
CODE_CHARS = 100
#: Characters of a wrong value that are told.
_SHOWN_CHARS = 60
_INT64 = range(-(2**63), 2**63)
#: Most metrics: number of fields (key, value, timestamp, step), size of numbers, spelling of values that JSON lacks.
_USUAL_FIELDS, _USUAL, _WORDS = 4, 2**62, ("NaN", "Infinity", "-Infinity")
#: What a surrogate without its half becomes: neither SQLite nor a terminal takes one.
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def parsed(body: bytes) -> Any:
    """The JSON value of a reply; None for what is none, or is nested deeper than any answer."""
    try:
        value = loaded(body.decode("utf-8-sig"))
    except ValueError:
        return None
    return _whole(value) if b"\\ud" in body or b"\\uD" in body else value


def _whole(value: Any) -> Any:
    """The same without surrogates that stand alone."""
    if isinstance(value, str):
        return value if value.isascii() else "".join(_REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(one) for name, one in value.items()}
    return value


def cut(text: str, most: int = WORDS_CHARS) -> str:
    """A text of the remote's within bounds."""
    return text if len(text) <= most else f"{text[:most]}..."


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _is_text(value: Any) -> bool:
    return not isinstance(value, dict | list)


def _is_id(value: Any) -> bool:
    """Whether it may be the id of something: it goes into addresses, files of ours and what people see."""
    return _is_text(value) and len(text := str(value)) <= ID_CHARS and text.isprintable()


def _is_integer(value: Any) -> bool:
    """Whether it is a number of 64 bits; numbers may come as text."""
    try:
        return not isinstance(value, dict | list) and int(value or 0) in _INT64
    except (ValueError, OverflowError):
        return False


def _is_number(value: Any) -> bool:
    try:
        float(value or 0.0)
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _are_metrics(value: Any) -> bool:
    return _is_objects(value) and all(_is_number(one.get("value")) for one in value)


def _is_usual(metric: Mapping[str, Any]) -> bool:
    """Whether it is a metric as nearly all are, so that nothing more of it has to be looked at."""
    step, timestamp, value = metric.get("step"), metric.get("timestamp"), metric.get("value")
    return (
        len(metric) == _USUAL_FIELDS
        and type(metric.get("key")) is str
        and (type(value) is float or value in _WORDS)
        and type(step) is type(timestamp) is int
        and -_USUAL < step < _USUAL
        and -_USUAL < timestamp < _USUAL
    )


def _kinds() -> dict[str, Callable[[Any], bool]]:
    named = {
        _is_object: "run info data model experiment inputs outputs dataset credential_info",
        _is_objects: (
            "runs experiments models tags params files dataset_inputs model_inputs model_outputs credentials "
            "credential_infos"
        ),
        _are_metrics: "metrics",
        _is_integer: "step timestamp start_time end_time file_size part_number",
        _is_text: (
            "key value name digest artifact_uri run_name next_page_token path dataset_name dataset_digest upload_id "
            "url presigned_url signed_uri"
        ),
        _is_id: "run_id run_uuid experiment_id model_id status lifecycle_stage",
    }
    return {name: kind for kind, names in named.items() for name in names.split()}


#: Field of MLflow's API -> whether a value is of its kind.
_KINDS: Mapping[str, Callable[[Any], bool]] = _kinds()


def malformed(body: Mapping[str, Any]) -> str:
    """What in an answer of MLflow's API is not of its kind, in words; "" when all of it is. A null is a field left out.

    Args:
        body: as it comes out of `parsed`, so that its depth is bounded.
    """
    waiting: list[Mapping[str, Any]] = [body]
    while waiting:
        for name, value in waiting.pop().items():
            kind = _KINDS.get(name)
            if kind is None or value is None:
                continue  # nobody reads what lies below a field that is not known here
            if name == "metrics" and isinstance(value, list):
                value = [one for one in value if not (isinstance(one, dict) and _is_usual(one))]  # noqa: PLW2901
            if not kind(value):
                return f"an answer whose field {name} makes no sense: {cut(repr(value), _SHOWN_CHARS)}"
            if isinstance(value, dict):
                waiting.append(value)
            elif isinstance(value, list):
                waiting += value
    return ""
