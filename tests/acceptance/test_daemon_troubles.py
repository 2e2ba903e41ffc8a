"""The daemon in trouble (credentials, disks, stores that go away, clocks, mistakes): it says so, and goes on."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from localtrack import TrackingClient
from localtrack.catalog.catalog import Catalog
from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.daemon import facts_file
from localtrack_sync.daemon.facts import Standing
from localtrack_sync.daemon.lane import Lane, LaneSettings
from localtrack_sync.daemon.parcel import parcel_of
from localtrack_sync.protocol.gate import GateSettings
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import TransportSettings
from localtrack_sync.shell.replay import Stop
from localtrack_sync.shell.selection import Following
from localtrack_sync.shell.session import SyncSettings
from tests.acceptance.daemons import SETTINGS, delivered, loop, owed, remote_facts, stands, train, until
from tests.acceptance.harness import command_environment, compared
from tests.acceptance.test_daemon import fresh
from tests.acceptance.test_kills import many_kinds
from tests.acceptance.worlds import NOW, World
from tests.servers.faults import Answer, Fault, Pass
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy, Seen
from tests.servers.reader import MlflowReader

pytestmark = pytest.mark.server

WHO = b'{"error_code": "UNAUTHENTICATED", "message": "who are you"}'
UNAUTHORIZED = Answer(401, WHO, content_type="application/json")


def password(home: Path, word: str) -> None:
    """MLflow's own file of credentials, replaced in one step."""
    path = home / ".mlflow" / "credentials"
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_text(f"[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = {word}\n")
    new.replace(path)


def test_credentials_that_were_changed_are_found(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """401: the remote is paused and said once; a new password in ~/.mlflow/credentials, and it goes on by itself."""
    made, home = many_kinds(tmp_path), tmp_path / "home"
    password(home, "old")
    good = "Basic " + base64.b64encode(b"ada:new").decode()

    def rule(seen: Seen) -> Fault:
        return Pass() if seen.header("Authorization") == good else UNAUTHORIZED

    proxy.rule = rule
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url, HOME=str(home)) as one:
        until(lambda: stands(made.store, proxy.url, Standing.PAUSED), "the refusal")
        told = remote_facts(made.store, proxy.url)
        assert told is not None
        assert "who are you" in told.trouble
        password(home, "new")
        until(lambda: delivered(made.store, proxy.url), "all of it")
        until(lambda: stands(made.store, proxy.url, Standing.IDLE), "rest")
    said = [facts["state"] for _, event, facts in one.said if event == "remote"]
    assert said.count("paused") == 1
    assert said[-1] == "online"
    assert "old" not in repr(one.said)
    assert compared(made, mlflow_reader, mlflow_server.url) == []


@contextmanager
def small_disk(path: Path, size: str = "1m") -> Iterator[None]:
    """A file system of that size at `path`."""
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small file system needs root, and a kernel that lets it mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> None:
    """Fill the disk to the last byte."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return


def test_a_full_disk_of_the_delivery_state(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """It says that it cannot go on, sends nothing that it could not note, and goes on when there is space."""
    with small_disk(tmp_path / "store" / "sync"):
        made = fresh(tmp_path)
        made.run("before", 3)
        with loop(made.store, LOCALTRACK_REMOTE=proxy.url) as one:
            until(lambda: delivered(made.store, proxy.url), "the first run")
            fill(Path(made.store.sync, "filler"))
            made.odd_run()
            made.run("meanwhile", 50)
            until(lambda: any(f.get("state") == "failed" for _, _, f in one.said), "trouble")
            [words] = {f["trouble"] for _, _, f in one.said if f.get("state") == "failed"}
            assert "full" in str(words) or "disk" in str(words)
            made.run("training is not harmed", 50)
            os.unlink(Path(made.store.sync, "filler"))
            until(lambda: delivered(made.store, proxy.url), "all of it")
        assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_full_disk_under_the_whole_store(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """The catalog cannot grow either: it is followed in memory, and in its file again when there is space."""
    made = fresh(tmp_path)
    place = Path(made.store.path)
    kept = tmp_path / "kept"
    place.rename(kept)
    with small_disk(place, "8m"):
        shutil.copytree(kept, place, dirs_exist_ok=True)
        made = World(made.store, TrackingClient(str(place)), made.experiment, made.experiment_id)
        with loop(made.store, LOCALTRACK_REMOTE=proxy.url):
            made.run("before", 3)
            until(lambda: delivered(made.store, proxy.url), "the first run")
            fill(place / "filler")
            made.client.create_run(made.experiment_id, start_time=NOW, run_name="lost or not")
            os.unlink(place / "filler")
            made.run("after", 30)
            until(lambda: delivered(made.store, proxy.url), "all of it")
        assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_store_that_goes_away_and_comes_back(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Moved away under the daemon: it is in trouble and makes no new one; moved back, it is delivered as before."""
    store, name = Store.at(tmp_path / "store"), f"exp {tmp_path.name}"
    assert train(store, name, 3) == 0  # in processes that end: a training that goes on would make the store anew
    with loop(store, LOCALTRACK_REMOTE=proxy.url) as one:
        until(lambda: delivered(store, proxy.url), "the first run")
        Path(store.path).rename(tmp_path / "away")
        until(lambda: any(event == "store in trouble" for _, event, _ in one.said), "trouble")
        assert not Path(store.path).exists()
        (tmp_path / "away").rename(store.path)
        until(lambda: any(event == "store works again" for _, event, _ in one.said), "its end")
        assert train(store, name, 4) == 0
        until(lambda: delivered(store, proxy.url), "all of it")
    assert compared(World(store, TrackingClient(store.path), name, ""), mlflow_reader, mlflow_server.url) == []


