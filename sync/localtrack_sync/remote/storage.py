"""Storages that are written without the tracking server: a directory of this machine, clouds by their own libraries.

None of the libraries comes with localtrack; each is imported when an artifact root needs it, and finds its credentials
where it always does. A storage writes a file whole or not at all.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from localtrack_sync.remote.guard import is_loopback
from localtrack_sync.uploads.artifact_root import LIBRARIES, refused

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: How MLflow lays out the artifacts of a run, or of a logged model, in a directory of experiments.
_LAYOUT = re.compile(
    r"(?P<experiment>/[^/]+(?:/[^/]+)*?(?:/models(?=/m-))?)/(?P<id>(?:m-)?[0-9a-f]{32})/artifacts/(?P<path>.+)"
)


class StorageError(Exception):
    """A file did not arrive, or nobody knows; the words are for people."""


class Unavailable(Exception):  # noqa: N818 - it is no fault
    """This storage cannot be written to from here, whatever the file; the words say what would help."""


class Storage(Protocol):
    """One kind of storage.

    Attributes:
        whole: what it is given, it stores whole or not at all, also when the pieces break off.
    """

    whole: bool

    def put(self, url: str, pieces: Iterator[bytes]) -> int:
        """Store a file whole, or not at all; how many bytes the storage says it has.

        Raises:
            StorageError: it did not work.
            Unavailable: it cannot work.
        """


def storage_of(url: str, remote_url: str) -> Storage:
    """What writes to `url`.

    Raises:
        Unavailable: nothing does.
    """
    scheme = urlsplit(url).scheme.lower()
    if scheme == "file":
        return Directory(remote_url)
    if scheme == "s3":
        return S3(_library("boto3", scheme))
    return Fsspec(_library("fsspec", scheme))


def _library(module: str, scheme: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(scheme) from error


def _missing(scheme: str) -> Unavailable:
    return Unavailable(
        f"the remote keeps its artifacts in {scheme}://, which needs a library here: pip install {LIBRARIES[scheme]}"
    )


class _Stream(io.RawIOBase):
    """Pieces as a file that a library reads."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._held:
            self._held = next(self._pieces, b"")
        size = min(len(target), len(self._held))
        target[:size], self._held = self._held[:size], self._held[size:]
        return size


class S3:
    """Amazon S3 and what speaks its language, by boto3: large files go up in parts."""

    whole = True

    def __init__(self, boto3: Any) -> None:
        self._boto3 = boto3

    def put(self, url: str, pieces: Iterator[bytes]) -> int:
        """See `Storage`."""
        parts = urlsplit(url)
        bucket, key = parts.netloc, unquote(parts.path).lstrip("/")
        endpoint = os.environ.get("MLFLOW_S3_ENDPOINT_URL") or None
        try:
            client = self._boto3.client("s3", endpoint_url=endpoint)
            client.upload_fileobj(io.BufferedReader(_Stream(pieces)), bucket, key)
            return int(client.head_object(Bucket=bucket, Key=key)["ContentLength"])
        except Exception as error:
            raise _told(error) from error


class Fsspec:
    """Any storage that fsspec knows."""

    whole = False

    def __init__(self, fsspec: Any) -> None:
        self._fsspec = fsspec

    def put(self, url: str, pieces: Iterator[bytes]) -> int:
        """See `Storage`."""
        target = unquote(url)
        scheme = urlsplit(url).scheme
        if "::" in target:  # fsspec takes what follows for another storage, a local file for one
            raise StorageError("a name with :: cannot be stored there")
        try:
            system, path = self._fsspec.core.url_to_fs(target)
            with suppress(NotImplementedError):
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
            with system.open(path, "wb") as file:
                for piece in pieces:
                    file.write(piece)
            return int(system.info(path)["size"])
        except ImportError as error:
            raise _missing(scheme) from error
        except Exception as error:
            raise _told(error) from error


def _told(error: Exception) -> Exception:
    """Trouble of a library in our words; what came out of the pieces goes through as it is."""
    from localtrack_sync.remote.local_files import LocalFileError

    if isinstance(error, LocalFileError | StorageError):
        return error
    words = f"{type(error).__name__}: {error}"
    return Unavailable(words) if "redential" in words else StorageError(words)


class Directory:
    """A directory, when it is certain that the remote means one of this machine.

    A root like /mnt/mlflow says nothing about whose machine it is on. It is believed when the remote itself is reached
    at an address of this machine's own (127.0.0.1, ::1) and the directory of its experiments is there; and then the
    first file has to show up in the remote's own list (`files`), because a tunnel may end at such an address.
    """

    whole = True

    def __init__(self, remote_url: str) -> None:
        self._remote_url = remote_url

    def put(self, url: str, pieces: Iterator[bytes]) -> int:
        """See `Storage`."""
        path = unquote(urlsplit(url).path)
        place, below = self._place(path)
        *directories, name = below
        try:
            at = os.open(place, _DIRECTORY)
            try:
                for part in directories:
                    at = _step(at, part)
                return _written(at, name, pieces)
            finally:
                os.close(at)
        except OSError as error:
            raise StorageError(f"{os.path.dirname(path)} cannot be written to: {error.strerror}") from error

    def _place(self, path: str) -> tuple[str, list[str]]:
        """The directory that has to be here, and the parts below it that are ours: reached through no link."""
        if not is_loopback(self._remote_url):
            root = path.partition("/artifacts/")[0]
            raise Unavailable(f"the remote keeps its artifacts in a directory of its own machine ({root})")
        found = _LAYOUT.fullmatch(path)
        if found is None or refused(found["path"]):
            raise Unavailable(f"the remote keeps its artifacts in {path[:200]!r}, which is not as MLflow lays them out")
        above, _, experiment = found["experiment"].rpartition("/")
        below = [found["id"], "artifacts", *found["path"].split("/")]
        if os.path.isdir(found["experiment"]):
            return found["experiment"], below
        if experiment not in ("", ".", "..") and os.path.isdir(above):  # the server makes it with the first file
            return above, [experiment, *below]
        raise Unavailable(
            f"the remote keeps its artifacts in {found['experiment']}, and there is no such place on this machine"
        )


def _step(at: int, name: str) -> int:
    """Open a directory in an open one, which is closed; it is made when it is missing, as the server makes it."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o777, dir_fd=at)
    below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    os.close(at)
    return below


def _written(at: int, name: str, pieces: Iterator[bytes]) -> int:
    """Write a file into an open directory, whole or not at all; readable as the umask says, the server has to read."""
    temporary = f".artifact.uploading.{secrets.token_hex(8)}"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=at)
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, name, src_dir_fd=at, dst_dir_fd=at)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=at)
        raise
    return os.stat(name, dir_fd=at, follow_symlinks=False).st_size
