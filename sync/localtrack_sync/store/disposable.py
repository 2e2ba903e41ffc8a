"""What `localtrack gc` may remove: decided from values only. Pure.

Everything here says no unless every condition holds. What passes is not removed yet: it is read back from its remotes
first, and judged once more right before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from localtrack.catalog.desired import StoredFile
from localtrack.catalog.entries import JournalEntry
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.books import RunAccount
from localtrack_sync.uploads.mlmodel import NAME as MLMODEL

#: Statuses of runs and logged models to which nothing more is expected.
ENDED = frozenset({"FINISHED", "FAILED", "KILLED", "READY"})


@dataclass(frozen=True, slots=True)
class Holder:
    """A run or logged model whose files lie in the store.

    Attributes:
        kind: "run" or "model".
        active: it, or the run that made it, has not ended.
        newest_ms: when something was logged to it last, its files included; milliseconds since the epoch.
        content: as in RunEntry: the same as long as nothing of it has changed.
        files: what of it may be removed and lies here: see `removable`.
        registered: how many files it has in all.
    """

    kind: str
    id: str
    name: str
    experiment_id: str
    experiment: str
    active: bool
    deleted: bool
    newest_ms: int
    content: str
    files: tuple[StoredFile, ...]
    registered: int

    @property
    def bytes(self) -> int:
        """Size of the files that may go."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Home:
    """One remote that a holder belongs to.

    Attributes:
        remote: None: nobody has named one.
        named: this user named it, so it may be asked.
        account: where its records stand there.
    """

    remote: Remote | None
    named: bool
    account: RunAccount


@dataclass(frozen=True, slots=True)
class Rule:
    """What is old enough.

    Attributes:
        now_ms: milliseconds since the epoch.
        older_than_ms: what was logged to within so many milliseconds stays.
    """

    now_ms: int
    older_than_ms: float


def removable(files: Iterable[StoredFile]) -> list[StoredFile]:
    """Files whose bytes a remote can have: an MLmodel file may hold other ids there, so it stays, and it is small."""
    return [file for file in files if file.path.rpartition("/")[2] != MLMODEL]


def reason_to_keep(holder: Holder, homes: Sequence[Home], rule: Rule) -> str:
    """Why the files of a holder stay; "" when they may go as soon as every home has shown that it has them."""
    if holder.active:
        return "it has not ended"
    if holder.deleted:
        return "it is deleted, and its files on the remote cannot be compared"
    if rule.now_ms - holder.newest_ms < rule.older_than_ms:
        return "it was logged to too recently"
    if not homes:
        return "it belongs to no remote"
    for home in homes:
        if reason := _at_home(holder, home):
            return reason
    return ""


def _at_home(holder: Holder, home: Home) -> str:
    if home.remote is None:
        return "no remote is known for it"
    account = home.account
    if account.run_id != holder.id or account.kind != holder.kind:
        return "its books are not its own"
    stuck = {column: getattr(account, column) for column in ("owed", "parked", "conflicts", "rejected")}
    told = ", ".join(f"{column} {count:,}" for column, count in stuck.items() if count)
    if told:
        return f"not all of it is delivered to {home.remote}: {told}"
    if account.files_delivered != account.files or account.files != holder.registered or not account.remote_run_id:
        return f"not all of its files are known to be on {home.remote}"
    if not home.named:
        return f"it belongs to {home.remote}, which you have not named: --to {home.remote.url}"
    return ""


def reason_to_stop(journals: Sequence[JournalEntry], *, in_memory: bool) -> str:
    """Why nothing of the store may be removed; "" when nothing stands against it."""
    if in_memory:
        return "the catalog cannot be brought up to date on the disk"
    for journal in journals:
        named = journal.file or journal.incarnation
        if journal.damage:
            return f"journal {named} is damaged"
        if journal.error and journal.file and "is empty" not in journal.error:  # left empty by its process: no records
            return f"journal {named} cannot be read: {journal.error}"
        if journal.unknown_ops:
            return f"journal {named} holds records of a newer localtrack"
    return ""


T = TypeVar("T", bound=Holder)


def oldest_first(holders: Iterable[T]) -> list[T]:
    """The order in which they go."""
    return sorted(holders, key=lambda holder: (holder.newest_ms, holder.kind, holder.id))


def next_chunk(waiting: Sequence[T], excess: int | None, most: int) -> list[T]:
    """The first of `waiting` that have to go.

    Args:
        waiting: in their order.
        excess: bytes that are to go, or None: all of them.
        most: at most so many at once.
    """
    chunk: list[T] = []
    for holder in waiting[:most]:
        if excess is not None and sum(one.bytes for one in chunk) >= excess:
            break
        chunk.append(holder)
    return chunk
