"""The daemon's log: its lines, what is cut out of them, what is held back, and what a full disk does to it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localtrack_sync.daemon.log import VALUE_CHARS, DaemonLog, json_line, text_line
from localtrack_sync.daemon.redact import redacted, secret_name
from localtrack_sync.daemon.repeats import KEYS, WINDOW_S, Line, Repeats

AT = 1_767_261_600.25


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self.now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return AT + self.now


def log_into(lines: list[str], clock: Clock, form: str = "text") -> DaemonLog:
    """A log whose lines can be read, without the time."""
    return DaemonLog(lambda line: lines.append(line.decode()), form, clock.monotonic, clock.wall)


def test_a_line_of_text() -> None:
    """Time in UTC, level, event, facts; quoted where a value is not one plain word; one line whatever a value holds."""
    facts = {
        "url": "http://a:1",
        "why": 'a "b"\nc\x1b[2J\x85',
        "n": 3,
        "s": 1.23456,
        "none": None,
        "yes": True,
        "e": "",
    }
    told = text_line(Line("info", "remote is away", AT, facts))
    assert told == (
        "2026-01-01T10:00:00.250Z info    remote is away url=http://a:1 "
        'why="a \\"b\\"\\nc\\u001b[2J\\u0085" n=3 s=1.235 none=null yes=true e=""'
    )


def test_a_line_of_json() -> None:
    """The same facts; time, level and event are not covered by facts of that name, and NaN is no bare word."""
    told = json.loads(json_line(Line("error", "x", AT, {"n": 3, "f": float("nan"), "event": "no", "t": "a\nb"})))
    assert told == {
        "time": "2026-01-01T10:00:00.250Z",
        "level": "error",
        "event": "x",
        "n": 3,
        "f": "nan",
        "t": "a\nb",
    }


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://ada:s3cr3t@host/x and http://u:p@ss@h:5", "https://***@host/x and http://***@h:5"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("https://b.s3/x?X-Amz-Signature=s3cr3t&n=1", "https://b.s3/x?X-Amz-Signature=***&n=1"),
        ("https://b.blob/x?sv=1&sig=s3cr3t%3D", "https://b.blob/x?sv=1&sig=***"),
        ("Authorization: Bearer s3cr3tS3CR3T", "Authorization: Bearer ***"),
        ("header Basic czNjcjN0OnMzY3IzdA==", "header Basic ***"),
        ("MLFLOW_TRACKING_TOKEN=s3cr3t next", "MLFLOW_TRACKING_TOKEN=*** next"),
        ("{'password': 's3cr3t'}", "{'password': '***'}"),
        ("client_secret=s3cr3t&x=1", "client_secret=***&x=1"),
        ("dapi0123456789abcdef0123456789abcdef", "***"),
        ("key AKIAIOSFODNN7EXAMPLE, eyJhbGciOi.eyJzdWIiOi.c2ln", "key ***, ***"),
        ("the token has expired; basic authentication failed", "the token has expired; basic authentication failed"),
        ("run 0123456789abcdef0123456789abcdef", "run 0123456789abcdef0123456789abcdef"),
    ],
)
def test_secrets_are_cut_out(text: str, kept: str) -> None:
    """User names in URLs, signatures, Authorization, named secrets and known kinds of tokens go; the rest stays."""
    assert redacted(text) == kept
    assert "s3cr3t" not in text_line(Line("info", text, AT, {"why": text}))
    assert "s3cr3t" not in json_line(Line("info", text, AT, {"why": text}))


def test_values_by_name_and_size() -> None:
    """A fact with the name of a secret is hidden whatever it looks like; a long value is cut, and says so."""
    assert secret_name("MLFLOW_TRACKING_PASSWORD")
    assert not secret_name("tokens_used")
    told = text_line(Line("info", "x", AT, {"api_key": "abc", "long": "y" * (VALUE_CHARS + 5)}))
    assert "abc" not in told
    assert told.endswith(f'... ({VALUE_CHARS + 5:,} characters)"')


def test_the_same_is_not_said_twice_within_a_minute() -> None:
    """A thousand times the same, but for numbers, are one line, and one more after a minute with the count."""
    lines: list[str] = []
    clock = Clock()
    log = log_into(lines, clock)
    for number in range(1000):
        log("warning", "remote is away", url="http://a:5000", why=f"timed out after {number}.5 s", tries=number)
        clock.now += 0.01
    log("warning", "remote is away", url="http://a:5001", why="timed out after 1 s", tries=1)
    assert len(lines) == 2
    clock.now = WINDOW_S + 0.1
    log.tick()
    assert len(lines) == 3
    assert "repeated=999 last=2026-01-01T10:00:10.2" in lines[2]
    assert "tries=999" in lines[2]
    clock.now += WINDOW_S + 1
    log.tick()
    assert len(lines) == 3


def test_the_last_line_says_how_it_stands() -> None:
    """A remote that comes and goes: what is held back comes out in the order of its last times."""
    lines: list[str] = []
    clock = Clock()
    log = log_into(lines, clock)
    for _ in range(10):
        log("warning", "remote is away")
        clock.now += 1
        log("info", "remote is back")
        clock.now += 1
    assert len(lines) == 2
    clock.now += WINDOW_S
    log.tick()
    assert [line[33:].split(" repeated")[0] for line in lines[2:]] == ["remote is away", "remote is back"]
    log("warning", "remote is away")
    log.close()
    assert "remote is away" in lines[-1]
    assert len(lines) == 5


def test_names_with_digits_are_different() -> None:
    """Two stores or two servers whose names differ in digits only do not silence each other."""
    repeats = Repeats()
    for fact in ("/data/run1", "/data/run2", "http://node1", "http://node2", "127.0.0.1:1", "127.0.0.1:2"):
        assert repeats.offer(Line("info", "x", 0.0, {"what": fact}), 0.0), fact
    assert not repeats.offer(Line("info", "x", 0.0, {"what": "/data/run2"}), 1.0)


def test_the_memory_for_lines_is_bounded() -> None:
    """A storm of different lines is remembered up to a number; the oldest are forgotten."""
    repeats = Repeats()
    for number in range(KEYS + 10):
        assert repeats.offer(Line("info", f"event {number}", 0.0), 0.0)
    assert repeats.offer(Line("info", "event 0", 0.0), 0.0)
    assert not repeats.offer(Line("info", f"event {KEYS + 9}", 0.0), 0.0)


def test_a_full_disk_costs_lines_and_nothing_else() -> None:
    """While nothing can be written nothing is raised; then the number of lost lines is said."""
    lines: list[str] = []
    full = True

    def write(line: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        lines.append(line.decode())

    log = DaemonLog(write)
    for number in range(3):
        log("info", f"event {number}")
    full = False
    log("info", "there is room")
    assert "log lines lost lines=3" in lines[0]
    assert "there is room" in lines[1]


def test_a_real_full_disk_does_not_stop_it() -> None:
    """Standard error on a device that is always full: the program goes on to its end."""
    script = (
        "from localtrack_sync.daemon.log import DaemonLog, to_stderr\n"
        "log = DaemonLog(to_stderr)\n"
        "log('info', 'one')\nlog('info', 'two')\nlog.close()\nprint('went on')"
    )
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=full, timeout=60, check=True
        )
    assert done.stdout == b"went on\n"


def test_many_threads_write_whole_lines(tmp_path: Path) -> None:
    """Lines of several threads do not run into each other."""
    from localtrack_sync.daemon.log_file import LogFile

    path = tmp_path / "x.log"
    log = DaemonLog(LogFile(str(path)).write)

    def say(name: str) -> None:
        for number in range(200):
            log("info", f"{name}-{number}", text="x" * 50)

    threads = [threading.Thread(target=say, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = path.read_text().splitlines()
    assert len(lines) == 800
    assert all(line.endswith("text=" + "x" * 50) for line in lines)
    assert os.stat(path).st_mode & 0o777 == 0o600
