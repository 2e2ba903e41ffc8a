"""How a remote is spared, as values: the settings of the engine's gate, and what the gate says of itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class GateSettings:
    """When requests to one remote may go out; the defaults are those of a daemon. Seconds everywhere.

    Attributes:
        connections_max: requests open at once, at most; how many there are adapts.
        connections_start: how many at the beginning where there is no ramp (`ramp_s` 0).
        retry_cap_s: the longest pause of ours before a remote that is away is tried again; twice that when it says that
            it has too much to do. What it asks for itself (Retry-After) may be longer.
        splay_s: the first request is put off by a random part of this.
        reconnect_splay_s: the same after a long outage, from the first answer on.
        long_outage_s: how long a remote must have been away for that, and for a new ramp.
        ramp_s: how long, after the start and after a long outage, no more than one request is open. Where requests are
            put off one is open a small part of the time at first.
        budget_ratio: repeated requests, as a share of those that go out for the first time.
        budget_window_s: how long requests count for that.
        budget_floor: repeated requests in that time that need no others beside them.
        patience_s: how long the remote may be away before the replay is given up; None: for ever. Without patience
            refused credentials and pages of somebody else's server are outages too.
    """

    connections_max: int = 4
    connections_start: int = 2
    retry_cap_s: float = 300.0
    splay_s: float = 0.0
    reconnect_splay_s: float = 180.0
    long_outage_s: float = 300.0
    ramp_s: float = 30.0
    budget_ratio: float = 0.10
    budget_window_s: float = 120.0
    budget_floor: float = 10.0
    patience_s: float | None = None

    def __post_init__(self) -> None:
        assert 1 <= self.connections_start <= self.connections_max, "at least one connection, at most the most"
        assert self.budget_floor > 1, "a request that failed once could never be repeated"


def one_shot(connections: int, patience_s: float | None) -> GateSettings:
    """The settings of a replay that people wait for: all connections at once, nothing is put off."""
    return GateSettings(
        connections_max=connections,
        connections_start=connections,
        ramp_s=0.0,
        reconnect_splay_s=0.0,
        budget_floor=max(10.0, 8.0 * connections),
        patience_s=patience_s,
    )


class Condition(Enum):
    """How it is with a remote."""

    OK = "ok"
    STARTING = "starting"  # requests are put off on purpose, so that many daemons do not come at once
    OFFLINE = "offline"  # it does not answer, or somebody else does
    THROTTLED = "throttled"  # it says that it has too much to do
    PAUSED = "paused"  # it does not accept the credentials; they are read again before each attempt


@dataclass(frozen=True, slots=True)
class GateStanding:
    """What the gate says of itself. Times are readings of the engine's clock.

    Attributes:
        since: when this began: the first failure in a row, the first answer after it, the first look at the gate.
        trouble: the last words of a remote that is away, "" while all is well.
        next_attempt: when something may go out again; None: now, as soon as there is something.
        connections: requests that may be open at once now.
    """

    what: Condition
    since: float
    trouble: str
    next_attempt: float | None
    connections: int
