"""What the stand-in for Databricks refuses: the documented limits, checked as strictly as their pages read."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Tags that Databricks sets itself.
SYSTEM_TAGS = frozenset(
    {
        "mlflow.user",
        "mlflow.log-model.history",
        "mlflow.rootRunId",
        "mlflow.experiment.sourceType",
        "mlflow.experiment.sourceId",
    }
)
INT64 = 2**63
_NAME = re.compile(r"[/\w.\- :]+")


class Refusal(Exception):  # noqa: N818
    """The server answers with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message}


@dataclass
class Strictness:
    """Limits, all of which a test may change.

    Attributes:
        key_bytes: param, tag and metric keys.
        param_bytes, tag_bytes: values.
        metric_steps, params, tags: quotas per run; runs: per experiment; model_metrics: per logged model.
        quota_code: status and error code of a quota's refusal.
        exists_code: status and error code when a name is taken.
        body_bytes: size of a request.
    """

    key_bytes: int = 250
    param_bytes: int = 500
    tag_bytes: int = 64 * 1024
    metric_steps: int = 1_000_000
    params: int = 1600
    tags: int = 1600
    runs: int = 500_000
    model_metrics: int = 1000
    quota_code: tuple[int, str] = (429, "RESOURCE_EXHAUSTED")
    exists_code: tuple[int, str] = (400, "RESOURCE_ALREADY_EXISTS")
    body_bytes: int = 1_000_000

    def quota(self, what: str, most: int) -> Refusal:
        """A quota is used up, in words that were seen."""
        words = f"Unable to log, exceeded maximum allowed number of {what}: {most}. To raise this quota please contact "
        return Refusal(*self.quota_code, f"{words}the Databricks support team.")


def invalid(message: str) -> Refusal:
    """A bad value."""
    return Refusal(400, "INVALID_PARAMETER_VALUE", message)


def missing(what: str) -> Refusal:
    """No such thing."""
    return Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"{what} does not exist.")


def text(given: Mapping[str, Any], field: str, default: str | None = None) -> str:
    """A field that must be a string."""
    value = given.get(field, default)
    if not isinstance(value, str):
        raise invalid(f"Missing or wrong value for required parameter '{field}': {value!r}")
    return value


def whole(given: Mapping[str, Any], field: str, default: int | None = None) -> int:
    """A field that must be a 64-bit integer, as a number or as text."""
    value = given.get(field, default)
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not -INT64 <= value < INT64:
        raise invalid(f"Missing or wrong value for parameter '{field}': {value!r}")
    return value


def number(value: Any) -> float:
    """A metric's value: a number, or one of the words of protobuf."""
    if isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"}:
        return float(value.replace("Infinity", "inf"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(f"Got invalid value {value!r} for metric")
    return float(value)


def check_name(kind: str, index: int, key: str, most: int) -> None:
    """A key of a metric, param or tag: characters, form, size."""
    where = f"{kind}[{index}].key"
    if not key or not _NAME.fullmatch(key):
        raise invalid(f"Invalid value \"{key}\" for parameter '{where}' supplied")
    if posixpath.normpath(key) != key or key.startswith(("/", "..")):
        raise invalid(f"Invalid value \"{key}\" for parameter '{where}' supplied: names must be unique paths")
    if len(key.encode()) > most:
        raise invalid(f"'{where}' had length {len(key.encode())}, which exceeded length limit of {most}")


def check_values(kind: str, pairs: Sequence[Mapping[str, Any]], strict: Strictness) -> list[tuple[str, str]]:
    """Keys and values of params or tags; the message names the kind and not which one, as Databricks' do."""
    most = strict.param_bytes if kind == "params" else strict.tag_bytes
    found = []
    for index, pair in enumerate(pairs):
        key, value = text(pair, "key"), text(pair, "value", "")
        check_name(kind, index, key, strict.key_bytes)
        if kind == "tags" and key in SYSTEM_TAGS:
            raise invalid(f"Cannot update tag '{key}'")
        if len(value.encode()) > most:
            raise invalid(f"Value for one of the {kind} had length {len(value.encode())}, limit is {most} bytes")
        found.append((key, value))
    return found


def check_path(name: str, folders: set[str]) -> None:
    """The name of an experiment: an absolute path with an existing parent."""
    if not name.startswith("/") or posixpath.normpath(name) != name:
        raise invalid(
            f"Got an invalid experiment name '{name}'. An experiment name must be an absolute path within the "
            "Databricks workspace, e.g. '/Users/<some-username>/my-experiment'."
        )
    parent = posixpath.dirname(name)
    if parent not in folders:
        raise Refusal(404, "RESOURCE_DOES_NOT_EXIST", f"Parent directory {parent} does not exist.")
