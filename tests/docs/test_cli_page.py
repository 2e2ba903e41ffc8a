"""docs/cli.md cannot drift: it is compared with what the commands say of themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from localtrack import TrackingClient
from localtrack.cli.entry import ORDER, group, run
from tests.docs.cli_help import PAGE, command_named, with_help, with_parts

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
    for part in map(command_named, with_parts(name)):
        assert part.get_short_help_str(200)
        assert all(one.help for one in part.params if isinstance(one, click.Option)), "an option without help"


def options(name: str) -> set[str]:
    """The long options of a command and, if it is a group, of its commands."""
    params = [option for part in with_parts(name) for option in command_named(part).params]
    shown = [option for option in params if not getattr(option, "hidden", False)]
    return {text for option in shown for text in option.opts if text.startswith("--")}


@pytest.mark.parametrize("name", ORDER)
def test_every_option_is_documented_and_every_documented_option_exists(name: str) -> None:
    """A command's section names all of its options, and no option that no command has."""
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section(name)))
    assert options(name) - told == set()
    assert told - {"--help"} - {option for other in ORDER for option in options(other)} == set()


def test_the_help_of_every_command_of_a_group_is_shown() -> None:
    """A command that has commands has the help of each of them on the page."""
    parts = {part for name in ORDER for part in with_parts(name)}
    assert set(re.findall(r"<!-- help: ([\w ]+) -->", TEXT)) == parts


def test_help_texts_are_those_of_the_commands() -> None:
    """The page holds each command's help, letter for letter; `python -m tests.docs.cli_help` renews it."""
    assert with_help(TEXT) == TEXT


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["runs"],
        ["show", "first"],
        ["conflicts"],
        ["doctor", "--to", "http://127.0.0.1:9"],
        ["config"],
        ["sync", "--to", "http://127.0.0.1:9", "--patience", "0"],
        ["verify", "--to", "http://127.0.0.1:9", "--patience", "0"],
        ["sync", "--to", "http://127.0.0.1:9", "--dry-run"],
        ["gc"],
        ["sync", "--to", "http://127.0.0.1:9", "--dry-run", "--experiment", "Default"],
        ["daemon", "status"],
    ],
    ids=" ".join,
)
def test_every_field_of_the_json_is_documented(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names of all fields that `--json` prints stand in the command's section."""
    monkeypatch.setenv("LOCALTRACK_STORE", str(tmp_path / "store"))
    client = TrackingClient(str(tmp_path / "store"))
    first = client.create_run("0", run_name="first").info.run_id
    client.log_metric(first, "loss", 1.0)
    client.log_text(first, "x", "a.txt")
    client.create_run("0", run_name="second")
    (tmp_path / "store" / "journals" / "broken.db").write_bytes(b"not a journal" * 100)
    capsys.readouterr()
    run([*arguments, "--json"])
    told = TEXT if arguments[0] == "show" else section(arguments[0])
    missing = {name for name in fields(json.loads(capsys.readouterr().out)) if not re.search(rf"\b{name}\b", told)}
    assert missing == set()


def fields(value: Any) -> Iterator[str]:
    """The names of all fields; what users name (params, tags, ...) is left out."""
    for key, item in value.items() if isinstance(value, dict) else ():
        yield key
        if key not in {"params", "tags", "metrics", "losses", "owed_by_kind"}:
            yield from fields(item)
    for item in value if isinstance(value, list) else ():
        yield from fields(item)


def test_exit_codes_of_the_page_are_those_of_the_code() -> None:
    """The codes that commands end with on errors, on Ctrl-C and on a broken pipe are the documented ones."""
    from localtrack.cli import failures

    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert {0, failures.EXIT_ERROR, click.UsageError("").exit_code, failures.EXIT_STOPPED, failures.EXIT_PIPE} <= codes
    assert codes == {0, 1, 2, 3, 4, 5, 130, 141}
