"""One `localtrack gc`: looks, reads back, looks again, removes. It needs no lock of a replay, nor of training.

A daemon may deliver meanwhile: what it still has to read is owed, and nothing owed is removed. A run may be resumed
meanwhile: then its content is another one at the second look, and it is left. If it is resumed after that, files go
that the remotes have, and what is stored anew stays (localtrack.artifacts.removal).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from localtrack.artifacts.known_files import KnownFiles
from localtrack.artifacts.place import Place
from localtrack.artifacts.removal import Remover
from localtrack.artifacts.removed import Copy, RemovedFiles
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import ModelEntry, RunEntry
from localtrack.errors import BusyError, LocaltrackError
from localtrack_sync.remote.remotes import Address, Remote
from localtrack_sync.shell.gc_facts import Key, Survey, bytes_of_artifacts, owner_of, survey
from localtrack_sync.shell.replay import Stop, Watcher
from localtrack_sync.shell.session import SyncSettings, holder
from localtrack_sync.shell.verify_session import UNVERIFIED, Verified, run_verification
from localtrack_sync.store import lock
from localtrack_sync.store.choice import Errand, Item
from localtrack_sync.store.disposable import Holder, Rule, next_chunk, oldest_first, reason_to_keep
from localtrack_sync.store.found_files import find_files

#: Runs and models that are read back before the first of them is removed: bounds how old an answer can be.
CHUNK = 50


@dataclass(frozen=True, slots=True)
class GcSettings:
    """What is asked for.

    Attributes:
        delete: remove; else only say what would go.
        older_than_s: what was logged to within so many seconds stays.
        max_bytes: remove only until the artifacts of the store have no more bytes; None: whatever may go.
        known: the remotes that may be asked.
        wanted: which runs and models.
    """

    delete: bool
    older_than_s: float
    max_bytes: int | None
    known: Mapping[Remote, Address]
    wanted: Callable[[Item], bool]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became, or would become, of the files of one run or logged model.

    Attributes:
        files, bytes: how many went, or would go.
        kept, kept_bytes: how many stay that lie here.
        reason: why these stay, "" when none does.
        remotes: addresses of the remotes that have what went.
        trouble: the machine did not let us remove some.
    """

    holder: Holder
    files: int
    bytes: int
    kept: int
    kept_bytes: int
    reason: str = ""
    remotes: tuple[str, ...] = ()
    trouble: bool = False


@dataclass(slots=True)
class Collected:
    """How a gc ended.

    Attributes:
        blocked: why nothing may be removed from this store, "" when nothing stands against it.
        total: bytes of all artifacts before.
        put_back: files that an earlier gc, which died, had moved aside.
        away: remotes that could not be asked, and why.
        interrupted: somebody asked it to stop.
    """

    blocked: str = ""
    total: int = 0
    put_back: int = 0
    fates: list[Fate] = field(default_factory=list)
    away: dict[Remote, str] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def freed(self) -> int:
        """Bytes that went, or would go."""
        return sum(fate.bytes for fate in self.fates)


def _nothing(_step: str) -> None:
    """Nothing to do between two steps."""


def collect(
    catalog: Catalog,
    wish: GcSettings,
    how: SyncSettings,
    watcher: Watcher,
    stop: Stop,
    step: Callable[[str], None] = _nothing,
) -> Collected:
    """Remove what may go, or say what would.

    Args:
        catalog: of the store.
        wish: what is asked for.
        how: connections, credentials, clocks.
        watcher: told how the reading back gets on.
        stop: ends it early; what was removed until then is removed.
        step: as in `Remover`.

    Raises:
        BusyError: another gc is at work in this store (only with `delete`).
        StoreError: the catalog, a delivery state or the notes cannot be used.
        OSError: the file system refuses.
    """
    store = catalog.store
    with ExitStack() as opened:
        remover = None
        done = Collected()
        if wish.delete and os.path.isdir(store.artifacts):
            opened.enter_context(lock.NamedLock(os.path.join(store.path, "gc.lock"), holder(how.command), _refused))
            notes = opened.enter_context(RemovedFiles(store))
            remover = Remover(store, notes, time.time_ns, step)
            done.put_back = remover.put_back()
            find_files(catalog)  # what others changed is registered, and so owed; what died on its way in is swept
        _Gc(catalog, wish, how, watcher, stop, remover, done).run()
    return done


def _refused(holder: lock.Holder) -> BusyError:
    return BusyError(
        f"localtrack gc is at work in this store already: {holder}; nothing was removed.",
        "Wait for it, or end it; it can be started again at any time.",
    )


