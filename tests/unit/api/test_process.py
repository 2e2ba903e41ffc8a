"""What the module functions do at the ends of processes: exit, fork, spawn, kill, and what they inherit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from localtrack.catalog.catalog import Catalog
from localtrack.entities import Run
from localtrack.store import Store
from tests.unit.api.journals import logged


def python(home: Path, script: str, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a new interpreter, as a user whose store is `home/store`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "LOCALTRACK_", "XDG_"))
    }
    env = {**kept, "HOME": str(home), "LOCALTRACK_STORE": str(home / "store"), **variables}
    command = [sys.executable, *flags, "-c", textwrap.dedent(script)]
    return subprocess.run(command, env=env, cwd=home, capture_output=True, text=True, timeout=120, check=False)


def runs(home: Path) -> list[Run]:
    """All runs of the store, newest first."""
    with Catalog(Store.at(home / "store")) as catalog:
        experiments = [one.experiment_id for one in catalog.experiments(3, 1000, None)]
        return list(catalog.runs(experiments, 3, 1000, None))


def test_what_is_left_at_exit_is_finished(tmp_path: Path) -> None:
    """Nested runs and runs of other threads that nobody ended are FINISHED when the process exits."""
    done = python(
        tmp_path,
        """
        import localtrack, threading
        localtrack.start_run()
        localtrack.start_run(nested=True)
        thread = threading.Thread(target=lambda: localtrack.log_metric("m", 1.0))
        thread.start()
        thread.join()
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = runs(tmp_path)
    assert [run.info.status for run in found] == ["FINISHED"] * 3
    assert all(run.info.end_time for run in found)


def test_an_uncaught_exception_leaves_finished_runs_as_mlflow_does(tmp_path: Path) -> None:
    """Without a with block a crash of the script ends the run FINISHED; with one, FAILED."""
    assert python(tmp_path, "import localtrack; localtrack.log_metric('m', 1.0); 1 / 0").returncode == 1
    assert [run.info.status for run in runs(tmp_path)] == ["FINISHED"]
    assert python(tmp_path, "import localtrack\nwith localtrack.start_run(): 1 / 0").returncode == 1
    assert runs(tmp_path)[0].info.status == "FAILED"


def test_a_forked_child_has_no_active_run(tmp_path: Path) -> None:
    """The child's log calls go to a run of its own; the parent's run is the parent's to end, once."""
    done = python(
        tmp_path,
        """
        import localtrack, os, warnings
        # Python 3.12 and later warn of a fork beside any thread, and a journal has one that flushes it to the disk.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        with localtrack.start_run(run_name="parent") as run:
            localtrack.log_metric("m", 1.0, step=1)
            pid = os.fork()
            if pid == 0:
                assert localtrack.active_run() is None
                assert localtrack.last_active_run() is None
                with localtrack.start_run(run_name="child"):
                    localtrack.log_metric("m", 2.0, step=2)
                localtrack.log_metric("m", 3.0, step=3, run_id=run.info.run_id)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            localtrack.log_metric("m", 4.0, step=4)
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = {run.info.run_name: run for run in runs(tmp_path)}
    assert {name: run.info.status for name, run in found.items()} == {"parent": "FINISHED", "child": "FINISHED"}
    assert found["child"].data.metrics == {"m": 2.0}
    steps = [
        m.step for b in logged(str(tmp_path / "store")) if b.run_id == found["parent"].info.run_id for m in b.metrics
    ]
    assert sorted(steps) == [1, 3, 4]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_log_to_the_parents_run(tmp_path: Path, method: str) -> None:
    """Workers of multiprocessing of every kind log to a run that they are told, and to one from MLFLOW_RUN_ID."""
    (tmp_path / "train.py").write_text(
        textwrap.dedent(
            """
            import multiprocessing, os, sys
            import localtrack

            def work(rank, run_id):
                localtrack.log_metric("told", float(rank), step=rank, run_id=run_id)
                os.environ["MLFLOW_RUN_ID"] = run_id
                localtrack.log_param(f"p{rank}", rank)

            if __name__ == "__main__":
                context = multiprocessing.get_context(sys.argv[1])
                with localtrack.start_run() as run:
                    workers = [context.Process(target=work, args=(rank, run.info.run_id)) for rank in range(3)]
                    for worker in workers:
                        worker.start()
                    for worker in workers:
                        worker.join()
                        assert worker.exitcode == 0
            """
        )
    )
    done = python(
        tmp_path,
        f"import sys, runpy; sys.argv = ['train.py', {method!r}]; runpy.run_path('train.py', run_name='__main__')",
    )
    if method != "fork":  # spawn imports the main module by its file
        env = {**os.environ, "HOME": str(tmp_path), "LOCALTRACK_STORE": str(tmp_path / "store")}
        done = subprocess.run(
            [sys.executable, "train.py", method],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    run = runs(tmp_path)[0]
    assert run.data.params == {"p0": "0", "p1": "1", "p2": "2"}
    assert run.data.metrics == {"told": 2.0}


def test_a_killed_process_loses_nothing_that_returned(tmp_path: Path) -> None:
    """SIGKILL right after a log call returned: all that returned is in the store, the run is still RUNNING."""
    done = python(
        tmp_path,
        """
        import localtrack, os, signal
        localtrack.start_run()
        for step in range(50):
            localtrack.log_metric("m", float(step), step=step)
        localtrack.log_param("p", 1)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert done.returncode == -signal.SIGKILL
    (run,) = runs(tmp_path)
    assert (run.info.status, run.data.metrics, run.data.params) == ("RUNNING", {"m": 49.0}, {"p": "1"})


def test_experiment_by_name_from_the_environment(tmp_path: Path) -> None:
    """MLFLOW_EXPERIMENT_NAME creates the experiment once; processes that start at once share it."""
    script = "import localtrack; localtrack.log_metric('m', 1.0)"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "LOCALTRACK_"))}
    env = {
        **kept,
        "HOME": str(tmp_path),
        "LOCALTRACK_STORE": str(tmp_path / "store"),
        "MLFLOW_EXPERIMENT_NAME": "named",
    }
    processes = [subprocess.Popen([sys.executable, "-c", script], env=env, stderr=subprocess.PIPE) for _ in range(8)]
    assert [process.communicate(timeout=120)[1] for process in processes] == [b""] * 8
    with Catalog(Store.at(tmp_path / "store")) as catalog:
        named = catalog.experiment_by_name("named")
    assert named is not None
    assert {run.info.experiment_id for run in runs(tmp_path)} == {named.experiment_id}
    assert len(runs(tmp_path)) == 8


