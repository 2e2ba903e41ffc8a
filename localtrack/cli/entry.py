"""The `localtrack` command: finds its commands by name, runs one, turns errors into words and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import click
from click.shell_completion import shell_complete

from localtrack.cli import failures, screen

NAME = "localtrack"
GROUP = "localtrack.commands"
#: Shells ask for completions through this variable (docs/cli.md).
COMPLETION = "_LOCALTRACK_COMPLETE"
#: Commands of the training side, loaded when asked for: `localtrack runs` does not pay for the others.
OWN = {"runs": "localtrack.cli.runs:runs", "show": "localtrack.cli.show:show", "query": "localtrack.cli.query:query"}
#: Commands of the replay side (localtrack_sync), found by entry point: this package never imports that one.
REPLAY = ("sync", "verify", "status", "conflicts", "daemon", "doctor", "config", "gc")
ORDER = ("status", "runs", "show", "conflicts", "sync", "verify", "daemon", "doctor", "gc", "query", "config")

HELP = """Experiment tracking that works offline.

Training code logs to a store on this machine. `localtrack sync` delivers what is owed to an MLflow server, once,
however often it is started.
"""


class Commands(click.Group):
    """Commands by name: our own, then those of installed packages; a broken one explains itself when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, the most used first."""
        names = {*OWN, *REPLAY, *(point.name for point in entry_points(group=GROUP))}
        return [name for name in ORDER if name in names] + sorted(names.difference(ORDER))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, or one that says why it is missing; None for a name that nobody knows."""
        if cmd_name in OWN:
            return resolve(EntryPoint(cmd_name, OWN[cmd_name], GROUP))
        points = entry_points(group=GROUP, name=cmd_name)
        if points:
            return resolve(next(iter(points)))
        return _broken(cmd_name, "its package, localtrack_sync, is not installed here") if cmd_name in REPLAY else None


def resolve(point: EntryPoint) -> click.Command:
    """The command behind an entry point; when it cannot be imported, a command that says so."""
    try:
        command = point.load()
    except (ImportError, AttributeError) as error:
        return _broken(point.name, str(error))
    assert isinstance(command, click.Command), f"{point.value} is not a click command"
    return command


def _broken(name: str, reason: str) -> click.Command:
    def explain(**_ignored: Any) -> None:
        failures.say(
            f"`localtrack {name}` is not available: {reason}.",
            f"Install localtrack whole: {sys.executable} -m pip install --force-reinstall localtrack. "
            "Logging does not depend on it.",
        )
        raise click.exceptions.Exit(failures.EXIT_ERROR)

    return click.Command(
        name,
        callback=explain,
        help=f"(not available: {reason})",
        context_settings={"ignore_unknown_options": True},
        params=[click.Argument(["rest"], nargs=-1)],
    )


@click.command(cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("localtrack"), prog_name="localtrack", message="%(prog)s %(version)s")
@click.option("--store", metavar="PATH", help="Store directory, for any command (also accepted after the command).")
def group(store: str | None) -> None:
    """See HELP."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are told on standard error, never as a traceback if expected."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if instruction := os.environ.get(COMPLETION):
            return shell_complete(group, {}, NAME, COMPLETION, instruction)
        # Not group.main(): that one swallows a broken pipe and ends with 1, our code for errors.
        with group.make_context(NAME, given, color=screen.colour(), max_content_width=100) as context:
            result = group.invoke(context)
        sys.stdout.flush()  # here, so that a reader that went away is met inside the `try`
    except BaseException as error:  # the one place where every error ends
        if isinstance(error, SystemExit):
            raise
        return failures.report(error)
    return result if isinstance(result, int) else 0


def main() -> None:
    """Console script."""
    sys.exit(run())
