"""Where a remote keeps the artifacts of a run or logged model, and which names may go there. Pure.

The root is what the remote says (`artifact_uri` of the run there), never what was written down here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote, urlsplit

from localtrack.artifacts.paths import reason_against

#: Scheme of a storage -> what to install to write to it from here.
LIBRARIES = {
    "s3": "boto3",
    "gs": "gcsfs",
    "wasb": "adlfs",
    "wasbs": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hdfs": "fsspec pyarrow",
    "viewfs": "fsspec pyarrow",
    "sftp": "fsspec paramiko",
    "ftp": "fsspec",
}
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"


class Way(Enum):
    """How a root is reached."""

    PROXY = "through the tracking server"
    SIGNED = "by addresses that the remote signs"
    CLOUD = "a storage of its own"
    FILE = "a directory"
    NONE = "not at all"


@dataclass(frozen=True, slots=True)
class Root:
    """An artifact root.

    Attributes:
        base: PROXY: path below the server's artifacts, unquoted; FILE: the directory; CLOUD: the URL; no slash at the
            end.
        reason: NONE: why.
    """

    way: Way
    base: str = ""
    reason: str = ""


def root_of(uri: str, netloc: str) -> Root:  # noqa: PLR0911 - one for each form
    """What an `artifact_uri` of the remote at `netloc` means."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return Root(Way.NONE, reason=f"the remote names {uri!r} as its artifact root, which is no address")
    scheme = parts.scheme.lower()
    if scheme == "mlflow-artifacts" or (scheme in ("http", "https") and parts.path.startswith(_PROXY)):
        if parts.netloc and parts.netloc.lower() != netloc:
            return Root(Way.NONE, reason=f"the remote keeps its artifacts on another server, {parts.netloc}")
        return Root(Way.PROXY, unquote(parts.path.removeprefix(_PROXY)).strip("/"))
    if scheme == "dbfs":
        return Root(Way.SIGNED, uri.rstrip("/"))
    if scheme in LIBRARIES:
        return Root(Way.CLOUD, uri.rstrip("/"))
    if scheme == "file":
        local = parts.netloc in ("", "localhost")
        return Root(Way.FILE, unquote(parts.path).rstrip("/")) if local else _nowhere(uri)
    if not scheme and uri.startswith("/"):
        return Root(Way.FILE, uri.rstrip("/"))
    return _nowhere(uri)


def _nowhere(uri: str) -> Root:
    named = uri or "nothing"
    return Root(Way.NONE, reason=f"the remote names {named} as its artifact root, which this version cannot write to")


def refused(path: str) -> str:
    """Why a path may not be used below an artifact root, "" when it may: it must not lead out of it, here or there."""
    reason = reason_against(path)
    return f"artifact path {path!r}: {reason}" if reason else ""


def quoted(*parts: str) -> str:
    """Parts of a path, joined, as they stand in a URL."""
    return quote("/".join(part for part in parts if part), safe="/")
