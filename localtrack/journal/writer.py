"""The journal of this process: what training code logs goes through here (docs/journal-format.md).

    append, append_metric, append_batch     one call = one record = one commit, before the call returns
    flush(sync=True), synced=True           fenced too: survives power loss
    close                                   sealed; the next append begins a new journal

No line assumes that the one before it ran just now: a signal handler may log in the middle of a logging call. Where
that can collide (two records with the same n) SQLite's primary key says so, and the later one moves on.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from localtrack import settings
from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import JournalError
from localtrack.journal import codec, forks, ops
from localtrack.journal.current import TROUBLE, CurrentFile
from localtrack.journal.file import INSERT, NO_FILE, JournalFile, NoFile
from localtrack.journal.reader import JournalReader, Points, RecordSource
from localtrack.journal.trouble import HINT, in_words, tell
from localtrack.store import Store

#: Stamps further ahead of our clock are not followed: a machine with a wrong date must not pull the others along.
MAX_AHEAD_MS = 10 * 60 * 1000

_pack_metric = codec.METRIC_STRUCT.pack
_crc32 = zlib.crc32


class Journal:
    """The journal of this process in one store. Made at the first append; thread-safe; a forked child gets a new one.

    Args:
        store: where.
        strict: raise JournalError when something cannot be written, instead of warning once and counting.
        locking: `auto`, `normal` or `exclusive` (docs/journal-format.md §6).
        clock: nanoseconds since the epoch.
        random: bytes for the incarnation.
        retry_seconds: while nothing can be written, a new journal is tried at once, after this time, and then less and
            less often, down to once a minute.
    """

    def __init__(
        self,
        store: Store,
        *,
        strict: bool = False,
        locking: str = "auto",
        clock: Callable[[], int] = time.time_ns,
        random: Callable[[int], bytes] = os.urandom,
        retry_seconds: float = 5.0,
    ) -> None:
        self.store = store
        self._clock = clock
        self._current = CurrentFile(store, locking, clock, random, retry_seconds)
        self.strict = strict
        forks.watch(self)

    @property
    def strict(self) -> bool:
        """Whether trouble raises JournalError."""
        return self._current.quiet

    @strict.setter
    def strict(self, strict: bool) -> None:
        self._current.quiet = strict

    # ---------------------------------------------------------------------------------------------------- append

    def append_metric(self, run_id: str, key: str, value: float, ts: int | None, step: int) -> None:
        """Record one metric; `ts` in milliseconds since the epoch, None for now. The hot path.

        Raises:
            JournalError: strict, and it cannot be written.
        """
        current = self._current
        with current.lock:
            file = current.file
            now = self._clock() // 1_000_000
            try:
                refs = file.refs
                run = refs[run_id]
                ref = refs[key]
                n, last_stamp = file.last
                n += 1
                stamp = now << 16
                if stamp <= last_stamp or stamp <= current.stamp:
                    stamp = max(last_stamp, current.stamp) + 1
                payload = _pack_metric(1, stamp, run, ref, value, (now if ts is None else ts) - (stamp >> 16), step)
                file.execute(INSERT, (n, _crc32(payload, file.seed ^ n).to_bytes(4, "little") + payload))
            except (KeyError, struct.error, sqlite3.Error):
                # A new name, a number that does not fit, a collision, trouble: rare, and sorted out there.
                self._append(ops.LogBatch(run_id, (Metric(key, value, now if ts is None else ts, step),)))
                return
            file.last = (n, stamp)
            if n >= file.ring_at:
                current.ring()

    def append_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        deleted_tags: Sequence[str] = (),
    ) -> ops.OpId | None:
        """Record metrics, params and tags of one run, all or nothing: the same as appending a LogBatch.

        Raises:
            JournalError: strict, and it cannot be written.
        """
        return self.append(ops.LogBatch(run_id, tuple(metrics), tuple(params), tuple(tags), tuple(deleted_tags)))

    def next_stamp(self) -> int:
        """The stamp that a record would have if it were written now."""
        current = self._current
        with current.lock:
            return current.stamp_after(current.file.last[1])

    def append(self, op: ops.Op, *, synced: bool = False, stamp: int | None = None) -> ops.OpId | None:
        """Record an op; it is committed when this returns, and with `synced` it survives power loss.

        Args:
            op: what is recorded.
            synced: it survives power loss too.
            stamp: its stamp, instead of the clock's, or the next one that this journal can give: for what follows from
                a look at the store, and must lose against anything that others write after that look.

        Returns:
            Its identity, or None when it could not be written: lifecycle, params and tags are then kept in memory and
            written first when writing works again, and metrics are counted.

        Raises:
            JournalError: strict, and it cannot be written.
        """
        current = self._current
        with current.lock:
            op_id, file = self._append(op, current.stamp_after if stamp is None else partial(ops.at_least, stamp))
        if not synced or op_id is None or current.fence(file):
            return op_id
        if self.strict:
            raise self._error()
        with current.lock:
            # It may not survive: written once more into the next journal. The same op twice is one op.
            current.kept.add(op_id.stamp, op)
        return None

    def lose(self, kind: str, count: int, reason: str) -> None:
        """Record that values are lost that never became an op: a file that the disk did not take.

        Args:
            kind: a kind of Loss.
            count: how many.
            reason: one line for people.

        Raises:
            JournalError: strict, and it cannot be written.
        """
        current = self._current
        with current.lock:
            current.kept.lost_since_flush = True
            now = current.now_ms()
            self._append(ops.Loss(((kind, count),), now, now, reason))

    def _append(
        self, op: ops.Op, stamp_after: Callable[[int], int] | None = None
    ) -> tuple[ops.OpId | None, JournalFile | NoFile]:
        """Commit one record, or keep it; its identity and its file. Under the lock."""
        current = self._current
        stamp_after = stamp_after or current.stamp_after
        while (file := self._writable()) is not None:
            try:
                op_id = file.write(op, stamp_after)
            except TROUBLE as error:
                current.fail(file, error)
                continue
            if op_id.n >= file.ring_at:
                current.ring()
            return op_id, file
        current.keep(op)
        return None, NO_FILE

    def _writable(self) -> JournalFile | None:
        current = self._current
        if self.strict and current.error is not None:
            raise self._error()
        file = current.writable(insist=self.strict)
        if file is None and self.strict:
            raise self._error()
        return file

    def _error(self) -> JournalError:
        """The trouble, told once; the next call tries again."""
        error, self._current.error = self._current.error, None
        return JournalError(f"cannot write the journal in {self.store.journals}: {error}", hint=HINT)

    def observe(self, stamp: int) -> None:
        """Hybrid logical clock: later stamps of this journal will be greater than `stamp`.

        A stamp more than MAX_AHEAD_MS ahead of our clock is ignored.
        """
        current = self._current
        with current.lock:
            if ops.stamp_ms(stamp) <= current.now_ms() + MAX_AHEAD_MS:
                current.stamp = max(current.stamp, stamp)

    # ------------------------------------------------------------------------------------------------ durability

    def flush(self, *, sync: bool = False) -> bool:
        """Write what is kept in memory, if anything is; with `sync` make everything survive power loss.

        Returns:
            True when everything logged so far is in a journal: nothing is kept, and nothing was lost since the last
            flush.

        Raises:
            JournalError: strict, and it cannot be written.
        """
        current = self._current
        with current.lock:
            current.look()
            if current.file is NO_FILE and current.broken:
                current.writable(insist=True)
            file = current.file
        fenced = not sync or current.fence(file)
        with current.lock:
            if self.strict and current.broken:
                raise self._error()
            kept = current.kept
            whole = fenced and not current.broken and not kept.left() and not kept.lost_since_flush
            kept.lost_since_flush = False
        return whole

    def close(self) -> None:
        """Seal and close the file, with a last try to write what is kept. A later append begins a new journal."""
        if left := self._current.close():
            where = self.store.journals
            tell(f"the journal in {where} is closed and could not be written: lost {in_words(left)} ({HINT})")

    def before_fork(self, timeout: float) -> None:
        """See forks.Forkable."""
        self._current.before_fork(timeout)

    def after_fork_in_parent(self) -> None:
        """See forks.Forkable."""
        self._current.after_fork_in_parent()

    def abandon(self) -> list[object]:
        """See forks.Forkable."""
        return self._current.abandon()

    # --------------------------------------------------------------------------------------------------- looking

    @property
    def path(self) -> str | None:
        """The file that is open now, or None."""
        file = self._current.file
        return file.path if isinstance(file, JournalFile) else None

    @property
    def incarnation(self) -> str | None:
        """Incarnation of the file that is open now, or None."""
        file = self._current.file
        return file.identity.incarnation if isinstance(file, JournalFile) else None

    @property
    def losses(self) -> Mapping[str, int]:
        """Kind -> count of values that are lost and that no LOSS record names yet."""
        with self._current.lock:
            return self._current.kept.lost

    def read_own(self, after: int, limit: int = 10_000) -> list[ops.Record | ops.Damage]:
        """Records n > after of the file that is open now, through the writer's own connection."""
        file = self._current.file
        return list(OwnSource(self._current, file).read(after, limit)) if isinstance(file, JournalFile) else []

    def own_source(self, path: str) -> OwnSource | None:
        """Reads our own file while it is held exclusively; None when `path` is anything else."""
        file = self._current.file
        if isinstance(file, JournalFile) and file.exclusive and file.path == os.path.abspath(path):
            return OwnSource(self._current, file)
        return None


