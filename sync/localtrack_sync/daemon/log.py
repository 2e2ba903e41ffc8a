"""The daemon's log: one line per change of state, as text or JSON, without secrets and without storms."""

from __future__ import annotations

import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import final

from localtrack_sync.daemon.redact import HIDDEN, redacted, secret_name
from localtrack_sync.daemon.repeats import Line, Repeats

#: Longer values are cut.
VALUE_CHARS = 2000
_PLAIN = re.compile(r"[^\s\"'=\\\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CONTROL = re.compile(r"[\x7f-\x9f\u2028\u2029]")


@final
class DaemonLog:
    """A `service.Log`; may be called by any thread, never raises. Not for signal handlers: it takes a lock."""

    def __init__(
        self,
        write: Callable[[bytes], object],
        form: str = "text",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Says nothing yet.

        Args:
            write: takes one whole line with its end; an OSError of it costs the line.
            form: text or json.
            clock: monotonic seconds.
            wall: seconds since the epoch.
        """
        self._write = write
        self._form = form
        self._clock = clock
        self._wall = wall
        self._repeats = Repeats()
        self._turn = threading.Lock()
        self._lost = 0

    def __call__(self, level: str, event: str, **facts: object) -> None:
        """Say it; the same as within the last minute is counted instead (see repeats)."""
        line = Line(level, event, self._wall(), facts)
        with self._turn:
            self._say_due()
            if self._repeats.offer(line, self._clock()):
                self._say(line)

    def tick(self) -> None:
        """Say what was held back long enough; to be called about once a second."""
        with self._turn:
            self._say_due()

    def form(self, form: str) -> None:
        """From now on text or json."""
        self._form = form

    def close(self) -> None:
        """Say what is held back. The log can be used further."""
        with self._turn:
            for line, times in self._repeats.rest():
                self._say(_again(line, times, self._wall()))

    def _say_due(self) -> None:
        for line, times in self._repeats.due(self._clock()):
            self._say(_again(line, times, self._wall()))

    def _say(self, line: Line) -> None:
        if self._lost:
            told = Line("warning", "log lines lost", line.at, {"lines": self._lost})
            with suppress(OSError):
                self._write(self._formed(told))
                self._lost = 0
        try:
            self._write(self._formed(line))
        except OSError:  # a full disk, or a terminal that is gone, does not end the daemon
            self._lost += 1

    def _formed(self, line: Line) -> bytes:
        told = json_line(line) if self._form == "json" else text_line(line)
        return (told + "\n").encode("utf-8", "backslashreplace")


def _again(line: Line, times: int, now: float) -> Line:
    return Line(line.level, line.event, now, {**line.facts, "repeated": times, "last": stamp(line.at)})


def stamp(at: float) -> str:
    """A time as the log writes it, UTC: `2026-01-31T10:00:00.123Z`."""
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_line(line: Line) -> str:
    """`2026-01-31T10:00:00.123Z warning remote is away url=http://x trouble="timed out"`, without the line's end."""
    facts = "".join(f" {name}={_quoted(value)}" for name, value in _facts(line.facts).items())
    return f"{stamp(line.at)} {line.level:<7} {_visible(redacted(line.event))}{facts}"


def json_line(line: Line) -> str:
    """The same as one JSON object; time, level and event under these names."""
    known = {"time": stamp(line.at), "level": line.level, "event": redacted(line.event)}
    return json.dumps({**_facts(line.facts), **known}, ensure_ascii=True, allow_nan=False)


def _facts(facts: Mapping[str, object]) -> dict[str, object]:
    return {name: _value(name, value) for name, value in facts.items()}


def _value(name: str, value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else str(value)
    if secret_name(name):
        return HIDDEN
    text = redacted(str(value))
    return text if len(text) <= VALUE_CHARS else text[:VALUE_CHARS] + f"... ({len(text):,} characters)"


def _quoted(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = str(value)
    if _PLAIN.fullmatch(text):
        return text
    return _CONTROL.sub(lambda hit: f"\\u{ord(hit[0]):04x}", json.dumps(text, ensure_ascii=False))


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def to_stderr(line: bytes) -> None:
    """Write a line to standard error, past Python's buffers.

    Raises:
        OSError: it cannot be written.
    """
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, rest) :]
