"""The errors of localtrack: each says what to do next (`hint`) and what the CLI ends with (`exit_code`).

- LocaltrackError
    - TrackingError: bad input or a missing thing, with MLflow's error_code (a ValueError as well)
        - SettingsError: a variable or the settings file says what cannot be
        - RemovedError: a file that `localtrack gc` removed here; the message says where it is
    - StoreError: the store directory cannot be used
        - JournalError: a journal cannot be written (raised in training code only with strict=True)
        - TooNewError: a file was written by a newer localtrack
    - ReplayError: the replay side, see localtrack_sync
        - BusyError: another process replays this store to this remote
        - CredentialError: credentials are missing, or may not be sent there
"""

from __future__ import annotations

#: error_code -> HTTP status, as MLflow's server maps them (mlflow/protos/databricks_pb2 and its status table).
HTTP_STATUS: dict[str, int] = {
    "INTERNAL_ERROR": 500,
    "INVALID_STATE": 500,
    "DATA_LOSS": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "RESOURCE_EXHAUSTED": 429,
    "ABORTED": 409,
    "RESOURCE_CONFLICT": 409,
    "ALREADY_EXISTS": 409,
    "NOT_FOUND": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "CUSTOMER_UNAUTHORIZED": 401,
    "BAD_REQUEST": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "INVALID_PARAMETER_VALUE": 400,
}


class LocaltrackError(Exception):
    """Base of all errors of localtrack.

    Attributes:
        hint: what the reader can do next; may be empty.
        exit_code: what the command line ends with when this error reaches it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class TrackingError(LocaltrackError, ValueError):
    """What an MLflow server would have refused, refused at once; `except mlflow.MlflowException` code can branch on it.

    Attributes:
        error_code: MLflow's own word, a key of `HTTP_STATUS` (INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ...).
    """

    def __init__(self, message: str, error_code: str = "INVALID_PARAMETER_VALUE", hint: str = "") -> None:
        super().__init__(message, hint)
        self.error_code = error_code

    def get_http_status_code(self) -> int:
        """HTTP status that MLflow's server answers with for this error_code (500 for an unknown one)."""
        return HTTP_STATUS.get(self.error_code, 500)


class SettingsError(TrackingError):
    """A setting has a value that it cannot have; the message names both. The exit code of a usage error."""

    exit_code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class RemovedError(TrackingError):
    """A file that `localtrack gc` removed from this store; the message says which remote has it.

    Its error_code is INVALID_STATE, not RESOURCE_DOES_NOT_EXIST: the file exists, and is not to be made anew.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, "INVALID_STATE", hint)


class StoreError(LocaltrackError):
    """The store directory cannot be used."""


class JournalError(StoreError):
    """A journal cannot be written; training code sees it only with strict=True."""


class TooNewError(StoreError):
    """A file was written by a newer localtrack; upgrade to read it. Nothing was changed."""


class ReplayError(LocaltrackError):
    """Replay cannot go on."""


class BusyError(ReplayError):
    """Another process replays this store to this remote; the message names it."""


class CredentialError(ReplayError):
    """Credentials are missing, or may not be sent to that remote."""
