from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localtrack.store import Store
from localtrack_sync.daemon.autostart import IDLE_EXIT, daemon_environ, log_path, start_for
from localtrack_sync.daemon.launch import start_detached
from localtrack_sync.store.presence import daemon_lock, is_held
from tests.journal.processes import wait_for

#: Says what it is and how it was started, then lives until somebody ends it.
STAND_IN = """
import json, os, signal, sys, time
told = {
    "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "group": os.getpgid(0), "cwd": os.getcwd(),
    "argv": sys.argv[2:], "environ": dict(os.environ), "stdin": sys.stdin.read(),
    "blocked": [int(one) for one in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
    "files": [one for one in sorted(os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{one}")],
}
print("said to the log", flush=True)
with open(sys.argv[1] + ".part", "w") as file:
    json.dump(told, file)
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(120)
"""


class StandIn:
    """A program in the place of the daemon."""

    def __init__(self, directory: Path) -> None:
        self.report = directory / "report.json"
        script = directory / "stand_in.py"
        script.write_text(STAND_IN)
        self.argv = [sys.executable, str(script), str(self.report)]

    def told(self) -> Any:
        """What it said of itself."""
        wait_for(self.report.exists)
        return json.loads(self.report.read_text())


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """A stand-in that is ended after the test."""
    made = StandIn(tmp_path)
    yield made
    if made.report.exists():
        pid = made.told()["pid"]
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether a process runs: not ended, and no zombie that waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_detached_program_is_nobodys_child(tmp_path: Path, stand_in: StandIn) -> None:
    """It runs under the number that was returned, in a session of its own, and is not ours to wait for."""
    pid = start_detached([*stand_in.argv, "an argument"], {"KEY": "value"}, str(tmp_path / "log"))
    told = stand_in.told()
    assert told["pid"] == pid
    assert told["parent"] != os.getpid()
    assert told["session"] not in (os.getsid(0), pid)  # not its leader, so that it gets no terminal
    assert told["group"] != os.getpgid(0)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    assert (told["argv"], told["environ"]["KEY"], told["cwd"]) == (["an argument"], "value", "/")


def test_a_detached_program_inherits_nothing_that_is_open(tmp_path: Path, stand_in: StandIn) -> None:
    """No file of ours (a journal's lock would make a dead trainer look alive), no blocked signal, an empty input."""
    inheritable = True  # as a careless library may leave it
    with (tmp_path / "journal").open("w") as file:
        os.set_inheritable(file.fileno(), inheritable)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        try:
            start_detached(stand_in.argv, os.environ, str(tmp_path / "log"))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        told = stand_in.told()
    assert told["files"] == ["0", "1", "2"]
    assert (told["blocked"], told["stdin"]) == ([], "")


def test_what_it_says_is_appended_to_a_private_log(tmp_path: Path, stand_in: StandIn) -> None:
    """Output goes to the log, behind what stands there; a new log is readable by its owner only."""
    log = tmp_path / "log"
    start_detached(stand_in.argv, os.environ, str(log))
    stand_in.told()
    assert log.read_text() == "said to the log\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    os.kill(stand_in.told()["pid"], signal.SIGKILL)
    stand_in.report.unlink()
    start_detached(stand_in.argv, os.environ, str(log))
    stand_in.told()
    assert log.read_text() == "said to the log\n" * 2


def test_a_program_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    """The reason of the operating system, at once; a log that cannot be opened likewise."""
    with pytest.raises(OSError, match="No such file"):
        start_detached([str(tmp_path / "missing")], os.environ, str(tmp_path / "log"))
    with pytest.raises(OSError, match="No such file"):
        start_detached([sys.executable], os.environ, str(tmp_path / "nowhere" / "log"))


TRAINER = """
import os, signal, sys
from localtrack.store import Store
from localtrack_sync.daemon.autostart import start_for
import localtrack
localtrack.set_tracking_uri(sys.argv[1])
localtrack.start_run()
localtrack.log_metric("m", 1.0)
store = Store.at(sys.argv[1])
start_for(store, os.environ, linger=7.5, new_session=sys.argv[2] == "alone", command=sys.argv[3:])
os.killpg(0, signal.SIGKILL)
"""


