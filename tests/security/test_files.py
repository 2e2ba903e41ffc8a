"""Who may read and change what localtrack keeps on the disk."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from localtrack import TrackingClient, attention
from localtrack.artifacts.known_files import KnownFiles
from localtrack.catalog.catalog import Catalog
from localtrack.errors import StoreError
from localtrack.store import Store
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.store.lock import Holder, ReplayLock
from localtrack_sync.store.state import StateDb
from tests.security.hostile import Hostile
from tests.security.places import logged, replay

#: Logs something of every kind under an open umask, and looks at all files while they are open.
TRAINER = """
import json, os, sys
os.umask(0)
import localtrack
from localtrack import TrackingClient
localtrack.set_tracking_uri("http://mlflow.example.com")
with localtrack.start_run() as run:
    localtrack.log_metric("a", 1.0)
    localtrack.log_text("hello", "sub/dir/notes.txt")
    TrackingClient().create_logged_model("0", "m", run.info.run_id)
    localtrack.search_runs([])
    found = {}
    for top in sys.argv[1:]:
        for directory, _, names in os.walk(top):
            for path in (directory, *(os.path.join(directory, name) for name in names)):
                found[path] = os.stat(path).st_mode
    print(json.dumps(found))
"""


def test_what_is_made_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    """Under umask 0: directories are 0700, files 0600, SQLite's own and the key included, while they are open."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "LOCALTRACK_"))}
    made = tmp_path / "made"
    homes = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(made / "config"), "LOCALTRACK_STORE": str(made / "store")}
    (made / "config").mkdir(parents=True)
    tops = [str(made / "store"), str(made / "config" / "localtrack")]
    done = subprocess.run(
        [sys.executable, "-c", TRAINER, *tops], env={**kept, **homes}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    modes: dict[str, int] = json.loads(done.stdout)
    wide = {path: oct(mode) for path, mode in modes.items() if mode & 0o077}
    assert wide == {}
    names = {os.path.basename(path).rpartition(".db")[2] for path in modes if ".db" in path}
    assert {"", "-wal", "-shm"} <= names
    assert {"identity.key", "notes.txt", "catalog.lock"} <= {os.path.basename(path) for path in modes}


def test_what_a_replay_makes_is_for_its_owner_only(tmp_path: Path) -> None:
    """State, lock and what SQLite keeps beside them, looked at in the middle of a replay under umask 0."""
    before = os.umask(0)
    try:
        store, _ = logged(tmp_path)
        wide: dict[str, str] = {}

        def look(*_: object) -> None:
            for directory, _names, files in os.walk(store.path):
                for path in (directory, *(os.path.join(directory, name) for name in files)):
                    if os.stat(path).st_mode & 0o077:
                        wide[path] = oct(os.stat(path).st_mode)

        with Hostile(look) as server:
            assert replay(store, server.url).report.complete
    finally:
        os.umask(before)
    assert wide == {}
    assert len(os.listdir(store.sync)) >= 2


def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    """A team may share a store by its group: modes that somebody gave are left; what is made in it is 0700 and 0600."""
    path = tmp_path / "team"
    path.mkdir()
    path.chmod(0o2770)
    client = TrackingClient(str(path))
    client.log_param(client.create_run("0").info.run_id, "a", "1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o2770
    assert stat.S_IMODE((path / "journals").stat().st_mode) & 0o777 == 0o700
    assert Store.at(path).exposures() == []


def test_a_store_that_every_user_may_change_is_named(tmp_path: Path) -> None:
    """World-writable parts, and a place above that anybody may rename things in; a group is its owner's choice."""
    store = Store.at(tmp_path / "open" / "store")
    store.make()
    assert store.exposures() == []
    os.chmod(store.journals, 0o777)
    os.chmod(tmp_path / "open", 0o777)
    told = store.exposures()
    assert len(told) == 2
    assert f"chmod o-w {store.journals}" in told[0]
    assert "replace the store" in told[1]
    os.chmod(tmp_path / "open", 0o1777)  # sticky: what is ours cannot be renamed by others
    assert len(store.exposures()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of somebody else's")
def test_a_store_that_somebody_else_put_into_tmp_is_named(tmp_path: Path) -> None:
    """In a directory like /tmp: a store made by another user is named; one in a directory of a team is not."""
    store = Store.at(tmp_path / "tmp" / "store")
    store.make()
    os.chown(store.path, 12345, -1)
    assert store.exposures() == []
    os.chmod(tmp_path / "tmp", 0o1777)
    (told,) = store.exposures()
    assert "belongs to user 12345" in told


def test_logging_to_such_a_store_warns_once_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Training goes on, because it never dies of logging; what is wrong is said once."""
    store = Store.at(tmp_path / "store")
    store.make()
    os.chmod(store.path, 0o777)
    client = TrackingClient(store.path)
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "a", 1.0)
    said = [record.message for record in caplog.records if "every user" in record.message]
    assert len(said) == 1
    attention.warn_once(said[0], said[0])
    assert len([r for r in caplog.records if "every user" in r.message]) == 1


REMOTE = Remote("http://127.0.0.1:5000")


def lock_of(store: Store) -> str:
    """Takes the lock of a replay."""
    with ReplayLock(REMOTE.lock_path(store), Holder.here("test")):
        return "taken"


def state_of(store: Store) -> StateDb:
    """Opens the delivery state."""
    return StateDb(REMOTE.state_path(store), REMOTE)


def refresh(store: Store) -> str:
    """Brings the catalog up to date."""
    with Catalog(store) as catalog:
        catalog.refresh()
        return "refreshed"


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("catalog.lock", refresh),
        ("catalog.db", refresh),
        (os.path.relpath(REMOTE.lock_path(Store("/s")), "/s"), lock_of),
        (os.path.relpath(REMOTE.state_path(Store("/s")), "/s"), state_of),
        ("artifacts/.scan.db", lambda store: KnownFiles(store.artifacts)),
    ],
    ids=["catalog lock", "catalog", "replay lock", "state", "scan"],
)  # fmt: skip
@pytest.mark.parametrize("content", [b"precious", b"", None], ids=["text", "empty", "missing"])
def test_a_link_in_the_place_of_a_file_of_ours_is_not_followed(
    tmp_path: Path, name: str, use: Callable[[Store], object], content: bytes | None
) -> None:
    """A link at the name of a lock, catalog or state: what it leads to is not made, emptied or written."""
    store = Store.at(tmp_path / "store")
    store.make()
    target = tmp_path / "precious"
    if content is not None:
        target.write_bytes(content)
        target.chmod(0o644)
    os.symlink(target, os.path.join(store.path, name))
    with suppress(StoreError, OSError):
        use(store)
    assert (target.read_bytes() if target.exists() else None) == content
    assert content is None or stat.S_IMODE(target.stat().st_mode) == 0o644
