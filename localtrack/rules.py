"""What a tracking server accepts, checked at call time. Pure: values in, canonical values or a TrackingError out.

Sources: mlflow/utils/validation.py of MLflow 3.17 and docs/api.md; the reasons that are ours stand beside the rule.
Everything that passes here can be sent to a server as strict JSON: text that is UTF-8, numbers that fit their type. A
server answers some of the rest with a silent 200 and a lost batch, so the rest must never enter a journal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from localtrack.entities import RunStatus
from localtrack.errors import TrackingError

KEY_LENGTH = 250
PARAM_LENGTH = 6000
TAG_LENGTH = 8000
EXPERIMENT_TAG_LENGTH = 20_000
EXPERIMENT_NAME_LENGTH = 500
ARTIFACT_LOCATION_LENGTH = 2048
DATASET_NAME_LENGTH = 500
DATASET_DIGEST_LENGTH = 36
PAGE_LENGTH = 50_000

#: What MLflow's client sends in one request; a longer call is split there, and so is one record here.
PARAMS_PER_REQUEST = 100
TAGS_PER_REQUEST = 100
ENTITIES_PER_REQUEST = 1000

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

#: What to do with a value that is too long: gets what it is, the text and the limit; returns what is kept, or raises.
LongText: TypeAlias = Callable[[str, str, int], str]

#: Keys that passed `key` before, so that the hot path asks a set. Emptied when it grows to _KEYS_REMEMBERED.
VALID_KEYS: set[str] = set()
_KEYS_REMEMBERED = 100_000

_KEY = re.compile(r"[/\w.\- :]*")
_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_EXPERIMENT_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,63}")
_SHOWN = 100


def shown(value: object) -> str:
    """`value` for an error message: its repr, at most 100 characters, whatever its own __repr__ does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide what is wrong with the value
        return f"a value of type {type(value).__name__}"
    text = text.encode("ascii", "backslashreplace").decode() if not text.isprintable() else text
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def refuse_long(what: str, text: str, limit: int) -> str:
    """The policy for long values that raises.

    Raises:
        TrackingError: always.
    """
    raise TrackingError(f"{what} has {len(text)} characters; at most {limit} are allowed. It begins with {shown(text)}")


def key(kind: str, name: object) -> str:
    r"""The name of a metric, param or tag (`kind` says which, for the message).

    Raises:
        TrackingError: not a str, empty, over 250 characters, a character outside `[/\w.\- :]`, or a path that would
            resolve to another name (servers may use names as file names).
    """
    if type(name) is str and name in VALID_KEYS:
        return name
    if not isinstance(name, str):
        raise TrackingError(f"A {kind} key must be a str, got {shown(name)}")
    name = str.__str__(name)
    if not name:
        raise TrackingError(f"A {kind} key must be provided; it is empty")
    if len(name) > KEY_LENGTH:
        raise TrackingError(f"{kind} key {shown(name)} has {len(name)} characters; at most {KEY_LENGTH} are allowed")
    if not _KEY.fullmatch(name):
        raise TrackingError(
            f"Invalid {kind} key {shown(name)}: names may only contain letters, digits, underscores (_), dashes (-), "
            "periods (.), spaces ( ), colons (:) and slashes (/)"
        )
    if name.startswith(("/", "..")) or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise TrackingError(
            f"Invalid {kind} key {shown(name)}: servers may use it as a path, and that would name something else"
        )
    if len(VALID_KEYS) >= _KEYS_REMEMBERED:
        VALID_KEYS.clear()
    VALID_KEYS.add(name)
    return name


def text(what: str, value: object, limit: int, long: LongText = refuse_long) -> str:
    """Any str that a server can store: UTF-8, no NUL, at most `limit` characters (or what `long` makes of it).

    Raises:
        TrackingError: not a str, or not storable.
    """
    if not isinstance(value, str):
        raise TrackingError(f"{what} must be a str, got {shown(value)}")
    value = str.__str__(value)
    if "\0" in value:
        raise TrackingError(f"{what} contains a NUL character, which not every server can store: {shown(value)}")
    if not value.isascii():
        _encodable(what, value)
    return value if len(value) <= limit else long(what, value, limit)


