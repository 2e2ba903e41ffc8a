"""`localtrack status` beside a daemon: on a real terminal, in a pipe, as JSON, as a line that is kept up to date."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localtrack.store import Store
from localtrack_sync.commands.delivery_now import Now, colour, daemon_line, headline, look
from localtrack_sync.commands.status_watch import line_of
from localtrack_sync.daemon import facts_file
from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing
from localtrack_sync.daemon.running import DaemonLocks
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.accounts import RemoteAccount
from localtrack_sync.store.books import RunAccount
from localtrack_sync.store.lock import Holder
from tests.acceptance.harness import COMMAND, command_environment
from tests.acceptance.worlds import World, world

URL = "http://tracking.example:5000"
NOW_MS = 2_000_000
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def remote(standing: Standing, **more: Any) -> RemoteFacts:
    """One remote, for two minutes as it is."""
    return replace(RemoteFacts(URL, "", standing, NOW_MS / 1000 - 120), **more)


# --- words ---


@pytest.mark.parametrize(
    ("facts", "owed", "words"),
    [
        (remote(Standing.IDLE), 0, "up to date"),
        (remote(Standing.IDLE), 1200, "1,200 pending"),
        (remote(Standing.WORKING, rate=0.4), 0, "delivering"),
        (remote(Standing.WORKING, rate=1234.5, lag_s=0.44), 7, "delivering, 7 pending, 1,234/s, lag 0.4 s"),
        (remote(Standing.WORKING, lag_s=600.0), 7, "delivering, 7 pending, lag 10 min"),
        (
            remote(Standing.OFFLINE, next_attempt=NOW_MS / 1000 + 30),
            7,
            "offline, 7 pending, for 2 min, next try in 30 s",
        ),
        (remote(Standing.PAUSED), 7, "paused, 7 pending, for 2 min"),
        (remote(Standing.FAILED), 0, "failed, 0 pending, for 2 min"),
    ],
)
def test_how_it_stands_in_one_line(facts: RemoteFacts, owed: int, words: str) -> None:
    """What is owed always stands there, whatever the daemon does; how long and until when, where it is away."""
    assert headline(facts, owed, NOW_MS) == words


@pytest.mark.parametrize("standing", Standing)
def test_every_standing_has_words_and_a_colour(standing: Standing) -> None:
    """Red is for people, yellow for waiting, green for all is well."""
    assert headline(remote(standing), 3, NOW_MS)
    assert colour(remote(standing)) in {"green", "yellow", "red"}
    assert (colour(remote(standing)) == "red") is (standing in {Standing.PAUSED, Standing.FAILED})


def account(to: Remote | None, owed: int, conflicts: int = 0) -> RemoteAccount:
    """The books of one remote with one run."""
    run = RunAccount("a" * 32, "n", "e", "exp", None, owed + conflicts, 0, owed, conflicts)
    return RemoteAccount(to, trusted=True, runs=(run,))


def test_the_line_of_watch() -> None:
    """Each remote with what is pending; without a daemon that is said first; what needs a look is counted."""
    facts = DaemonFacts(1, "h", "1", 1.0, 1.0, 1, "events", (remote(Standing.OFFLINE),))
    now = Now(Holder(1, "h", "", "localtrack daemon run"), facts)
    there, other = account(Remote(URL), 3), account(Remote("http://b"), 0, conflicts=2)
    line = line_of(now, [there, other], NOW_MS)
    assert line == "tracking.example:5000 offline, 3 pending, for 2 min | b 0 pending, 2 to look at"
    assert line_of(Now(), [there], NOW_MS) == "no daemon: tracking.example:5000 3 pending"
    assert line_of(Now(), [account(None, 0)], NOW_MS) == "no daemon: nothing to deliver yet"
    assert line_of(Now(), [account(None, 2)], NOW_MS) == "no daemon: no remote yet 2 pending"


def test_the_line_about_the_daemon() -> None:
    """Who it is; that it has not spoken yet, or for long; that it is not known."""
    holder = Holder(7, "h", "", "localtrack daemon run")
    assert "No daemon" in daemon_line(Now(), NOW_MS)
    assert "not said anything" in daemon_line(Now(holder), NOW_MS)
    facts = DaemonFacts(7, "h", "1", 1.0, NOW_MS / 1000 - 30, 1, "events")
    assert "told of writes" in daemon_line(Now(holder, facts), NOW_MS)
    old = replace(facts, written=NOW_MS / 1000 - 600)
    assert "nothing for 10 min" in daemon_line(Now(holder, old), NOW_MS)
    assert "no rights" in daemon_line(Now(trouble="no rights"), NOW_MS)


# --- the command ---


@pytest.fixture
def made(tmp_path: Path) -> World:
    """A store with a run that is owed."""
    one = world(tmp_path / "store", "exp")
    one.run("one", 5)
    return one


@contextmanager
def daemon(store: Store, *remotes: RemoteFacts, pid: int | None = None) -> Iterator[None]:
    """A daemon as seen from outside: it holds the lock and has said how it stands."""
    with DaemonLocks("localtrack daemon run") as locks:
        locks.hold((store.path,))
        now = time.time()
        facts = DaemonFacts(pid or os.getpid(), "h", "1", now - 60, now, 50_000_000, "events", remotes)
        facts_file.write(store, facts)
        yield
    facts_file.remove(store)


class Terminal:
    """A command on a terminal of so many columns."""

    def __init__(self, made: World, columns: int, *arguments: str) -> None:
        mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        environ = {**command_environment(made.store.path), "LOCALTRACK_REMOTE": URL, "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES"):  # set by a library (readline) in some processes; they would win
            environ.pop(name, None)
        self.process = subprocess.Popen([*COMMAND, *arguments], env=environ, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self._mine = mine
        self.text = ""

    def read(self, seconds: float = 0.1) -> bool:
        """Take what it shows; False at its end."""
        if not select.select([self._mine], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._mine, 65_536)
        except OSError:  # Linux: nobody has the other end open
            return False
        self.text += ESCAPES.sub("", data.decode())
        return bool(data)

    def until(self, words: str) -> None:
        """Wait until it shows that."""
        deadline = time.monotonic() + 60
        while words not in self.text:
            assert self.read(), self.text
            assert time.monotonic() < deadline, self.text

    def end(self) -> int:
        """To its end; how it ended."""
        deadline = time.monotonic() + 60
        while self.read(1.0):
            assert time.monotonic() < deadline, self.text
        os.close(self._mine)
        return self.process.wait(60)


@pytest.mark.parametrize("columns", [60, 100])
def test_status_with_a_daemon_on_a_terminal(made: World, columns: int) -> None:
    """How it stands, why, and no advice to run anything; prose is no wider than the terminal."""
    trouble = "connection refused: nobody listens there, and that has been so for quite a while by now"
    with daemon(made.store, remote(Standing.OFFLINE, since=time.time() - 90, trouble=trouble)):
        shown = Terminal(made, columns, "status")
        assert shown.end() == 0
    assert "Daemon running (localtrack daemon run, process" in shown.text
    assert f"{URL}  offline, 12 pending, for" in shown.text
    assert "connection refused" in shown.text
    assert "-> localtrack sync" not in shown.text
    prose = shown.text[shown.text.index("connection refused") : shown.text.index("delivered")]
    assert max(len(line) for line in prose.splitlines()) <= columns


@pytest.mark.parametrize("columns", [60, 100])
def test_status_without_a_daemon_on_a_terminal(made: World, columns: int) -> None:
    """It says so, and what to run."""
    shown = Terminal(made, columns, "status")
    assert shown.end() == 0
    assert "No daemon delivers it (localtrack daemon start)" in shown.text
    assert "-> localtrack sync" in shown.text


def test_status_of_a_remote_that_needs_a_person(made: World) -> None:
    """Paused and failed: localtrack doctor is named."""
    with daemon(made.store, remote(Standing.PAUSED, trouble="who are you")):
        shown = Terminal(made, 100, "status")
        assert shown.end() == 0
    assert "-> localtrack doctor" in shown.text


@pytest.mark.parametrize("columns", [60, 100])
def test_watch_on_a_terminal(made: World, columns: int) -> None:
    """One line, rewritten in its place, never wider than the terminal; Ctrl-C ends it without a trace of an error."""
    with daemon(made.store, remote(Standing.OFFLINE, trouble="refused")):
        shown = Terminal(made, columns, "status", "--watch")
        shown.until("offline, 12 pending")
        facts_file.write(made.store, replace(_facts(made.store), remotes=(remote(Standing.WORKING, rate=55.0),)))
        shown.until("delivering, 12 pending, 55/s")
        before = shown.text
        shown.process.send_signal(signal.SIGINT)
        shown.end()
    assert "Traceback" not in shown.text
    assert "\n" not in before
    assert all(len(line) < columns for line in before.split("\r"))


def _facts(store: Store) -> DaemonFacts:
    found = facts_file.read(store)
    assert found is not None
    return found


def test_watch_in_a_pipe(made: World) -> None:
    """A line for each change, whole whatever its length."""
    environ = {**command_environment(made.store.path), "LOCALTRACK_REMOTE": URL}
    with subprocess.Popen([*COMMAND, "status", "--watch"], env=environ, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "no daemon: tracking.example:5000 12 pending\n"
        made.run("two", 5)
        assert child.stdout.readline() == "no daemon: tracking.example:5000 24 pending\n"
        child.send_signal(signal.SIGINT)
        child.wait(60)


def test_status_as_json(made: World) -> None:
    """The daemon and how it stands with each remote, with the names that the page documents; null without a daemon."""
    facts = remote(Standing.WORKING, since=5.0, rate=2.5, lag_s=1.5, jobs=3, connections=2, last_success=9.0)
    with daemon(made.store, facts):
        told = _json(made)
    assert told["daemon"]["pid"] == os.getpid()
    assert told["daemon"]["memory_bytes"] == 50_000_000
    [there] = told["remotes"]
    assert there["owed"] == 12
    assert there["delivery"] == {
        "state": "working", "since_ms": 5000, "trouble": None, "next_attempt_ms": None, "last_success_ms": 9000,
        "delivered": 0, "rate": 2.5, "lag_s": 1.5, "connections": 2, "jobs": 3,
    }  # fmt: skip
    told = _json(made)
    assert told["daemon"] is None
    assert told["remotes"][0]["delivery"] is None


def test_facts_of_an_earlier_daemon_are_not_shown(made: World) -> None:
    """One that was killed left its file; the new one has not spoken yet."""
    with daemon(made.store, remote(Standing.OFFLINE), pid=1):
        assert look(made.store).facts is None
        assert _json(made)["remotes"][0]["delivery"] is None


def _json(made: World) -> Any:
    environ = {**command_environment(made.store.path), "LOCALTRACK_REMOTE": URL}
    done = subprocess.run([*COMMAND, "status", "--json"], env=environ, capture_output=True, check=True, timeout=60)
    return json.loads(done.stdout)
