"""Files of runs and logged models: their paths, how they get into the store, how those of others are found.

MLflow's module `mlflow.artifacts` has the functions download_artifacts, list_artifacts, load_text, load_dict and
load_image; they are here under the same names, and come from `localtrack.fluent.artifact_uris` when they are asked for.
"""

from __future__ import annotations

from typing import Any

_FUNCTIONS = ("download_artifacts", "list_artifacts", "load_dict", "load_image", "load_text")


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        from localtrack.fluent import artifact_uris

        return getattr(artifact_uris, name)
    raise AttributeError(f"module 'localtrack.artifacts' has no attribute {name!r}")
