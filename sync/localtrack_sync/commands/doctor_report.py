"""What `localtrack doctor` found, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from localtrack.cli import screen, wording
from localtrack.cli.table import visible
from localtrack.store import Store
from localtrack_sync.checkup.finding import Finding, Group, Level, exit_code

_HEADS = {Group.MACHINE: "This machine", Group.STORE: "Store", Group.DAEMON: "Daemon", Group.REMOTE: "Remotes"}
_COLOURS = {Level.OK: "green", Level.NOTE: "cyan", Level.WARNING: "yellow", Level.PROBLEM: "red"}
_INDENT = "  "
_LABEL = 6


def report(findings: Sequence[Finding], width: int) -> None:
    """Print it, by what it is about; what needs attention comes last, whole.

    Args:
        findings: in any order.
        width: cells per line.
    """
    for number, (head, some) in enumerate(_groups(findings)):
        if number:
            click.echo()
        click.secho(visible(head), bold=True)
        _print_fine(some, width)
    for level in (Level.WARNING, Level.PROBLEM):
        for finding in findings:
            if finding.level is level:
                click.echo()
                _print_trouble(finding, width)
    click.echo()
    click.echo(screen.wrapped(_sum(findings), width))


def _groups(findings: Iterable[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    """Headings with what is in order or worth a note; a remote is a heading of its own."""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        some = groups.setdefault(_place(finding), [])
        if not finding.level.needs_attention:
            some.append(finding)
    return ((head, some) for head, some in groups.items() if some)


def _place(finding: Finding) -> str:
    return finding.remote or _HEADS[finding.kind.group]


def _print_fine(findings: Sequence[Finding], width: int) -> None:
    """What is in order as one paragraph; notes each with its advice."""
    fine = [finding for finding in findings if finding.level is Level.OK]
    if fine:
        _labelled(Level.OK, "; ".join(finding.detail or finding.kind.title for finding in fine), width)
    for finding in findings:
        if finding.level is Level.NOTE:
            detail = f": {_small(finding.detail)}" if finding.detail else ""
            _labelled(Level.NOTE, finding.kind.title + (detail or "."), width)
            if finding.advice and finding.advice != "Nothing to do.":
                click.echo(_hanging("-> ", finding.advice, width, " " * (_LABEL + len(_INDENT))))


def _small(text: str) -> str:
    """A sentence as the second half of another."""
    return text.removeprefix("It is ") if text.startswith("It is ") else text


def _labelled(level: Level, text: str, width: int) -> None:
    label = level.value.ljust(_LABEL)
    body = _hanging(label, text, width, _INDENT).removeprefix(_INDENT + label)
    click.echo(_INDENT + click.style(label, fg=_COLOURS[level]) + body)


def _hanging(label: str, text: str, width: int, indent: str) -> str:
    """A paragraph whose first line begins with a label, and whose other lines begin below the text."""
    blanks = indent + " " * len(label)
    return indent + label + screen.wrapped(visible(text), width, blanks).removeprefix(blanks)


def _print_trouble(finding: Finding, width: int) -> None:
    """A warning or problem: what, why, and what to do."""
    label = finding.level.value.upper()
    click.secho(label, fg=_COLOURS[finding.level], bold=True, nl=False)
    title = _hanging(label + "  ", f"{finding.kind.title}.", width, "").removeprefix(label)
    click.secho(title, bold=True)
    for text in (finding.remote, finding.detail, finding.kind.why):
        if text:
            click.echo(screen.wrapped(visible(text), width, _INDENT))
    if finding.advice:
        click.echo(_hanging("-> ", finding.advice, width, _INDENT))


def _sum(findings: Iterable[Finding]) -> str:
    counts = Counter(finding.level for finding in findings)
    told = [
        wording.count(counts[level], level.value)
        for level in (Level.PROBLEM, Level.WARNING, Level.NOTE)
        if counts[level]
    ]
    needs = counts[Level.PROBLEM] + counts[Level.WARNING]
    if not needs:
        return f"Nothing needs attention ({', '.join(told)})." if told else "Nothing needs attention."
    return f"{', '.join(told)}. Each is explained in docs/how-to/troubleshooting.md."


def document(store: Store, findings: Sequence[Finding], *, offline: bool) -> None:
    """Print it as JSON; the fields are documented in docs/cli.md."""
    counts = Counter(finding.level for finding in findings)
    screen.document(
        {
            "schema": 1,
            "store": store.path,
            "exit_code": exit_code(findings),
            "offline": offline,
            "counts": {level.value: counts[level] for level in Level},
            "findings": [_described(finding) for finding in findings],
        }
    )


def _described(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.kind.id,
        "level": finding.level.value,
        "group": finding.kind.group.value,
        "remote": finding.remote or None,
        "title": finding.kind.title,
        "detail": finding.detail,
        "why": finding.kind.why,
        "advice": finding.advice,
    }
