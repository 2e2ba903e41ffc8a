"""The help texts inside docs/cli.md: `python -m tests.docs.cli_help` writes them, test_cli_page.py checks them."""

from __future__ import annotations

import re
from pathlib import Path

import click

from localtrack.cli.entry import group

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
WIDTH = 80
_BLOCK = re.compile(r"<!-- help: ([\w ]+) -->(?:\n\n?```text\n.*?```)?", re.DOTALL)


def command_named(name: str) -> click.Command:
    """The click command behind `localtrack NAME`; the name of a command of a group has two words."""
    command: click.Command | None = group
    for word in name.split():
        assert isinstance(command, click.Group), f"there are no commands of that name: {name}"
        command = command.get_command(click.Context(command), word)
    assert isinstance(command, click.Command), f"there is no command {name}"
    return command


def with_parts(name: str) -> list[str]:
    """The name of a command, and if it is a group those of its commands."""
    command = command_named(name)
    parts = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
    return [name, *(f"{name} {part}" for part in parts)]


def help_of(name: str) -> str:
    """What `localtrack NAME --help` prints on 80 columns."""
    settings = {"terminal_width": WIDTH, "max_content_width": WIDTH, "help_option_names": ["-h", "--help"]}
    context = click.Context(command_named(name), info_name=f"localtrack {name}", **settings)  # type: ignore[arg-type]
    return context.get_help().rstrip()


def with_help(page: str) -> str:
    """The page with every help text as it is now."""
    return _BLOCK.sub(lambda hit: f"<!-- help: {hit[1]} -->\n\n```text\n{help_of(hit[1])}\n```", page)


def main() -> None:
    """Bring docs/cli.md up to date."""
    PAGE.write_text(with_help(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
