from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from itertools import islice
from pathlib import Path

import pytest

import localtrack
from localtrack import replay_side
from localtrack.errors import LocaltrackError, ReplayError, StoreError, TrackingError
from localtrack.journal.writer import journal_of
from localtrack.store import Store
from localtrack.sync_result import RemoteResult, SyncResult
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.shell.calls import ALONE_S, Time, pauses, wait_until
from localtrack_sync.store.presence import is_held
from tests.journal.processes import wait_for
from tests.servers.mlflow_server import free_port
from tests.unit.api.test_process import python


@pytest.fixture
def away() -> str:
    """Address of a server that is not there."""
    return f"http://127.0.0.1:{free_port()}"


class Clock:
    """Seconds that pass only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.time = Time(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        """Let them pass."""
        self.slept.append(seconds)
        self.now += seconds


def test_pauses_grow_from_50_ms_to_a_second() -> None:
    """The first look is soon repeated, a long wait costs one look a second."""
    found = list(islice(pauses(), 30))
    assert found[0] == 0.05
    assert found == sorted(found)
    assert found[-1] == 1.0
    assert sum(found[:8]) < 3


def test_waiting_ends_when_it_is_done_or_the_time_is_over() -> None:
    """It looks once at least and never sleeps beyond the timeout; without one it waits until it is done."""
    clock = Clock()
    assert wait_until(lambda: True, 0.0, by=clock.time)
    assert not wait_until(lambda: False, 0.0, by=clock.time)
    assert clock.slept == []
    assert not wait_until(lambda: False, 7.0, by=clock.time)
    assert clock.now == pytest.approx(7.0)
    clock = Clock()
    assert wait_until(lambda: clock.now > 100, None, by=clock.time)


@pytest.mark.parametrize(("timeout", "when"), [(60.0, ALONE_S), (1.0, 1.0)])
def test_that_nobody_delivers_is_said_once(timeout: float, when: float) -> None:
    """After a few seconds, or at the end of a shorter wait; a wait that is over before says nothing."""
    clock, told = Clock(), list[float]()
    assert not wait_until(lambda: False, timeout, lambda: told.append(clock.now), clock.time)
    assert len(told) == 1
    assert when <= told[0] <= when + 1.0
    told.clear()
    assert wait_until(lambda: True, timeout, lambda: told.append(clock.now), clock.time)
    assert told == []


def test_a_remote_that_is_away_is_no_error(store_path: str, away: str) -> None:
    """The result says what is owed and why; a dry run says the same and contacts nobody; nothing is lost."""
    with localtrack.start_run(run_name="one"):
        localtrack.log_metric("m", 1.0)
        localtrack.log_param("p", 1)
    planned = localtrack.sync(away, dry_run=True)
    assert not os.listdir(Store.at(store_path).sync)
    result = localtrack.sync(away, patience=0.1)
    [remote] = result.remotes
    assert (remote.remote, remote.by, remote.delivered, remote.complete) == (away, "this process", 0, False)
    assert "away" in remote.stopped
    assert result.owed == planned.owed > 3
    assert (result.complete, planned.complete, planned.dry_run, result.dry_run) == (False, False, True, False)


def test_only_what_was_named_is_delivered(store_path: str, away: str) -> None:
    """Runs by id or the beginning of one, experiments by name; one or several; what does not exist is an error."""
    del store_path
    with localtrack.start_run() as run:
        localtrack.log_metric("m", 1.0)
    localtrack.set_experiment("other")
    with localtrack.start_run():
        localtrack.log_metrics({"a": 1.0, "b": 2.0})
    every = localtrack.sync(away, dry_run=True).owed
    one = localtrack.sync(away, runs=run.info.run_id, dry_run=True).owed
    assert one == localtrack.sync(away, runs=[run.info.run_id[:12]], dry_run=True).owed
    assert every == one + localtrack.sync(away, experiments=("other",), dry_run=True).owed
    with pytest.raises(LocaltrackError, match="No run begins with"):
        localtrack.sync(away, runs="zzz")


def test_without_a_remote_it_asks_for_one(store_path: str) -> None:
    """Nobody has named a server: an error that says how to; a store that is not there is an error, too."""
    with pytest.raises(StoreError, match="no store"):
        localtrack.sync()
    with pytest.raises(StoreError, match="no store"):
        localtrack.wait_for_sync(0)
    with localtrack.start_run():
        localtrack.log_metric("m", 1.0)
    with pytest.raises(ReplayError, match="No remote is known") as error:
        localtrack.sync()
    assert "localtrack.sync(to=" in error.value.hint
    with pytest.raises(ReplayError, match="http"):
        localtrack.sync("ftp://x")
    assert store_path


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "soon", True, 1e9])
def test_seconds_are_checked(store_path: str, bad: float) -> None:
    """A number of seconds, 0 or more; for how long a daemon stays, more than 0."""
    for call in (
        lambda: localtrack.sync(patience=bad),
        lambda: localtrack.wait_for_sync(bad),
        lambda: localtrack.autostart(linger=bad),
        lambda: localtrack.autostart(linger=0),
    ):
        with pytest.raises(TrackingError):
            call()
    assert not os.path.exists(store_path)


def test_the_store_of_the_active_run_counts(store_path: str, away: str, tmp_path: Path) -> None:
    """An active run keeps its store when the tracking URI changes, and it is that store which is delivered."""
    with localtrack.start_run():
        localtrack.log_metric("m", 1.0)
        localtrack.set_tracking_uri(str(tmp_path / "elsewhere"))
        assert localtrack.sync(away, dry_run=True).owed > 2
    with pytest.raises(StoreError, match="elsewhere"):
        localtrack.sync(away, dry_run=True)
    assert store_path


def test_a_replay_within_the_process_leaves_it_strict(tmp_path: Path) -> None:
    """Asking for the journal without a word about `strict` does not change whether trouble raises."""
    store = Store.at(tmp_path)
    assert not journal_of(store).strict
    assert journal_of(store, strict=True).strict
    assert journal_of(store).strict
    assert not journal_of(store, strict=False).strict


def test_a_result_is_complete_when_every_part_is() -> None:
    """Sums over remotes; unreadable journals and what no journal holds are not called complete."""
    one, two = RemoteResult("a", 5, 0, 1, 2, 0, complete=True), RemoteResult("b", 1, 3, 0, 0, 4)
    result = SyncResult((one, two))
    assert (result.delivered, result.owed, result.conflicts, result.rejected, result.parked) == (6, 3, 1, 2, 4)
    assert [SyncResult((one,)).complete, result.complete, SyncResult().complete] == [True, False, True]
    assert not SyncResult((one,), unreadable=("x.db",)).complete
    assert not SyncResult((one,), unwritten=True).complete


def test_a_replay_side_that_is_missing_says_so() -> None:
    """A function that no installed package registers is an error with advice, not an ImportError."""
    with pytest.raises(ReplayError, match="not installed") as error:
        replay_side.call("nonsense")
    assert "pip install" in error.value.hint


def test_waiting_in_vain_says_why(tmp_path: Path, away: str) -> None:
    """No daemon, no other process: False after the timeout, one warning for all calls; runs without a remote: why."""
    script = """
    import localtrack, os
    with localtrack.start_run():
        localtrack.log_metric("m", 1.0)
    print(localtrack.wait_for_sync(0.1), localtrack.wait_for_sync(0), localtrack.wait_for_sync(timeout=0.2))
    """
    done = python(tmp_path, script, LOCALTRACK_REMOTE=away)
    assert (done.returncode, done.stdout) == (0, "False False False\n")
    assert done.stderr.count("no daemon runs for it") == 1
    done = python(tmp_path, script)
    assert (done.returncode, done.stdout) == (0, "False False False\n")
    assert done.stderr.count("no remote is known") == 1


def test_somebody_who_delivers_is_not_called_nobody(tmp_path: Path, away: str) -> None:
    """While the daemon's lock of the store is held, waiting in vain is silent."""
    done = python(
        tmp_path,
        """
        import fcntl, localtrack, os
        with localtrack.start_run():
            localtrack.log_metric("m", 1.0)
        with open(os.environ["LOCALTRACK_STORE"] + "/sync/daemon.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            print(localtrack.wait_for_sync(0.1))
        """,
        LOCALTRACK_REMOTE=away,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


class Installed:
    """An installed package that registers an `autostart` of its own, found before localtrack's by its place."""

    def __init__(self, place: Path, body: str) -> None:
        self.calls = place / "calls"
        info = place / "stand_in-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[localtrack.calls]\nautostart = stand_in_for_tests:start\n")
        (place / "stand_in_for_tests.py").write_text(
            textwrap.dedent(
                f"""
                import os
                def start(store, environ, *, linger, new_session):
                    with open({str(self.calls)!r}, "a") as file:
                        file.write(f"{{os.getpid()}} {{store.path}} {{linger}} {{new_session}}\\n")
                    {body}
                """
            )
        )

    @property
    def lines(self) -> list[list[str]]:
        """Process, store, linger and new_session of each call."""
        return [line.split() for line in self.calls.read_text().splitlines()] if self.calls.exists() else []


