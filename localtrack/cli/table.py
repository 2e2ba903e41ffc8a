"""Tables for terminals and pipes. Pure.

On a terminal a table fits the width: first columns are cut, then the least important ones are left out.
In a pipe (`width=None`) nothing is cut, so that `grep` and `awk` see every id whole.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

GAP = "  "
CUT = "…"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: what stands above it.
        right: numbers stand to the right.
        least: the column may be cut down to this many cells on a terminal; 0: it is never cut.
        rank: columns of the greatest rank are left out first when cutting is not enough; 0: it is never left out.
        style: colours a padded cell; gets the whole cell.
    """

    title: str
    right: bool = False
    least: int = 0
    rank: int = 0
    style: Callable[[str], str] | None = None


def visible(text: str) -> str:
    """`text` on one line, with control characters written out: a tag value cannot move the cursor or ring the bell."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cells(text: str) -> int:
    """How many terminal cells `text` takes: East Asian wide characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells, with an ellipsis when something is missing."""
    if cells(text) <= width:
        return text
    kept, used = "", len(CUT)
    for c in text:
        used += cells(c)
        if used > width:
            break
        kept += c
    return kept + CUT


def pad(text: str, width: int, *, right: bool = False) -> str:
    """`text` filled with blanks to `width` cells."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def fit(columns: Sequence[Column], widths: Sequence[int], width: int) -> tuple[list[int], list[int]]:
    """Which columns to show, and how wide, so that a line takes at most `width` cells (if that can be had)."""
    shown = list(range(len(columns)))
    while True:
        sizes = {i: widths[i] for i in shown}
        excess = sum(sizes.values()) + len(GAP) * (len(shown) - 1) - width
        while excess > 0 and (soft := [i for i in shown if 0 < columns[i].least < sizes[i]]):
            widest = max(soft, key=lambda i: sizes[i])
            sizes[widest] -= 1
            excess -= 1
        spare = [i for i in shown if columns[i].rank]
        if excess <= 0 or not spare:
            return shown, [sizes[i] for i in shown]
        shown.remove(max(spare, key=lambda i: columns[i].rank))


def render(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None, indent: str = "") -> list[str]:
    """The lines of a table, header first; `width` in cells, None when nothing may be cut."""
    body = [[visible(cell) for cell in row] for row in rows]
    widths = [max(cells(c.title), *(cells(row[i]) for row in body), 0) for i, c in enumerate(columns)]
    shown, sizes = list(range(len(columns))), widths
    if width is not None:
        shown, sizes = fit(columns, widths, width - len(indent))
    lines = [_line([columns[i] for i in shown], [columns[i].title for i in shown], sizes, indent, styled=False)]
    lines += [_line([columns[i] for i in shown], [row[i] for i in shown], sizes, indent, styled=True) for row in body]
    return lines


def _line(columns: Sequence[Column], row: Sequence[str], sizes: Sequence[int], indent: str, *, styled: bool) -> str:
    parts = []
    for i, (column, text, size) in enumerate(zip(columns, row, sizes, strict=True)):
        last = i == len(columns) - 1
        shown = cut(text, size)
        shown = shown if last and not column.right else pad(shown, size, right=column.right)
        parts.append(column.style(shown) if styled and column.style else shown)
    return (indent + GAP.join(parts)).rstrip()
