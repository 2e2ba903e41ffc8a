"""The files of a directory that a caller logs, as MLflow takes them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from localtrack.artifacts import paths
from localtrack.artifacts.intake import Incoming
from localtrack.errors import TrackingError
from localtrack.rules import shown


def files_below(local_dir: str, prefix: str | None, skip: str) -> Iterator[Incoming]:
    """Every file below `local_dir`, directory by directory.

    Links to files stand for their files; links to directories are not followed, as in MLflow, so that a cycle cannot
    be entered. Empty directories are nothing that a server could keep.

    Args:
        local_dir: what is logged; one that does not exist holds no files, as in MLflow.
        prefix: where in the artifact directory, or None.
        skip: a directory that is left out wherever it lies: the artifact directory itself.

    Raises:
        TrackingError: a name that is no path of an artifact.
    """
    own = _identity(skip)
    for directory, below, names in os.walk(local_dir):
        below[:] = [name for name in below if own is None or _identity(os.path.join(directory, name)) != own]
        above = os.path.relpath(directory, local_dir).replace(os.sep, "/")
        for name in names:
            if name.startswith(paths.TEMPORARY):
                continue  # half a file, of MLflow or of us
            path = name if above == "." else f"{above}/{name}"
            yield Incoming(os.path.join(directory, name), paths.below(prefix, path))


def check(local_dir: str, prefix: str | None, skip: str) -> int:
    """Look at every file before the first is stored, so that a bad one leaves nothing behind; how many there are.

    Raises:
        TrackingError: a name that is no path of an artifact, or something that is no regular file.
        OSError: a file cannot be looked at (a link that leads nowhere).
    """
    count = 0
    for file in files_below(local_dir, prefix, skip):
        if not stat.S_ISREG(os.stat(file.local).st_mode):
            raise TrackingError(f"Cannot log {shown(file.local)} as an artifact: it is not a regular file")
        count += 1
    return count


def _identity(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino
