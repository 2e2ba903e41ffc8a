"""What a tracking URI means here: which store to log to, and which remote the runs are meant for.

A path, `file:...` or `localtrack:...` is a store, and no remote. `http(s)://...` and `databricks...` are the default
store, and the remote that is recorded with each run.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from localtrack.errors import TrackingError

# A scheme of one letter would be a drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):(.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]\s]+)(?::\d{0,5})?")
_QUOTE = "in a user name or password write / ? # @ as %2F %3F %23 %40, in a path @ as %40"
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a tracking URI points.

    Attributes:
        store: path of the store directory, or None for the default store.
        remote: normal form of the remote, without userinfo, query and fragment, or None.
        stripped: what was taken off the remote because it may be secret, in words; empty if nothing was.
    """

    store: str | None = None
    remote: str | None = None
    stripped: str = ""

    @property
    def uri(self) -> str | None:
        """A URI that means the same and holds no secret; None for the default store."""
        return self.remote or (f"localtrack:{self.store}" if self.store else None)


def parse(uri: str | os.PathLike[str] | None) -> Target:
    """The target of `uri`; None and "" are the default store. Relative paths are made absolute now.

    Raises:
        TrackingError: a scheme that localtrack cannot log or replay to.
    """
    if uri is None or uri == "":
        return Target()
    if isinstance(uri, os.PathLike):
        return Target(store=_absolute(os.fspath(uri)))
    if not isinstance(uri, str) or "\0" in uri:
        raise TrackingError(f"A tracking URI must be a str or a path, got {uri!r}")
    if uri == "databricks":
        return Target(remote=uri)
    found = _SCHEME.fullmatch(uri)
    if found is None:
        return Target(store=_absolute(uri))
    scheme, rest = found.group(1).lower(), found.group(2)
    if scheme in ("http", "https", "databricks"):
        return _remote(scheme, rest)
    if scheme in ("file", "localtrack"):
        return Target(store=_path(rest) or None)
    raise TrackingError(
        f"Tracking URI with scheme {scheme!r} is not supported: give a directory, file:, localtrack:, http(s):// "
        "or databricks"
    )


def local_path(uri: str) -> str:
    """The absolute path that a path or a `file:` URI names.

    Raises:
        TrackingError: another scheme, or a host.
    """
    found = _SCHEME.fullmatch(uri)
    if found is not None and found.group(1).lower() != "file":
        raise TrackingError(f"Not a path of this machine: {uri!r}")
    path = _absolute(uri) if found is None else _path(found.group(2))
    if not path or "\0" in path:
        raise TrackingError(f"Not a path of this machine: {uri!r}")
    return path


def _remote(scheme: str, rest: str) -> Target:
    body, cut = re.split(r"[?#]", rest, maxsplit=1)[0], []
    if body != rest:
        cut.append("query")
    host, slash, path = body.removeprefix("//").partition("/")
    if "@" in host:
        cut.append("user and password")
        host = host.rpartition("@")[2]
    if not body.startswith("//") or not host:
        raise TrackingError(f"Tracking URI {scheme}:... names no host")
    if scheme != "databricks" and mistaken(scheme, rest):
        raise TrackingError(mistaken(scheme, rest))
    # Host names do not distinguish case; profile names of databricks:// do.
    host = host if scheme == "databricks" else host.lower()
    return Target(remote=f"{scheme}://{host}{slash}{path}".rstrip("/"), stripped=" and ".join(cut))


def mistaken(scheme: str, rest: str) -> str:
    """What is wrong with the address of a server, "" when nothing is; the words show none of it.

    A password with `/`, `?` or `#` in it ends the address early: what is left of it would pass for a host, a port and
    a path, and would be recorded with each run.

    Args:
        scheme: http or https.
        rest: what follows the colon.
    """
    authority = re.split(r"[/?#]", rest.removeprefix("//"), maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    if not rest.isprintable() or not _HOST.fullmatch(host):
        return f"Tracking URI {scheme}:... has no host and port that make sense ({_QUOTE})"
    before, at, _ = rest.removeprefix("//")[len(authority) :].rpartition("@")
    if at and ":" in re.sub(r"^\[[^\]]*\]", "", host) + before:
        return f"Tracking URI {scheme}:... has an @ behind its host ({_QUOTE})"
    return ""


def _path(rest: str) -> str:
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise TrackingError(f"A file URI with a host ({host}) is not a directory of this machine")
        rest = slash + path
    raw = _PERCENT.sub(lambda hit: bytes.fromhex(hit.group(1).decode()), rest.encode("utf-8", "surrogateescape"))
    return _absolute(os.fsdecode(raw)) if raw else ""


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
