"""The table printer: fitted to terminals, whole in pipes, safe against what users and strangers put into names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.cli.table import Column, cells, cut, pad, render, visible

COLUMNS = [Column("run"), Column("name", least=6), Column("experiment", least=6, rank=1), Column("points", right=True)]
ROWS = [["0123456789abcdef", "a rather long name of a run", "digits", "12,345"], ["fe", "b", "mnist", "7"]]


def test_a_pipe_gets_every_cell_whole() -> None:
    """Without a width nothing is cut, whatever its length."""
    lines = render(COLUMNS, ROWS, None)
    assert all(cell in "\n".join(lines) for row in ROWS for cell in row)


@pytest.mark.parametrize("width", [44, 52, 60, 100])
def test_a_terminal_gets_lines_that_fit(width: int) -> None:
    """Columns that may shrink do so until the line fits; ids and numbers are never cut."""
    lines = render(COLUMNS, ROWS, width)
    assert max(map(cells, lines)) <= width
    assert "0123456789abcdef" in lines[1]
    assert lines[1].endswith("12,345")


def test_the_least_important_column_goes_when_cutting_is_not_enough() -> None:
    """At 34 cells the table leaves `experiment` out instead of breaking its lines."""
    lines = render(COLUMNS, ROWS, 34)
    assert max(map(cells, lines)) <= 34
    assert "experiment" not in lines[0]


def test_wide_characters_take_two_cells() -> None:
    """A Japanese name keeps the columns straight: the numbers end in the same cell."""
    lines = render([Column("name"), Column("n", right=True)], [["学習", "1"], ["abcd", "2"]], None)
    assert cells(lines[1]) == cells(lines[2])


def test_control_characters_are_written_out() -> None:
    """An escape sequence in a tag value cannot reach the terminal, and a newline cannot break a row."""
    assert visible("a\x1b[2Jb\nc\td") == r"a\x1b[2Jb\nc\td"
    assert len(render([Column("x")], [["one\ntwo"]], None)) == 2


@given(st.text(), st.integers(1, 40))
def test_cut_and_padded_text_takes_exactly_its_cells(text: str, width: int) -> None:
    """For any text, `pad(cut(text))` takes `width` cells, so that columns line up."""
    assert cells(pad(cut(text, width), width)) == width


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=5), st.integers(12, 50))
def test_any_table_fits_when_its_columns_may_shrink(rows: list[tuple[str, str]], width: int) -> None:
    """With two columns that may shrink to four cells, every line fits in any width from 12 on."""
    lines = render([Column("left", least=4), Column("right", least=4)], rows, width)
    assert all(cells(line) <= width for line in lines)
