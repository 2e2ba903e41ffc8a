"""The active runs of each thread, and what happens to them at exit and in a forked child."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading

from localtrack.entities import Run, RunStatus
from localtrack.service import Service
from localtrack.service.active_model import active_model_id


class ActiveRun(Run):
    """A run between start_run and end_run; as a context manager it ends itself FINISHED, or FAILED after an exception.

    Attributes:
        service: the service that the run was started on; it stays that one when the tracking URI changes.
        known: what this process knows about the run.
        append_metric: the journal's hot path, bound once.
    """

    def __init__(self, run: Run, service: Service) -> None:
        super().__init__(run.info, run.data, run.inputs, run.outputs)
        self.service = service
        self.known = service.known.runs[run.info.run_id]
        self.append_metric = service.journal.append_metric

    def __enter__(self) -> ActiveRun:  # noqa: PYI034 - Self is in typing from Python 3.11 on
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        # By id: the same run may have been ended and started again in between.
        if any(run.info.run_id == self.info.run_id for run in thread.stack):
            end_run(RunStatus.FINISHED if kind is None else RunStatus.FAILED)
        return kind is None


class _Thread(threading.local):
    """What one thread has active.

    Attributes:
        stack: the active runs, innermost last.
        direct: the run that metrics can go to without a look at models (at most one): the innermost, unless its metrics
            may belong to a model. The hot path asks nothing else.
        last: the run that it ended last.
        last_model_id: the logged model that it made last.
    """

    def __init__(self) -> None:
        self.stack: list[ActiveRun] = []
        self.direct: tuple[ActiveRun, ...] = ()
        self.last: ActiveRun | None = None
        self.last_model_id: str | None = None


thread = _Thread()

#: The active runs of all threads by identity, in the order of their start: for the end of the process.
_open: dict[int, ActiveRun] = {}
_hooked = False


def push(run: ActiveRun) -> ActiveRun:
    """Make `run` the innermost active run of this thread."""
    global _hooked
    if not _hooked:
        _hooked = True
        # Registered after the journal's own hook (the run's creation is in it), so it runs before the journal closes.
        atexit.unregister(_end_leftovers)
        atexit.register(_end_leftovers)
    _open[id(run)] = run
    thread.stack.append(run)
    choose_path()
    return run


def choose_path() -> None:
    """Set `thread.direct` anew, after a change of the active run or the active model."""
    stack = thread.stack
    direct = bool(stack) and not stack[-1].outputs.model_outputs and active_model_id() is None
    thread.direct = (stack[-1],) if direct else ()


def end_run(status: str = RunStatus.FINISHED) -> None:
    """End the innermost active run of this thread, if there is one.

    Args:
        status: FINISHED, FAILED, KILLED, or any other status of a run.

    Raises:
        TrackingError: no status of a run; the run is no longer active all the same.
    """
    if thread.stack:
        os.environ.pop("MLFLOW_RUN_ID", None)
        run = thread.last = thread.stack.pop()
        choose_path()
        _open.pop(id(run), None)
        run.service.end_run(run.info.run_id, status)


def active_run() -> ActiveRun | None:
    """The innermost active run of this thread, or None."""
    return thread.stack[-1] if thread.stack else None


def _end_leftovers() -> None:
    for run in reversed(list(_open.values())):
        with contextlib.suppress(Exception):  # the process is ending: there is nobody to tell
            run.service.end_run(run.info.run_id, RunStatus.FINISHED)
    _open.clear()


def _after_fork() -> None:
    """A child has no active runs: those of the parent are the parent's to end."""
    global _hooked
    _open.clear()
    thread.stack = []
    thread.direct = ()
    thread.last = None
    thread.last_model_id = None
    _hooked = False


os.register_at_fork(after_in_child=_after_fork)
