"""Schemas of data frames and arrays, as the JSON that MLflow writes (mlflow/types: Schema, ColSpec, TensorSpec).

A type is the JSON object that stands for it: {"type": "long"}, {"type": "array", "items": ...}, {"type": "object",
"properties": {...}}; {"type": "any"} is what nothing is known about, a missing value for example.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, TypeAlias

Type: TypeAlias = dict[str, Any]

_ANY: Type = {"type": "any"}
_SCALARS = {
    "bool": "boolean",
    "bool_": "boolean",
    "int": "long",
    "int64": "long",
    "int32": "integer",
    "float": "double",
    "float64": "double",
    "float32": "float",
    "str": "string",
    "str_": "string",
    "object": "string",
    "bytes": "binary",
    "bytes_": "binary",
    "bytearray": "binary",
    "datetime64": "datetime",
}
_BY_KIND = {"b": "boolean", "U": "string", "S": "binary", "M": "datetime"}
_INT_BYTES, _LONG_BYTES = 4, 8


class _NoTypeError(Exception):
    """Data that has no type in MLflow."""


def of_frame(df: Any) -> Any:
    """{"mlflow_colspec": [...]} of a data frame; None when a column has no type in MLflow."""
    try:
        columns = [_column(df[name], name) for name in df.columns]
    except Exception:  # noqa: BLE001 - a data frame may hold anything; MLflow records no schema then
        return None
    return {"mlflow_colspec": columns} if columns and _is_json(columns) else None


def of_arrays(features: Any, targets: Any) -> Any:
    """{"mlflow_tensorspec": {"features": ..., "targets": ...}}; both are JSON texts. None: no schema."""
    import json

    try:
        texts = [None if data is None else json.dumps(_tensors(data)) for data in (features, targets)]
    except Exception:  # noqa: BLE001 - as above
        return None
    return {"mlflow_tensorspec": {"features": texts[0], "targets": texts[1]}}


def _is_json(value: Any) -> bool:
    import json

    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


# --- columns -------------------------------------------------------------------------------------------------------


def _column(column: Any, name: Any) -> Type:
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]

    if column.ndim != 1:
        raise _NoTypeError(f"two columns are named {name!r}")
    required = not any(_is_missing(value) for value in column)
    if column.dtype.kind == "O":
        column = column.infer_objects()
    if column.dtype.kind != "O":
        return {"type": _of_dtype(column.dtype), "name": name, "required": required}
    try:
        kind = _of_items(column.to_list())
    except _NoTypeError:
        if not pd.api.types.is_string_dtype(column):
            raise
        kind = {"type": "string"}
    return {**kind, "name": name, "required": required}


def _of_items(values: list[Any]) -> Type:
    found = _of(values)
    if found is None or found["type"] != "array":
        raise _NoTypeError("an empty column")
    items: Type = found["items"]
    return items


def _of_dtype(dtype: Any) -> str:
    kind, size = dtype.kind, dtype.itemsize
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    # An unsigned number of n bytes needs the next larger signed type.
    if kind in "iu" and (size < _INT_BYTES or (kind == "i" and size == _INT_BYTES)):
        return "integer"
    if kind in "iu" and (size < _LONG_BYTES or (kind == "i" and size == _LONG_BYTES)):
        return "long"
    if kind == "f" and size <= _LONG_BYTES:
        return "float" if size <= _INT_BYTES else "double"
    raise _NoTypeError(f"numpy type {dtype}")


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return (isinstance(value, float) and math.isnan(value)) or value is None or value is pd.NA or value is pd.NaT


def _of(data: Any) -> Type | None:
    """The type of a value; None for an empty array, of which nothing can be said."""
    import numpy as np

    if _is_missing(data) or (isinstance(data, list | dict) and not data):
        return _ANY
    if isinstance(data, dict):
        return _of_dict(data)
    if isinstance(data, list | np.ndarray):
        items = None
        for item in data:
            kind = _of(item)
            if kind is not None:
                items = kind if items is None else _merged(items, kind)
        return None if items is None else {"type": "array", "items": items}
    name = type(data).__name__
    if name in _SCALARS and type(data).__module__ in ("builtins", "numpy"):
        return {"type": _SCALARS[name]}
    if type(data) in (dt.date, dt.datetime):
        return {"type": "datetime"}
    raise _NoTypeError(f"a value of type {type(data)}")


def _of_dict(data: dict[Any, Any]) -> Type:
    properties = {}
    for name in sorted(data):
        kind = _of(data[name])
        if kind is None or not isinstance(name, str):
            raise _NoTypeError("an empty array in a dict, or a key that is not a str")
        properties[name] = {**kind, "required": kind != _ANY}
    return {"type": "object", "properties": properties}


def _merged(one: Type, other: Type) -> Type:
    """The type of values of both types."""
    if one == other:
        return one
    if _ANY in (one, other):
        known = other if one == _ANY else one
        if known["type"] != "object":
            return known
        optional = {name: {**kind, "required": False} for name, kind in known["properties"].items()}
        return {"type": "object", "properties": optional}
    if one["type"] != other["type"] or one["type"] not in ("array", "object"):
        raise _NoTypeError(f"{one} and {other} in one place")
    if one["type"] == "array":
        return {"type": "array", "items": _merged(one["items"], other["items"])}
    return {"type": "object", "properties": _merged_properties(one["properties"], other["properties"])}


def _merged_properties(one: dict[str, Type], other: dict[str, Type]) -> dict[str, Type]:
    merged = {}
    for name in sorted({*one, *other}):
        both = [properties[name] for properties in (one, other) if name in properties]
        kinds = [{key: value for key, value in kind.items() if key != "required"} for kind in both]
        kind = kinds[0] if len(both) == 1 else _merged(*kinds)
        merged[name] = {**kind, "required": len(both) > 1 and all(each["required"] for each in both)}
    return merged


# --- arrays --------------------------------------------------------------------------------------------------------


def _tensors(data: Any) -> list[Type]:
    if isinstance(data, dict):
        return [{"name": name, **_tensor(array)} for name, array in data.items()]
    return [_tensor(data)]


def _tensor(array: Any) -> Type:
    if not array.shape:
        raise _NoTypeError("a number, not an array")
    name = {"U": "str", "S": "bytes"}.get(array.dtype.char, array.dtype.name)
    return {"type": "tensor", "tensor-spec": {"dtype": name, "shape": [-1, *array.shape[1:]]}}
