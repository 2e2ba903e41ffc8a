"""The file that this process appends to now: made, fenced, checkpointed, replaced (docs/journal-format.md §5).

Its lock is reentrant: a signal handler may log in the middle of a logging call. The gate keeps a fork out while the
background thread is inside SQLite without the lock; it is taken before the lock or not at all.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from localtrack.journal import connect, forks, ops
from localtrack.journal.file import (
    CHECKPOINT_BYTES,
    FENCE_SECONDS,
    NO_FILE,
    ROTATE_BYTES,
    Descriptor,
    End,
    JournalFile,
    NoFile,
)
from localtrack.journal.keeper import Keeper
from localtrack.journal.making import make_file
from localtrack.journal.reader import RecordSource
from localtrack.journal.trouble import HINT, Kept, count_kinds, tell
from localtrack.store import Store

#: Seconds without a commit after which the log is folded into the file and truncated.
IDLE_SECONDS = 60.0
#: Seconds that the end waits for the background thread to finish its round.
_STOP_SECONDS = 5.0
#: While nothing can be written, a new file is tried at least this often, seconds.
_MOST_WAIT_SECONDS = 60.0
#: Seconds until the background thread tries for the first time.
_SOON = 0.01
#: What a broken machine raises; anything else is a mistake in what was logged and goes to the caller.
TROUBLE = (sqlite3.Error, OSError)


class CurrentFile:
    """The current file and what happens to it.

    Args:
        store: where.
        locking: `auto`, `normal` or `exclusive`.
        clock: nanoseconds since the epoch.
        random: bytes for the incarnation.
        retry_seconds: while nothing can be written, a new file is tried after this time; then less and less often.

    Attributes:
        lock: guards everything; reentrant.
        file: the file, or NO_FILE.
        stamp: later stamps are greater: the last one of earlier files, of kept ops, or seen elsewhere.
        kept: what waits for a file.
        broken: whether the last try to write or to make a file failed.
        error: the trouble that no caller was told of yet (strict).
        quiet: no warning (strict: the caller gets errors instead).
    """

    def __init__(
        self, store: Store, locking: str, clock: Callable[[], int], random: Callable[[int], bytes], retry_seconds: float
    ) -> None:
        self.store = store
        self.stamp = 0
        self.quiet = False
        self._locking = locking
        self._clock = clock
        self._random = random
        self._retry_seconds = retry_seconds
        self._warned = False
        self.start_empty()

    def start_empty(self) -> None:
        """No file, no thread, fresh locks, nothing owed: at construction and in a forked child."""
        self.lock = threading.RLock()
        self.file: JournalFile | NoFile = NO_FILE
        self.kept = Kept()
        self.broken = False
        self.error: Exception | None = None
        self._gate = threading.Lock()
        self._gate_held = False
        self._opening = False
        self._wait = 0.0
        self._retired: list[tuple[JournalFile, End]] = []
        self._keeper: Keeper | None = None
        # Of the last file: its lock is kept until there is another one.
        self._sign: Descriptor | None = None
        self._process = ""

    def stamp_after(self, last: int) -> int:
        """The stamp of a record whose predecessor in the file has the stamp `last`."""
        return ops.next_stamp(max(last, self.stamp), self.now_ms())

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._clock() // 1_000_000

    # ---------------------------------------------------------------------------------------------------- making

    def writable(self, *, insist: bool) -> JournalFile | None:
        """The open file, one made now, or None while the machine is in trouble. Under the lock.

        Args:
            insist: try to make a file although the last try failed; otherwise that is left to the background thread,
                and a logging call on a broken machine costs nothing.
        """
        if isinstance(self.file, JournalFile):
            return self.file
        if self._opening or (self.broken and not insist and self._keeper is not None):
            return None
        self._opening = True
        try:
            file = self._adopt(self._make())
        except TROUBLE as error:
            self.fail(None, error)
            return None
        finally:
            self._opening = False
        try:
            self._write_kept(file)  # what a signal handler logged while we made the file
        except TROUBLE as error:
            self.fail(file, error)
            return None
        return file

    def keep(self, op: ops.Op) -> None:
        """Keep an op until there is a file. Under the lock.

        Metrics are counted as lost, unless a file is just being made: then this is a signal handler in the middle of
        that; it must not begin another one, and what it logs is written before the interrupted call returns.
        """
        self.stamp = stamp = self.stamp_after(0)
        self.kept.add(stamp, op, whole=self._opening)

    def _make(self) -> JournalFile:
        """A new file, known to nobody yet; raises TROUBLE."""
        return make_file(self.store, self._locking, self.now_ms(), self._random(16), self._process)

    def _adopt(self, file: JournalFile) -> JournalFile:
        """Write what is owed into a new file, then make it the current one. Under the lock; raises TROUBLE."""
        try:
            self._rescue(file)
            self._write_kept(file)
        except TROUBLE:
            file.close()
            raise
        self._take(file)
        self.broken = False
        forks.close_when_worker_ends(self.close)
        return file

    def _take(self, file: JournalFile) -> None:
        self.file = file
        self._sign = file.sign
        self._process = self._process or file.identity.incarnation

    def _rescue(self, new: JournalFile) -> None:
        """Move the records of removed files, which we can still read, into the new one."""
        for old, end in tuple(self._retired):
            if end is End.UNLINKED:
                for record in _records(old):
                    new.write(record.op, partial(ops.at_least, record.stamp))
                with self.lock:
                    self._retired = [entry for entry in self._retired if entry[0] is not old]
                old.close()

    def _write_kept(self, file: JournalFile) -> None:
        """Write what waits, each op with the stamp of the time when it was logged, and the counts of what is lost."""
        kept = self.kept
        while kept.waiting:
            stamp, op = kept.waiting[0]
            file.write(op, partial(ops.at_least, stamp))
            kept.waiting.popleft()
        if loss := kept.loss():
            file.write(loss, self.stamp_after)
            kept.recorded(loss)
        kept.reason = ""

    # --------------------------------------------------------------------------------------------------- trouble

    def fail(self, file: JournalFile | None, error: Exception, end: End = End.TROUBLE) -> None:
        """Stop using the file, warn once, have a new one tried in the background. Under the lock."""
        if file is not None:
            if self.file is not file:
                return  # let go already, by a call in between
            self._no_file()
            self._retired.append((file, end))
        self.broken = True
        self.error = error if self.quiet else None
        self.kept.reason = self.kept.reason or f"{type(error).__name__}: {error}"
        if keeper := self._running_keeper():
            keeper.ring(hurry=True)
        if not self.quiet and not self._warned:
            self._warned = True
            tell(
                f"cannot write the journal in {self.store.journals}: {error}. Training goes on; params, tags and run "
                f"states are kept in memory, metrics are counted as lost until writing works again ({HINT})"
            )

    def look(self) -> None:
        """Notice a file that was removed under us: commits go on without an error, into nowhere. Under the lock."""
        file = self.file
        if isinstance(file, JournalFile) and (gone := file.gone()):
            error = FileNotFoundError(f"{file.path} was removed or replaced")
            self.fail(file, error, End.UNLINKED if gone == "unlinked" else End.TROUBLE)

    # ------------------------------------------------------------------------------------------------ durability

    def fence(self, file: JournalFile | NoFile) -> bool:
        """Fence, not under the lock; False after trouble."""
        if not isinstance(file, JournalFile):
            return not self.broken
        try:
            file.fence()
        except OSError as error:
            with self.lock:
                self.fail(file, error, End.FSYNC)
            return False
        return True

    def ring(self) -> None:
        """Have the background thread fence within the second, or checkpoint now. Under the lock."""
        file = self.file
        if not isinstance(file, JournalFile):
            return
        # First this, then the ring: the thread resets it after it heard the ring.
        file.ring_later()
        keeper = self._running_keeper()
        if keeper is None:
            self.fence(file)  # the interpreter is ending and starts no more threads
        else:
            keeper.ring(hurry=file.log_bytes() >= CHECKPOINT_BYTES)

    def _running_keeper(self) -> Keeper | None:
        if self._keeper is None:
            # Before the start: a signal handler that comes in between must not start a second one.
            self._keeper = keeper = Keeper(self._tend, FENCE_SECONDS)
            if not keeper.start():
                self._keeper = None
        return self._keeper

    # ------------------------------------------------------------------------------------ in the background thread

    def _tend(self, *, rung: bool) -> float | None:
        """One round; returns after how many seconds the next one comes unrung."""
        with self._gate:
            self._close_retired()
        file = self.file
        if not isinstance(file, JournalFile):
            return self._recover(rung=rung)
        try:
            return self._look_after(file, rung=rung)
        except TROUBLE as error:
            with self.lock:
                self.fail(file, error)
            return _SOON

    def _recover(self, *, rung: bool) -> float | None:
        """Try to make a file again: at once after the first failure, then after retry_seconds, then less often."""
        if self.broken and not (rung and self._wait):
            with self._gate:
                self._try_again()
            self._wait = min(max(self._retry_seconds, 2 * self._wait), max(_MOST_WAIT_SECONDS, self._retry_seconds))
        return self._wait if self.broken else None

    def _look_after(self, file: JournalFile, *, rung: bool) -> float | None:
        if not self.fence(file):
            return _SOON
        with self.lock:
            self.look()
            if self.file is not file:
                return _SOON
            self._wait = 0.0
            if not rung:
                file.checkpoint("TRUNCATE")
                return None
            if file.log_bytes() >= CHECKPOINT_BYTES:
                file.checkpoint()
        if file.wal_size() > ROTATE_BYTES:
            with self._gate:
                self._rotate(file)
        return IDLE_SECONDS

    def _close_retired(self) -> None:
        # Who holds the lock may be in the middle of a statement of such a file; after we held it, nobody is.
        with self.lock:
            closing = [entry for entry in self._retired if entry[1] is not End.UNLINKED]
            self._retired = [entry for entry in self._retired if entry[1] is End.UNLINKED]
        for old, end in closing:
            old.let_go_after_fsync_error() if end is End.FSYNC else old.close()

    def _try_again(self) -> None:
        try:
            file = self._make()
        except TROUBLE:
            return  # still no good; counted and kept as before
        try:
            self._rescue(file)  # perhaps long, so not under the lock
            with self.lock:
                if self.broken:
                    self._adopt(file)
                    return
        except TROUBLE:
            file.close()  # what it holds already is written again into the next one: the same op twice is one op
            return
        # A call was faster.
        if file.n:
            file.seal(self.stamp_after)
        else:
            file.close()
            connect.remove(file.path)

    def _rotate(self, old: JournalFile) -> None:
        """Go on in a new journal: a reader that never lets go of its snapshot keeps the old log from starting anew."""
        try:
            new = self._make()
        except TROUBLE:
            return  # the old one still works
        with self.lock:
            if self.file is not old:
                new.close()
                connect.remove(new.path)
                return
            self._no_file()
            self._take(new)
        old.seal(self.stamp_after)
        tell(
            f"a reader has held {old.path} for so long that its log passed {ROTATE_BYTES >> 20} MiB; "
            "logging goes on in a new journal"
        )

    # ------------------------------------------------------------------------------------------------ end and fork

    def close(self) -> Mapping[str, int]:
        """Seal and close the file, after a last try to write what is kept. Never raises.

        Returns:
            Kind -> count of values that no journal holds.
        """
        with self.lock:
            self.look()
            if self.file is NO_FILE and self.owed():
                self.writable(insist=True)
            file = self.file
            if isinstance(file, JournalFile):
                self._no_file()
                file.seal(self.stamp_after)
            left = {} if self._opening else self.owed()
            keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.stop(_STOP_SECONDS)
        self._close_retired()
        self._sign = None
        return left

    def owed(self) -> dict[str, int]:
        """Kind -> count of values that no journal holds now."""
        counts = self.kept.left()
        for old, end in tuple(self._retired):
            if end is End.UNLINKED:
                for record in _records(old):
                    for kind, count in count_kinds(record.op).items():
                        counts[kind] = counts.get(kind, 0) + count
        return counts

    def before_fork(self, timeout: float) -> None:
        """Keep every thread out of SQLite while the process is copied: its mutexes would stay locked in the child."""
        self._gate_held = self._gate.acquire(timeout=timeout)
        self.lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.lock.release()
        if self._gate_held:
            self._gate.release()

    def _no_file(self) -> None:
        self.stamp = max(self.stamp, self.file.last[1])
        self.file = NO_FILE

    def abandon(self) -> list[object]:
        """In a forked child: forget the parent's files untouched. Returns what must never be finalised."""
        self.stamp = max(self.stamp, self.file.last[1])
        leaked: list[object] = []
        if self._sign is not None:
            self._sign.drop()
        for file in (self.file, *(old for old, _ in self._retired)):
            if isinstance(file, JournalFile):
                leaked += file.abandon()
        self.start_empty()
        return leaked


def _records(file: JournalFile) -> Iterator[ops.Record]:
    for item in RecordSource(file.rows, file.identity.incarnation).read(0, 1 << 62):
        if isinstance(item, ops.Record):
            yield item
