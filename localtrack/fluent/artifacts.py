"""Module functions about files of the active run; without one they start one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

from localtrack.fluent.experiments import experiment_id_for_calls
from localtrack.fluent.log import _target
from localtrack.service.current import current_service

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]


def log_artifact(
    local_path: str | os.PathLike[str], artifact_path: str | None = None, run_id: str | None = None
) -> None:
    """Store a copy of a file, or of a directory under its own name, with the active run.

    Args:
        local_path: the file or directory.
        artifact_path: directory among the artifacts; None is the topmost.
        run_id: another run than the active one.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE for a path that is not acceptable, RESOURCE_DOES_NOT_EXIST.
        OSError: the file cannot be opened.
    """
    service, run = _target(run_id)
    service.log_artifact(run, local_path, artifact_path)


def log_artifacts(
    local_dir: str | os.PathLike[str], artifact_path: str | None = None, run_id: str | None = None
) -> None:
    """Store copies of everything below a directory with the active run; arguments as for log_artifact."""
    service, run = _target(run_id)
    service.log_artifacts(run, local_dir, artifact_path)


def log_text(text: str, artifact_file: str, run_id: str | None = None) -> None:
    """Store a text as a UTF-8 file of the active run."""
    service, run = _target(run_id)
    service.log_text(run, text, artifact_file)


def log_dict(dictionary: dict[str, Any], artifact_file: str, run_id: str | None = None) -> None:
    """Store a dict as YAML (.yml, .yaml; needs PyYAML) or JSON (any other ending)."""
    service, run = _target(run_id)
    service.log_dict(run, dictionary, artifact_file)


def log_stream(stream: BinaryIO, artifact_file: str, run_id: str | None = None) -> None:
    """Store what a binary stream gives until its end."""
    service, run = _target(run_id)
    service.log_stream(run, stream, artifact_file)


def log_figure(figure: Any, artifact_file: str, *, save_kwargs: dict[str, Any] | None = None) -> None:
    """Store a figure of matplotlib or plotly; `save_kwargs` go to its own writer."""
    service, run = _target(None)
    service.log_figure(run, figure, artifact_file, save_kwargs)


def log_image(
    image: Any,
    artifact_file: str | None = None,
    key: str | None = None,
    step: int | None = None,
    timestamp: int | None = None,
    synchronous: bool | None = False,  # noqa: ARG001 - MLflow's argument; it is stored when the call returns
) -> None:
    """Store an image under a name, or as the next one of the series `key` (step, timestamp in milliseconds).

    Args:
        image: PIL image, numpy array, or anything with `to_pil`.
        artifact_file: name; the format goes by its ending.
        key: name of the series, instead of `artifact_file`.
        step: of the series; None is 0.
        timestamp: of the series; None is now.
        synchronous: taken for compatibility.

    Raises:
        TypeError, ValueError: as in MLflow.
    """
    service, run = _target(None)
    service.log_image(run, image, artifact_file, key, step, timestamp)


def log_table(data: dict[str, Any] | pd.DataFrame, artifact_file: str, run_id: str | None = None) -> None:
    """Store a table as .json or .parquet; a table of that name gets more rows."""
    service, run = _target(run_id)
    service.log_table(run, data, artifact_file)


def load_table(
    artifact_file: str, run_ids: list[str] | None = None, extra_columns: list[str] | None = None
) -> pd.DataFrame:
    """The rows of a table of all runs of the active experiment that have it; needs pandas."""
    service = current_service()
    return service.load_table(experiment_id_for_calls(service), artifact_file, run_ids, extra_columns)


def get_artifact_uri(artifact_path: str | None = None) -> str:
    """The path in the store where an artifact of the active run lies, or would lie."""
    service, run = _target(None)
    return service.get_artifact_uri(run, artifact_path)


def flush_artifact_async_logging() -> None:
    """Return at once: nothing is asynchronous here."""
