"""Files on their way out of the store: copies, so that nobody changes what was logged."""

from __future__ import annotations

import os

from localtrack.artifacts import copy
from localtrack.artifacts.place import Place


def exists(place: Place, path: str) -> bool:
    """Whether a file or directory lies at `path` ("": the artifact directory), reached without a link."""
    try:
        os.close(place.open_file(path) if path else os.dup(place.directory()))
    except FileNotFoundError:
        return False
    except IsADirectoryError:
        return True
    return True


def fetch(place: Place, path: str, target: str) -> None:
    """Copy a file, or a directory with everything below it, to `target`/`path`.

    Raises:
        OSError: something cannot be read or written.
    """
    waiting = [path]
    while waiting:
        path = waiting.pop()
        goal = os.path.join(target, *path.split("/")) if path else target
        if path and _is_file(place, path, goal):
            continue
        os.makedirs(goal, exist_ok=True)
        waiting.extend(f"{path}/{entry.name}" if path else entry.name for entry in place.entries(path))
        place.close()


def _is_file(place: Place, path: str, goal: str) -> bool:
    try:
        source = place.open_file(path)
    except IsADirectoryError:
        return False
    try:
        os.makedirs(os.path.dirname(goal), exist_ok=True)
        with open(goal, "wb") as file:
            copy.copy(source, file.fileno())
    finally:
        os.close(source)
    return True