def test_experiment_by_id_from_the_environment(tmp_path: Path) -> None:
    """MLFLOW_EXPERIMENT_ID, as set_experiment exports it, is followed; one that is missing or disagrees is an error."""
    started = python(
        tmp_path,
        """
        import localtrack, subprocess, sys
        localtrack.set_experiment("a")
        subprocess.run([sys.executable, "-c", "import localtrack; localtrack.log_metric('m', 1.0)"], check=True)
        """,
    )
    assert started.returncode == 0
    with Catalog(Store.at(tmp_path / "store")) as catalog:
        experiment = catalog.experiment_by_name("a")
    assert experiment is not None
    assert [run.info.experiment_id for run in runs(tmp_path)] == [experiment.experiment_id]
    script = "import localtrack; localtrack.start_run()"
    missing = python(tmp_path, script, MLFLOW_EXPERIMENT_ID="12345")
    assert "MLFLOW_EXPERIMENT_ID='12345' does not exist" in missing.stderr
    torn = python(tmp_path, script, MLFLOW_EXPERIMENT_NAME="b", MLFLOW_EXPERIMENT_ID=experiment.experiment_id)
    assert "does not match" in torn.stderr
    assert (
        python(tmp_path, script, MLFLOW_EXPERIMENT_NAME="a", MLFLOW_EXPERIMENT_ID=experiment.experiment_id).returncode
        == 0
    )


def test_warnings_as_errors_do_not_stop_training(tmp_path: Path) -> None:
    """Under `python -W error` what localtrack has to say (a cut value, a broken store) still does not raise."""
    (tmp_path / "store").write_text("a file where the store should be")
    done = python(
        tmp_path,
        """
        import localtrack
        with localtrack.start_run():
            localtrack.log_param("p", "x" * 7000)
            localtrack.log_metric("m", 1.0)
        print("trained")
        """,
        "-W",
        "error",
    )
    assert (done.returncode, done.stdout) == (0, "trained\n")
    assert "7000 characters" in done.stderr
    assert "store" in done.stderr


def test_a_server_that_is_set_is_never_contacted(tmp_path: Path) -> None:
    """With an http tracking URI training runs to its end without opening a socket."""
    done = python(
        tmp_path,
        """
        import sys
        def audit(event, args):
            assert not event.startswith("socket."), event
        sys.addaudithook(audit)
        import localtrack
        with localtrack.start_run():
            localtrack.log_metric("m", 1.0)
        assert localtrack.search_runs(output_format='list')
        """,
        MLFLOW_TRACKING_URI="http://127.0.0.1:1",
    )
    assert (done.returncode, done.stderr) == (0, "")
