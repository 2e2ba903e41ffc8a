"""Tables as MLflow's log_table writes them: JSON by columns and rows (pandas' orient="split"), or Parquet.

With pandas installed it does the work, as in MLflow, and the bytes are MLflow's. Without it a dict can still be logged
as JSON: same form, numbers in full precision.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from localtrack.artifacts.images import is_picture
from localtrack.artifacts.optional import library
from localtrack.errors import TrackingError

ENDINGS = (".json", ".parquet")
_FORBIDDEN = "\"',:[]{}"


def check_name(artifact_file: object) -> str:
    """The artifact_file of a table.

    Raises:
        TrackingError: a character that MLflow forbids there, or (see `check_ending`) another ending.
    """
    if not isinstance(artifact_file, str):
        raise TrackingError(f"artifact_file must be a str, got {type(artifact_file).__name__}")
    for character in _FORBIDDEN:
        if character in artifact_file:
            raise TrackingError(f"The artifact_file contains forbidden character: {character}")
    return artifact_file


def check_ending(artifact_file: str) -> None:
    """Only JSON and Parquet are written.

    Raises:
        TrackingError: another ending.
    """
    if not artifact_file.endswith(ENDINGS):
        raise TrackingError(
            f"Invalid artifact file path '{artifact_file}'. Please ensure the file you are trying to log as a table "
            "has a file name with either '.json' or '.parquet' extension."
        )


class Rows(NamedTuple):
    """A table without pandas."""

    columns: list[Any]
    rows: list[list[Any]]


def pandas_or_none() -> Any:
    """The module pandas, or None when it is not installed."""
    try:
        return library("pandas", "pandas", "")
    except ModuleNotFoundError:
        return None


def table_of(data: object, pandas: Any) -> Any:
    """A pandas.DataFrame of `data`, or Rows when `pandas` is None; never `data` itself.

    Raises:
        TrackingError: neither a dict nor a DataFrame.
    """
    if isinstance(data, Mapping):
        if pandas is None:
            return _rows_of(data)
        try:
            return pandas.DataFrame(data)
        except ValueError:  # only scalars, or columns of different lengths: then one row
            return pandas.DataFrame([data])
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return data.copy(deep=False)
    raise TrackingError("data must be a pandas.DataFrame or a dictionary")


def _rows_of(data: Mapping[Any, Any]) -> Rows:
    listed = {name: _listed(value) for name, value in data.items()}
    lengths = {len(value) for value in listed.values() if value is not None}
    if len(lengths) != 1:
        return Rows(list(data), [[_plain(value) for value in data.values()]])
    (length,) = lengths
    columns = [[data[name]] * length if value is None else value for name, value in listed.items()]
    return Rows(list(data), [[_plain(cell) for cell in row] for row in zip(*columns, strict=True)])


def _listed(value: Any) -> list[Any] | None:
    """A column's values; None for a scalar."""
    if isinstance(value, str | bytes | Mapping):
        return None
    if isinstance(value, Sequence):
        return list(value)
    to_list = getattr(value, "tolist", None)
    listed = to_list() if callable(to_list) else None
    return listed if isinstance(listed, list) else None


def _plain(cell: Any) -> Any:
    """A cell as JSON can say it: numpy's numbers as Python's, NaN as null, dates as ISO text."""
    if callable(item := getattr(cell, "item", None)) and not callable(getattr(cell, "save", None)):
        cell = item()
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    if callable(iso := getattr(cell, "isoformat", None)):
        return iso()
    return cell


def with_pictures(table: Any, stored: Callable[[Any], dict[str, str]]) -> Any:
    """The table with what `stored` returns in place of each image; it stores the image.

    Raises:
        TrackingError: a column holds images and other things.
    """
    if isinstance(table, Rows):
        pictures = [_all_pictures(name, [row[i] for row in table.rows]) for i, name in enumerate(table.columns)]
        rows = [
            [stored(cell) if there else cell for cell, there in zip(row, pictures, strict=True)] for row in table.rows
        ]
        return Rows(table.columns, rows)
    for name in table.columns:
        if table[name].dtype == object and _all_pictures(name, table[name]):
            table[name] = table[name].map(stored)
    return table


def _all_pictures(column: object, cells: Any) -> bool:
    found = [is_picture(cell) for cell in cells]
    if any(found) and not all(found):
        raise TrackingError(
            f"Column `{column}` contains a mix of images and non-images. Please ensure that all elements in the "
            "column are of the same type."
        )
    return any(found)


def joined(first: Any, second: Any, pandas: Any) -> Any:
    """The rows of both tables; a column that one lacks is empty there."""
    if not isinstance(second, Rows):
        return pandas.concat([first, second], ignore_index=True)
    columns = list(dict.fromkeys([*first.columns, *second.columns]))
    rows = [
        [cells.get(name) for name in columns]
        for table in (first, second)
        for cells in (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    ]
    return Rows(columns, rows)


def read(path: str, pandas: Any) -> Any:
    """A stored table: a DataFrame, or Rows when `pandas` is None.

    Raises:
        TrackingError: neither JSON nor Parquet by its name, or not a table.
        ModuleNotFoundError: Parquet without pandas.
    """
    if path.endswith(".parquet"):
        return library("pandas", "pandas", "Reading a Parquet table").read_parquet(path)
    if not path.endswith(".json"):
        raise TrackingError(f"Unsupported file type in {path}. Expected .json or .parquet")
    if pandas is not None:
        return pandas.read_json(path, orient="split")
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    try:
        return Rows(list(found["columns"]), [list(row) for row in found["data"]])
    except (KeyError, TypeError) as error:
        raise TrackingError(f"{path} is not a table in JSON: columns and data are missing") from error


def write(table: Any, path: str) -> None:
    """Write a table in the form that the ending of `path` says.

    Raises:
        TrackingError: it cannot be expressed in that form.
        ModuleNotFoundError: Parquet without pandas (or pyarrow).
        OSError: the machine refuses.
    """
    try:
        if isinstance(table, Rows):
            _write_rows(table, path)
        elif path.endswith(".json"):
            table.to_json(path, orient="split", index=False, date_format="iso")
        else:
            table.to_parquet(path, index=False)
    except (OSError, ImportError):
        raise
    except Exception as error:
        raise TrackingError(f"Failed to save the table as the data is not JSON serializable. Error: {error}") from error


def _write_rows(table: Rows, path: str) -> None:
    if not path.endswith(".json"):
        library("pandas", "pandas", "Logging a table as Parquet")
    # As pandas writes: no spaces, slashes escaped. A slash can only be inside a string.
    text = json.dumps({"columns": table.columns, "data": table.rows}, separators=(",", ":"), default=str)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace("/", "\\/"))