def test_the_setting_starts_one_daemon_for_a_process_and_its_forks(tmp_path: Path) -> None:
    """At the first run of a process, for each store once; a forked child of it does not do it again."""
    installed = Installed(tmp_path / "lib", "return None")
    done = python(
        tmp_path,
        """
        import localtrack, os
        for _ in range(3):
            with localtrack.start_run():
                localtrack.log_metric("m", 1.0)
        localtrack.TrackingClient().create_run("0")
        child = os.fork()
        if child == 0:
            with localtrack.start_run():
                localtrack.log_metric("m", 1.0)
            os._exit(0)
        os.waitpid(child, 0)
        localtrack.set_tracking_uri("other")
        with localtrack.start_run():
            pass
        print(os.getpid())
        """,
        LOCALTRACK_AUTOSTART="1",
        PYTHONPATH=str(tmp_path / "lib"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    pid = done.stdout.strip()
    assert installed.lines == [
        [pid, str(tmp_path / "store"), "300.0", "True"],
        [pid, str(tmp_path / "other"), "300.0", "True"],
    ]


@pytest.mark.parametrize(
    "start",
    ["attach=True, run_id='3f2a9c0e5d7b4a1f8c6e2b9d0a4f7c31'", "run_id=localtrack.search_runs()[0].info.run_id"],
)
def test_a_requeued_job_starts_one_too(tmp_path: Path, start: str) -> None:
    """A process that attaches to a run or resumes one creates none, and has a daemon started all the same."""
    installed = Installed(tmp_path / "lib", "return None")
    assert python(tmp_path, "import localtrack; localtrack.start_run()").returncode == 0
    start = start.replace("search_runs()", "search_runs(output_format='list')")
    on = {"LOCALTRACK_AUTOSTART": "1", "PYTHONPATH": str(tmp_path / "lib")}
    done = python(tmp_path, f"import localtrack; localtrack.start_run({start})", **on)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(installed.lines) == 1


@pytest.mark.parametrize("trouble", ["raise OSError('no processes left')", "raise RuntimeError('odd')", "exit = 1 / 0"])
def test_a_daemon_that_cannot_be_started_does_not_stop_training(tmp_path: Path, trouble: str) -> None:
    """Whatever goes wrong there, one warning says so, and the run is logged."""
    installed = Installed(tmp_path / "lib", trouble)
    done = python(
        tmp_path,
        """
        import localtrack
        for _ in range(2):
            with localtrack.start_run():
                localtrack.log_metric("m", 1.0)
        localtrack.autostart(linger=5, stop_with_process_group=True)
        localtrack.sync("http://127.0.0.1:1", dry_run=True)
        """,
        LOCALTRACK_AUTOSTART="1",
        PYTHONPATH=str(tmp_path / "lib"),
    )
    assert done.returncode == 0
    assert done.stderr.count("No daemon was started") == 1
    assert [line[2:] for line in installed.lines] == [["300.0", "True"], ["5", "False"]]


def test_a_daemon_that_was_asked_for_by_name_is_not_started_twice(tmp_path: Path) -> None:
    """autostart() in a process that has the setting too: the first run starts no second one beside it."""
    installed = Installed(tmp_path / "lib", "return None")
    script = "import localtrack; localtrack.autostart(linger=5); localtrack.start_run()"
    on = {"LOCALTRACK_AUTOSTART": "1", "PYTHONPATH": str(tmp_path / "lib")}
    done = python(tmp_path, script, **on)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[2] for line in installed.lines] == ["5"]


def test_without_the_setting_nothing_is_started_or_loaded(tmp_path: Path) -> None:
    """A run starts no daemon and does not even look for one."""
    installed = Installed(tmp_path / "lib", "return None")
    done = python(
        tmp_path,
        """
        import localtrack, sys
        with localtrack.start_run():
            localtrack.log_metric("m", 1.0)
        assert "importlib.metadata" not in sys.modules
        """,
        PYTHONPATH=str(tmp_path / "lib"),
    )
    assert (done.returncode, done.stderr, installed.lines) == (0, "", [])


def test_a_sync_may_be_interrupted(store_path: str, away: str) -> None:
    """Ctrl-C while the remote is away raises KeyboardInterrupt at once, and the next sync goes on."""
    script = (
        "import localtrack, sys\n"
        "with localtrack.start_run(): localtrack.log_metric('m', 1.0)\n"
        f"localtrack.sync({away!r}, patience=600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: is_held(parse_remote(away).remote.lock_path(Store.at(store_path))))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert localtrack.sync(away, patience=0.1).owed > 2
