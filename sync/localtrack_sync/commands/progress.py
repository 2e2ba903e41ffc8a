"""How a replay gets on, for people: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO, TypeVar

from localtrack.cli import wording
from localtrack.cli.table import visible
from localtrack_sync.protocol.jobs import Progress
from localtrack_sync.shell.replay import Silent, Watcher

T = TypeVar("T")

#: Seconds between two lines where lines stay (a log file, a pipe).
LINE_EVERY_S = 30.0
#: Seconds that a wait must last before a line says so.
QUIET_WAIT_S = 2.0
_BAR_CELLS = 12
#: Columns that a terminal needs for the bar beside the numbers.
_WIDE = 80


class ProgressLine:
    """Shows progress on standard error; a `replay.Watcher`."""

    def __init__(self, total: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Shows nothing yet.

        Args:
            total: records that are owed at the start; more may come in.
            stream: where to; None: standard error.
            clock: monotonic seconds.
        """
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._began = clock()
        self._terminal = self._stream.isatty()
        self._next_line = self._began + LINE_EVERY_S
        self._waiting, self._waiting_since, self._told = "", self._began, ""
        self._shown = 0

    def tick(self, progress: Progress, waiting: str) -> None:
        """Show it, when it is time to."""
        now = self._clock()
        if _kind(waiting) != self._waiting:
            self._waiting, self._waiting_since = _kind(waiting), now
        long_wait = visible(waiting) if waiting and now - self._waiting_since >= QUIET_WAIT_S else ""
        if self._terminal:
            self._rewrite(long_wait or self._words(progress, now, bar=True))
        elif now >= self._next_line or (long_wait and _kind(long_wait) != self._told):
            self._told = _kind(long_wait)
            self._next_line = now + LINE_EVERY_S
            self._stream.write(f"{long_wait or self._words(progress, now, bar=False)}\n")
            self._stream.flush()

    def close(self) -> None:
        """Clear the line of a terminal."""
        if self._terminal and self._shown:
            self._rewrite("")
            self._stream.write("\r")
            self._stream.flush()

    def _words(self, progress: Progress, now: float, *, bar: bool) -> str:
        done = progress.delivered
        total = max(self._total, done)
        seconds = max(now - self._began, 1e-9)
        rate = done / seconds
        share = done / total if total else 1.0
        filled = int(share * _BAR_CELLS)
        picture = f"[{'#' * filled}{'.' * (_BAR_CELLS - filled)}] " if bar and _columns() >= _WIDE else ""
        left = f", {wording.span((total - done) / rate)} left" if done and done < total else ""
        sent = wording.size(progress.bytes_sent)
        return f"{picture}{done:,} of {total:,} records, {sent}, {rate:,.0f}/s{left}"

    def _rewrite(self, text: str) -> None:
        cells = _columns() - 1
        text = text[:cells]
        self._stream.write("\r" + text.ljust(min(self._shown, cells)))
        self._stream.flush()
        self._shown = len(text)


def _columns() -> int:
    return shutil.get_terminal_size((_WIDE, 24)).columns


def _kind(waiting: str) -> str:
    """What is waited for, without the seconds that change from moment to moment."""
    return "".join(c for c in waiting if not c.isdigit())


def compared(run: Callable[[Watcher], T], *, quiet: bool) -> T:
    """Do something that compares the remote with the store, and show on a terminal how it gets on, unless `quiet`."""
    if quiet or not sys.stderr.isatty():
        return run(Silent())
    line = _ComparedLine()
    try:
        return run(line)
    finally:
        line.close()


class _ComparedLine:
    """How it gets on, on one line of a terminal that is rewritten; a `replay.Watcher`."""

    def __init__(self) -> None:
        self._width = 0

    def tick(self, progress: Progress, waiting: str) -> None:
        """Show it."""
        self._show(visible(waiting) or f"{progress.jobs_done:,} compared, {progress.requests:,} requests")

    def close(self) -> None:
        """Clear the line."""
        self._show("")
        sys.stderr.write("\r")
        sys.stderr.flush()

    def _show(self, text: str) -> None:
        text = text[:79]
        sys.stderr.write("\r" + text.ljust(self._width))
        sys.stderr.flush()
        self._width = len(text)
