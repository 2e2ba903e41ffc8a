"""Storages that are written without the tracking server: a directory of this machine, clouds by their own libraries.

None of the libraries comes with localtrack; each is imported when an artifact root needs it, and finds its credentials
where it always does. A storage writes a file whole or not at all.
"""

from __future__ import annotations

import importlib
import io
import ipaddress
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from localtrack_sync.uploads.artifact_root import LIBRARIES


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
        self._refuse_elsewhere(path)
        directory = os.path.dirname(path)
        try:
            os.makedirs(directory, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=".artifact.uploading.", dir=directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(temporary, 0o666 & ~_umask())
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise
            return os.stat(path).st_size
        except OSError as error:
            raise StorageError(f"{directory} cannot be written to: {error.strerror}") from error

    def _refuse_elsewhere(self, path: str) -> None:
        root = path.partition("/artifacts/")[0]
        if not _is_here(self._remote_url):
            raise Unavailable(f"the remote keeps its artifacts in a directory of its own machine ({root})")
        if not os.path.isdir(os.path.dirname(os.path.dirname(root))):
            raise Unavailable(f"the remote keeps its artifacts in {root}, and there is no such place on this machine")


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def _umask() -> int:
    """The process's umask, read from the kernel: asking by setting it would change it for other threads."""
    with suppress(OSError, ValueError), open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o077
