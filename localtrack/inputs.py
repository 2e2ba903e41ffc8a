"""What goes into and comes out of runs, and what a logged model is made of, checked at call time. Pure, as `rules`.

Sources: mlflow/utils/validation.py and store/tracking/sqlalchemy_store.py of MLflow 3.17 (also the widths of the
columns, which SQLite ignores and other databases do not).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from localtrack.entities import LoggedModelStatus
from localtrack.errors import TrackingError
from localtrack.rules import (
    DATASET_DIGEST_LENGTH,
    DATASET_NAME_LENGTH,
    KEY_LENGTH,
    PARAM_LENGTH,
    TAG_LENGTH,
    LongText,
    items,
    shown,
    stringified,
    text,
)
from localtrack.values import step

CONTEXT_TAG = "mlflow.data.context"
SCHEMA_LENGTH = 1_048_575
SOURCE_LENGTH = 65_535
PROFILE_LENGTH = 16_777_215
INPUT_TAG_KEY_LENGTH = 255
INPUT_TAG_VALUE_LENGTH = 500
MODEL_NAME_LENGTH = 500
MODEL_TYPE_LENGTH = 500

#: A dataset input as RunInputs holds it: name, digest, source_type, source, schema, profile, tags.
DatasetRow: TypeAlias = tuple[str, str, str, str, str | None, str | None, tuple[tuple[str, str], ...]]

_MODEL_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")
_NOT_IN_NAMES = ("/", ":", ".", "%", '"', "'")
_DATASET_FIELDS = ("name", "digest", "source_type", "source")
_MODEL_FIELDS = ("artifact_path", "flavors", "utc_time_created", "run_id")


# --- datasets ------------------------------------------------------------------------------------------------------


def dataset_row(given: object, tags: object = ()) -> DatasetRow:
    """A dataset with the tags of its input.

    Args:
        given: a dataset of `localtrack.data` or of MLflow (anything with `_to_mlflow_entity` or `to_dict`), or an
            entity with MLflow's fields.
        tags: InputTag objects (key, value), or a mapping of keys to anything.

    Raises:
        TrackingError: a missing field, or one that is too long.
    """
    fields = _fields(given)
    for field in _DATASET_FIELDS:
        if fields.get(field) is None:
            raise TrackingError(f"Dataset {field} cannot be None: {shown(given)}")
    return (
        text("Dataset name", fields["name"], DATASET_NAME_LENGTH),
        text("Dataset digest", fields["digest"], DATASET_DIGEST_LENGTH),
        text("Dataset source_type", fields["source_type"], INPUT_TAG_KEY_LENGTH),
        text("Dataset source", fields["source"], SOURCE_LENGTH),
        _optional("Dataset schema", fields.get("schema"), SCHEMA_LENGTH),
        _optional("Dataset profile", fields.get("profile"), PROFILE_LENGTH),
        tuple(input_tags(tags).items()),
    )


def is_dataset(given: object) -> bool:
    """Whether `given` can become an input; what has a name and a digest only can stand beside a point all the same."""
    return any(hasattr(given, name) for name in ("_to_mlflow_entity", "to_dict", "source_type"))


def _fields(given: object) -> dict[str, Any]:
    if given is None:
        raise TrackingError("Dataset cannot be None")
    to_entity = getattr(given, "_to_mlflow_entity", None)
    entity = to_entity() if callable(to_entity) else given
    names = (*_DATASET_FIELDS, "schema", "profile")
    if all(hasattr(entity, field) for field in _DATASET_FIELDS):
        return {field: getattr(entity, field, None) for field in names}
    to_dict = getattr(entity, "to_dict", None)
    fields = to_dict() if callable(to_dict) else None
    if not isinstance(fields, dict):
        raise TrackingError(
            f"Not a dataset: {shown(given)}",
            hint="localtrack.data.from_pandas, from_numpy and MetaDataset make one.",
        )
    return {field: fields.get(field) for field in names}


def input_tags(tags: object) -> dict[str, str]:
    """Checked tags of an input; of equal keys the last one counts."""
    pairs: Iterable[tuple[object, object]]
    if tags is None or isinstance(tags, dict):
        pairs = items("tags", tags)
    else:
        pairs = [_pair("input tag", tag) for tag in each("tags", tags)]
    checked = {}
    for key, value in pairs:
        if key is None or value is None:
            raise TrackingError(f"Key and value of an input tag cannot be None: {shown(key)}={shown(value)}")
        name = _filled("Key of an input tag", stringified("Key of an input tag", key), INPUT_TAG_KEY_LENGTH)
        what = f"Value of input tag {name!r}"
        checked[name] = text(what, stringified(what, value), INPUT_TAG_VALUE_LENGTH)
    return checked


def each(what: str, given: object) -> list[object]:
    """The items of a list or another sequence; None is empty.

    Raises:
        TrackingError: a str, a mapping, or nothing that can be iterated.
    """
    if given is None:
        return []
    if isinstance(given, str | bytes | dict) or not isinstance(given, Iterable):
        raise TrackingError(f"{what} must be a list, got {shown(given)}")
    return list(given)


# --- logged models -------------------------------------------------------------------------------------------------


def model_id(value: object) -> str:
    """The id of a logged model: "m-" and 32 hex digits where localtrack or MLflow made it.

    Raises:
        TrackingError: no id (INVALID_PARAMETER_VALUE).
    """
    if not isinstance(value, str) or not _MODEL_ID.fullmatch(value):
        raise TrackingError(f"Invalid model id: {shown(value)}; it must be a non-empty str")
    return str.__str__(value)


def model_name(value: object) -> str | None:
    """The name of a logged model, or None for one that is made up."""
    if value is None:
        return None
    name = text("Model name", value, MODEL_NAME_LENGTH)
    if not name or any(character in name for character in _NOT_IN_NAMES):
        raise TrackingError(
            f"Invalid model name {shown(name)}: it must not be empty nor contain any of {' '.join(_NOT_IN_NAMES)}"
        )
    return name


def model_type(value: object) -> str | None:
    """The type of a logged model: any text, or None."""
    return _optional("model_type", value, MODEL_TYPE_LENGTH)


def model_status(value: object) -> str:
    """The status of a logged model; MLflow's enum members are taken."""
    if not isinstance(value, str) or str.__str__(value) not in LoggedModelStatus.ALL:
        raise TrackingError(
            f"Invalid model status {shown(value)}: must be one of {', '.join(LoggedModelStatus.ALL)}",
        )
    return str.__str__(value)


