"""docs/journal-format.md says what the code does."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from localtrack.journal import codec, connect, file, mounts, ops
from tests.journal.samples import CREATE, journal_in

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "journal-format.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """Rows of the first table whose header begins with `heading`, without markup."""
    start = PAGE.index(f"| {heading} ")
    lines = PAGE[start:].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines]


def test_schema() -> None:
    """The page shows the statements of schema.sql."""
    schema = Path(connect.SCHEMA_FILE).read_text(encoding="ascii")
    statements = [line for line in schema.splitlines() if not line.startswith("--")]
    assert "\n".join(statements) in PAGE


@pytest.mark.parametrize("name", [row[0] for row in table("constant")])
def test_constants(name: str) -> None:
    """Every constant in the table has the value that the code uses."""
    value = next(row[1] for row in table("constant") if row[0] == name)
    (found,) = [getattr(module, name) for module in (connect, file) if hasattr(module, name)][:1]
    assert float(int(value, 0) if value.startswith("0x") else value) == found


def test_kinds() -> None:
    """The kinds on the page are the kinds of the codec, with the names of their ops."""
    on_page = {int(number): name for number, name, _ in table("kind")}
    in_code = {codec.METRIC: "METRIC", codec.BATCH: "BATCH"}
    for kind, cls in codec.JSON_KINDS.items():
        in_code[kind] = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()
    assert on_page == in_code


def test_flags() -> None:
    """The flags of a batch have the numbers on the page."""
    assert {name: int(number) for number, name, _ in table("flag")} == {
        name: getattr(codec, name)
        for name in ("ONE_KEY", "ONE_TS", "ONE_STEP", "WIDE_TS", "WIDE_STEP", "LITERAL", "TAIL")
    }


def test_header(tmp_path: Path) -> None:
    """A new journal has the application id, the version and the meta keys of the page, and nothing else."""
    with journal_in(tmp_path) as journal:
        journal.append(CREATE)
        assert journal.path is not None
        connection = sqlite3.connect(journal.path)
        keys = {key for (key,) in connection.execute("SELECT key FROM meta")}
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert connection.execute("PRAGMA application_id").fetchone() == (connect.APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (connect.FORMAT,)
        assert connection.execute("PRAGMA page_size").fetchone() == (connect.PAGE_SIZE,)
        connection.close()
    paragraph = PAGE[PAGE.index("`meta` holds") :].split("\n\n")[0]
    assert keys == set(re.findall(r"`(\w+)`", paragraph)) - {"meta"}
    assert tables == {"meta", "record", "name"}


def test_positions() -> None:
    """The number of metrics in a record is the page's."""
    assert f"`POSITIONS_PER_RECORD` ({ops.POSITIONS_PER_RECORD})" in PAGE


def test_network_file_systems() -> None:
    """The page names every kind of file system that is treated as a network."""
    section = PAGE[PAGE.index("## 6. Locking") :]
    assert all(kind.rstrip(".") in section for kind in mounts.NETWORK_FILE_SYSTEMS)
