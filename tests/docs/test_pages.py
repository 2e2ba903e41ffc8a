"""The pages keep their word: links resolve, examples run, named files, commands and tests exist."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from localtrack.cli.entry import group
from tests.docs.cli_help import command_named

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: A path of the repository in backticks: it has a directory or an ending that ours have.
_PATH = re.compile(r"`((?:localtrack|sync|tests|docs|demo|bench)/[\w./-]*|[\w-]+\.(?:md|toml))`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def title(page: Path) -> str:
    """A page's path from the root, for test ids."""
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language ("": none named, which here means shell)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for named, text in found if named == language]


def anchors(page: Path) -> set[str]:
    """The anchors that headings of a page make, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_links_resolve(page: Path) -> None:
    """Every link to a file leads to a file of this repository, and every anchor to a heading."""
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{target} leads nowhere"
        assert ROOT in there.parents, f"{target} leads out of the repository"
        assert not anchor or anchor in anchors(there), f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_named_files_exist(page: Path) -> None:
    """A path of the repository that a page names in backticks exists (a module may be named without .py)."""
    for name in _PATH.findall(page.read_text(encoding="utf-8")):
        places = [ROOT / name, ROOT / f"{name}.py", page.parent / name, ROOT / "docs" / name, ROOT / "sync" / name]
        assert any(place.exists() for place in places), f"{name} does not exist"


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_commands_in_examples_exist(page: Path) -> None:
    """Every `localtrack ...` line of a shell example parses: the command and its options are there."""
    for line in "\n".join(blocks(page, "") + blocks(page, "sh")).splitlines():
        words = shlex.split(re.sub(r"\$\(.*?\)|\|.*|&&.*", "", line), comments=True)
        if words[:1] != ["localtrack"]:
            continue
        command, rest = command_named(words[1]), words[2:]
        while isinstance(command, click.Group) and rest:
            command, rest = command_named(f"{words[1]} {rest[0]}"), rest[1:]
        command.make_context(words[1], rest)  # raises a usage error for an option that is not there


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_make_targets_in_examples_exist(page: Path) -> None:
    """Every `make ...` of a shell example is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = re.findall(r"^make ([a-z-]+)", "\n".join(blocks(page, "")), re.MULTILINE)
    assert set(asked) <= targets


def in_fresh_store(place: Path, *command: str) -> str:
    """What a program prints that starts in an empty directory with an empty home and store, with no server anywhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "LOCALTRACK_"))}
    homes = {"HOME": str(place), "XDG_CONFIG_HOME": str(place), "LOCALTRACK_STORE": str(place / "store")}
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        env={**kept, **homes},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=title)
def test_python_examples_run(page: Path, tmp_path: Path) -> None:
    """Every Python example runs, in one program per page and a fresh store, with no server anywhere."""
    in_fresh_store(tmp_path, "-c", "\n".join(blocks(page, "python")))


def test_the_status_in_the_readme_is_what_status_prints(tmp_path: Path) -> None:
    """After the README's ten lines, `localtrack status` prints the README's block, numbers and ages aside."""

    def shape(text: str) -> str:
        return re.sub(r"\s+", " ", re.sub(r"[\d,]+ (s|min|h) ago|[\d,]*\d", "#", text))

    in_fresh_store(tmp_path, "-c", blocks(ROOT / "README.md", "python")[0])
    told = in_fresh_store(tmp_path, "-c", "from localtrack.cli import main; main()", "status")
    assert shape(blocks(ROOT / "README.md", "text")[0]) in shape(told)


def test_the_promises_have_tests() -> None:
    """Every test that docs/guarantees.md names exists, and every promise names at least one."""
    page = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:([\w/]+\.py)::)?(test_\w+)`", page))
    known = {(path, test.name) for path, test in all_tests()}
    names = {name for _, name in known}
    missing = [
        name for path, name in named if (name not in names if not path else (f"tests/{path}", name) not in known)
    ]
    assert missing == []
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        if part[0].isdigit():
            assert re.search(r"`[\w/.:]*test_\w+`", part), f"no test holds: {part.splitlines()[0]}"


def test_the_claims_about_security_have_tests() -> None:
    """Every test that docs/security.md names exists, and every claim names one."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named - {test.name for _, test in all_tests()} == set()
    for claim in re.findall(r"^- (.*?)(?=^- |^#|\Z)", page.partition("## Files")[2], re.MULTILINE | re.DOTALL):
        words = " ".join(claim.split())
        assert "`test_" in words or words.startswith(_TOLD), f"no test holds: {words[:80]}"


#: Beginnings of points of docs/security.md that say what is so, and promise nothing.
_TOLD = ("What you download", "An address with a password on", "A password shorter", "Signed addresses of the parts")


def test_every_test_makes_a_claim() -> None:
    """Each test function of the repository has a docstring: the claim that it proves."""
    assert [f"{path}::{test.name}" for path, test in all_tests() if not ast.get_docstring(test)] == []


def all_tests() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every test function below tests/, with its file."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                yield str(path.relative_to(ROOT)), node


def test_the_help_of_the_command_line_names_no_workplace() -> None:
    """Nothing in the help texts depends on the machine that they were written on."""
    context = click.Context(group)
    assert os.path.expanduser("~") + "/" not in group.get_help(context)