def model_params(params: object, long: LongText) -> dict[str, str]:
    """Params of a logged model from a mapping of keys to anything, or from objects with key and value."""
    checked: dict[str, str] = {}
    for name, value in _model_pairs("params", params):
        if name in checked:
            raise TrackingError(f"Duplicate parameter keys have been submitted: {name!r}")
        what = f"Value of model param {name!r}"
        checked[name] = text(what, stringified(what, value), PARAM_LENGTH, long)
    return checked


def model_tags(tags: object, long: LongText) -> dict[str, str]:
    """Tags of a logged model from a mapping of keys to anything, or from objects with key and value: the last wins."""
    checked = {}
    for name, value in _model_pairs("tags", tags):
        what = f"Value of model tag {name!r}"
        checked[name] = text(what, stringified(what, value), TAG_LENGTH, long)
    return checked


def model_key(value: object) -> str:
    """The key of a model's param or tag: any text of 1 to 250 characters (MLflow checks no characters here)."""
    return _filled("Key of a model's param or tag", stringified("Key", value), KEY_LENGTH)


def _model_pairs(what: str, given: object) -> Iterable[tuple[str, object]]:
    if given is None or isinstance(given, dict):
        pairs = items(what, given)
    else:
        pairs = [_pair(what, one) for one in each(what, given)]
    return ((model_key(key), value) for key, value in pairs)


def model_inputs(given: object) -> tuple[str, ...]:
    """Model ids of LoggedModelInput objects, or of plain ids; each once."""
    return tuple(dict.fromkeys(model_id(getattr(one, "model_id", one)) for one in each("models", given)))


def model_outputs(given: object) -> dict[str, int]:
    """Model id -> step of LoggedModelOutput objects.

    Raises:
        TrackingError: no model outputs; the same model at two steps (BAD_REQUEST, as a server says).
    """
    outputs: dict[str, int] = {}
    for one in each("models", given):
        model = model_id(getattr(one, "model_id", None))
        at = step(model, getattr(one, "step", 0))
        if outputs.setdefault(model, at) != at:
            raise TrackingError(f"Model {model} is an output at two steps: {outputs[model]} and {at}", "BAD_REQUEST")
    return outputs


# --- the deprecated log_model --------------------------------------------------------------------------------------


def logged_model_entry(given: object) -> str:
    """One entry of the tag mlflow.log-model.history, as a server makes it from what log_model is given.

    Args:
        given: JSON text, a dict, or an MLflow Model (anything with `to_json`).

    Raises:
        TrackingError: not a JSON object, or one without the fields that a server asks for.
    """
    to_json = getattr(given, "to_json", None)
    given = to_json() if callable(to_json) else given
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise TrackingError(f"Malformed model info: {shown(given)} is not valid JSON") from error
    if not isinstance(given, dict):
        raise TrackingError(f"Malformed model info: {shown(given)} is not a JSON object")
    missing = [field for field in _MODEL_FIELDS if field not in given]
    if missing:
        raise TrackingError(f"Model json is missing mandatory fields: {', '.join(missing)}")
    flavors = given["flavors"] if isinstance(given["flavors"], dict) else {}
    kept = {name: given[name] for name in (*_MODEL_FIELDS, "model_uuid") if name in given}
    kept["flavors"] = {name: _without_config(flavor) for name, flavor in flavors.items()}
    try:
        entry = json.dumps(kept, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TrackingError(f"Malformed model info: {error}") from error
    return text("model_json", entry, SOURCE_LENGTH)


def _without_config(flavor: object) -> object:
    return {key: value for key, value in flavor.items() if key != "config"} if isinstance(flavor, dict) else flavor


# --- common --------------------------------------------------------------------------------------------------------


def _optional(what: str, value: object, limit: int) -> str | None:
    return None if value is None else text(what, value, limit)


def _filled(what: str, value: str, limit: int) -> str:
    if not value:
        raise TrackingError(f"{what} must not be empty")
    return text(what, value, limit)


def _pair(what: str, given: object) -> tuple[object, object]:
    if not (hasattr(given, "key") and hasattr(given, "value")):
        raise TrackingError(f"{what}: no key and value in {shown(given)}")
    return given.key, given.value
