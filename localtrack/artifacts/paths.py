"""Paths of artifacts: which ones are taken, on writing and on reading what any journal or bundle says. Pure.

A path is relative to the artifact directory of its run or logged model, with "/" between its parts. What passes here
names one file below that directory, and the same one, on every machine that the file may be carried to.
"""

from __future__ import annotations

import posixpath
import re
import sys
from typing import Any

from localtrack.errors import TrackingError
from localtrack.rules import shown

#: Bytes of one part in UTF-8: what ext4, XFS, NTFS and APFS take (NAME_MAX).
PART_BYTES = 255
#: Bytes of a whole path in UTF-8: with the store's own path in front it stays below PATH_MAX (4096) of Linux.
PATH_BYTES = 2048
#: Names that MLflow (artifact_repo.py) keeps for files on their way in; so do we, and nobody lists them.
TEMPORARY = ".artifact.uploading."

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$')
_WINDOWS = sys.platform == "win32"


def reason_against(path: object, *, windows: bool = _WINDOWS) -> str | None:
    """Why `path` is no path of an artifact, in words; None when it is one.

    Args:
        path: anything.
        windows: refuse also what Windows cannot store (reserved device names, trailing dots, `<>:"|?*`).
    """
    if not isinstance(path, str):
        return "it must be a str"
    return _against_text(path) or _against_form(path) or _against_parts(path, windows=windows)


def _against_text(path: str) -> str | None:
    if _CONTROL.search(path):
        return "it contains a NUL or another control character"
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "it contains a lone surrogate, which UTF-8 cannot express"
    return f"it has {size} bytes; at most {PATH_BYTES} are allowed" if size > PATH_BYTES else None


def _against_form(path: str) -> str | None:
    if not path:
        return "it is empty"
    if "\\" in path:
        return "it contains a backslash, which separates parts on Windows"
    if path.startswith("/"):
        return "it is absolute"
    # As MLflow's verify_artifact_path: names may be used as file names, and must not name something else then.
    norm = posixpath.normpath(path)
    if norm.startswith(".."):
        return "it begins with .., which leads out of the artifact directory"
    if norm != path or norm == ".":
        return f"it would resolve to {shown(norm)}"
    return None


def _against_parts(path: str, *, windows: bool) -> str | None:
    for name in path.split("/"):
        if len(name.encode()) > PART_BYTES:
            return f"a part of it has {len(name.encode())} bytes; at most {PART_BYTES} are allowed"
        if _DRIVE.match(name):
            return f"{shown(name)} names a drive on Windows"
        if name.startswith(TEMPORARY):
            return f"names starting with {TEMPORARY!r} are reserved"
        if windows and (_DEVICE.fullmatch(name) or _NOT_ON_WINDOWS.search(name)):
            return f"{shown(name)} is reserved on Windows"
    return None


def checked(path: object) -> str:
    """The path of an artifact, as an exact str.

    Raises:
        TrackingError: INVALID_PARAMETER_VALUE: `reason_against` has one.
    """
    text = _text(path)
    if why := reason_against(text):
        raise TrackingError(f"Invalid artifact path: {shown(path)}: {why}")
    return str.__str__(text)


def normal(path: object) -> str:
    """The path that `path` means, as MLflow takes `artifact_file` (log_text, ...): `./a//b.txt` is `a/b.txt`.

    Raises:
        TrackingError: as `checked`, after normalising.
    """
    text = _text(path)
    if isinstance(text, str) and text and "\0" not in text:
        text = posixpath.normpath(text)
    if why := reason_against(text):
        raise TrackingError(f"Invalid artifact path: {shown(path)}: {why}")
    return str.__str__(text)


def directory(path: object) -> str:
    """A directory of artifacts to look into: as `normal`; None, "" and "." are the artifact directory itself, ""."""
    return "" if path is None or _text(path) in ("", ".", "./") else normal(path)


def below(prefix: object, path: str) -> str:
    """`path` in the directory `prefix` (None or "" for the artifact directory itself), both checked.

    Raises:
        TrackingError: as `checked`.
    """
    return checked(path) if prefix is None or prefix == "" else checked(f"{checked(prefix)}/{path}")


def part(name: object) -> str:
    """One part of a path: an id of an experiment, run or model that is a directory of the store.

    Raises:
        TrackingError: as `checked`, or it has several parts.
    """
    if "/" in checked(name):
        raise TrackingError(f"Invalid name of a directory: {shown(name)}: it contains a slash")
    return checked(name)


def _text(path: Any) -> Any:
    """What a path-like object says; anything else as it is, for `reason_against` to refuse."""
    fspath = getattr(path, "__fspath__", None)
    return fspath() if callable(fspath) else path
