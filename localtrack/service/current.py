"""Which store and remote the calls mean that name none: the tracking URI of this process."""

from __future__ import annotations

import os

from localtrack.service import Service, service_for
from localtrack.settings import Settings, load
from localtrack.tracking_uri import parse

_VARIABLE = "MLFLOW_TRACKING_URI"
_uri: str | None = None
_services: dict[tuple[str | None, Settings], Service] = {}


def set_tracking_uri(uri: str | os.PathLike[str] | None) -> None:
    """Choose where calls of this process go, and those of programs that it starts.

    Args:
        uri: a directory, `file:` or `localtrack:` URI: that store. `http(s)://` or `databricks`: logging stays local,
            in the default store, and the URI is recorded as the remote that new runs are meant for; user and password
            in it are not. None: the default store again.

    Runs that are active keep the store that they were started in.

    Raises:
        TrackingError: a scheme that localtrack cannot log or replay to (INVALID_PARAMETER_VALUE).
    """
    global _uri
    if uri is None or uri == "":
        _uri = None
        os.environ.pop(_VARIABLE, None)
        return
    target = parse(uri)
    service_for(uri)  # says what is not recorded, and refuses bad settings now rather than in the first log call
    given = uri if isinstance(uri, str) and not target.stripped else target.uri
    _uri = given
    os.environ.pop(_VARIABLE, None)
    # An absolute path, so that a program started in another directory means the same store.
    os.environ[_VARIABLE] = target.uri or f"localtrack:{load(os.environ).store}"


def get_tracking_uri() -> str:
    """The tracking URI in force; without one, `localtrack:` and the path of the default store."""
    settings = load(os.environ)
    given = _uri or settings.tracking_uri
    if given is None:
        return f"localtrack:{settings.store}"
    target = parse(given)
    return target.remote if target.remote and target.stripped else given


def is_tracking_uri_set() -> bool:
    """Whether a tracking URI was set, here or in the environment."""
    return bool(_uri or os.environ.get(_VARIABLE))


def current_service() -> Service:
    """The service for the tracking URI in force."""
    settings = load(os.environ)
    service = _services.get((_uri, settings))
    if service is None:
        service = _services[(_uri, settings)] = service_for(_uri, settings)
    return service
