"""The progress line: rewritten on a terminal, rare where lines stay."""

from __future__ import annotations

import io

import pytest

from localtrack_sync.commands.progress import LINE_EVERY_S, ProgressLine
from localtrack_sync.protocol.jobs import Progress


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("columns", [80, 65, 20])
def test_the_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """A narrow terminal loses the bar, then the end of the line; nothing wraps."""
    monkeypatch.setenv("COLUMNS", str(columns))
    clock, stream = Clock(), Terminal()
    line = ProgressLine(12_345_678, stream, clock)
    clock.now += 3000
    line.tick(Progress(metrics=9_345_678, bytes_sent=999_000_000), "")
    shown = stream.getvalue().strip("\r")
    assert len(shown) < columns
    assert ("left" in shown) == (columns > 20)


def test_a_terminal_shows_records_bytes_rate_and_time_left() -> None:
    """One line, rewritten in place, and gone at the end."""
    clock, stream = Clock(), Terminal()
    line = ProgressLine(1000, stream, clock)
    clock.now += 2
    line.tick(Progress(metrics=250, bytes_sent=12_000), "")
    shown = stream.getvalue()
    assert "\n" not in shown
    for word in ("[###.........]", "250 of 1,000 records", "12.0 kB", "125/s", "6 s left"):
        assert word in shown
    line.close()
    assert stream.getvalue().endswith("\r")


def test_a_log_file_gets_a_line_now_and_then() -> None:
    """Ten ticks a second for a minute and a half are three lines, not nine hundred."""
    clock, stream = Clock(), io.StringIO()
    line = ProgressLine(1000, stream, clock)
    for tick in range(905):
        clock.now += 0.1
        line.tick(Progress(metrics=tick), "")
    line.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 90 // LINE_EVERY_S
    assert all("records" in one and "\r" not in one for one in lines)


def test_a_long_wait_is_told_once() -> None:
    """Why nothing moves is said after two seconds, and not again for each second of it."""
    clock, stream = Clock(), io.StringIO()
    line = ProgressLine(1000, stream, clock)
    for tick in range(200):
        clock.now += 0.1
        line.tick(Progress(), f"the remote is away: waiting {200 - tick} s")
    assert len(stream.getvalue().splitlines()) == 1


def test_more_records_than_expected_do_not_overflow_the_bar() -> None:
    """Training goes on while it is replayed: the total grows with what is done."""
    clock, stream = Clock(), Terminal()
    line = ProgressLine(0, stream, clock)
    clock.now += 1
    line.tick(Progress(metrics=7), "")
    assert "7 of 7 records" in stream.getvalue()
    assert "left" not in stream.getvalue()
