"""Where a remote keeps the artifacts of a run or logged model, and which names may go there. Pure.

The root is what the remote says (`artifact_uri` of the run there), never what was written down here.
"""

from __future__ import annotations

import re
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
#: Ids of runs and logged models as MLflow makes them.
_ID = re.compile(r"(?:m-)?[0-9a-f]{32}")
#: The same on other products: a name without dots, slashes or anything that a storage's library takes for more.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
#: What a storage's library may take for more than a path (fsspec chains what `::` joins).
_WHATEVER = re.compile(r"[\x00-\x1f\x7f]|::|\\")


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
        return Root(Way.NONE, reason=f"the remote names {uri[:200]!r} as its artifact root, which is no address")
    scheme = parts.scheme.lower()
    if scheme == "mlflow-artifacts" or (scheme in ("http", "https") and parts.path.startswith(_PROXY)):
        if parts.netloc and parts.netloc.lower() != netloc:
            return Root(
                Way.NONE,
                reason=f"the remote keeps its artifacts on another server, {parts.netloc.rpartition('@')[2][:200]}",
            )
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


def misplaced(root: Root, remote_id: str) -> str:
    """Why a root is not believed to be the place of this run or logged model alone, in words; "" when it is.

    Only asked where our own rights would be used to write (a directory, a storage's own library): the root has to end
    as MLflow builds it, ID/artifacts. So a remote cannot have anything written but below a directory that bears the
    id of its own run, beside whatever else is there.
    """
    if root.way not in (Way.FILE, Way.CLOUD):
        return ""
    base = unquote(root.base) if root.way is Way.CLOUD else root.base
    form = _ID if root.way is Way.FILE else _NAME
    parts = base.split("/")
    own = form.fullmatch(remote_id) and parts[-2:] == [remote_id, "artifacts"]
    if not own or _WHATEVER.search(base) or not {".", ".."}.isdisjoint(parts):
        return f"the remote names {base[:200]!r} as its artifact root, which does not end in {remote_id[:40]}/artifacts"
    return ""


def _nowhere(uri: str) -> Root:
    named = uri[:200] or "nothing"
    return Root(Way.NONE, reason=f"the remote names {named} as its artifact root, which this version cannot write to")


def refused(path: str) -> str:
    """Why a path may not be used below an artifact root, "" when it may: it must not lead out of it, here or there."""
    reason = reason_against(path)
    return f"artifact path {path!r}: {reason}" if reason else ""


def quoted(*parts: str) -> str:
    """Parts of a path, joined, as they stand in a URL."""
    return quote("/".join(part for part in parts if part), safe="/")
