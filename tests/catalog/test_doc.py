"""docs/catalog.md says what is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from localtrack.catalog import database, importer, lock
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.files import RACY_NS
from localtrack.entities import Metric, Param, RunTag
from localtrack.journal import ops
from localtrack.journal.writer import Journal
from localtrack.store import Store

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "catalog.md").read_text(encoding="utf-8")
RUN = f"{1:032x}"


def test_the_page_lists_the_tables_of_the_schema() -> None:
    """Each table of the schema stands on the page with its columns in order, and no other."""
    connection = database.open_to_write(database.MEMORY, network=False)
    tables = [
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    ]
    schema = {name: [row[1] for row in connection.execute(f"PRAGMA table_info({name})")] for name in tables}
    connection.close()
    section = PAGE.split("## 4. Tables")[1].split("## 5.")[0]
    page = {
        name: columns.split(", ") for name, columns in re.findall(r"^\| (\w+) \| (\w+, .*) \|$", section, re.MULTILINE)
    }
    assert list(page.items()) == list(schema.items())


def test_the_queries_of_the_page_answer(store: Store, open_journal: Callable[[int], Journal]) -> None:
    """Every query on the page runs and finds what was logged."""
    first, second = open_journal(1_700_000_000_000), open_journal(1_700_000_000_000)
    first.append(ops.RunCreate(RUN, "0", "n", "me", 1))
    for journal, value in ((first, "1"), (second, "2")):
        journal.append_batch(RUN, [Metric("loss", 1.0, 2, 3)], [Param("p", value)], [RunTag("t", "v")])
    Path(store.journals, "broken.db").write_bytes(b"?")
    with Catalog(store) as catalog:
        catalog.refresh()
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    connection = database.open_to_read(store.catalog)
    found = [connection.execute(query).fetchall() for query in block.split(";") if query.strip()]
    connection.close()
    assert [len(rows) for rows in found] == [1, 1, 1, 2, 1, 2, 1]


def test_the_numbers_of_the_page() -> None:
    """Format, patience, size of a transaction and the age at which times of files are believed."""
    assert f"# The catalog, format {database.FORMAT}\n" in PAGE
    assert f"after {lock.PATIENCE_S:.0f} s" in PAGE
    assert f"every {importer.POINTS_PER_COMMIT:,} points" in PAGE
    assert f"older than {RACY_NS / 1e9} s" in PAGE
    assert f"n * {ops.POSITIONS_PER_RECORD} +" in PAGE
