"""What one connection sends with: HTTP, and what is none (a check of a local file, a storage's own library)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

from localtrack_sync.protocol.effects import Failure, Outcome, Reply, Request, Upload
from localtrack_sync.remote.local_files import LocalFileError, LocalFiles
from localtrack_sync.remote.storage import StorageError, Unavailable, storage_of
from localtrack_sync.remote.transport import Transport


@final
class StoreCarrier:
    """Sends the requests of one thread."""

    def __init__(self, transport: Transport, files: LocalFiles, remote_url: str) -> None:
        """Opens nothing yet.

        Args:
            transport: for HTTP.
            files: of the store.
            remote_url: the remote; a directory as artifact root is only believed of one on this machine.
        """
        self._transport = transport
        self._files = files
        self._remote_url = remote_url
        self._aborted = False

    def send(self, request: Request) -> Outcome:
        """Send a request once.

        Raises:
            CredentialError: the credentials cannot be read; nothing was sent.
        """
        if request.method == "CHECK":
            return self._check(request)
        if request.method == "STORE":
            return self._store(request)
        return self._transport.send(request)

    def abort(self) -> None:
        """Cut the request that is open, if any, from another thread."""
        self._aborted = True
        self._transport.abort()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _check(self, request: Request) -> Outcome:
        assert request.upload is not None, "a check is of a file"
        try:
            self._files.check(request.upload)
        except LocalFileError as error:
            return Failure(sent=False, reason=str(error), local=True)
        return Reply(200, {})

    def _store(self, request: Request) -> Outcome:
        self._aborted = False
        pieces = iter((request.body,)) if request.body is not None else self._pieces(request.upload)
        try:
            storage = storage_of(request.url, self._remote_url)
            if request.upload is not None and not storage.whole:
                self._files.check(request.upload)  # a change has to be known before the first piece
            size = storage.put(request.url, pieces)
        except LocalFileError as error:
            return Failure(sent=False, reason=str(error), local=True)
        except Unavailable as error:
            return Reply(403, {"error_code": "PERMISSION_DENIED", "message": str(error)}, str(error))
        except StorageError as error:
            return Failure(sent=True, reason=str(error))
        return Reply(200, {"size": size})

    def _pieces(self, upload: Upload | None) -> Iterator[bytes]:
        assert upload is not None, "something has to be stored"
        for piece in self._files.chunks(upload):
            if self._aborted:
                raise StorageError("the replay was stopped")
            yield piece
