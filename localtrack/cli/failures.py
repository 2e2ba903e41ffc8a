"""What a command says when it fails: what happened, why, what to run next. No expected error is a traceback."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import traceback

import click

from localtrack.cli.screen import colour, wrapped
from localtrack.cli.table import visible
from localtrack.errors import LocaltrackError

EXIT_ERROR = 1
LABEL = "Error: "
EXIT_STOPPED = 128 + signal.SIGINT
#: What a shell sees from a program whose reader went away (`localtrack runs | head`).
EXIT_PIPE = 128 + 13


def report(error: BaseException) -> int:
    """Tell people about `error` on standard error; returns the exit code."""
    if isinstance(error, (click.exceptions.Exit, click.Abort, KeyboardInterrupt, BrokenPipeError)):
        return _end(error)
    if isinstance(error, click.ClickException):
        say(error.format_message(), _usage(error))
        return error.exit_code
    if isinstance(error, LocaltrackError):
        say(error.message, error.hint)
        return error.exit_code
    if isinstance(error, (OSError, sqlite3.Error)):
        say(*_machine_trouble(error))
    else:
        traceback.print_exception(error)
        say(
            "This is a mistake in localtrack; your journals are untouched.",
            "Please report it with the lines above and the output of: localtrack --version",
        )
    return EXIT_ERROR


def _end(error: BaseException) -> int:
    """An end that is nobody's mistake: asked for, stopped by hand, or the reader went away."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        _abandon_stdout()
        return EXIT_PIPE
    click.echo("Stopped.", err=True)
    return EXIT_STOPPED


def _usage(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"How to call it: {context.command_path} --help" if context else ""


def say(message: str, hint: str = "") -> None:
    """Print an error and what to do about it: wrapped on a terminal, whole lines in a log file."""
    columns = shutil.get_terminal_size().columns if sys.stderr.isatty() else sys.maxsize
    told = wrapped(LABEL + "\n".join(map(visible, message.splitlines())), columns).removeprefix(LABEL)
    # No click context is left here: the wish for no colours is asked for again.
    click.secho(LABEL, fg="red", bold=True, nl=False, err=True, color=colour())
    click.echo(told, err=True)
    if hint:
        click.echo(wrapped(hint, columns, "  "), err=True)


def _machine_trouble(error: OSError | sqlite3.Error) -> tuple[str, str]:
    if isinstance(error, sqlite3.Error):
        return f"SQLite could not go on: {error}", (
            "If the disk is full or read-only, make room or choose another store with --store PATH. "
            "The catalog may be deleted at any time: it is rebuilt from the journals."
        )
    where = f"{error.filename}: " if error.filename else ""
    return (
        f"{where}{error.strerror or error}",
        "Look at the path and its permissions, or choose another store: --store PATH",
    )


def _abandon_stdout() -> None:
    """Let the interpreter flush what is left into nothing, instead of failing a second time at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
