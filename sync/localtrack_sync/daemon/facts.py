"""What a running daemon says of itself, as values; kept in `<store>/sync/daemon.json` for `localtrack status`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Standing(Enum):
    """Where things stand with one remote."""

    IDLE = "up to date"  # nothing can be delivered now: all delivered, or the rest waits for something else
    WORKING = "delivering"
    SPREAD = "starting"  # the first requests are put off on purpose, see splay_seconds
    OFFLINE = "offline"  # it does not answer; tried again by itself
    THROTTLED = "throttled"  # it asked us to wait
    PAUSED = "paused"  # it does not accept the credentials; they are read again before each attempt
    BUSY = "another process delivers"  # another process (a `localtrack sync`) delivers this store to it
    FAILED = "failed"  # an invariant broke, or what is configured cannot be used: needs a person


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """One store and one remote. Times are seconds since the epoch; None: never, or not known.

    Attributes:
        url, workspace: the remote.
        since: when this standing began.
        trouble: the last words of a remote that is away, or why it is paused or failed; "".
        next_attempt: when it is tried again.
        last_success: when it last answered.
        delivered: records delivered since the daemon began.
        rate: records a second over the last minute.
        lag_s: age of the oldest change that is not delivered and could be, seconds; 0 when there is none.
        connections: requests that may be open at once now.
        jobs: runs, models and experiments that are being delivered or wait for it.
        owed: records that are owed; None: not counted.
    """

    url: str
    workspace: str
    standing: Standing
    since: float
    trouble: str = ""
    next_attempt: float | None = None
    last_success: float | None = None
    delivered: int = 0
    rate: float = 0.0
    lag_s: float = 0.0
    connections: int = 1
    jobs: int = 0
    owed: int | None = None


@dataclass(frozen=True, slots=True)
class DaemonFacts:
    """One daemon, as one of its stores tells it.

    Attributes:
        pid, host, version: of the process.
        started, written: seconds since the epoch: when it began, when this was written.
        memory_bytes: resident.
        watching: "events" or "polling".
        trouble: what is wrong with the store itself, "".
    """

    pid: int
    host: str
    version: str
    started: float
    written: float
    memory_bytes: int
    watching: str
    remotes: tuple[RemoteFacts, ...] = ()
    trouble: str = ""