def train_and_be_killed(store: Path, how: str, stand_in: StandIn) -> None:
    """A trainer logs, starts the stand-in, and its whole process group is killed."""
    command = [sys.executable, "-c", TRAINER, str(store), how, *stand_in.argv]
    trainer = subprocess.Popen(command, start_new_session=True)
    assert trainer.wait(60) == -signal.SIGKILL


def test_it_outlives_a_kill_of_the_trainers_process_group(tmp_path: Path, stand_in: StandIn) -> None:
    """SIGKILL of the group, as schedulers and notebooks do it: the daemon lives, and was told what to do."""
    train_and_be_killed(tmp_path / "store", "alone", stand_in)
    told = stand_in.told()
    assert lives(told["pid"])
    store = tmp_path / "store"
    log = store / "sync" / "daemon.log"
    assert told["argv"] == ["daemon", "run", "--store", str(store), "--log-file", str(log)]
    assert told["environ"][IDLE_EXIT] == "7.5"
    log = Path(log_path(Store.at(tmp_path / "store")))
    assert log.read_text() == "said to the log\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_it_goes_with_the_process_group_when_asked(tmp_path: Path, stand_in: StandIn) -> None:
    """With stop_with_process_group a signal to the group of the trainer reaches it; it is no child all the same."""
    script = TRAINER.replace("os.killpg(0, signal.SIGKILL)", "signal.pause()")
    command = [sys.executable, "-c", script, str(tmp_path / "store"), "together", *stand_in.argv]
    trainer = subprocess.Popen(command, start_new_session=True)
    try:
        told = stand_in.told()
        assert told["group"] == trainer.pid
        assert told["parent"] != trainer.pid
        assert lives(told["pid"])
    finally:
        os.killpg(trainer.pid, signal.SIGKILL)
        trainer.wait(60)
    wait_for(lambda: not lives(told["pid"]))


def test_a_store_that_has_a_daemon_gets_no_second_one(tmp_path: Path, stand_in: StandIn) -> None:
    """While the daemon's lock is held nothing is started; once it is free, whatever stands in its file, one is."""
    store = Store.at(tmp_path / "store")
    store.make()
    lock = daemon_lock(store)
    assert not is_held(lock)
    with Path(lock).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write('{"pid": 1}')
        assert is_held(lock)
        assert start_for(store, os.environ, linger=1.0, command=stand_in.argv) is None
    assert not is_held(lock)
    assert start_for(store, os.environ, linger=1.0, command=stand_in.argv) == stand_in.told()["pid"]


def test_what_the_daemon_inherits_of_the_environment() -> None:
    """Credentials and settings; not what means the trainer's own runs; paths no longer depend on its directory."""
    given = {
        "MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_RUN_ID": "r", "LOCALTRACK_AUTOSTART": "1", "NOTIFY_SOCKET": "@s",
        "REQUESTS_CA_BUNDLE": "ca.pem", "PYTHONPATH": f"src{os.pathsep}/lib", "LOCALTRACK_REMOTE": "http://a",
    }  # fmt: skip
    assert daemon_environ(given, 300.0) == {
        "MLFLOW_TRACKING_TOKEN": "t", "LOCALTRACK_REMOTE": "http://a", "REQUESTS_CA_BUNDLE": os.path.abspath("ca.pem"),
        "PYTHONPATH": f"{os.path.abspath('src')}{os.pathsep}/lib", IDLE_EXIT: "300",
    }  # fmt: skip


def test_starting_a_daemon_is_light() -> None:
    """What a training process loads for it: no HTTP, no command line, nothing of the replay engine."""
    script = "import localtrack_sync.daemon.autostart, sys; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=60)
    heavy = {"httpx", "click", "watchdog", "asyncio", "localtrack_sync.engine", "localtrack_sync.protocol"}
    assert not heavy & set(loaded.stdout.split())
