"""Ids inside a file named MLmodel become the remote's. Pure.

The file is YAML; only the four lines at its top level that hold ids are touched, all other bytes stay as they are, so
no YAML library is needed and nothing is reformatted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME = "MLmodel"
#: A larger one is sent as it is: it holds something else.
MAX_BYTES = 4 << 20
_LINE = re.compile(
    rb"^(run_id|model_id|model_uuid|artifact_path):([ \t]+)(['\"]?)([^'\"\r\n]*?)\3([ \t]*\r?)$", re.MULTILINE
)
#: Every "<id>/artifacts" in a path, also within each other: a store may itself lie below some ".../artifacts".
_ROOTS = re.compile(r"(?=(?:^|/)([^/]+/artifacts)(/|$))")


def is_model_file(path: str, size: int) -> bool:
    """Whether a file may hold ids."""
    return path.rpartition("/")[2] == NAME and size <= MAX_BYTES


def rewritten(content: bytes, ids: Mapping[str, str]) -> bytes:
    """The content with the remote's ids.

    Args:
        content: of a file named MLmodel.
        ids: local id -> remote id, for runs and logged models; and "<local id>/artifacts" -> artifact root on the
            remote: an `artifact_path` below such a directory, on whatever machine, is made one below the root.
    """

    def line(found: re.Match[bytes]) -> bytes:
        key, gap, mark, value, end = found.groups()
        try:
            old = value.decode()
        except UnicodeDecodeError:
            return found[0]
        new = _moved(old, ids) if key == b"artifact_path" else ids.get(old, old)
        return found[0] if new == old else key + b":" + gap + mark + new.encode() + mark + end

    return _LINE.sub(line, content)


def _moved(path: str, ids: Mapping[str, str]) -> str:
    known = [found for found in _ROOTS.finditer(path) if found[1] in ids]
    return ids[known[-1][1]].rstrip("/") + path[known[-1].end(1) :] if known else path