class _Gc:
    def __init__(
        self,
        catalog: Catalog,
        wish: GcSettings,
        how: SyncSettings,
        watcher: Watcher,
        stop: Stop,
        remover: Remover | None,
        done: Collected,
    ) -> None:
        self._catalog = catalog
        self._wish = wish
        self._how = replace(how, replay=replace(how.replay, reread=remover is not None))
        self._watcher = watcher
        self._stop = stop
        self._remover = remover
        self._done = done

    def run(self) -> None:
        """From the first look to the last removal."""
        found = self._look()
        done = self._done
        done.total, done.blocked = bytes_of_artifacts(self._catalog.store), found.blocked
        waiting: list[Holder] = []
        for one in oldest_first(found.holders):
            reason = found.blocked or self._reason(found, one)
            if reason:
                self._keep(one, reason)
            else:
                waiting.append(one)
        while waiting and not self._stop.wanted:
            chunk = next_chunk(waiting, self._excess(), CHUNK)
            if not chunk:
                break
            waiting = waiting[len(chunk) :]
            self._chunk(found, chunk)
        done.interrupted = self._stop.wanted
        for one in waiting:
            self._keep(one, "stopped before its turn" if done.interrupted else "the size is below the cap without it")

    def _look(self) -> Survey:
        return survey(self._catalog, self._wish.wanted, self._wish.known, self._how.environ)

    def _reason(self, found: Survey, one: Holder) -> str:
        rule = Rule(round(self._how.wall() * 1000), self._wish.older_than_s * 1000)
        return reason_to_keep(one, found.homes.get((one.kind, one.id), ()), rule)

    def _excess(self) -> int | None:
        most = self._wish.max_bytes
        return None if most is None else max(0, self._done.total - self._done.freed - most)

    def _keep(self, one: Holder, reason: str) -> None:
        self._done.fates.append(Fate(one, 0, 0, len(one.files), one.bytes, reason))

    # --- some at a time

    def _chunk(self, found: Survey, chunk: Sequence[Holder]) -> None:
        """Read some back, look at the store once more, remove what passed both."""
        copies, reasons = self._read_back(found, chunk)
        now = self._look() if self._remover is not None and len(reasons) < len(chunk) else found
        still = {(one.kind, one.id): one for one in now.holders}
        for one in chunk:
            key = (one.kind, one.id)
            reason = reasons.get(key) or now.blocked
            if not reason and now is not found:
                reason = self._second_look(found, now, one, still.get(key))
            if reason:
                self._keep(one, reason)
            else:
                self._remove(one, copies[key])

    def _second_look(self, found: Survey, now: Survey, one: Holder, again: Holder | None) -> str:
        if again is None or again.content != one.content:
            return "it changed while it was read back"
        before, after = ([home.remote for home in look.homes.get((one.kind, one.id), ())] for look in (found, now))
        if before != after:
            return "it belongs to another remote since"
        return self._reason(now, again)

    def _remove(self, one: Holder, copies: Sequence[Copy]) -> None:
        remotes = tuple(copy.remote for copy in copies)
        if self._remover is None:
            self._done.fates.append(Fate(one, len(one.files), one.bytes, 0, 0, "", remotes))
            return
        store = self._catalog.store
        with Place(store, owner_of(one, store)) as place:
            removed = self._remover.remove(place, one.files, copies)
        known = KnownFiles(store.artifacts)
        for file in removed.files:
            known.drop(one.id, file.path)
        known.keep()
        known.close()
        size = sum(file.size for file in removed.files)
        first = removed.kept[0] if removed.kept else None
        self._done.fates.append(
            Fate(
                one, len(removed.files), size, len(removed.kept), one.bytes - size,
                f"{first.path}: {first.reason}" if first else "", remotes,
                any("cannot be" in kept.reason for kept in removed.kept),
            )
        )  # fmt: skip

    # --- the remotes

    def _read_back(self, found: Survey, chunk: Sequence[Holder]) -> tuple[dict[Key, list[Copy]], dict[Key, str]]:
        """Where each is, whole; and why some are not known to be."""
        copies: dict[Key, list[Copy]] = {(one.kind, one.id): [] for one in chunk}
        reasons: dict[Key, str] = {}
        at: dict[Remote, list[Key]] = {}
        for key in copies:
            for home in found.homes[key]:
                assert home.remote is not None, "what has no remote is kept"
                at.setdefault(home.remote, []).append(key)
        for remote, theirs in at.items():
            keys = [key for key in theirs if key not in reasons]
            told = self._ask(remote, [found.items[key] for key in keys]) if keys else {}
            for key in keys:
                verified = told.get(key)
                reason = self._done.away.get(remote, "") if verified is None else _against(verified, remote)
                if verified is None or reason:
                    reasons[key] = reason or "stopped before its turn"
                else:
                    copies[key].append(Copy(remote.url, verified.result.remote_id))
        return copies, reasons

    def _ask(self, remote: Remote, items: Sequence[Item]) -> dict[Key, Verified]:
        """What a remote has of these; nothing when it is away, or known to be."""
        if remote in self._done.away or self._stop.wanted:
            return {}
        runs = tuple(item for item in items if isinstance(item, RunEntry))
        models = tuple(item for item in items if isinstance(item, ModelEntry))
        experiments = tuple(dict.fromkeys(item.experiment_id for item in items if item.experiment_id))
        errand = Errand(self._wish.known[remote], runs, experiments, models)
        try:
            ended = run_verification(self._catalog, errand, self._how, self._watcher, self._stop)
        except LocaltrackError as error:
            self._done.away[remote] = f"{remote} cannot be asked: {error.message}"
            return {}
        if ended.report.stopped and not self._stop.wanted:
            self._done.away[remote] = f"{remote} could not be asked: {ended.report.stopped}"
        definite = [one for one in ended.verified if not (ended.report.stopped and one.verdict == UNVERIFIED)]
        return {(one.kind, one.id): one for one in definite}


def _against(verified: Verified, remote: Remote) -> str:
    """Why what was read back does not prove enough; "" when all of it is there."""
    if verified.verdict == "equal":
        return "" if verified.result.remote_id else f"it was not found on {remote}"
    if verified.verdict == UNVERIFIED:
        return f"{remote}: {verified.result.reason}"
    unread = [one for one in verified.result.findings if one.what == "unread"]
    if unread:
        return f"{remote}: its files could not be read back: {unread[0].theirs}"
    first = next(one for one in verified.result.findings if one.standing.value == verified.verdict)
    named = f"{first.kind} {first.key}" if first.key else first.kind
    more = len(verified.result.findings) - 1
    return f"{remote} has not what is here: {named} is {first.what}" + (f", and {more} more" if more else "")
