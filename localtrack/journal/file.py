"""One journal file, open for appending by this process (docs/journal-format.md). No threads, no policy.

Fences do not flip `PRAGMA synchronous=FULL`: that would fsync under the lock that logging calls need. A second
descriptor on the `-wal` file is fdatasynced instead, which is what a FULL commit does, without the lock
(docs/decisions/fence.md).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, Protocol

from localtrack.errors import JournalError
from localtrack.journal import codec, connect, life, ops
from localtrack.journal.identity import Identity

#: Seconds from a commit to the start of its fence, at most: with the fsync itself it stays within the promised second.
FENCE_SECONDS = 0.8
#: Bytes of log after which the background thread checkpoints.
CHECKPOINT_BYTES = 8 << 20
#: Bytes of log after which the process goes on in a new journal: a reader keeps the log from starting anew.
ROTATE_BYTES = 64 << 20
#: Names that get a ref (u16); later ones are written out in each record, so that memory stays bounded.
MAX_NAMES = 65_535

#: A commit of one metric writes one frame to the log (a page split writes two or three, once in 20).
_FRAME_BYTES = connect.PAGE_SIZE + 24
_CHECKPOINT_RECORDS = CHECKPOINT_BYTES // _FRAME_BYTES
_RING_EVERY = 1_000  # records, while a due checkpoint has not come yet
_NAMES_PER_INSERT = 300  # 3 values each; SQLite before 3.32 binds at most 999

INSERT = "INSERT INTO record VALUES (?, ?)"

# macOS has no fdatasync; fsync is the stronger call.
_datasync = getattr(os, "fdatasync", os.fsync)


class Execute(Protocol):
    """What a cursor's execute looks like to us."""

    def __call__(self, sql: str, parameters: Sequence[Any] = ..., /) -> object:
        """Run one statement."""


