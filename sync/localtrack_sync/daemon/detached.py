"""The daemon in the background: started so that it outlives its starter, its terminal and their process group."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from localtrack.errors import ReplayError
from localtrack.store import Store
from localtrack_sync.daemon.log_file import default_log, last_lines
from localtrack_sync.daemon.notify import VARIABLES
from localtrack_sync.daemon.running import running
from localtrack_sync.store.lock import Holder

#: How this very localtrack is started.
PROGRAM = (sys.executable, "-m", "localtrack")
#: How a daemon is named that `start` started.
COMMAND = "localtrack daemon start"
#: Seconds that it may take until the locks are held: on network file systems an interpreter starts slowly.
START_S = 60.0
_READY = b"ready"


def start(
    settled: Sequence[str],
    given: Sequence[str],
    environ: Mapping[str, str],
    log: str = "",
    program: Sequence[str] = PROGRAM,
    seconds: float = START_S,
) -> Holder:
    """Start a daemon in the background and wait until it holds its locks.

    It is a session of its own, and nobody's child: signals for this process group, the end of this process and of its
    terminal do not reach it. It gets this environment (credentials are read from it), and its own working directory is
    this one, so that relative paths in variables mean what they say.

    Args:
        settled: the stores that it will deliver, absolute paths, at least one.
        given: those that are named on its command line; none: it reads its settings.
        environ: what it gets.
        log: its log file; "": `default_log`.
        program: how localtrack is started.
        seconds: how long to wait at most.

    Returns:
        Who it is.

    Raises:
        ReplayError: it did not begin; the message is its own.
    """
    first = Store.at(min(map(os.path.realpath, settled)))
    path = log or default_log(environ, first)
    options = ["--detached", "--log-file", path, *(word for store in given for word in ("--store", store))]
    told, trouble = _communicated([*program, "daemon", "run", *options], _environment(environ), path, seconds)
    if told.strip() != _READY:
        raise ReplayError(*_reason(trouble.decode(errors="replace"), path))
    found = running(first)
    if found is None:
        raise ReplayError("The daemon began and ended at once.", f"Its last words: {_last_words(path)}")
    return found


def _communicated(command: Sequence[str], environ: Mapping[str, str], log: str, seconds: float) -> tuple[bytes, bytes]:
    """What the child and the daemon that it leaves behind say until both have let go of these pipes."""
    with subprocess.Popen(  # noqa: S603 - our own program
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        try:
            return child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()  # if it has not left the daemon behind yet, there will be none
            raise ReplayError(
                f"The daemon has not begun within {seconds:g} s; it may still do so.",
                f"Look: localtrack daemon status. Its log: {log}",
            ) from None


def detach() -> None:
    """In the process that was started: leave the starter, and go on as nobody's child. No thread may run yet."""
    if os.fork():
        os._exit(0)
    os.umask(0o077)


def say_ready() -> None:
    """Tell the starter that the locks are held, and let go of its pipes."""
    with suppress(OSError):  # the starter has lost its patience
        os.write(1, _READY + b"\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nowhere, handle)
    os.close(nowhere)


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Nothing of who watches over the starter; and modules in the working directory are not taken for Python's own."""
    return {**{key: value for key, value in environ.items() if key not in VARIABLES}, "PYTHONSAFEPATH": "1"}


def _reason(trouble: str, log: str) -> tuple[str, str]:
    """Message and hint of a child that ended: `Error: message`, and below it the hint."""
    lines = trouble.strip().splitlines()
    begin = next((place for place, line in enumerate(lines) if line.startswith("Error: ")), None)
    if begin is None:
        return "The daemon ended before it began: " + (lines[-1] if lines else "it said nothing"), f"Its log: {log}"
    return lines[begin].removeprefix("Error: "), " ".join(line.strip() for line in lines[begin + 1 :])


def _last_words(log: str) -> str:
    """Why it failed, as its log says it; else the last line of the log."""
    try:
        lines = last_lines(log, 10)
    except OSError:
        lines = []
    told = [line for line in lines if b"daemon failed" in line] or lines
    return told[-1].decode(errors="replace") if told else f"none, see {log}"
