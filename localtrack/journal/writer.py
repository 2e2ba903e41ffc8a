"""The journal of this process: what training code logs goes through here (docs/journal-format.md).

    append, append_metric, append_batch     one call = one record = one commit, before the call returns
    flush(sync=True), synced=True           fenced too: survives power loss
    close                                   sealed; the next append begins a new journal

The lock is reentrant, and no line assumes that the one before it ran just now: a signal handler may log in the middle of a
logging call. Where that can collide (two records with the same n) SQLite's primary key says so and the later one moves on.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence

from localtrack.entities import Metric, Param, RunTag
from localtrack.errors import JournalError
from localtrack.journal import codec, connect, forks, ops
from localtrack.journal.file import CHECKPOINT_BYTES, FENCE_SECONDS, INSERT, ROTATE_BYTES, JournalFile
from localtrack.journal.keeper import Keeper
from localtrack.journal.reader import RecordSource
from localtrack.journal.trouble import HINT, Kept, in_words, tell
from localtrack.store import Store

#: Stamps further ahead of our clock than this are not followed: one machine with a wrong date must not pull the others along.
MAX_AHEAD_MS = 10 * 60 * 1000
#: Seconds without a commit after which the log is folded into the file and truncated.
IDLE_SECONDS = 60.0
#: Seconds that close waits for the background thread to end its round.
_STOP_SECONDS = 5.0

#: What a broken machine raises; anything else is a mistake in what was logged and goes to the caller.
_TROUBLE = (sqlite3.Error, OSError)
_pack_metric = codec.METRIC_STRUCT.pack
_crc32 = zlib.crc32


class _NoFile:
    """Stands for the file while there is none: it knows no name, so the hot path turns to the slow one without a check."""

    n = 0
    seed = 0
    ring_at = 1 << 62
    refs: Mapping[str, int] = {}  # noqa: RUF012 - never written

    @staticmethod
    def execute(_sql: str, _parameters: Sequence[object] = ()) -> object:
        raise sqlite3.OperationalError("no journal is open")


_NO_FILE = _NoFile()


class Journal:
    """The journal of this process in one store. Made at the first append; thread-safe; a forked child gets a new one.

    Args:
        store: where.
        strict: raise JournalError when something cannot be written, instead of warning once and counting.
        locking: `auto`, `normal` or `exclusive` (docs/journal-format.md §6).
        clock: nanoseconds since the epoch.
        random: bytes for the incarnation.
        retry_seconds: while nothing can be written, a new journal is tried this often.
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
        self.strict = strict
        self._locking = locking
        self._clock = clock
        self._random = random
        self._retry_seconds = retry_seconds
        self._stamp = 0
        self._warned = False
        self._start_empty()
        forks.watch(self)

    def _start_empty(self) -> None:
        """No file, no thread, fresh locks, nothing owed: at construction and in a forked child."""
        self._lock = threading.RLock()
        # Held by the background thread while it is inside SQLite without the lock; taken before the lock, or not at all.
        self._gate = threading.Lock()
        self._gate_held = False
        self._file: JournalFile | _NoFile = _NO_FILE
        self._slot: dict[str, JournalFile] = {}
        self._retired: list[tuple[JournalFile, bool]] = []
        self._kept = Kept()
        self._broken = False
        self._keeper: Keeper | None = None
        self._pid = os.getpid()

    # ------------------------------------------------------------------------------------------------------------ append

    def append_metric(self, run_id: str, key: str, value: float, ts: int | None, step: int) -> None:
        """Record one metric; `ts` in milliseconds since the epoch, None for now. The hot path.

        Raises:
            JournalError: strict, and it cannot be written.
        """
        with self._lock:
            file = self._file
            now = self._clock() // 1_000_000
            try:
                run = file.refs[run_id]
                ref = file.refs[key]
                # n before the stamp: whoever logs in between takes this n, and we come back with a later n and stamp.
                n = file.n + 1
                stamp = now << 16
                if stamp <= self._stamp:
                    stamp = self._stamp + 1
                self._stamp = stamp
                payload = _pack_metric(1, stamp, run, ref, value, (now if ts is None else ts) - (stamp >> 16), step)
                file.execute(INSERT, (n, _crc32(payload, file.seed ^ n).to_bytes(4, "little") + payload))
            except (KeyError, struct.error, sqlite3.Error):
                # A new name, a number that does not fit, a collision, trouble: rare, and sorted out there.
                self._append_batch(ops.LogBatch(run_id, (Metric(key, value, now if ts is None else ts, step),)))
                return
            file.n = n
            if n >= file.ring_at:
                self._ring()

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
        with self._lock:
            batch = ops.LogBatch(run_id, tuple(metrics), tuple(params), tuple(tags), tuple(deleted_tags))
            return self._append_batch(batch)

    def append(self, op: ops.Op, *, synced: bool = False) -> ops.OpId | None:
        """Record an op; it is committed when this returns, and with `synced` it survives power loss.

        Returns:
            Its identity, or None when it could not be written: lifecycle, params and tags are then kept in memory and written
            first when writing works again, and metrics are counted.

        Raises:
            JournalError: strict, and it cannot be written.
        """
        with self._lock:
            op_id = self._append_batch(op) if isinstance(op, ops.LogBatch) else self._append(op, _encode_op)
            file = self._file
        if synced and op_id is not None and not self._fence(file):
            # It may not survive: write it once more into the next journal. The same op twice is one op.
            with self._lock:
                self._kept.add(op_id.stamp, op)
            return None
        return op_id

    def _append_batch(self, batch: ops.LogBatch) -> ops.OpId | None:
        return self._append(batch, _encode_batch)

    def _append(self, op: ops.Op, encode: _Encode) -> ops.OpId | None:
        """Commit one record, or keep it. Under the lock."""
        while (file := self._writable()) is not None:
            n = file.n + 1
            stamp = self._tick()
            try:
                payload, defined = encode(op, file, stamp)
                file.insert(payload, n)
            except sqlite3.IntegrityError:
                continue  # a signal handler took n between our lines
            except _TROUBLE as error:
                self._fail(file, error)
                continue
            file.refs.update(defined)
            if n >= file.ring_at:
                self._ring()
            return ops.OpId(stamp, file.identity.incarnation, n)
        self._kept.add(self._tick(), op)
        return None

    def _tick(self) -> int:
        self._stamp = stamp = ops.next_stamp(self._stamp, self._clock() // 1_000_000)
        return stamp

    def observe(self, stamp: int) -> None:
        """Hybrid logical clock: later stamps of this journal will be greater than `stamp`.

        A stamp more than MAX_AHEAD_MS ahead of our clock is ignored.
        """
        with self._lock:
            if ops.stamp_ms(stamp) <= self._clock() // 1_000_000 + MAX_AHEAD_MS:
                self._stamp = max(self._stamp, stamp)

    # ------------------------------------------------------------------------------------------------------------- files

    def _writable(self) -> JournalFile | None:
        """The open file, one made now, or None while the machine is in trouble. Under the lock."""
        if isinstance(self._file, JournalFile):
            return self._file
        if self._broken and not self.strict and self._keeper is not None:
            return None  # the background thread keeps trying; a logging call costs nothing meanwhile
        return self._open_now()

    def _open_now(self) -> JournalFile | None:
        """Make a file in this call. Under the lock."""
        try:
            return self._adopt(self._make_file())
        except _TROUBLE as error:
            self._fail(None, error)
            return None

    def _make_file(self) -> JournalFile:
        """A new file, known to nobody yet; raises what a broken machine raises."""
        self.store.make()
        random = self._random(16)
        identity = connect.Identity.here(self._clock() // 1_000_000, random)
        path = os.path.join(self.store.journals, identity.file_name)
        exclusive = self._locking == "exclusive" or (
            self._locking == "auto" and connect.on_network(self.store.journals)
        )
        version = sys.modules["localtrack"].__dict__.get("__version__", "")
        file = JournalFile(path, identity, version, exclusive=exclusive)
        connect.fsync_directory(self.store.path)
        connect.fsync_directory(os.path.dirname(self.store.path))
        return file

    def _adopt(self, file: JournalFile) -> JournalFile:
        """Write what is owed into a new file, then make it the current one. Under the lock.

        Raises:
            sqlite3.Error: trouble again; the file is let go, what it did not take is still kept.
        """
        try:
            self._write_owed(file)
        except _TROUBLE:
            file.close()
            raise
        # One step: a signal handler may have opened a file while we made this one, and then that one stays.
        current = self._slot.setdefault("file", file)
        self._file = current
        if current is not file:
            file.close()
            connect.remove(file.path)
            return current
        self._broken = False
        _close_when_worker_ends(self)
        return file

    def _write_owed(self, file: JournalFile) -> None:
        kept = self._kept
        while kept.waiting:
            stamp, op = kept.waiting[0]
            payload, defined = (_encode_batch if isinstance(op, ops.LogBatch) else _encode_op)(op, file, stamp)
            file.insert(payload, file.n + 1)
            file.refs.update(defined)
            kept.waiting.popleft()
        if loss := kept.loss():
            file.insert(codec.encode_op(loss, self._tick()), file.n + 1)
            kept.recorded(loss)
        kept.reason = ""

    def _fail(self, file: JournalFile | None, error: Exception, *, fsync: bool = False) -> None:
        """Trouble: stop using the file. Raises JournalError if strict; otherwise warns once and has it tried again. Under the lock."""
        if file is not None and self._file is not file:
            return  # let go already, by a call in between: the caller looks again
        if file is not None:
            self._let_go(file, fsync=fsync)
        self._broken = True
        self._kept.reason = self._kept.reason or f"{type(error).__name__}: {error}"
        if keeper := self._start_keeper():
            keeper.ring()
        if self.strict:
            raise JournalError(f"cannot write the journal in {self.store.journals}: {error}", hint=HINT) from error
        if not self._warned:
            self._warned = True
            tell(
                f"cannot write the journal in {self.store.journals}: {error}. Training goes on; params, tags and run states are "
                f"kept in memory, metrics are counted as lost until writing works again ({HINT})"
            )

    def _let_go(self, file: JournalFile, *, fsync: bool) -> None:
        """Make it nobody's current file; the background thread closes it."""
        self._file = _NO_FILE
        self._slot.pop("file", None)
        self._retired.append((file, fsync))

    # ------------------------------------------------------------------------------------------------------ durability

    def flush(self, *, sync: bool = False) -> bool:
        """Write what is kept in memory, if anything is; with `sync` make everything survive power loss.

        Returns:
            True when everything logged so far is in a journal: nothing is kept, and nothing was lost since the last flush.

        Raises:
            JournalError: strict, and it cannot be written.
        """
        with self._lock:
            kept = self._kept
            if self._file is _NO_FILE and (self._broken or kept.left()):
                self._open_now()
            file = self._file
        fenced = not sync or self._fence(file)
        with self._lock:
            whole = fenced and not self._broken and not kept.left() and not kept.lost_since_flush
            kept.lost_since_flush = False
        return whole

    def _fence(self, file: JournalFile | _NoFile) -> bool:
        """Fence without the lock; False after trouble."""
        if not isinstance(file, JournalFile):
            return not self._broken
        try:
            file.fence()
        except OSError as error:
            with self._lock:
                self._fail(file, error, fsync=True)
            return False
        return True

    def _ring(self) -> None:
        """Have the background thread fence within the second, or checkpoint. Under the lock."""
        file = self._file
        assert isinstance(file, JournalFile)
        # First this, then the ring: the thread resets it after it heard the ring.
        file.ring_later()
        keeper = self._start_keeper()
        if keeper is None:
            self._fence(file)  # the interpreter is ending and starts no more threads
        else:
            keeper.ring(hurry=file.log_bytes() >= CHECKPOINT_BYTES)

    def _start_keeper(self) -> Keeper | None:
        if self._keeper is None:
            # Before the start: a signal handler that comes in between must not start a second one.
            self._keeper = keeper = Keeper(self._tend, FENCE_SECONDS)
            if not keeper.start():
                self._keeper = None
        return self._keeper

    # -------------------------------------------------------------------------------------------- in the background thread

    def _tend(self, rung: bool) -> float | None:  # noqa: FBT001 - a callback
        """One round: fence, look after the file, try again after trouble. Returns seconds until it wants to look unrung."""
        with self._gate:
            while self._retired:
                file, fsync = self._retired.pop()
                file.let_go_after_fsync_error() if fsync else file.close()
            current = self._file
            if not isinstance(current, JournalFile):
                if self._broken:
                    self._try_again()
                return self._retry_seconds if self._broken else None
            try:
                return self._look_after(current, rung)
            except (*_TROUBLE, JournalError) as error:
                self._fail_quietly(current, error)
                return self._retry_seconds

    def _look_after(self, file: JournalFile, rung: bool) -> float | None:  # noqa: FBT001
        if not self._fence(file):
            return self._retry_seconds
        if file.gone():
            raise FileNotFoundError(f"{file.path} was removed or replaced by somebody else")
        if not rung:
            with self._lock:
                if self._file is file:
                    file.checkpoint("TRUNCATE")
            return None
        if file.log_bytes() >= CHECKPOINT_BYTES:
            with self._lock:
                if self._file is file:
                    file.checkpoint()
            if file.wal_size() > ROTATE_BYTES:
                self._rotate(file)
        return IDLE_SECONDS

    def _try_again(self) -> None:
        try:
            file = self._make_file()
            with self._lock:
                self._adopt(file)
        except _TROUBLE:
            return  # still no good; counted and kept as before

    def _rotate(self, old: JournalFile) -> None:
        """Go on in a new journal: a reader that never lets go of its snapshot keeps the old log from starting anew."""
        try:
            new = self._make_file()
        except _TROUBLE:
            return  # the old one still works
        with self._lock:
            if self._file is not old:
                new.close()
                connect.remove(new.path)
                return
            old.insert(codec.encode_op(ops.Seal(), self._tick()), old.n + 1)
            self._slot["file"] = new
            self._file = new
        try:
            old.seal_and_close()
        except _TROUBLE:
            old.close()
        tell(
            f"a reader has held {old.path} for so long that its log passed {ROTATE_BYTES >> 20} MiB; logging goes on in a new journal"
        )

    def _fail_quietly(self, file: JournalFile, error: Exception) -> None:
        """Trouble found in the background: nobody is there to catch a JournalError; the next append raises its own."""
        with self._lock:
            try:
                self._fail(file, error)
            except JournalError:
                pass

    # --------------------------------------------------------------------------------------------------------------- end

    def close(self) -> None:
        """Seal and close the file, with a last try to write what is kept. A later append begins a new journal. Never raises."""
        with self._lock:
            if self._file is _NO_FILE and self._kept.left():
                self._last_try()
            file = self._file
            if isinstance(file, JournalFile):
                self._seal(file)
            if left := self._kept.left():
                tell(
                    f"the process ends and could not write its journal in {self.store.journals}: lost {in_words(left)}"
                )
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.stop(_STOP_SECONDS)
        while self._retired:
            self._retired.pop()[0].close()

    def _last_try(self) -> None:
        try:
            self._adopt(self._make_file())
        except _TROUBLE:
            return

    def _seal(self, file: JournalFile) -> None:
        self._file = _NO_FILE
        self._slot.pop("file", None)
        try:
            file.insert(codec.encode_op(ops.Seal(), self._tick()), file.n + 1)
            file.seal_and_close()
        except _TROUBLE:
            file.close()

    def before_fork(self, timeout: float) -> None:
        """Keep every thread out of SQLite while the process is copied: its mutexes would stay locked in the child for ever."""
        self._gate_held = self._gate.acquire(timeout=timeout)
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()
        if self._gate_held:
            self._gate.release()

    def abandon(self) -> list[object]:
        """In a forked child: forget the parent's file without touching it. Returns what must never be finalised."""
        leaked = self._file.abandon() if isinstance(self._file, JournalFile) else []
        for file, _ in self._retired:
            leaked += file.abandon()
        self._start_empty()
        return leaked

    # ---------------------------------------------------------------------------------------------------------- looking

    @property
    def path(self) -> str | None:
        """The file that is open now, or None."""
        return self._file.path if isinstance(self._file, JournalFile) else None

    @property
    def incarnation(self) -> str | None:
        """Incarnation of the file that is open now, or None."""
        return self._file.identity.incarnation if isinstance(self._file, JournalFile) else None

    @property
    def losses(self) -> Mapping[str, int]:
        """Kind -> count of values that are lost and that no LOSS record names yet."""
        with self._lock:
            return self._kept.lost

    def read_own(self, after: int, limit: int = 10_000) -> list[ops.Record | ops.Damage]:
        """Records n > after of the open file, through the writer's own connection: the only way while it is held exclusively."""
        with self._lock:
            file = self._file
            if not isinstance(file, JournalFile):
                return []
            return list(RecordSource(file.rows, file.identity.incarnation).read(after, limit))


_journals: dict[str, Journal] = {}


def journal_of(store: Store, *, strict: bool = False) -> Journal:
    """The journal of this process in this store: one, shared by all threads. Touches no disk.

    LOCALTRACK_LOCKING (auto, normal, exclusive) is read when it is first asked for.
    """
    journal = _journals.get(store.path)
    if journal is None:
        locking = os.environ.get("LOCALTRACK_LOCKING", "auto")
        journal = _journals.setdefault(store.path, Journal(store, locking=locking))
    journal.strict = strict
    return journal


def _close_when_worker_ends(journal: Journal) -> None:
    """A worker of multiprocessing ends without atexit handlers: have it seal its journal through its own."""
    process = sys.modules.get("multiprocessing.process")
    util = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, journal.close, exitpriority=-100)


# ---------------------------------------------------------------------------------------------------------------- encoding

_Encode = Callable[[ops.Op, JournalFile, int], tuple[bytes, Mapping[str, int]]]
_NOTHING: Mapping[str, int] = {}


def _encode_op(op: ops.Op, _file: JournalFile, stamp: int) -> tuple[bytes, Mapping[str, int]]:
    return codec.encode_op(op, stamp), _NOTHING


def _encode_batch(op: ops.Op, file: JournalFile, stamp: int) -> tuple[bytes, Mapping[str, int]]:
    """Payload of a LogBatch, and the names that it defines."""
    assert isinstance(op, ops.LogBatch)
    batch = (op.metrics, op.params, op.tags, op.deleted_tags)
    try:
        return codec.encode_batch(stamp, op.run_id, batch, file.refs, _NOTHING), _NOTHING
    except KeyError:
        names = {op.run_id, *(metric.key for metric in op.metrics)}
        defined = file.define(names - file.refs.keys())
    refs = file.refs if defined is None else {**file.refs, **defined}
    return codec.encode_batch(stamp, op.run_id, batch, refs, defined), defined or _NOTHING
