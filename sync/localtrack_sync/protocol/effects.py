"""The contract between the pure replay engine and the shell that performs its effects. Pure.

The engine is one state machine for one remote. The shell (localtrack_sync.shell.replay, or the simulator) asks it
what to do, does exactly that, and tells it what came of it:

    while not isinstance(step := engine.next(now), Done):
        match step:
            case Perform(job, effect):   # Save, Load and the Reads: done at once, in this order
                engine.feed(job, perform(effect), now)
            case Start(job, send):       # a request: may run beside others; the answer is fed when it comes
                start(job, send)
            case Idle(until):            # nothing to do before `until` (seconds, same clock as `now`) or the next
            answer
                wait(until)

Several `Start`s may be open at once (the engine limits how many). Death of the shell at any point loses nothing: what
has been saved is the truth, and a new engine starts from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from localtrack_sync.protocol.records import Record


# --- requests and what comes of them ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of the store, or a part of one, as the body of a request: the shell streams it from the disk.

    A whole file is only ever sent whole when its content is still `sha256`: the shell holds the last bytes back until
    it knows. A file that is missing, or not what it was when it was registered, comes back as a `Failure` with `local`.

    Attributes:
        directory: artifact root of the owner below `<store>/artifacts`, e.g. "<experiment>/<run>/artifacts".
        path: below that.
        size, sha256: bytes of the whole file and their SHA-256.
        offset, length: which part is sent; a part is checked by the size of the file only.
    """

    directory: str
    path: str
    size: int
    sha256: str
    offset: int = 0
    length: int = -1

    @property
    def sent(self) -> int:
        """Bytes that are sent."""
        return self.size if self.length < 0 else self.length


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as a value: to the remote, or to a place that the remote named.

    Attributes:
        method: of HTTP; or "STORE" (bring `upload` to the storage at `url` through its own library) or "CHECK" (read
            the file of `upload` and compare it with its hash; nothing is sent).
        path: below the remote's root, e.g. "/api/2.0/mlflow/runs/create", quoted as it goes out.
        body: sent as it is (encoded once, by the planner), or None.
        query: query parameters of a GET.
        url: absolute address instead of `path`. Nothing of ours is sent along that tells who we are: what may be done
            there is in the address and in `headers`. What comes of it says nothing about the remote.
        headers: more of them, or others.
        upload: the body, from the disk.
        hashed: the reply is a file that should have so many bytes: it is read and not kept, and comes as a Reply whose
            body is {"size": bytes, "sha256": 64 hex digits}. Of a longer one no more is read than shows that it is.
            None: an ordinary reply.
    """

    method: str
    path: str
    body: bytes | None = None
    query: tuple[tuple[str, str], ...] = ()
    url: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    upload: Upload | None = None
    hashed: int | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether it does not go to the remote itself."""
        return bool(self.url) or self.method == "CHECK"

    @property
    def bytes_sent(self) -> int:
        """Bytes of its body."""
        return len(self.body or b"") + (self.upload.sent if self.upload is not None and self.method != "CHECK" else 0)


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP reply.

    Attributes:
        status: HTTP status.
        body: parsed JSON, or None when the body is not JSON.
        text: the body's beginning as text (at most 2,000 characters), for messages to people.
        retry_after_s: Retry-After in seconds, or None.
    """

    status: int
    body: Any = None
    text: str = ""
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """No complete reply came.

    Attributes:
        sent: False when it is certain that no byte of the request reached the remote (refused, DNS, TLS handshake);
            True when the remote may have executed it, now or later.
        reason: one line for people.
        local: the fault is on this machine (a file that is missing or has changed): no whole request was sent, and the
            same one will fail again.
    """

    sent: bool
    reason: str
    local: bool = False


Outcome: TypeAlias = Reply | Failure


# --- effects -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request. Answer: Outcome."""

    request: Request