def test_a_catalog_that_is_deleted_is_built_again(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Under the daemon, while runs come in: nothing is lost or doubled."""
    made = fresh(tmp_path)
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url):
        for number in range(4):
            made.run(f"run {number}", 10)
            until(lambda: delivered(made.store, proxy.url), "the run")
            for file in Path(made.store.path).glob("catalog.db*"):
                file.unlink(missing_ok=True)
        made.run("last", 10)
        until(lambda: delivered(made.store, proxy.url), "all of it")
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_files_that_others_write_are_found(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Straight into the artifact directory of a run, also a second time with other content."""
    made = fresh(tmp_path)
    run_id = made.client.create_run(made.experiment_id, start_time=NOW, run_name="files").info.run_id
    place = Path(made.store.run_artifacts(made.experiment_id, run_id), "deep", "model.bin")
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url):
        for content in (b"first", b"second and longer"):
            before = proxy.count("model.bin")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            until(lambda before=before: proxy.count("model.bin") > before, "the file")  # type: ignore[misc]
            until(lambda: delivered(made.store, proxy.url), "all of it")
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_an_experiment_is_renamed_and_deleted_while_it_runs(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Both arrive, and so does the restoring."""
    made = fresh(tmp_path)
    made.run("one", 3)
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url):
        until(lambda: delivered(made.store, proxy.url), "the run")
        name = f"{made.experiment} renamed"
        made.client.rename_experiment(made.experiment_id, name)
        until(lambda: proxy.count("experiments/update") == 1, "the new name")
        made.client.delete_experiment(made.experiment_id)
        until(lambda: proxy.count("experiments/delete") == 1, "the deletion")
        made.client.restore_experiment(made.experiment_id)
        made.run("two", 3)
        until(lambda: proxy.count("experiments/restore") == 1, "its life")
        until(lambda: delivered(made.store, proxy.url), "all of it")
    assert compared(replace(made, experiment=name), mlflow_reader, mlflow_server.url) == []


def test_a_delivery_state_that_is_none_fails_until_it_is_moved(tmp_path: Path, proxy: FaultProxy) -> None:
    """It needs a person: said, with what to do; and then nothing more is needed."""
    made = fresh(tmp_path)
    made.run("one", 3)
    state = Path(parse_remote(proxy.url).remote.state_path(made.store))
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_bytes(b"this is no database, whatever its name says" * 100)
    with loop(made.store, LOCALTRACK_REMOTE=proxy.url) as one:
        until(lambda: stands(made.store, proxy.url, Standing.FAILED), "the failure")
        told = remote_facts(made.store, proxy.url)
        assert told is not None
        assert "cannot be used" in told.trouble
        assert one.lines[-1].startswith("failed: ")
        state.unlink()
        until(lambda: delivered(made.store, proxy.url), "all of it, once the file is out of the way")


@dataclass
class Clocks:
    """Clocks that somebody sets, or that break."""

    offset: float = 0.0
    broken: bool = False

    def wall(self) -> float:
        """Seconds since the epoch, by somebody's watch."""
        return time.time() + self.offset

    def monotonic(self) -> float:
        """A clock that never goes back."""
        assert not self.broken, "the clock is broken"
        return time.monotonic()


@dataclass
class Traffic:
    """Lanes of one store, and what they are told of."""

    catalog: Catalog
    lanes: list[Lane]
    followed: list[Following]

    def post(self) -> None:
        """What is new in the store."""
        self.catalog.refresh()
        for lane, following in zip(self.lanes, self.followed, strict=True):
            look = following.look()
            for errand in look.choice.errands if look is not None else ():
                lane.post(parcel_of(errand, look.experiments if look is not None else {}))


@contextmanager
def traffic(made: World, *to: tuple[str, Clocks]) -> Iterator[Traffic]:
    """A lane for each remote, with its clocks."""
    stop = Stop()
    with Catalog(made.store) as catalog:
        traffic = Traffic(catalog, [], [])
        for url, clocks in to:
            environ = {**command_environment(made.store.path), "LOCALTRACK_REMOTE": url}
            replay = ReplaySettings(settle_s=0.5, patience_s=None, connections=2)
            how = SyncSettings(replay, TransportSettings(), environ, "localtrack daemon", clocks.monotonic, clocks.wall)
            settings = LaneSettings(how, GateSettings(ramp_s=0.0), 5.0, 5.0)
            traffic.lanes.append(Lane(catalog, parse_remote(url), settings, stop, lambda: None))
            traffic.followed.append(Following(catalog, load(environ), environ))
            traffic.lanes[-1].start()
        try:
            yield traffic
        finally:
            stop.request()
            assert all(lane.join(20) for lane in traffic.lanes)


def test_a_clock_that_is_set(
    tmp_path: Path, mlflow_server: MlflowServer, mlflow_reader: MlflowReader, proxy: FaultProxy
) -> None:
    """Back by a day, forth by a year: what is logged arrives at once all the same, and exactly once."""
    made, clocks = many_kinds(tmp_path), Clocks()
    with traffic(made, (proxy.url, clocks)) as street:
        [lane] = street.lanes
        for number, offset in enumerate((0.0, -86_400.0, 365 * 86_400.0, 0.0)):
            clocks.offset = offset
            made.run(f"run {number}", 5)
            street.post()
            until(lambda: delivered(made.store, proxy.url), f"the run at {offset}")
            until(lambda: lane.facts.standing is Standing.IDLE, "rest")
            assert abs((lane.facts.last_success or 0) - clocks.wall()) < 60
    assert compared(made, mlflow_reader, mlflow_server.url) == []


def test_a_mistake_stops_one_lane_only(tmp_path: Path, mlflow_server: MlflowServer, proxy: FaultProxy) -> None:
    """An AssertionError: that lane has failed and says where, training and the other lane go on."""
    made, clocks = fresh(tmp_path), Clocks()
    with FaultProxy(mlflow_server.port) as other, traffic(made, (proxy.url, clocks), (other.url, Clocks())) as street:
        broken, sound = street.lanes
        made.run("one", 3)
        street.post()
        until(lambda: delivered(made.store, proxy.url), "the run")
        clocks.broken = True
        made.run("two", 3)
        street.post()
        until(lambda: not broken.alive, "its end")
        assert broken.facts.standing is Standing.FAILED
        assert "a mistake in localtrack: AssertionError: the clock is broken" in broken.facts.trouble
        assert "test_daemon_troubles.py" in broken.facts.trouble, "where"
        until(lambda: broken.facts.lag_s > 0.5, "the lag of what waits there")
        until(lambda: delivered(made.store, other.url), "all of it elsewhere")
        made.run("three", 3)
        street.post()
        until(lambda: delivered(made.store, other.url), "what comes later too")
        assert sound.alive


def test_a_read_only_store_is_said(tmp_path: Path) -> None:
    """Nothing can be delivered without a lock: the trouble is told, nothing is sent, nobody crashes."""
    made = fresh(tmp_path)
    made.run("one", 3)
    place = made.store.path
    bound = subprocess.run(["mount", "--bind", place, place], capture_output=True, check=False)
    if bound.returncode:
        pytest.skip("a read-only file system needs root, and a kernel that lets it mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
        with loop(made.store, LOCALTRACK_REMOTE="http://127.0.0.1:9") as one:
            until(lambda: any("ead-only" in json.dumps(f) for _, _, f in one.said), "the trouble")
            until(lambda: one.lines and ("failed" in one.lines[-1] or "trouble" in one.lines[-1]), "a summary of it")
        assert one.code == 0
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
    assert owed(made.store, "http://127.0.0.1:9")


def test_it_ends_when_nothing_is_left(tmp_path: Path, proxy: FaultProxy) -> None:
    """`idle_exit_seconds`: not while something is owed to a server that is away, but soon after it is delivered."""
    made = fresh(tmp_path)
    made.run("one", 3)
    with (
        proxy.refusing(),
        loop(made.store, settings=replace(SETTINGS, idle_exit_seconds=0.5), LOCALTRACK_REMOTE=proxy.url) as one,
    ):
        until(lambda: stands(made.store, proxy.url, Standing.OFFLINE), "an outage")
        tries: set[float | None] = set()

        def tried() -> bool:
            facts = facts_file.read(made.store)
            tries.update(remote.next_attempt for remote in facts.remotes) if facts is not None else None
            return len(tries) > 3

        until(tried, "three more tries, which take longer than it may be idle")
        assert one.code is None
    with loop(made.store, settings=replace(SETTINGS, idle_exit_seconds=0.5), LOCALTRACK_REMOTE=proxy.url) as one:
        until(lambda: one.code is not None, "its end")
        assert one.code == 0
    assert delivered(made.store, proxy.url)
