"""docs/cli.md cannot drift: it is compared with what the commands say of themselves."""

from __future__ import annotations

import re

import click
import pytest

from localtrack.cli.entry import ORDER, group
from tests.docs.cli_help import PAGE, command_named, with_help

TEXT = PAGE.read_text(encoding="utf-8")


def section(name: str) -> str:
    """The part of the page about one command."""
    found = re.search(rf"^## localtrack {name}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/cli.md has no section for {name}"
    return found[1]


def test_every_command_has_a_section_and_every_section_a_command() -> None:
    """The page and the program name the same commands."""
    names = group.list_commands(click.Context(group))
    assert sorted(re.findall(r"^## localtrack (\w+)$", TEXT, re.MULTILINE)) == sorted(names)
    assert sorted(ORDER) == sorted(names)


@pytest.mark.parametrize("name", ORDER)
def test_every_command_can_be_loaded_and_has_help(name: str) -> None:
    """No command is broken, and each says in one line what it does."""
    command = command_named(name)
    assert "not available" not in (command.help or ""), command.help
    assert command.get_short_help_str(200)
    assert all(one.help for one in command.params if isinstance(one, click.Option)), "an option without help"


def options(name: str) -> set[str]:
    """The long options of a command."""
    return {text for option in command_named(name).params for text in option.opts if text.startswith("--")}


@pytest.mark.parametrize("name", ORDER)
def test_every_option_is_documented_and_every_documented_option_exists(name: str) -> None:
    """A command's section names all of its options, and no option that no command has."""
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section(name)))
    assert options(name) - told == set()
    assert told - {"--help"} - {option for other in ORDER for option in options(other)} == set()


def test_help_texts_are_those_of_the_commands() -> None:
    """The page holds each command's help, letter for letter; `python -m tests.docs.cli_help` renews it."""
    assert with_help(TEXT) == TEXT


def test_exit_codes_of_the_page_are_those_of_the_code() -> None:
    """The codes that commands end with on errors, on Ctrl-C and on a broken pipe are the documented ones."""
    from localtrack.cli import failures

    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert {0, failures.EXIT_ERROR, click.UsageError("").exit_code, failures.EXIT_STOPPED, failures.EXIT_PIPE} <= codes
    assert codes == {0, 1, 2, 3, 4, 130, 141}
