"""`localtrack daemon run` as a real process: its locks, signals, settings and ends."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from localtrack_sync.daemon.running import running
from tests.daemon.processes import House
from tests.daemon.stand_in import PROGRAM
from tests.journal.processes import wait_for as until


def lines(text: str) -> list[str]:
    """The events of a log."""
    return [line[25:] for line in text.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(house: House, number: signal.Signals) -> None:
    """It says so in its log, ends with 0, and its lock is free."""
    with house.foreground() as child:
        found = house.holder()
        assert found is not None
        assert (found.pid, found.command) == (child.pid, "localtrack daemon run")
        assert found.stores == (os.path.realpath(house.store().path),)
        child.send_signal(number)
        _, told = child.communicate(timeout=10)
    assert child.returncode == 0, told
    assert house.holder() is None
    for word in ("daemon began", "loop runs", f"stopping signal={number.name}", "loop ends", "daemon ended code=0"):
        assert word in told


def test_the_second_signal_ends_it_at_once(house: House) -> None:
    """A loop that does not listen is left by the second signal, with the code of that signal."""
    with house.foreground(STAND_IN="deaf") as child:
        assert child.stderr is not None
        child.send_signal(signal.SIGTERM)
        until(lambda: "stopping" in child.stderr.readline())  # type: ignore[union-attr]
        assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 128 + signal.SIGTERM
    assert house.holder() is None


def test_a_loop_that_does_not_stop_is_ended_in_time(house: House) -> None:
    """One SIGTERM is enough: after stop_seconds and the grace it ends with 1 and says why."""
    from localtrack_sync.daemon.daemon_settings import DaemonSettings
    from localtrack_sync.daemon.signals import GRACE_S

    bound = DaemonSettings(()).stop_seconds + GRACE_S
    with house.foreground(STAND_IN="deaf") as child:
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        _, told = child.communicate(timeout=bound + 10)
    assert child.returncode == 1
    assert time.monotonic() - began >= bound - 1
    assert "did not end in time" in told
    assert house.holder() is None


def test_sigkill_leaves_no_lock(house: House) -> None:
    """After SIGKILL another one begins at once."""
    for _ in range(2):
        with house.foreground() as child:
            found = house.holder()
            assert found is not None
            assert found.pid == child.pid
            child.kill()
            child.wait(10)
        assert house.holder() is None


def test_a_second_one_is_refused(house: House) -> None:
    """It ends with 1, names the first by its process, and takes no other store's lock either."""
    with house.foreground() as child:
        done = house.said("run", "--store", house.store("another").path, "--store", house.store().path)
        assert done.returncode == 1
        assert f"process {child.pid} on {socket.gethostname()}" in done.stderr
        assert "localtrack daemon stop" in done.stderr
        assert house.holder("another") is None


def test_several_stores_are_one_daemon(house: House) -> None:
    """It holds the lock of each store; a store that is named twice, also through a link, counts once."""
    house.store("a").make()
    (house.path / "link").symlink_to(house.path / "a")
    names = [word for name in ("a", "b", "a", "link") for word in ("--store", str(house.path / name))]
    with subprocess.Popen(
        [*PROGRAM, "daemon", "run", *names], env=house.environ, stderr=subprocess.PIPE, text=True
    ) as child:
        until(lambda: house.holder("a") and house.holder("b"))
        found = house.holder("a")
        assert found is not None
        assert found == house.holder("b")
        assert [os.path.basename(path) for path in found.stores] == ["a", "b"]
        child.terminate()
        assert child.wait(10) == 0


def test_sighup_reads_the_settings_again(house: House) -> None:
    """The loop ends in good order, the settings are read, it begins again: the same process with the same lock."""
    with house.foreground() as child:
        child.send_signal(signal.SIGHUP)
        assert child.stderr is not None
        while "settings read again" not in child.stderr.readline():
            pass
        found = house.holder()
        assert found is not None
        assert found.pid == child.pid
        child.terminate()
        assert child.wait(10) == 0


def test_a_terminal_that_is_closed_ends_it(house: House) -> None:
    """A daemon in a terminal ends when the terminal does; it does not live on unseen."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        ["setsid", "--ctty", *PROGRAM, "daemon", "run"], env=house.environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    until(house.holder)
    os.close(ours)
    until(lambda: house.holder() is None)
    assert child.wait(10) == 0


def test_a_loop_that_fails_is_said_in_the_log(house: House) -> None:
    """An error of the loop stands in the log with what to do; exit code 1, so that systemd starts it again."""
    done = house.said("run", STAND_IN="fails")
    assert done.returncode == 1
    assert 'daemon failed reason="the disk is gone" hint="Look for it."' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_loop_that_is_done_ends_it(house: House) -> None:
    """A loop that ends by itself ends the daemon with its code."""
    done = house.said("run", STAND_IN="idle")
    assert done.returncode == 0
    assert [line[8:] for line in lines(done.stderr)][-1] == "daemon ended code=0"


def test_settings_that_cannot_be_are_told_at_once(house: House) -> None:
    """A bad variable ends it before it takes a lock, with words."""
    done = house.said("run", LOCALTRACK_CONNECTIONS="many")
    assert done.returncode in (1, 2)
    assert "LOCALTRACK_CONNECTIONS" in done.stderr
    assert not os.path.exists(house.store().sync)


def test_it_tells_systemd(house: House) -> None:
    """READY, STATUS and WATCHDOG while it runs, RELOADING and READY at SIGHUP, STOPPING at the end."""
    path = str(house.path / "notify")
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(path)
        ear.settimeout(30)

        def hear(word: str) -> None:
            while not heard or not heard[-1].startswith(word):
                heard.append(ear.recv(4096).decode())

        with house.foreground(NOTIFY_SOCKET=path, WATCHDOG_USEC="200000") as child:
            hear("WATCHDOG=1")
            assert heard[:2] == ["READY=1", "STATUS=nothing to deliver"]
            child.send_signal(signal.SIGHUP)
            hear("RELOADING=1\nMONOTONIC_USEC=")
            hear("READY=1")
            child.terminate()
            hear("STOPPING=1")
            assert child.wait(10) == 0


def test_its_files_are_the_owners_only(house: House) -> None:
    """Lock and log are 0600, their directories 0700, whatever the umask is."""
    log = house.path / "logs" / "x.log"
    with house.foreground("--log-file", str(log)):
        found = running(house.store())
        assert found is not None
        assert found.log == str(log)
        for path, mode in ((log, 0o600), (log.parent, 0o700), (Path(house.store().sync, "daemon.lock"), 0o600)):
            assert path.stat().st_mode & 0o777 == mode
        until(lambda: "loop runs" in log.read_text())
