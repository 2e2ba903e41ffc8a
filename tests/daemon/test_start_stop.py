"""`localtrack daemon start`, `stop`, `restart`, `status`, `logs`, with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from localtrack_sync.store.lock import Holder
from tests.daemon.processes import House
from tests.daemon.stand_in import PROGRAM
from tests.journal.processes import wait_for as until


def pid_of(house: House, name: str = "store") -> int:
    """The process id of the daemon of a store."""
    found = house.holder(name)
    assert found is not None
    return found.pid


def status(house: House, *arguments: str) -> Any:
    """What `status --json` prints."""
    return json.loads(house.said("status", "--json", *arguments).stdout)


def test_start_leaves_one_behind(house: House) -> None:
    """It is a session of its own, nobody's child here, logs to a file of its owner, and has nothing of the terminal."""
    done = house.said("start")
    assert done.returncode == 0, done.stderr
    pid = pid_of(house)
    assert f"process {pid}" in done.stdout
    assert os.getsid(pid) not in (os.getsid(0), pid)
    facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(facts[1]) != os.getpid()
    assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)} == {os.devnull}
    [log] = (house.home / ".local" / "state" / "localtrack").iterdir()
    assert log.stat().st_mode & 0o777 == 0o600
    assert str(log) in done.stdout
    until(lambda: "loop runs" in log.read_text())


def test_nothing_secret_is_in_its_arguments(house: House) -> None:
    """Credentials are in its environment, as they were in the starter's, and in no argument, log or lock."""
    done = house.said("start", MLFLOW_TRACKING_TOKEN="s3cr3t-t0ken")  # noqa: S106
    assert done.returncode == 0, done.stderr
    pid = pid_of(house)
    assert b"s3cr3t" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"s3cr3t" in Path(f"/proc/{pid}/environ").read_bytes()
    for path in [*(house.home / ".local" / "state" / "localtrack").iterdir(), Path(house.store().sync, "daemon.lock")]:
        assert b"s3cr3t" not in path.read_bytes()


