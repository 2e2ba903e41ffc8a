"""Where output goes: a terminal (its width, colours) or a pipe (80 columns of prose, whole table cells, no colours)."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import click

from localtrack.cli.table import Column, render, visible

PIPE_WIDTH = 80
#: How many hex digits of a run id a terminal shows; more when two runs of the same listing share them.
SHORT_ID = 8


def on_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def width() -> int:
    """Cells per line: the terminal's width, 80 when piped."""
    return max(20, shutil.get_terminal_size((PIPE_WIDTH, 24)).columns) if on_terminal() else PIPE_WIDTH


def colour() -> bool | None:
    """False when colours are unwanted (NO_COLOR, TERM=dumb); None lets click decide by the terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], indent: str = "") -> None:
    """Print a table: fitted to a terminal, whole in a pipe."""
    head, *body = render(columns, rows, width() if on_terminal() else None, indent)
    click.echo(click.style(head, dim=True))
    for line in body:
        click.echo(line)


def prose(text: str, indent: str = "") -> None:
    """Print a paragraph, wrapped."""
    click.echo(wrapped(text, width(), indent))


def wrapped(text: str, columns: int, indent: str = "") -> str:
    """Each line of `text` wrapped, without control characters; words (ids, paths, commands) are never broken."""
    fold = textwrap.TextWrapper(
        columns, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(fold.fill(visible(line)) for line in text.splitlines())


def document(value: dict[str, Any]) -> None:
    """Print one JSON document; NaN and the infinities, which JSON lacks, become strings as MLflow spells them."""
    told = json.dumps(_strict(value), indent=2, ensure_ascii=False, allow_nan=False)
    # Within strings only: JSON's own white space is printable but for the end of a line. So no terminal obeys a value.
    click.echo(
        told
        if told.isascii() and "\x7f" not in told
        else "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in told)
    )


def _escaped(c: str) -> str:
    return "\\u007f" if c == "\x7f" else json.dumps(c)[1:-1]


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def short_ids(ids: Sequence[str]) -> dict[str, str]:
    """What to show for each id: on a terminal the shortest prefix (8 digits or more) that tells all apart."""
    if not on_terminal():
        return {i: i for i in ids}
    length = SHORT_ID
    while length < max(map(len, ids), default=0) and len({i[:length] for i in ids}) < len(set(ids)):
        length += 1
    return {i: i[:length] for i in ids}
