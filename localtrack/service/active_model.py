"""The active logged model of each thread: what metrics are linked to that name no model."""

from __future__ import annotations

import os
import threading

_VARIABLE = "MLFLOW_ACTIVE_MODEL_ID"


class _Thread(threading.local):
    """What one thread has chosen: a model, or None where nothing was chosen yet and the environment decides."""

    def __init__(self) -> None:
        self.chosen = False
        self.model_id: str | None = None


_thread = _Thread()


def active_model_id() -> str | None:
    """The id of this thread's active model; what MLFLOW_ACTIVE_MODEL_ID said when it was first asked for; else None."""
    if not _thread.chosen:
        choose(os.environ.get(_VARIABLE) or None)
    return _thread.model_id


def choose(model_id: str | None) -> None:
    """Make a model this thread's active one, or none."""
    _thread.model_id = model_id
    _thread.chosen = True


def clear() -> None:
    """No active model, not here and not in threads and programs that are started from now on."""
    os.environ.pop(_VARIABLE, None)
    choose(None)


def _after_fork() -> None:
    """A child begins like a new thread."""
    _thread.chosen = False
    _thread.model_id = None


os.register_at_fork(after_in_child=_after_fork)