def test_it_outlives_the_process_group_of_its_starter(house: House) -> None:
    """SIGKILL of the starter's whole process group does not reach it."""
    with subprocess.Popen(
        ["sh", "-c", '"$@"; echo started; sleep 60', "sh", *PROGRAM, "daemon", "start"],
        env=house.environ,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as starter:
        assert starter.stdout is not None
        while starter.stdout.readline() != "started\n":
            pass
        pid = pid_of(house)
        os.killpg(starter.pid, signal.SIGKILL)
        starter.wait(10)
    assert pid_of(house) == pid
    os.kill(pid, 0)


def test_start_twice_says_that_one_runs(house: House) -> None:
    """The second start names the first by its process, starts nothing, and ends with 0."""
    house.said("start")
    pid = pid_of(house)
    done = house.said("start")
    assert (done.returncode, pid_of(house)) == (0, pid)
    assert f"runs already: process {pid}" in done.stdout


def test_start_beside_one_that_has_some_of_the_stores_is_refused(house: House) -> None:
    """One store has a daemon, the other has none: nothing is started, and the words of the new one are told."""
    house.said("start", "--store", house.store("a").path)
    done = house.said("start", "--store", house.store("a").path, "--store", house.store("b").path)
    assert done.returncode == 1
    assert f"process {pid_of(house, 'a')}" in done.stderr
    assert house.holder("b") is None


def test_start_says_why_it_did_not(house: House) -> None:
    """Settings that cannot be, a log that cannot be, a loop that fails at once: each is told by the starter."""
    done = house.said("start", LOCALTRACK_CONNECTIONS="many")
    assert done.returncode in (1, 2)
    assert "LOCALTRACK_CONNECTIONS" in done.stderr
    (house.path / "file").touch()
    done = house.said("start", "--log-file", str(house.path / "file" / "x.log"))
    assert done.returncode == 1
    assert "log file" in done.stderr
    done = house.said("start", STAND_IN="fails")
    if done.returncode:  # it may have been seen alive before it failed: then `status` and the log say so
        assert "the disk is gone" in done.stderr
    until(lambda: house.holder() is None)
    assert "the disk is gone" in house.said("logs").stdout


def test_stop_waits_until_it_is_gone(house: House) -> None:
    """The lock is free when stop returns; a second stop finds nothing to do, and both end with 0."""
    house.said("start")
    pid = pid_of(house)
    done = house.said("stop")
    assert done.returncode == 0
    assert f"process {pid}" in done.stdout
    assert "has ended" in done.stdout
    assert house.holder() is None
    again = house.said("stop")
    assert again.returncode == 0
    assert "No daemon runs" in again.stdout


def test_one_that_does_not_stop_is_told_and_can_be_killed(house: House) -> None:
    """It ends with 1 after its bound and names `--now`, which ends it."""
    house.said("start", STAND_IN="deaf")
    pid = pid_of(house)
    done = house.said("stop", "--timeout", "0.2")
    assert done.returncode == 1
    assert "--now" in done.stderr
    assert pid_of(house) == pid
    done = house.said("stop", "--now")
    assert done.returncode == 0
    assert "was ended" in done.stdout
    assert house.holder() is None


def test_stop_of_one_store_says_what_else_it_delivered(house: House) -> None:
    """A daemon of two stores is ended by the name of either, and the other one is named."""
    house.said("start", "--store", house.store("a").path, "--store", house.store("b").path)
    done = house.said("stop", "--store", house.store("b").path)
    assert done.returncode == 0
    assert house.store("a").path in done.stdout
    assert house.holder("a") is None


def lie(house: House, holder: Holder) -> None:
    """Another name in the lock that is held."""
    Path(house.store().sync, "daemon.lock").write_text(json.dumps(asdict(holder)))


def test_only_the_holder_on_this_host_is_signalled(house: House) -> None:
    """A lock that names another host, or a process that does not hold it, lets stop signal nobody."""
    with house.foreground() as child, subprocess.Popen(["sleep", "60"]) as bystander:
        found = house.holder()
        assert found is not None
        lie(house, replace(found, host="elsewhere"))
        done = house.said("stop")
        assert done.returncode == 1
        assert "another host" in done.stderr
        lie(house, replace(found, pid=bystander.pid))
        done = house.said("stop", "--now")
        assert done.returncode == 1
        assert "does not hold" in done.stderr
        assert (child.poll(), bystander.poll()) == (None, None)
        bystander.kill()


def test_restart_leaves_no_store_out(house: House) -> None:
    """Restarted by one of its stores, the new process has both; without one that runs, one is started."""
    house.said("start", "--store", house.store("a").path, "--store", house.store("b").path)
    pid = pid_of(house, "a")
    done = house.said("restart", "--store", house.store("a").path)
    assert done.returncode == 0, done.stderr
    assert pid_of(house, "a") == pid_of(house, "b") != pid
    assert house.said("restart").returncode == 0
    assert pid_of(house) not in (pid, pid_of(house, "a"))


def test_restart_leaves_alone_what_others_started(house: House) -> None:
    """A daemon in the foreground (of systemd) is not taken away from whoever started it."""
    with house.foreground() as child:
        done = house.said("restart")
        assert done.returncode == 1
        assert "systemctl --user restart" in done.stderr
        assert pid_of(house) == child.pid


def test_status_says_whether_one_runs(house: House) -> None:
    """3 without one, 0 with one; the JSON has pid, host, start, stores and log; with two stores both must have one."""
    none = house.said("status")
    assert none.returncode == 3
    assert "-> localtrack daemon start" in none.stdout
    assert status(house)["stores"][0]["running"] is False
    house.said("start")
    done = house.said("status")
    assert done.returncode == 0
    found = status(house)
    [facts] = found["stores"]
    assert (found["exit_code"], facts["running"], facts["host"]) == (0, True, socket.gethostname())
    assert facts["delivers"] == [os.path.realpath(house.store().path)]
    assert str(facts["pid"]) in done.stdout
    assert facts["log"] in done.stdout
    assert facts["since_ms"] > 1_600_000_000_000
    both = ("--store", house.store().path, "--store", house.store("other").path)
    assert house.said("status", *both).returncode == 3


def test_logs_shows_the_end_of_the_log(house: House) -> None:
    """The last lines, of a daemon that runs or ran; for one without a log file where to look instead."""
    missing = house.said("logs")
    assert missing.returncode == 1
    assert "journalctl" in missing.stderr
    house.said("start", "--log-file", str(house.path / "mine.log"))
    house.said("stop")
    assert len(house.said("logs", "-n", "2").stdout.splitlines()) == 2
    assert "daemon ended code=0" in house.said("logs", "-n", "1").stdout
    with house.foreground():
        assert "journalctl" in house.said("logs").stderr


def test_logs_can_be_followed(house: House) -> None:
    """`logs -f` shows what is added until it is interrupted."""
    house.said("start")
    with subprocess.Popen(
        [*PROGRAM, "daemon", "logs", "-f", "-n", "1"], env=house.environ, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert "loop runs" in reader.stdout.readline()
        house.said("stop")
        told = reader.stdout.readline()
        while "daemon ended" not in told:
            told = reader.stdout.readline()
        reader.send_signal(signal.SIGINT)
        assert reader.wait(10) == 130
