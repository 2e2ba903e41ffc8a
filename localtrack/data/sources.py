"""Where a dataset came from, as MLflow records it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from localtrack import context
from localtrack.errors import TrackingError
from localtrack.rules import shown

#: Schemes that MLflow 3.17 knows as sources; each is also the type of the source.
_STORES = ("s3", "r2", "b2", "gs", "wasbs", "ftp", "sftp", "hdfs", "viewfs", "abfss")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*):")
_FILE = re.compile(r"file:(?!//[^/.])|file://(?:localhost|127\.0\.0\.1)", re.IGNORECASE)


@dataclass(frozen=True)
class DatasetSource:
    """Kind of a source, and how to find it.

    Attributes:
        source_type: local, http, s3, code, ... as MLflow names them.
        fields: JSON object that says where it is: {"uri": ...}, {"url": ...}, {"tags": {...}}.
    """

    source_type: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """How to find it."""
        return dict(self.fields)

    def to_json(self) -> str:
        """The same as JSON text."""
        import json

        return json.dumps(self.to_dict())

    def _get_source_type(self) -> str:
        return self.source_type


def resolve_source(source: object) -> Any:
    """The source that `source` means.

    Args:
        source: a path, or a URI (http, https, s3, gs, abfss, ...): taken as it is, nothing is looked up. None: the
            program that runs (with its git commit). A source object, MLflow's own too: itself.

    Raises:
        TrackingError: RESOURCE_DOES_NOT_EXIST: MLflow knows no such kind of source.
    """
    if source is None:
        return DatasetSource("code", {"tags": context.context_tags(os.environ)})
    if callable(getattr(source, "to_json", None)) and callable(getattr(source, "_get_source_type", None)):
        return source
    if isinstance(source, os.PathLike):
        return DatasetSource("local", {"uri": os.fspath(source)})
    if isinstance(source, str):
        found = _SCHEME.match(source)
        scheme = found[1].lower() if found else ""
        if not scheme or _FILE.match(source):
            return DatasetSource("local", {"uri": source})
        if scheme in ("http", "https"):
            return DatasetSource("http", {"url": source})
        if scheme in _STORES:
            return DatasetSource(scheme, {"uri": source})
    raise TrackingError(
        f"Could not find a source information resolver for the specified dataset source: {shown(source)}.",
        "RESOURCE_DOES_NOT_EXIST",
        hint=f"A path, http(s)://, one of {', '.join(_STORES)}, or a DatasetSource of your own.",
    )
