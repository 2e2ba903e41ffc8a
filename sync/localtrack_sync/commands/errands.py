"""All errands of one `localtrack sync`, one remote after the other; one that fails does not keep the others waiting."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from localtrack.catalog.catalog import Catalog
from localtrack.cli import failures as words
from localtrack.errors import LocaltrackError
from localtrack_sync.commands import summary
from localtrack_sync.commands.progress import ProgressLine
from localtrack_sync.shell.replay import Silent, Stop
from localtrack_sync.shell.session import Ended, SyncSettings, run_errand
from localtrack_sync.store.accounts import errand_accounts
from localtrack_sync.store.choice import Choice, Errand

T = TypeVar("T")


def deliver(
    catalog: Catalog, choice: Choice, now: Callable[[], Choice], how: SyncSettings, *, quiet: bool
) -> tuple[list[Ended], list[LocaltrackError]]:
    """Run the errands; returns how they ended, and why some could not be run (all but the first have been told).

    Args:
        catalog: of the store.
        choice: what goes where.
        now: what goes where as of now: training may go on meanwhile.
        how: settings.
        quiet: no progress.
    """
    return one_by_one(choice.errands, lambda errand, stop: _run(catalog, errand, now, how, stop, quiet=quiet))


def one_by_one(errands: Sequence[Errand], run: Callable[[Errand, Stop], T]) -> tuple[list[T], list[LocaltrackError]]:
    """Do something with one remote after the other until somebody stops it; one that fails holds up no other.

    Returns:
        What came of it, and why some could not be done (all but the first have been told).
    """
    done: list[T] = []
    failed: list[LocaltrackError] = []
    stop = Stop()
    with stopping(stop):
        for errand in errands:
            if stop.wanted:
                break
            try:
                done.append(run(errand, stop))
            except LocaltrackError as error:
                if failed:
                    words.say(error.message, error.hint)
                failed.append(error)
    return done, failed


def _run(
    catalog: Catalog, errand: Errand, now: Callable[[], Choice], how: SyncSettings, stop: Stop, *, quiet: bool
) -> Ended:
    def same() -> Errand:
        return now().to(errand.address)

    if quiet:
        return run_errand(catalog, errand.address, same, how, Silent(), stop)
    summary.start(errand)
    line = ProgressLine(sum(account.owed for account in errand_accounts(catalog, errand)))
    try:
        return run_errand(catalog, errand.address, same, how, line, stop)
    finally:
        line.close()


@contextmanager
def stopping(stop: Stop) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the replay in good order, the second at once."""

    def first(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, before[signal.Signals(number)])
        stop.request()
        if sys.stderr.isatty():
            sys.stderr.write("\nStopping: waiting for the requests that are open (again to stop at once).\n")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
