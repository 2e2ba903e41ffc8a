"""What a job of the engine may yield besides the shell's effects, and what all jobs share. Pure.

A job is a generator: it yields what it wants and is sent the answer. So the order of its steps reads from top to
bottom, and nothing in it can do I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from localtrack_sync.protocol.effects import Local, Request
from localtrack_sync.protocol.jobs import Ending, Progress, ReplaySettings
from localtrack_sync.protocol.limits import DIALECTS, Limits
from localtrack_sync.protocol.verdict import Judged


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request to the remote. Answer: Judged.

    Attributes:
        safe: a read; the engine repeats it until the remote gives a definite answer.
        repeat: not a read, but when it was certainly not executed the engine may send the same bytes again, even hours
            later. False for what was decided from a fresh look at the remote (tags).
        expects: path to a field that a good answer has; without it the outcome is unknown.
        optional: the route may be missing on this server.
        text: the answer is text, not JSON; it comes as `words`.
        empty: a good answer may be empty: storages answer an upload so, and MLflow's server too.
    """

    request: Request
    safe: bool = False
    repeat: bool = False
    expects: tuple[str, ...] = ()
    optional: bool = False
    text: bool = False
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on at `until` (seconds, the engine's clock). Answer: None."""

    until: float
    why: str


@dataclass(frozen=True, slots=True)
class Need:
    """Wait until another job is bound to its counterpart. Answer: Bound, or None when it ended without."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Bound:
    """Tell the jobs that need this one. Answer: None.

    Attributes:
        remote_id: id on the remote.
        virgin: (experiments) made by this very delivery state: no earlier one can have left runs in it.
        reason: why `remote_id` is empty.
        ending: how the job will end, when `remote_id` is empty.
    """

    remote_id: str
    virgin: bool = False
    reason: str = ""
    ending: Ending = Ending.DELIVERED


@dataclass(frozen=True, slots=True)
class AllRuns:
    """Wait until no job of a run or model needs this experiment any more. Answer: None."""

    experiment_id: str


@dataclass(frozen=True, slots=True)
class Turn:
    """Let others go first. Answer: None. A job holds no points when it yields this."""


@dataclass(frozen=True, slots=True)
class Bring:
    """See to it that another job runs too, without waiting for it. Answer: None."""

    kind: str
    id: str


Wish: TypeAlias = Ask | Wait | Need | Bring | Bound | AllRuns | Turn | Local
T = TypeVar("T")
#: A part of a job: yields wishes, is sent answers, returns T.
Part: TypeAlias = Generator[Wish, Any, T]


class Ended(Exception):  # noqa: N818 - an ending is not an error
    """The job ends here.

    Thrown into a job at an `Ask` that writes, it means that this request was certainly not executed.
    """

    def __init__(self, ending: Ending, reason: str) -> None:
        super().__init__(reason)
        self.ending = ending
        self.reason = reason


class Inactive(Exception):  # noqa: N818
    """The remote says that the run is not active; look again."""


class Gone(Exception):  # noqa: N818
    """The remote says that the run does not exist."""


@dataclass(slots=True)
class Desk:
    """What all jobs of an engine share.

    Attributes:
        started: clock reading since when, at the latest, what earlier jobs of the same kind and id left without an
            answer has been unknown: the engine's first step, or the end of the last such job of this engine. Set by
            the engine before each step of a job.
        now: clock reading of the present step.
        experiment_ids: ids of all experiments of the remote, once the job ("remote", "experiments") is bound.
        nan_safe, dedupes, models, version, born_wall_s: see records.RemoteFacts; known once the job ("remote", "") is
            bound.
        folder: where experiments without an absolute name go (see `places`), "" where names are no paths. Known then.
        no_folder: why it is "" where names are paths.
        multipart: the remote says that large files may be sent in parts.
        unsigned: what the remote answered when it was asked for signed addresses and has none, "" when it has, or was
            not asked.
    """

    settings: ReplaySettings
    rng: Callable[[], float]
    progress: Progress
    started: float = 0.0
    now: float = 0.0
    dedupes: bool = False
    nan_safe: bool = False
    models: bool = False
    version: str = ""
    born_wall_s: float = 0.0
    experiment_ids: tuple[str, ...] = ()
    folder: str = ""
    no_folder: str = ""
    multipart: bool = False
    unsigned: str = ""

    @property
    def limits(self) -> Limits:
        """Limits of the remote."""
        return DIALECTS[self.settings.dialect]

    @property
    def wall_s(self) -> float:
        """Seconds since the epoch."""
        return self.now + self.settings.wall_offset_s

    @property
    def settle_s(self) -> float:
        """How long an unknown request may still be executed."""
        asked = self.settings.settle_s
        return self.limits.settle_s if asked is None else asked


def settled(desk: Desk, since: float) -> Part[None]:
    """Wait until what became unknown at `since` can no longer be executed."""
    until = since + desk.settle_s
    if desk.now < until:
        yield Wait(until, "a request without an answer may still be executed")


def read(request: Request, *expects: str) -> Part[Judged]:
    """Read from the remote: an answer that is definite."""
    judged: Judged = yield Ask(request, safe=True, expects=expects)
    return judged