def _encodable(what: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TrackingError(f"{what} contains a lone surrogate, which UTF-8 cannot express: {shown(value)}") from None


def stringified(what: str, value: object) -> str:
    """`str(value)` as an exact str, as MLflow's client makes params and tags.

    Raises:
        TrackingError: `str(value)` fails.
    """
    if type(value) is str:
        return value
    try:
        return str.__str__(str(value))
    except Exception as error:
        raise TrackingError(f"{what} cannot be turned into a str: {shown(error)}") from error


def param_value(name: str, value: object, long: LongText) -> str:
    """The value of a param: any object, stringified, at most 6000 characters."""
    what = f"Value of param {name!r}"
    return text(what, stringified(what, value), PARAM_LENGTH, long)


def tag_value(name: str, value: object, long: LongText) -> str:
    """The value of a run's tag: any object, stringified, at most 8000 characters."""
    what = f"Value of tag {name!r}"
    return text(what, stringified(what, value), TAG_LENGTH, long)


def run_tags(tags: object, long: LongText) -> dict[str, str]:
    """Checked tags of a run from a mapping of keys to anything, or None."""
    return {(k := key("tag", name)): tag_value(k, value, long) for name, value in items("tags", tags)}


def experiment_tag(name: object, value: object) -> tuple[str, str]:
    """A tag of an experiment: key as ever, value at most 20,000 characters (refused, never cut: as MLflow does)."""
    name = key("experiment tag", name)
    what = f"Value of experiment tag {name!r}"
    return name, text(what, stringified(what, value), EXPERIMENT_TAG_LENGTH)


def items(what: str, mapping: object) -> list[tuple[object, object]]:
    """The items of a mapping; None is empty.

    Raises:
        TrackingError: not a mapping.
    """
    if mapping is None:
        return []
    if not isinstance(mapping, Mapping):
        raise TrackingError(f"{what} must be a dict, got {shown(mapping)}")
    return list(mapping.items())


def experiment_name(name: object) -> str:
    """The name of an experiment: 1 to 500 characters, not only white space."""
    name = text("Experiment name", name, EXPERIMENT_NAME_LENGTH)
    if not name.strip():
        raise TrackingError(f"Invalid experiment name: {name!r}. A name must not be empty or white space")
    return name


def artifact_location(location: object) -> str | None:
    """Where an experiment's artifacts shall lie on the server, or None for the server's own choice."""
    if location is None:
        return None
    location = text("artifact_location", location, ARTIFACT_LOCATION_LENGTH)
    if location.startswith("runs:"):
        raise TrackingError(f"artifact_location cannot be a runs:/ URI: {shown(location)}")
    return location or None


def experiment_id(value: object) -> str:
    """An experiment id; an int is taken for its digits, as MLflow does."""
    given = str(int(value)) if isinstance(value, int) else value
    if not isinstance(given, str) or not _EXPERIMENT_ID.fullmatch(given):
        raise TrackingError(f"Invalid experiment id: {shown(value)}")
    return str.__str__(given)


def run_id(value: object) -> str:
    """A run id: 1 to 256 letters, digits, underscores and dashes, the first a letter or digit."""
    if not isinstance(value, str) or not _RUN_ID.fullmatch(value):
        raise TrackingError(f"Invalid run id: {shown(value)}")
    return str.__str__(value)


def run_name(name: object) -> str | None:
    """The name of a run, None for None and "". It is also the tag mlflow.runName, so a tag's limit is its limit."""
    return None if name is None else text("Run name", name, TAG_LENGTH) or None


def status(value: object) -> str:
    """The status of a run, exactly as MLflow spells it (a server ignores an unknown one in silence)."""
    if not isinstance(value, str) or value not in RunStatus.ALL:
        raise TrackingError(f"Invalid run status {shown(value)}: must be one of {', '.join(RunStatus.ALL)}")
    return str.__str__(value)


def max_results(value: object) -> int:
    """The length of a page: 1 to 50,000."""
    if type(value) is not int or not 1 <= value <= PAGE_LENGTH:
        raise TrackingError(f"Invalid max_results {shown(value)}: must be an int from 1 to {PAGE_LENGTH}")
    return value


def view_type(value: object) -> int:
    """A ViewType: 1 active, 2 deleted, 3 all."""
    if not isinstance(value, int) or value not in (1, 2, 3):
        raise TrackingError(f"Invalid view type {shown(value)}: must be 1 (active), 2 (deleted) or 3 (all)")
    return int(value)


def page_token(token: object) -> str | None:
    """A page token; None and "" are the first page. What is in it is looked at when it is used."""
    if token is not None and not isinstance(token, str):
        raise TrackingError(f"Invalid page token: {shown(token)}")
    return token or None