class Descriptor:
    """A file descriptor that is closed when nobody uses it any more.

    A fence takes no lock, so the file may be closed in the middle of one. (With a lock for fences, a signal handler
    that logs in the middle of one would wait for the journal's lock while it holds the other.)
    """

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def drop(self) -> None:
        """Close it now, whoever still refers to it: in a forked child, frames of lost threads do for ever."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.drop()


class End(Enum):
    """Why a file was let go, and so how it is closed."""

    TROUBLE = "a write failed: closed, SQLite checkpoints if it can"
    FSYNC = "an fsync failed: closed without a checkpoint"
    UNLINKED = "somebody removed the file: its records move to the next one"


class JournalFile:
    """An open journal file. All methods but `fence` and `gone` are called under the lock of the Journal.

    Args:
        path, identity, version, exclusive, process: see connect.create, which may raise.
        locks: whether its file system is one where the lock on the log can be taken.

    Attributes:
        last: number and stamp of the last record: one attribute, so that both are always of the same record.
        refs: name -> ref of the names that records of this file may refer to.
        seed: where checksums start, see codec.seed_of.
        execute: runs a statement on the writer's cursor.
        ring_at: the caller rings the background thread when n reaches this.
        sign: descriptor of the log with the lock that says that this process lives (life.py).
    """

    __slots__ = (
        "_connection",
        "_device",
        "_inode",
        "_log",
        "_next_ref",
        "batch_bytes",
        "checkpointed_bytes",
        "checkpointed_n",
        "exclusive",
        "execute",
        "identity",
        "last",
        "path",
        "refs",
        "ring_at",
        "seed",
        "sign",
    )

    def __init__(
        self, path: str, identity: Identity, version: str, *, exclusive: bool, locks: bool = True, process: str = ""
    ) -> None:
        self._connection: sqlite3.Connection | None = connect.create(
            path, identity, version, exclusive=exclusive, process=process
        )
        try:
            # Kept open for the life of the file. SQLite locks the database and -shm, never the log.
            self.sign = Descriptor(os.open(path + "-wal", os.O_RDWR))
            self._log: Descriptor | None = self.sign
            if locks and not exclusive and life.show(self.sign.fd):
                connect.note_lock(self._connection)
            stat = os.stat(path)
            self._device, self._inode = stat.st_dev, stat.st_ino
            cursor = self._connection.cursor()
        except BaseException:
            self._connection.close()
            connect.remove(path)
            raise
        self.path = path
        self.identity = identity
        self.exclusive = exclusive
        self.seed = codec.seed_of(identity.incarnation)
        self.execute: Execute = cursor.execute
        self.last = (0, 0)
        self.refs: dict[str, int] = {}
        self._next_ref = 1
        self.ring_at = 1
        self.batch_bytes = 0
        self.checkpointed_n = 0
        self.checkpointed_bytes = 0

    @property
    def info(self) -> ops.JournalInfo:
        """Header, as a reader sees it."""
        return self.identity.info(connect.FORMAT)

    # ----------------------------------------------------------------------------------------------- names

    def _define(self, texts: Iterable[str]) -> dict[str, int] | None:
        """Give refs to new names: their rows are committed, but `refs` is untouched until a record defines them too.

        Returns:
            text -> ref; None when there is no room for all of them.

        Raises:
            sqlite3.Error: they cannot be written.
        """
        new = sorted(texts)
        if self._next_ref + len(new) > MAX_NAMES:
            return None
        defined: dict[str, int] = {}
        for i in range(0, len(new), _NAMES_PER_INSERT):
            defined.update(self._insert_names(new[i : i + _NAMES_PER_INSERT]))
        return defined

    def _insert_names(self, texts: Sequence[str]) -> dict[str, int]:
        while True:
            first = self._next_ref
            self._next_ref = first + len(texts)
            values: list[object] = []
            for ref, text in enumerate(texts, first):
                data = codec.text_to_bytes(text)
                values += (ref, data, codec.name_crc(data, ref, self.seed))
            try:
                # One statement, so that it is one commit.
                self.execute("INSERT INTO name VALUES " + ",".join(["(?,?,?)"] * len(texts)), values)
            except sqlite3.IntegrityError:
                continue  # a signal handler took these refs between our two lines: take the next ones
            return {text: ref for ref, text in enumerate(texts, first)}

    # --------------------------------------------------------------------------------------------- records

    @property
    def n(self) -> int:
        """Number of the last record."""
        return self.last[0]

    def write(self, op: ops.Op, stamp_after: Callable[[int], int]) -> ops.OpId:
        """Commit one record with the next n, and the stamp that `stamp_after` gives for the last one.

        Optimistic: a signal handler that logs in between takes this n; then we look where the file ends and go on from
        there. So stamps grow with n whatever interrupts what.

        Raises:
            sqlite3.Error: trouble; the file must not be used any more.
        """
        while True:
            n, last_stamp = self.last
            n += 1
            stamp = stamp_after(last_stamp)
            payload, defined = self._payload(op, stamp)
            try:
                self.execute(INSERT, (n, codec.seal(payload, self.seed, n)))
            except sqlite3.IntegrityError:
                self._catch_up()
                continue
            self.last = (n, stamp)
            self.batch_bytes += len(payload)
            self.refs.update(defined)
            return ops.OpId(stamp, self.identity.incarnation, n)

    def _catch_up(self) -> None:
        """Learn the last record from the file: the one who wrote it was interrupted before it said so."""
        for n, body in self.rows("SELECT n, body FROM record ORDER BY n DESC LIMIT 1", ()):
            self.last = (n, codec.HEAD.unpack_from(codec.opened(body, self.seed, n))[1])

    def _payload(self, op: ops.Op, stamp: int) -> tuple[bytes, Mapping[str, int]]:
        """Payload of an op, and the names that it defines."""
        return self._batch(op, stamp) if isinstance(op, ops.LogBatch) else (codec.encode_op(op, stamp), {})

    def _batch(self, op: ops.LogBatch, stamp: int) -> tuple[bytes, Mapping[str, int]]:
        """Payload of a batch, and the names that it defines."""
        batch = (op.metrics, op.params, op.tags, op.deleted_tags)
        nothing: Mapping[str, int] = {}
        try:
            return codec.encode_batch(stamp, op.run_id, batch, self.refs, nothing), nothing
        except KeyError:
            names = {op.run_id, *(metric.key for metric in op.metrics)}
        defined = self._define(names - self.refs.keys())
        refs = self.refs if defined is None else {**self.refs, **defined}
        return codec.encode_batch(stamp, op.run_id, batch, refs, defined), defined or nothing

    def log_bytes(self) -> int:
        """About how much log was written since the last checkpoint (its file does not shrink when it starts anew)."""
        return (self.n - self.checkpointed_n) * _FRAME_BYTES + (self.batch_bytes - self.checkpointed_bytes)

    def ring_later(self) -> None:
        """Before the thread is rung for a fence: ring again when the log is due for a checkpoint, then now and then."""
        self.ring_at = max(self.n + _RING_EVERY, self.checkpointed_n + _CHECKPOINT_RECORDS)

    # ------------------------------------------------------------------------------------------ durability

    def fence(self) -> None:
        """Make everything committed so far survive power loss. Called without the Journal's lock, by any thread.

        Raises:
            OSError: fsync failed: nothing since the last fence can be trusted to survive power loss.
        """
        if (log := self._log) is not None and (fd := log.fd) >= 0:
            # Before the fsync: a commit that comes in between rings once too often, never once too little.
            self.ring_at = self.n + 1
            _datasync(fd)

    def gone(self) -> str:
        """Whether somebody took the file away under us: "unlinked", "moved", or "" while it is in its place."""
        if (log := self._log) is None:
            return ""
        if os.fstat(log.fd).st_nlink == 0:
            return "unlinked"
        try:
            return "" if os.stat(self.path).st_ino == self._inode else "moved"
        except OSError:
            return "moved"

    def wal_size(self) -> int:
        """Size of the log file, bytes."""
        log = self._log
        return os.fstat(log.fd).st_size if log is not None else 0

    def checkpoint(self, mode: str = "PASSIVE") -> None:
        """Copy the log into the database (fence first: then this is short); start it anew if no reader is in the way.

        Raises:
            sqlite3.Error: trouble.
        """
        if self._connection is None:
            return
        self._connection.execute("PRAGMA busy_timeout=0")
        self._connection.execute(f"PRAGMA wal_checkpoint({mode})")
        self._connection.execute(f"PRAGMA busy_timeout={int(connect.BUSY_SECONDS * 1000)}")
        connect.restart_log(self._connection)
        self.checkpointed_n = self.n
        self.checkpointed_bytes = self.batch_bytes
        self.ring_at = self.n + 1

    # ------------------------------------------------------------------------------------------------- end

    def rows(self, sql: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
        """Read through the writer's own connection (the only one that can, while the file is held exclusively)."""
        return [] if self._connection is None else self._connection.execute(sql, parameters).fetchall()

    def seal(self, stamp_after: Callable[[int], int]) -> None:
        """Write SEAL, fold the log into one plain file in rollback mode, and close it. Never raises."""
        with suppress(sqlite3.Error, OSError):
            self.write(ops.Seal(), stamp_after)
            self.fence()
            for pragma in ("busy_timeout=0", "synchronous=FULL", "journal_mode=DELETE"):
                # While a reader is looking SQLite says "locked", and the log stays beside the file, which is as good.
                self.rows(f"PRAGMA {pragma}", ())
        self.close()

    def close(self) -> None:
        """Let the file go. SQLite checkpoints once more if it can. Never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
        self._log = None

    def abandon(self) -> list[object]:
        """In a forked child: let the parent's file go, untouched. Returns what must never be closed nor finalised.

        From now on this process must not open that file with SQLite again: it would believe that it holds the
        parent's locks.
        """
        connect.never_open(self._device, self._inode)
        self.sign.drop()  # a child that kept it would make its dead parent look alive
        leaked: list[object] = [self._connection, self.execute]
        self._connection = None
        return leaked

    def let_go_after_fsync_error(self) -> None:
        """Close without a checkpoint: pages whose write-back failed must not be copied over good ones. Never raises."""
        guard: sqlite3.Connection | None = None
        try:
            # SQLite checkpoints when the last connection closes; a reader that closes after it cannot.
            guard = connect.open_for_reading(self.path)
            guard.execute("SELECT count(*) FROM meta").fetchone()
        except (sqlite3.Error, JournalError):
            guard = None
        self.close()
        if guard is not None:
            guard.close()


class NoFile:
    """Stands for the file while there is none: it knows no name, so the hot path turns to the slow one unasked."""

    last = (0, 0)
    seed = 0
    ring_at = 1 << 62
    refs: Mapping[str, int] = {}

    @staticmethod
    def execute(_sql: str, _parameters: Sequence[object] = ()) -> object:
        """There is nothing to write to."""
        raise sqlite3.OperationalError("no journal is open")


NO_FILE = NoFile()
