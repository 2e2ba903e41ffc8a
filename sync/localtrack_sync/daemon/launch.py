"""Starts a program that is nobody's child: it outlives the process that started it, and leaves that one no zombie.

Python's own fork is not used here: the caller is a training program with threads, open journals and a GPU. A small
interpreter in between is started (by vfork and exec), forks, tells the number of its child and ends.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

#: Seconds until the interpreter in between must have started the program: a busy machine, a slow network file system.
LAUNCH_S = 30.0

#: What the interpreter in between does: argv[1] is the descriptor to report to, the rest is the program. The report
#: ends when the program runs, for the descriptor is closed by exec.
_BETWEEN = """
import os, signal, sys
report, argv = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(report, False)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
child = os.fork()
if child:
    os.write(report, b"pid %d\\n" % child)
    os._exit(0)
try:
    os.execvp(argv[0], argv)
except OSError as error:
    os.write(report, b"error %s\\n" % os.fsencode(str(error)))
os._exit(127)
"""


def start_detached(argv: Sequence[str], environ: Mapping[str, str], log_path: str, *, new_session: bool = True) -> int:
    """Start a program that is not our child, with no terminal, in the directory `/`; returns its process id.

    It inherits no file of ours (a journal's lock, held by a program that outlives its trainer, would make the trainer
    look alive), no blocked signal and no working directory. Standard input is empty; output goes to `log_path`.

    Args:
        argv: the program and its arguments; they show in the list of processes, so they hold no secret.
        environ: its whole environment.
        log_path: appended to; made readable by the owner only (0600).
        new_session: in a session and a process group of its own, so that a signal to our group does not reach it.

    Raises:
        OSError: the log cannot be opened, or the program cannot be started.
    """
    if not sys.executable:
        raise OSError("this Python does not know where its own program lies (sys.executable is empty)")
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        hear, report = os.pipe()
        try:
            between = subprocess.Popen(  # noqa: S603 - our own interpreter, and the caller's program
                # -I -S: whatever the user's environment does to Python, this start does not depend on it.
                [sys.executable, "-I", "-S", "-c", _BETWEEN, str(report), *argv],
                env=dict(environ), cwd="/", umask=0o077, start_new_session=new_session, pass_fds=(report,),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        except BaseException:
            os.close(hear)
            raise
        finally:
            os.close(report)
    finally:
        os.close(log)
    try:
        return _told(_heard(hear, time.monotonic() + LAUNCH_S))
    finally:
        os.close(hear)
        _reap(between)


def _heard(hear: int, until: float) -> list[str]:
    """The lines of the report, once it has ended; raises OSError when there are none in time.

    A process that another thread of ours forks in these milliseconds holds the report open: then its lines must do.
    """
    heard = b""
    while select.select([hear], [], [], max(0.0, until - time.monotonic()))[0]:
        if not (piece := os.read(hear, 4096)):
            return os.fsdecode(heard).splitlines()
        heard += piece
    if not heard:
        raise OSError(f"it did not start within {LAUNCH_S:g} s")
    return os.fsdecode(heard).splitlines()


def _told(lines: Sequence[str]) -> int:
    """The number of the program that runs; raises OSError when none does."""
    for line in lines:
        if line.startswith("error "):
            raise OSError(line.removeprefix("error "))
    for line in lines:
        if line.startswith("pid "):
            return int(line.removeprefix("pid "))
    raise OSError("the interpreter that should start it ended early; the log may say why")


def _reap(between: subprocess.Popen[bytes]) -> None:
    """The interpreter in between has ended, or ends now."""
    try:
        between.wait(1.0)
    except subprocess.TimeoutExpired:
        between.kill()
        with suppress(subprocess.TimeoutExpired):
            between.wait(1.0)
