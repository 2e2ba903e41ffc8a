"""The frame of the command line: errors are words with a hint and an exit code, output survives pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from localtrack.cli import entry, failures
from localtrack.errors import StoreError, TooNewError

COMMAND = [sys.executable, "-c", "from localtrack.cli import main; main()"]


def localtrack(*arguments: str, store: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the real command line in a process of its own."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "LOCALTRACK_STORE": str(store), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_version_is_told(tmp_path: Path) -> None:
    """`localtrack --version` prints name and version."""
    done = localtrack("--version", store=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("localtrack ")


def test_every_known_command_is_listed_in_the_help(tmp_path: Path) -> None:
    """`localtrack --help` names every command, the replay side's too."""
    told = localtrack("--help", store=tmp_path).stdout
    assert [name for name in entry.ORDER if f"\n  {name}" not in told] == []


def test_a_mistyped_command_is_a_usage_error(tmp_path: Path) -> None:
    """An unknown command ends with 2 and names the way to the list."""
    done = localtrack("statsu", store=tmp_path)
    assert done.returncode == 2
    assert "localtrack --help" in done.stderr


def test_a_broken_replay_side_is_explained_when_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """A command whose package cannot be imported says so, says what to run, and ends with 1."""
    point = EntryPoint("sync", "localtrack_that_is_not_there.command:sync", entry.GROUP)
    command = entry.resolve(point)
    assert command.main(["--to", "http://127.0.0.1:1"], standalone_mode=False) == 1
    told = capsys.readouterr().err
    assert "No module named 'localtrack_that_is_not_there'" in told
    assert "pip install" in told


def test_an_expected_error_is_words_a_hint_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A LocaltrackError is told as what happened and what to do, never as a traceback."""
    assert (
        failures.report(TooNewError("catalog.db was written by localtrack 9", "Upgrade: pip install -U localtrack"))
        == 1
    )
    told = capsys.readouterr().err
    assert told.startswith("Error: catalog.db was written by localtrack 9")
    assert "Upgrade: pip install -U localtrack" in told
    assert "Traceback" not in told


def test_errors_in_a_log_file_are_whole_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Where standard error is no terminal a message is one line, so that it can be searched for."""
    failures.say("word " * 40, "hint " * 40)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_exit_codes_come_from_the_errors() -> None:
    """Each kind of error may say what the command ends with."""

    class BusyError(StoreError):
        exit_code = 3

    assert failures.report(BusyError("held by another")) == 3
    assert failures.report(KeyboardInterrupt()) == 130


def test_an_unexpected_error_shows_its_traceback_and_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake of ours is not hidden behind kind words."""
    assert failures.report(ZeroDivisionError("never divide")) == 1
    told = capsys.readouterr().err
    assert "ZeroDivisionError: never divide" in told
    assert "mistake in localtrack" in told


def test_a_file_that_cannot_be_opened_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Trouble of the machine names the path and the reason."""
    assert failures.report(PermissionError(13, "Permission denied", "/store/catalog.db")) == 1
    assert "/store/catalog.db: Permission denied" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`localtrack --help | head -0` writes nothing to standard error."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        env={**os.environ, "LOCALTRACK_STORE": str(tmp_path)},
        text=True,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert done.returncode == failures.EXIT_PIPE
    assert done.stderr == ""
