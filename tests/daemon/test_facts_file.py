"""The file in which a daemon says how it stands: whole or not at all, and nobody depends on what is in it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from localtrack.store import Store
from localtrack_sync.daemon import facts_file
from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing

REMOTES = tuple(
    RemoteFacts(f"http://{one.name.lower()}", "w", one, 1.5, "why", 2.5, 0.5, 7, 1.25, 3.0, 2, 4, 9) for one in Standing
)
FACTS = DaemonFacts(12, "host", "1.0", 100.0, 101.0, 5_000_000, "events", REMOTES, "trouble\nin lines")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    made = Store.at(tmp_path / "store")
    made.make()
    return made


def test_what_was_written_is_read(store: Store) -> None:
    """Every field, of remotes in every standing; the file is its owner's."""
    facts_file.write(store, FACTS)
    assert facts_file.read(store) == FACTS
    assert os.stat(facts_file.path_of(store)).st_mode & 0o777 == 0o600
    few = replace(FACTS, remotes=(RemoteFacts("http://a", "", Standing.IDLE, 1.0),), trouble="")
    facts_file.write(store, few)
    assert facts_file.read(store) == few


def test_nothing_is_left_at_the_end(store: Store) -> None:
    """Neither the file nor half of a new one."""
    facts_file.write(store, FACTS)
    Path(facts_file.path_of(store) + ".new").touch()
    facts_file.remove(store)
    facts_file.remove(store)
    assert os.listdir(store.sync) == []
    assert facts_file.read(store) is None


def document(**changes: object) -> bytes:
    """A file as a daemon writes it, with something else in it."""
    written = json.loads(json.dumps({"format": 1, "pid": 1, "host": "h", "version": "1", "started": 1.0,
        "written": 1.0, "memory_bytes": 1, "watching": "events", "remotes": [], "trouble": ""}))  # fmt: skip
    return json.dumps({**written, **changes}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        document()[:-20],
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"7",
        b"[" * 100_000,
        document(format=2),
        document(more=1),
        document(pid="1"),
        document(memory_bytes=None),
        document(trouble=None),
        document(remotes=7),
        document(remotes=[7]),
        document(remotes=[{"url": "http://a", "workspace": "", "standing": "asleep", "since": 1.0}]),
        document(remotes=[{"url": "http://a", "workspace": "", "standing": "idle", "since": "long ago"}]),
        document(remotes=[{"url": "http://a", "workspace": "", "standing": "idle", "since": 1.0, "lag_s": None}]),
        b" " * 5_000_000 + document(),
    ],
    ids=range(19),
)
def test_what_is_torn_or_somebody_elses_is_nothing(store: Store, content: bytes) -> None:
    """A file that no daemon of this version wrote is not shown, and hurts nobody who reads it."""
    Path(facts_file.path_of(store)).write_bytes(content)
    assert facts_file.read(store) is None


def test_a_plain_file_is_read(store: Store) -> None:
    """The documents of the test above are wrong for one reason each."""
    Path(facts_file.path_of(store)).write_bytes(document())
    assert facts_file.read(store) is not None


def test_a_reader_sees_the_old_or_the_new(store: Store) -> None:
    """While it is written again and again nobody reads half of it."""
    facts_file.write(store, FACTS)
    over = threading.Event()

    def write() -> None:
        for number in range(300):
            facts_file.write(store, replace(FACTS, pid=number + 1))
        over.set()

    writer = threading.Thread(target=write)
    writer.start()
    read = 0
    while not over.is_set():
        assert facts_file.read(store) is not None
        read += 1
    writer.join()
    assert read > 10


def test_a_link_in_its_place_is_not_followed(store: Store, tmp_path: Path) -> None:
    """Whoever could write there cannot make the daemon write elsewhere."""
    target = tmp_path / "precious"
    target.write_text("precious")
    os.symlink(target, facts_file.path_of(store) + ".new")
    with pytest.raises(OSError, match="symbolic"):
        facts_file.write(store, FACTS)
    assert target.read_text() == "precious"
