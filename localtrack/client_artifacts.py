"""What TrackingClient offers for files: MlflowClient's methods, names, arguments and defaults. No rules of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO

from localtrack.entities import FileInfo
from localtrack.service import Service

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]


class ArtifactCalls:
    """Files of runs and logged models."""

    _service: Service

    def log_artifact(self, run_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Store a copy of a file, or of a directory under its own name, with a run."""
        self._service.log_artifact(run_id, local_path, artifact_path)

    def log_artifacts(self, run_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None) -> None:
        """Store copies of everything below a directory with a run."""
        self._service.log_artifacts(run_id, local_dir, artifact_path)

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """Store a text as a UTF-8 file."""
        self._service.log_text(run_id, text, artifact_file)

    def log_dict(self, run_id: str, dictionary: dict[str, Any], artifact_file: str) -> None:
        """Store a dict as YAML (.yml, .yaml; needs PyYAML) or JSON (any other ending)."""
        self._service.log_dict(run_id, dictionary, artifact_file)

    def log_stream(self, run_id: str, stream: BinaryIO, artifact_file: str) -> None:
        """Store what a binary stream gives until its end."""
        self._service.log_stream(run_id, stream, artifact_file)

    def log_figure(
        self, run_id: str, figure: Any, artifact_file: str, *, save_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Store a figure of matplotlib or plotly; `save_kwargs` go to its own writer."""
        self._service.log_figure(run_id, figure, artifact_file, save_kwargs)

    def log_image(
        self,
        run_id: str,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
        synchronous: bool | None = None,  # noqa: ARG002 - MLflow's argument; it is stored when the call returns
    ) -> None:
        """Store an image under a name, or as the next one of the series `key` (step, timestamp in milliseconds)."""
        self._service.log_image(run_id, image, artifact_file, key, step, timestamp)

    def log_table(self, run_id: str, data: dict[str, Any] | pd.DataFrame, artifact_file: str) -> None:
        """Store a table as .json or .parquet; a table of that name gets more rows."""
        self._service.log_table(run_id, data, artifact_file)

    def load_table(
        self,
        experiment_id: str,
        artifact_file: str,
        run_ids: list[str] | None = None,
        extra_columns: list[str] | None = None,
    ) -> pd.DataFrame:
        """The rows of a table of all runs of an experiment that have it; needs pandas."""
        return self._service.load_table(experiment_id, artifact_file, run_ids, extra_columns)

    def list_artifacts(self, run_id: str, path: str | None = None) -> list[FileInfo]:
        """Everything in a directory of a run's artifacts, by path."""
        return list(self._service.list_artifacts_iter(run_id, path))

    def download_artifacts(self, run_id: str, path: str, dst_path: str | os.PathLike[str] | None = None) -> str:
        """Where a file or directory of a run lies, or lies after it was copied to `dst_path`."""
        return self._service.download_artifacts(run_id, path, dst_path)

    def log_model_artifact(
        self, model_id: str, local_path: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Store a copy of a file with a logged model."""
        self._service.log_model_artifact(model_id, local_path, artifact_path)

    def log_model_artifacts(
        self, model_id: str, local_dir: str | os.PathLike[str], artifact_path: str | None = None
    ) -> None:
        """Store copies of everything below a directory with a logged model."""
        self._service.log_model_artifacts(model_id, local_dir, artifact_path)

    def list_logged_model_artifacts(self, model_id: str, path: str | None = None) -> list[FileInfo]:
        """Everything in a directory of a logged model's files, by path."""
        return list(self._service.list_logged_model_artifacts_iter(model_id, path))
