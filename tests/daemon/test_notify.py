"""sd_notify, to real sockets."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from localtrack_sync.daemon.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def ear(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """NOTIFY_SOCKET's value, and the socket behind it."""
    name = str(tmp_path / "n") if request.param == "path" else f"@localtrack-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("\0" + name[1:] if name.startswith("@") else name)
        bound.settimeout(0.2)
        yield name, bound


def heard(bound: socket.socket) -> list[str]:
    """All messages so far."""
    found = []
    try:
        while True:
            found.append(bound.recv(4096).decode())
    except TimeoutError:
        return found


def test_what_is_told(ear: tuple[str, socket.socket]) -> None:
    """Each word of the protocol; a status once, on one line."""
    notifier = Notifier({"NOTIFY_SOCKET": ear[0]}, clock=lambda: 1.5)
    notifier.ready()
    notifier.status("two\nlines")
    notifier.status("two lines")
    notifier.reloading()
    notifier.alive()
    notifier.stopping()
    assert heard(ear[1]) == ["READY=1", "STATUS=two lines", "RELOADING=1\nMONOTONIC_USEC=1500000", "STOPPING=1"]


def test_the_watchdog_is_told_at_half_of_its_time(ear: tuple[str, socket.socket]) -> None:
    """Called each second, it tells systemd each five seconds when systemd waits for ten."""
    now = 100.0
    notifier = Notifier({"NOTIFY_SOCKET": ear[0], "WATCHDOG_USEC": "10000000"}, clock=lambda: now)
    for _ in range(11):
        notifier.alive()
        now += 1
    assert heard(ear[1]) == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "environ", [{"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "7"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "-1"}]
)
def test_a_watchdog_that_is_not_ours_is_left_alone(ear: tuple[str, socket.socket], environ: dict[str, str]) -> None:
    """Another process is meant, or the variable makes no sense."""
    Notifier({"NOTIFY_SOCKET": ear[0], **environ}, pid=8).alive()
    assert heard(ear[1]) == []


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nowhere/at/all", "@localtrack-test-nobody-listens"])
def test_nobody_listens(address: str) -> None:
    """Without systemd, or with one that is gone, nothing is told and nothing is raised."""
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "10"})
    for tell in (notifier.ready, notifier.alive, notifier.stopping, notifier.reloading):
        tell()
    notifier.status("x")


def test_a_socket_that_is_full_does_not_hold_us_up(ear: tuple[str, socket.socket]) -> None:
    """Nobody reads: messages are lost, calls return, and a watchdog message that was lost is sent at the next call."""
    notifier = Notifier({"NOTIFY_SOCKET": ear[0], "WATCHDOG_USEC": "10000000"}, clock=lambda: 100.0)
    for _ in range(2000):
        notifier.ready()
    notifier.alive()
    assert "WATCHDOG=1" not in heard(ear[1])
    notifier.alive()
    notifier.alive()
    assert heard(ear[1]) == ["WATCHDOG=1"]