@dataclass(frozen=True, slots=True)
class Save:
    """Write delivery-state records in one durable transaction (synchronous=FULL). Answer: None.

    Attributes:
        puts: records to insert or replace, by their key.
        drops: records to remove, by their key (other fields are ignored).
    """

    puts: tuple[Record, ...] = ()
    drops: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """Read all delivery-state records of a scope. Answer: tuple[Record, ...].

    Scopes are ("run", local id), ("model", local id), ("experiment", local id) and ("remote", "").
    """

    scope: str
    scope_id: str


@dataclass(frozen=True, slots=True)
class ReadExperiment:
    """Read an experiment from the catalog. Answer: DesiredExperiment, or None when the store has none of that id."""

    experiment_id: str


@dataclass(frozen=True, slots=True)
class ReadRun:
    """Read a run from the catalog. Answer: DesiredRun, or None when the store has none of that id."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ReadModel:
    """Read a logged model from the catalog. Answer: DesiredModel, or None when the store has none of that id."""

    model_id: str


@dataclass(frozen=True, slots=True)
class ReadPoints:
    """Read metric points of a run beyond the watermarks, in (incarnation, pos) order. Answer: tuple[Point, ...].

    Attributes:
        after: incarnation -> position; a journal that is not named starts at its beginning.
        upto: incarnation -> last position wanted; a journal that is not named is not read at all.
        distinct: leave out every point p that has an identical twin q (same key, step, timestamp, value; NaN equals
            NaN, -0.0 equals 0.0) which is settled (q at or before `after`) or is read earlier (q in the range of this
            read, and (q.incarnation, q.pos) < (p.incarnation, p.pos)). A twin beyond `upto`, or in a journal that is
            not named in `upto` and lies after `after`, does not count. Asked for on remotes that store a point twice
            when it is sent twice.
        model_id: only points that were logged to this logged model, "": to any; None: all.
    """

    run_id: str
    after: tuple[tuple[str, int], ...]
    limit: int
    upto: tuple[tuple[str, int], ...] = ()
    distinct: bool = False
    model_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """Read which files a run or logged model has. Answer: tuple[StoredFile, ...], by path.

    Attributes:
        owner: local id.
    """

    owner: str


@dataclass(frozen=True, slots=True)
class ReadContent:
    """Read a small file of the store into memory. Answer: bytes, or None when it is not as it was registered."""

    upload: Upload


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """Read the names of a run's metrics. Answer: tuple[str, ...], in their order."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ReadHistory:
    """Read a page of one metric of a run. Answer: PagedList[Metric], by (timestamp, step, value), NaN behind 0.

    Attributes:
        limit: points of a page, at most 50,000.
        token: of the page before; None for the first.
    """

    run_id: str
    key: str
    limit: int
    token: str | None = None


@dataclass(frozen=True, slots=True)
class ReadModelMetrics:
    """Read the last point of each metric, run and dataset of a logged model. Answer: tuple[Metric, ...]."""

    model_id: str


#: What only a verification, or a repair, reads.
ReadMetrics: TypeAlias = ReadKeys | ReadHistory | ReadModelMetrics
#: What is done at once, in the shell's own thread.
Local: TypeAlias = (
    Save | Load | ReadExperiment | ReadRun | ReadModel | ReadPoints | ReadFiles | ReadContent | ReadMetrics
)
Effect: TypeAlias = Send | Local


# --- what the engine asks the shell to do ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Perform:
    """Do this now, in this thread, and feed the answer before asking for the next step."""

    job: int
    effect: Local


@dataclass(frozen=True, slots=True)
class Start:
    """Start this request; feed its outcome when it is there."""

    job: int
    send: Send


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to do until an open request is answered, or until `until` (None: only an answer can help).

    Attributes:
        until: seconds, same clock as `now`.
        why: one line for people, e.g. "waiting 118 s: a lost reply may still be executed".
    """

    until: float | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """Every job has ended; `Engine.results` says how."""


Step: TypeAlias = Perform | Start | Idle | Done
