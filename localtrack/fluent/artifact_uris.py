"""MLflow's module `mlflow.artifacts`: files by artifact URI, or by run. Also reached as `localtrack.artifacts`."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

from localtrack.artifacts import paths
from localtrack.entities import FileInfo
from localtrack.errors import TrackingError
from localtrack.fluent.active import thread
from localtrack.rules import shown
from localtrack.service import Service, service_for
from localtrack.service.current import current_service
from localtrack.tracking_uri import local_path

T = TypeVar("T")

_OWNED = re.compile(r"(runs|models):/+([^/]+)/?(.*)", re.DOTALL)


def download_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    dst_path: str | os.PathLike[str] | None = None,
    tracking_uri: str | None = None,
    registry_uri: str | None = None,  # noqa: ARG001 - there is no model registry here
) -> str:
    """Where a file or directory lies, or lies after it was copied to `dst_path`.

    Args:
        artifact_uri: `runs:/<run_id>/<path>`, `models:/<model_id>/<path>`, a path or a `file:` URI.
        run_id: a run, instead of `artifact_uri`.
        artifact_path: path among the run's artifacts; None is all of them.
        dst_path: copy it there, made if missing; None copies nothing: what is returned must stay as it is.
        tracking_uri: the store; None is the one in force.
        registry_uri: taken for compatibility.

    Returns:
        An absolute path.

    Raises:
        TrackingError: RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE.
        OSError: a copy cannot be made.
    """
    kind, owner, path = _parsed(artifact_uri, run_id, artifact_path)
    if kind == "local":
        return _download_local(path, dst_path)
    service = _service(owner, tracking_uri)
    if kind == "models":
        return service.download_model_artifacts(owner, path, dst_path)
    return service.download_artifacts(owner, path, dst_path)


def list_artifacts(
    artifact_uri: str | None = None,
    run_id: str | None = None,
    artifact_path: str | None = None,
    tracking_uri: str | None = None,
) -> list[FileInfo]:
    """What lies in a directory of artifacts, by path; arguments and errors as for download_artifacts."""
    kind, owner, path = _parsed(artifact_uri, run_id, artifact_path)
    if kind == "local":
        return _list_local(path)
    service = _service(owner, tracking_uri)
    if kind == "models":
        return list(service.list_logged_model_artifacts_iter(owner, path))
    return list(service.list_artifacts_iter(owner, path))


def load_text(artifact_uri: str) -> str:
    """A UTF-8 file as text. BAD_REQUEST if it is none."""
    return _loaded(artifact_uri, "a str object", lambda data: data.decode())


def load_dict(artifact_uri: str) -> Any:
    """A JSON file as an object. BAD_REQUEST if it is none."""
    return _loaded(artifact_uri, "a JSON object", json.loads)


def load_image(artifact_uri: str) -> Any:
    """An image file as a PIL image; needs Pillow. BAD_REQUEST if it is none."""
    from localtrack.artifacts.optional import library

    opened = library("PIL.Image", "Pillow", "load_image")

    def read(path: str) -> Any:
        image = opened.open(path)
        image.load()
        return image

    path = download_artifacts(artifact_uri)
    return _read(artifact_uri, "a PIL Image object", lambda: read(path))


def _loaded(artifact_uri: str, what: str, convert: Callable[[bytes], T]) -> T:
    with open(download_artifacts(artifact_uri), "rb") as file:
        data = file.read()
    return _read(artifact_uri, what, lambda: convert(data))


def _read(artifact_uri: str, what: str, convert: Callable[[], T]) -> T:
    try:
        return convert()
    except Exception as error:
        raise TrackingError(f"Unable to form {what} from file content: {shown(artifact_uri)}", "BAD_REQUEST") from error


def _parsed(artifact_uri: str | None, run_id: str | None, artifact_path: str | None) -> tuple[str, str, str]:
    """(kind, owner, path): kind "runs" or "models" with an id, or "local" with a path of this machine."""
    if (artifact_uri is None) == (run_id is None):
        raise TrackingError("Exactly one of `run_id` or `artifact_uri` must be specified")
    if run_id is not None:
        return "runs", run_id, artifact_path or ""
    if artifact_path is not None:
        raise TrackingError("`artifact_path` cannot be specified if `artifact_uri` is specified")
    uri = os.fspath(artifact_uri)  # type: ignore[arg-type] # it is not None here
    owned = _OWNED.fullmatch(uri)
    if owned is not None:
        return owned.group(1), owned.group(2), paths.directory(owned.group(3))
    return "local", "", local_path(uri)


def _service(owner: str, tracking_uri: str | None) -> Service:
    for run in thread.stack:  # an active run keeps its store, whatever the tracking URI says now
        if tracking_uri is None and run.info.run_id == owner:
            return run.service
    return current_service() if tracking_uri is None else service_for(tracking_uri)


def _download_local(path: str, dst_path: str | os.PathLike[str] | None) -> str:
    if not os.path.exists(path):
        raise TrackingError(f"No such artifact: '{path}'", "RESOURCE_DOES_NOT_EXIST")
    if dst_path is None:
        return path
    target = os.path.join(os.path.abspath(os.fspath(dst_path)), os.path.basename(path))
    if os.path.isdir(path):
        return shutil.copytree(path, target, dirs_exist_ok=True)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    return shutil.copyfile(path, target)


def _list_local(path: str) -> list[FileInfo]:
    if not os.path.isdir(path):
        return []
    with os.scandir(path) as found:
        infos = [
            FileInfo(entry.name, entry.is_dir(), None if entry.is_dir() else entry.stat().st_size) for entry in found
        ]
    return sorted(infos, key=lambda info: info.path)
