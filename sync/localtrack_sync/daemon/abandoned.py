"""Which runs nobody writes any more: the decision about dead trainers. Pure.

A run is ended when the process that created or resumed it is gone, no process that wrote to it may still live, and all
that has been so for the time of grace, in which a requeued job may go on with it. What cannot be told counts as alive:
a run that is left open for ever is a nuisance, one that is called killed while it trains is a lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from localtrack.catalog.entries import OpenRun
from localtrack.journal.life import Life


class Process(Enum):
    """What is known of a process that wrote journals."""

    LIVING = "it holds its lock"
    GONE = "it ended without closing its last journal"
    CLOSED = "it closed its last journal in good order: what it left open, it left open on purpose"
    UNKNOWN = "it cannot be told from here"


@dataclass(frozen=True, slots=True)
class Writer:
    """One journal and the process that wrote it.

    Attributes:
        process: incarnation of the first journal of its process in this store.
        host: where it was written.
        created_ms: milliseconds since the epoch.
        life: of the process, by this journal; None: the journal is sealed.
    """

    incarnation: str
    process: str
    host: str
    created_ms: int
    life: Life | None


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A run to be ended. Times are milliseconds since the epoch.

    Attributes:
        host: where the process ran that is gone.
        last_ms: last record of the run.
        opened_stamp: the end must be later than this.
    """

    run_id: str
    host: str
    last_ms: int
    opened_stamp: int


def processes(writers: Iterable[Writer]) -> dict[str, Process]:
    """What is known of each process, by the incarnation of its first journal.

    A process that goes on in a new journal leaves the old one sealed, or unsealed after trouble: the last one speaks
    for it, unless any of its locks is held.
    """
    last: dict[str, Writer] = {}
    living: set[str] = set()
    for writer in sorted(writers, key=lambda one: (one.created_ms, one.incarnation)):
        last[writer.process] = writer
        if writer.life is Life.LIVING:
            living.add(writer.process)
    states = {None: Process.CLOSED, Life.GONE: Process.GONE}
    found = {process: states.get(writer.life, Process.UNKNOWN) for process, writer in last.items()}
    return found | dict.fromkeys(living, Process.LIVING)


def gone_since(before: Mapping[str, int], states: Mapping[str, Process], wall_ms: int) -> dict[str, int]:
    """When each process that is gone was first seen so: process -> milliseconds since the epoch.

    A time in the future (the clock was set back) counts as now.
    """
    return {
        process: min(before.get(process, wall_ms), wall_ms)
        for process, state in states.items()
        if state is Process.GONE
    }


def abandoned(
    runs: Iterable[OpenRun],
    writers: Iterable[Writer],
    since: Mapping[str, int],
    *,
    own: str | None,
    until_ms: int,
    greatest_stamp: int,
) -> list[Abandoned]:
    """The runs to be ended.

    Args:
        runs: the runs that have not ended.
        writers: the journals that wrote to them, and others of the same processes.
        since: when each process that is gone was first seen so, from `gone_since`.
        own: incarnation of our own journal: what we write to a run (files that were found) keeps nobody alive.
        until_ms: processes that were gone by this time have had their grace.
        greatest_stamp: a run that was opened by a clock further ahead is left alone until ours comes there.
    """
    journals = {writer.incarnation: writer for writer in writers}
    states = processes(journals.values())
    found = []
    for run in runs:
        others = {journal: ms for journal, ms in run.writers.items() if journal != own}
        opener = journals.get(run.opened_by)
        if opener is None or states[opener.process] is not Process.GONE or run.opened_stamp > greatest_stamp:
            continue
        known = [journals.get(journal) for journal in others]
        theirs = {states[one.process] if one is not None else Process.UNKNOWN for one in known}
        if not theirs <= {Process.GONE, Process.CLOSED}:
            continue
        dead = {one.process for one in (opener, *known) if one is not None and states[one.process] is Process.GONE}
        if all(process in since and since[process] <= until_ms for process in dead):
            found.append(Abandoned(run.run_id, opener.host, max(others.values()), run.opened_stamp))
    return found
