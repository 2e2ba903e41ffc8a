"""How delivery stands at this moment, for `localtrack status`: what the running daemon says of itself, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localtrack.cli import wording
from localtrack.errors import StoreError
from localtrack.store import Store
from localtrack_sync.daemon import facts_file
from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing
from localtrack_sync.daemon.running import running
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.lock import Holder

#: Seconds without a word of a daemon that lives: it speaks at least every 30, unless it hangs or its disk is full.
SILENT_S = 90.0
#: Standings that somebody has to do something about.
ALARMING = frozenset({Standing.PAUSED, Standing.FAILED})
COLOURS = {Standing.WORKING: "green", Standing.IDLE: "green", **dict.fromkeys(ALARMING, "red")}
_WAITING = "yellow"


@dataclass(frozen=True, slots=True)
class Now:
    """The daemon of a store.

    Attributes:
        holder: the process; None: none runs.
        facts: what it says; None also when it has not said anything yet.
        trouble: why it is not known whether one runs, "".
    """

    holder: Holder | None = None
    facts: DaemonFacts | None = None
    trouble: str = ""

    def of(self, remote: Remote | None) -> RemoteFacts | None:
        """What it says of a remote; None when it does not deliver to it."""
        if self.facts is None or remote is None:
            return None
        here = (one for one in self.facts.remotes if (one.url, one.workspace) == (remote.url, remote.workspace))
        return next(here, None)


def look(store: Store) -> Now:
    """Ask the lock, then the file; trouble with either is told, and hides nothing else."""
    try:
        holder = running(store)
    except StoreError as error:
        return Now(trouble=error.message)
    facts = facts_file.read(store) if holder is not None else None
    if facts is not None and holder is not None and holder.pid not in (0, facts.pid):
        facts = None  # an earlier one wrote it
    return Now(holder, facts)


def daemon_line(now: Now, now_ms: int) -> str:
    """One line about the daemon."""
    if now.trouble:
        return f"Daemon not known: {now.trouble}"
    if now.holder is None:
        return "No daemon delivers it (localtrack daemon start)"
    since = now.holder.since_ms
    told = f"Daemon running ({now.holder.command}, process {now.holder.pid}"
    told += f", since {wording.span((now_ms - since) / 1000)})" if since is not None else ")"
    if now.facts is None:
        return f"{told}, it has not said anything yet"
    silent_s = now_ms / 1000 - now.facts.written
    if silent_s > SILENT_S:
        return f"{told}, it has said nothing for {wording.span(silent_s)}: what is said below is of then"
    how = "told of writes by the file system" if now.facts.watching == "events" else "looks for writes by the clock"
    return f"{told}, {wording.size(now.facts.memory_bytes)}, {how}"


def headline(facts: RemoteFacts, owed: int, now_ms: int) -> str:
    """How it stands with a remote, in one line; `owed`: records that are not delivered yet."""
    pending = f"{owed:,} pending"
    if facts.standing is Standing.IDLE:
        return pending if owed else "up to date"
    told = f"{facts.standing.value}, {pending}"
    if facts.standing is Standing.WORKING:
        rate = f", {facts.rate:,.0f}/s" if facts.rate >= 1 else ""
        return f"{told}{rate}, {_lag(facts)}" if owed else f"{facts.standing.value}{rate}"
    told += f", for {wording.span(now_ms / 1000 - facts.since)}"
    if facts.next_attempt is not None:
        told += f", next try in {wording.span(facts.next_attempt - now_ms / 1000)}"
    return told


def _lag(facts: RemoteFacts) -> str:
    return f"lag {facts.lag_s:.1f} s" if facts.lag_s < wording.MINUTE else f"lag {wording.span(facts.lag_s)}"


def colour(facts: RemoteFacts) -> str:
    """Of the headline."""
    return COLOURS.get(facts.standing, _WAITING)


def described(now: Now) -> dict[str, Any] | None:
    """The daemon, for `--json`; None when none runs."""
    if now.holder is None:
        return None
    facts = now.facts
    return {
        "pid": now.holder.pid,
        "host": now.holder.host,
        "since_ms": now.holder.since_ms,
        "command": now.holder.command,
        "log": now.holder.log or None,
        "version": None if facts is None else facts.version,
        "memory_bytes": None if facts is None else facts.memory_bytes,
        "watching": None if facts is None else facts.watching,
        "trouble": None if facts is None or not facts.trouble else facts.trouble,
        "written_ms": None if facts is None else round(facts.written * 1000),
    }


def described_remote(facts: RemoteFacts | None) -> dict[str, Any] | None:
    """What the daemon says of a remote, for `--json`."""
    if facts is None:
        return None
    return {
        "state": facts.standing.name.lower(),
        "since_ms": round(facts.since * 1000),
        "trouble": facts.trouble or None,
        "next_attempt_ms": None if facts.next_attempt is None else round(facts.next_attempt * 1000),
        "last_success_ms": None if facts.last_success is None else round(facts.last_success * 1000),
        "delivered": facts.delivered,
        "rate": facts.rate,
        "lag_s": facts.lag_s,
        "connections": facts.connections,
        "jobs": facts.jobs,
    }