class OwnSource:
    """Reads a journal through its writer's own connection. Reads like a JournalReader.

    Attributes:
        info: header of the journal.
        sealed: False: it is being written.
    """

    sealed = False

    def __init__(self, current: CurrentFile, file: JournalFile) -> None:
        self.info = file.info
        self._lock = current.lock
        self._file = file
        self._source = RecordSource(self._query, file.identity.incarnation)

    def _query(self, sql: str, parameters: Sequence[object]) -> list[tuple[object, ...]]:
        with self._lock:
            return self._file.rows(sql, parameters)

    def read(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage]:
        """See JournalReader.read."""
        return self._source.read(after, limit)

    def read_bulk(self, after: int, limit: int = 10_000) -> Iterator[ops.Record | ops.Damage | Points]:
        """See JournalReader.read_bulk."""
        return self._source.read_bulk(after, limit)

    def close(self) -> None:
        """Nothing to close: the connection is the writer's."""


_journals: dict[str, Journal] = {}


def journal_of(store: Store, *, strict: bool | None = None) -> Journal:
    """The journal of this process in this store: one, shared by all threads. Touches no disk.

    The setting `locking` is read when a store is first asked for.

    `strict`: whether trouble raises from now on; None: as before, at first not. A replay within a training process asks
    for the journal too, and must not change that.
    """
    journal = _journals.get(store.path)
    if journal is None:
        locking = settings.one(os.environ, "locking")
        journal = _journals.setdefault(store.path, Journal(store, locking=locking))
    if strict is not None:
        journal.strict = strict
    return journal


def open_source(path: str) -> JournalReader | OwnSource:
    """A journal file for reading, also our own while we hold it exclusively. Raises what JournalReader raises."""
    for journal in list(_journals.values()):
        if source := journal.own_source(path):
            return source
    return JournalReader(path)
