"""What wakes whoever follows a store: events of the file system, or the clock; and how it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.follower import Follower
from localtrack_sync.shell.replay import Stop
from tests.acceptance.daemons import train
from tests.journal.processes import wait_for as until

#: No clock wakes anybody during a test.
NEVER_S = 3600.0
BY_EVENTS = DaemonSettings(
    (), poll_seconds=NEVER_S, poll_seconds_without_events=NEVER_S, artifact_scan_seconds=NEVER_S, watch="events"
)
BY_CLOCK = replace(BY_EVENTS, poll_seconds_without_events=0.2, watch="polling")


@contextmanager
def following(path: Path, settings: DaemonSettings) -> Iterator[Follower]:
    """A follower of a store in which nothing goes anywhere: no remote is known."""
    stop, environ = Stop(), {"HOME": str(path / "home")}
    store = Store.at(path / "store")
    store.make()
    one = Follower(store, settings, load(environ), environ, stop, lambda: None)
    one.start()
    try:
        yield one
    finally:
        stop.request()
        assert one.join(10.0)
        assert not one.alive


@pytest.mark.parametrize(("settings", "how"), [(BY_EVENTS, "events"), (BY_CLOCK, "polling")], ids=["events", "clock"])
def test_a_value_of_another_process_wakes_it(tmp_path: Path, settings: DaemonSettings, how: str) -> None:
    """Without polling where there are events, by polling where there are none."""
    with following(tmp_path, settings) as one:
        until(lambda: not one.trouble)
        assert one.left == {}
        began = one.news_at
        assert train(one.store, "exp", 5) == 0
        until(lambda: one.news_at > began, 10.0)
        until(lambda: sum(one.left.values()) == 1, 10.0)
        assert one.watching == how
        assert one.trouble == ""


def test_a_quiet_store_is_heard_again(tmp_path: Path) -> None:
    """After a busy time it listens again: events are no matter of the first moment only."""
    with following(tmp_path, BY_EVENTS) as one:
        for _ in range(2):
            began = one.news_at
            assert train(one.store, "exp", 5) == 0
            until(lambda began=began: one.news_at > began, 10.0)  # type: ignore[misc]
            until(lambda: not one._pace.busy(time.monotonic()))


def test_it_waits_for_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    """A file stands in its place: said, and followed when it is gone."""
    stop, environ = Stop(), {"HOME": str(tmp_path / "home")}
    (tmp_path / "store").write_text("a file")
    one = Follower(Store.at(tmp_path / "store"), BY_EVENTS, load(environ), environ, stop, lambda: None)
    one.start()
    try:
        until(lambda: one.trouble)
        (tmp_path / "store").unlink()
        until(lambda: not one.trouble)
        assert (tmp_path / "store" / "journals").is_dir()
    finally:
        stop.request()
        assert one.join(10.0)
