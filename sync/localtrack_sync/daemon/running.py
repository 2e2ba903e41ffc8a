"""One daemon per store: who runs, and the locks of the one that does."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType

from localtrack.errors import BusyError, StoreError
from localtrack.store import Store
from localtrack_sync.store.lock import Holder, NamedLock, holder_of, last_holder
from localtrack_sync.store.presence import daemon_lock


def running(store: Store) -> Holder | None:
    """The daemon that delivers this store now, or None.

    Raises:
        StoreError: the lock file cannot be looked at.
    """
    return holder_of(daemon_lock(store))


def last_one(store: Store) -> Holder | None:
    """The daemon that delivers this store, or the last one that did; None: there never was one."""
    return last_holder(daemon_lock(store))


class DaemonLocks:
    """The locks of one daemon, one in each of its stores; a context manager that gives them back."""

    def __init__(self, command: str, log: str = "") -> None:
        """Takes nothing yet.

        Args:
            command: how this process was started.
            log: the file that it logs to, or "".
        """
        self._holder = Holder.here(command, (), log)
        self._held: dict[str, NamedLock] = {}

    @property
    def stores(self) -> tuple[str, ...]:
        """Real paths of the stores whose locks are held, sorted."""
        return tuple(sorted(self._held))

    def hold(self, stores: Sequence[str]) -> tuple[str, ...]:
        """Hold the locks of exactly these stores: all of them, or what was held before stays as it is.

        A store that does not exist is made: a daemon may be there before the first run.

        Args:
            stores: absolute paths; two that lead to one directory are one store.

        Returns:
            The stores that were made.

        Raises:
            BusyError: another daemon has one of them; the message names both.
            StoreError: a store or a lock file cannot be made.
        """
        wanted = sorted({os.path.realpath(path) for path in stores})  # sorted: of two daemons one gets all
        holder = replace(self._holder, stores=tuple(wanted))
        taken: dict[str, NamedLock] = {}
        made = []
        try:
            for path in wanted:
                if path not in self._held:
                    made += _made(path)
                    lock = NamedLock(daemon_lock(Store(path)), holder, _refusal(path))
                    lock.take()
                    taken[path] = lock
        except BaseException:
            _release(taken)
            raise
        _release({path: self._held.pop(path) for path in self.stores if path not in wanted})
        for lock in self._held.values():
            lock.rename(holder)
        self._held.update(taken)
        return tuple(made)

    def __enter__(self) -> DaemonLocks:  # noqa: PYI034 - Self is not in Python 3.10
        """Nothing is taken before `hold`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give all locks back."""
        _release(self._held)
        self._held = {}


def _release(locks: dict[str, NamedLock]) -> None:
    for lock in locks.values():
        lock.release()


def _made(path: str) -> list[str]:
    new = not os.path.isdir(path)
    try:
        Store(path).make()
    except OSError as error:
        raise StoreError(
            f"The store {path} cannot be used: {error.strerror or error}",
            "Look at the path and its permissions, or name another one: --store PATH",
        ) from error
    return [path] if new else []


def _refusal(path: str) -> Callable[[Holder], BusyError]:
    def refused(holder: Holder) -> BusyError:
        return BusyError(
            f"A daemon delivers {path} already: {holder}.",
            hint="Look at it: localtrack daemon status. End it: localtrack daemon stop.",
        )

    return refused
