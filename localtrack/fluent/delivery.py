"""Module functions about delivery: ours, MLflow has none of them. The replay side does the work."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from localtrack import replay_side
from localtrack.errors import TrackingError
from localtrack.fluent.active import thread
from localtrack.service import Service
from localtrack.service.current import current_service
from localtrack.sync_result import SyncResult

#: No wait or stay is longer: 30 days, in seconds.
LONGEST_S = 2_592_000


def sync(
    to: str | None = None,
    *,
    runs: str | Iterable[str] | None = None,
    experiments: str | Iterable[str] | None = None,
    patience: float = 30.0,
    dry_run: bool = False,
) -> SyncResult:
    """Deliver what is owed, once, in this process: what the command `localtrack sync` does.

    The store is the one that training code here logs to now (that of the active run). Training may go on in other
    threads. Ctrl-C ends it at once and loses nothing; what was delivered stays delivered, and is not sent again.

    A remote that is away is no error: the result says what is owed, and why. Where another process delivers this store
    to the same remote already (a daemon, a `localtrack sync`), it is waited for, and the result says so (`by`); if it
    ends meanwhile, the rest is delivered here.

    Args:
        to: deliver to this server, whatever the runs name: http(s)://HOST[:PORT][/PATH], databricks or
            databricks://PROFILE. None: each run goes where it was meant to go when it was logged, else to
            LOCALTRACK_REMOTE or MLFLOW_TRACKING_URI.
        runs: only these runs, by id or the beginning of one; one or several. None: all of the store.
        experiments: only runs of these experiments, by name or id; one or several.
        patience: seconds, for each remote: how long it may be away before the rest stays owed, and how long another
            process that delivers already is waited for. Waiting until a request whose reply was lost can no longer be
            executed (LOCALTRACK_SETTLE_SECONDS) does not count.
        dry_run: contact nobody; the result says what would be sent.

    Raises:
        TrackingError: `patience` or a setting has a value that it cannot have.
        ReplayError: no remote is known; `to` is no address; settings of TLS or a proxy cannot be used; the replay side
            is not installed. Other remotes are served before it is raised.
        CredentialError: credentials cannot be read, or may not be sent there; likewise.
        StoreError: the store does not exist, or cannot be read; JournalError with `strict`.
        LocaltrackError: a run or experiment that was named does not exist.
    """
    patience = _seconds("patience", patience)
    service = _service()
    written = service.flush()
    result: SyncResult = replay_side.call("sync")(
        service.store,
        os.environ,
        to=to,
        runs=_several(runs),
        experiments=_several(experiments),
        patience=patience,
        dry_run=dry_run,
    )
    return result if written else replace(result, unwritten=True)


def wait_for_sync(timeout: float | None = None, *, run_id: str | None = None, to: str | None = None) -> bool:
    """Wait until whoever delivers this store (a daemon, another process) has delivered what was logged up to now.

    Only looks, at the delivery state on this machine: first every 50 ms, then less often, at last once a second. It
    delivers nothing: when nobody does, it returns False after `timeout`, and a warning says once that no daemon runs.
    What is logged during the wait is not waited for. Files that were written straight into an artifact directory count
    once they are registered (a daemon looks for them now and then).

    Args:
        timeout: seconds; None waits for ever, 0 only looks.
        run_id: only this run, with its logged models; None: everything in the store, also from other processes.
        to: only to this remote; None: where the runs are meant to go, as for `sync`.

    Returns:
        True when everything is there; what is parked, rejected or a conflict does not count as waiting. False when the
        time is over, or when trouble with the disk kept something out of this process's journal.

    Raises:
        TrackingError: `timeout` or a setting has a value that it cannot have.
        ReplayError: `to` is no address; the replay side is not installed.
        StoreError: the store does not exist, or cannot be read; JournalError with `strict`.
        LocaltrackError: the run does not exist.
    """
    timeout = None if timeout is None else _seconds("timeout", timeout)
    service = _service()
    written = service.flush()
    delivered: bool = replay_side.call("wait")(service.store, os.environ, timeout=timeout, run_id=run_id, to=to)
    return delivered and written


def autostart(*, linger: float = replay_side.LINGER_S, stop_with_process_group: bool = False) -> None:
    """Have a daemon deliver this store from now on, without an installed service; does nothing where one runs.

    It is started as a process of its own, no child of this one, with the environment (credentials, settings) of this
    moment, and writes to `sync/daemon.log` in the store. It outlives this process, delivers what is left, and ends by
    itself. LOCALTRACK_AUTOSTART=1 does the same at the first run of a process.

    A machine that ends everything of a job (SLURM with cgroups, a container) ends it too; nothing is lost by that, and
    the next delivery goes on (docs/how-to/notebooks-and-jobs.md).

    Trouble with starting it does not raise: a warning says so once.

    Args:
        linger: seconds that it stays after everything is delivered and no trainer lives any more: above 0, at most 30
            days.
        stop_with_process_group: keep it in the process group and session of this process, so that a signal to the group
            (Ctrl-C in a terminal, the end of a job) reaches it too.

    Raises:
        TrackingError: `linger` is no such number of seconds.
    """
    if not _seconds("linger", linger):
        raise TrackingError("linger must be above 0 seconds: a daemon without an end is `localtrack daemon start`")
    replay_side.want_daemon(_service().store, linger, stop_with_process_group=stop_with_process_group)


def _service() -> Service:
    """That of the active run, which keeps its store; else the one of the tracking URI in force."""
    return thread.stack[-1].service if thread.stack else current_service()


def _several(given: str | Iterable[str] | None) -> tuple[str, ...]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def _seconds(name: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= LONGEST_S:
        raise TrackingError(f"{name} must be a number of seconds from 0 to {LONGEST_S:,}, got {given!r}")
    return float(given)
