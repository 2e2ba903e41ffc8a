"""Artifacts that localtrack writes for the caller, in MLflow's formats: texts, dicts, streams, figures, images.

Each is written into a directory of its own in the store, under its final name (libraries go by the ending), and moved
to its place from there.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from localtrack.artifacts import paths
from localtrack.artifacts.place import Owner
from localtrack.service.artifacts import Artifacts

IMAGES_TAG = "mlflow.loggedImages"
#: Errors of writing that are the machine's; others (Pillow: "cannot write mode RGBA as JPEG") are the caller's.
_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ENODEV, errno.ESTALE, errno.EMFILE, errno.ENFILE),
}
_STREAM_PIECE = 1 << 20
_PLOTLY_IMAGES = (".png", ".jpeg", ".webp", ".svg", ".pdf")


class MadeFiles(Artifacts):
    """Operations that write a file and store it. Errors are log_artifact's, beside those that are named."""

    def log_text(self, run_id: str, text: str, artifact_file: str) -> None:
        """Store a text as a UTF-8 file."""
        self._make(self._run_to_store(run_id), artifact_file, lambda path: _write_text(path, text))

    def log_model_text(self, model_id: str, text: str, artifact_file: str) -> None:
        """Store a text as a UTF-8 file of a logged model."""
        self._make(self._model_as_owner(model_id), artifact_file, lambda path: _write_text(path, text))

    def log_dict(self, run_id: str, dictionary: dict[str, Any], artifact_file: str) -> None:
        """Store a dict as YAML if the name ends with .yml or .yaml, else as JSON.

        Raises:
            ModuleNotFoundError: YAML without PyYAML.
        """
        ending = os.path.splitext(artifact_file)[1]
        yaml: Any = None
        if ending in (".yml", ".yaml"):
            from localtrack.artifacts.optional import library

            yaml = library("yaml", "PyYAML", "log_dict to a YAML file")

        def write(path: str) -> None:
            with open(path, "w", encoding="utf-8") as file:
                if yaml is not None:
                    yaml.dump(dictionary, file, indent=2, default_flow_style=False)
                else:
                    json.dump(dictionary, file, indent=2, default=str)

        self._make(self._run_to_store(run_id), artifact_file, write)

    def log_stream(self, run_id: str, stream: BinaryIO, artifact_file: str) -> None:
        """Store what a binary stream gives until its end, a piece at a time."""

        def write(path: str) -> None:
            with open(path, "wb") as file:
                while piece := stream.read(_STREAM_PIECE):
                    file.write(piece)

        self._make(self._run_to_store(run_id), artifact_file, write)

    def log_figure(
        self, run_id: str, figure: Any, artifact_file: str, save_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Store a figure of matplotlib (any format of savefig) or plotly (.html, .png, .jpeg, .webp, .svg, .pdf).

        Raises:
            TypeError: no such figure, or an ending that plotly cannot write.
        """
        write = _figure_writer(figure, artifact_file, dict(save_kwargs or {}))
        self._make(self._run_to_store(run_id), artifact_file, write)

    def log_image(
        self,
        run_id: str,
        image: Any,
        artifact_file: str | None = None,
        key: str | None = None,
        step: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Store an image: under the name `artifact_file`, or as the next one of the series `key`.

        Args:
            run_id: the run.
            image: PIL image, numpy array, or anything with `to_pil`.
            artifact_file: the format goes by its ending.
            key: name of the series; stored as PNG with a small WebP twin, and the run is tagged mlflow.loggedImages.
            step: of the series; None is 0.
            timestamp: of the series, milliseconds since the epoch; None is now.

        Raises:
            TypeError, ValueError: as in MLflow: no image, both names or none.
            ModuleNotFoundError: an array without Pillow.
        """
        if artifact_file is not None and (key, step, timestamp) != (None, None, None):
            raise TypeError(
                "The `artifact_file` parameter cannot be used in conjunction with `key`, `step`, or `timestamp` "
                "parameters. Please ensure that `artifact_file` is specified alone, without any of these conflicting "
                "parameters."
            )
        if artifact_file is None and key is None:
            raise TypeError(
                "Invalid arguments: Please specify exactly one of `artifact_file` or `key`. Use `key` to log dynamic "
                "image charts or `artifact_file` for saving static images."
            )
        from localtrack.artifacts import images

        owner = self._run_to_store(run_id)
        picture = images.picture(image)
        if artifact_file is not None:
            self._make(owner, artifact_file, picture.save)
            return
        assert key is not None
        self._store_picture(owner, picture, images.names(key, step or 0, timestamp or self._clock()))
        self.set_tag(run_id, IMAGES_TAG, value=True)

    def _store_picture(self, owner: Owner, picture: Any, names: tuple[str, str]) -> dict[str, str]:
        """Store an image and its twin; what stands in a table for it."""
        from localtrack.artifacts import images

        self._make(owner, names[0], picture.save)
        self._make(owner, names[1], images.twin(picture).save)
        return {"type": "image", "filepath": names[0], "compressed_filepath": names[1]}

    # --- how -------------------------------------------------------------------------------------------------------

    def _make(self, owner: Owner, artifact_file: str, write: Callable[[str], object]) -> None:
        """Have `write` make a file at the path that it is given, and store it as `artifact_file`."""
        from localtrack.artifacts.intake import TEMPORARY, Failure, Incoming

        path = paths.normal(artifact_file)
        directory = os.path.join(self.store.artifacts, TEMPORARY + self._random(8).hex())
        local = os.path.join(directory, path.rpartition("/")[2])
        try:
            try:
                os.makedirs(directory, mode=0o700)
                write(local)
            except OSError as error:
                if error.errno not in _MACHINE and os.path.isdir(directory):
                    raise
                self._lose([Failure(path, error)])
                return
            self._store(owner, [Incoming(local, path, ours=True)])
        finally:
            _remove(directory)


def _remove(directory: str) -> None:
    """Remove a directory of ours and what a failed writer left in it."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass
    except OSError:
        import shutil

        shutil.rmtree(directory, ignore_errors=True)


def _figure_writer(figure: Any, artifact_file: str, options: dict[str, Any]) -> Callable[[str], object]:
    # Who has a figure has imported its library.
    if "matplotlib" in sys.modules:
        import importlib

        if isinstance(figure, importlib.import_module("matplotlib.figure").Figure):
            return lambda path: figure.savefig(path, **options)
    if "plotly" in sys.modules:
        import importlib

        if isinstance(figure, importlib.import_module("plotly.graph_objects").Figure):
            ending = os.path.splitext(artifact_file)[1]
            if ending == ".html":
                options = {"include_plotlyjs": "cdn", "auto_open": False, **options}
                return lambda path: figure.write_html(path, **options)
            if ending in _PLOTLY_IMAGES:
                return lambda path: figure.write_image(path, **options)
            raise TypeError(f"Unsupported file extension for plotly figure: '{ending}'")
    raise TypeError(f"Unsupported figure object type: '{type(figure)}'")


def _write_text(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
