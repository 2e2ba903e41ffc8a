"""What changed since the last look: the same runs as a whole look would show."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.catalog import database, listings
from localtrack.catalog.entries import RunEntry
from localtrack.catalog.files import Signature
from localtrack.catalog.importer import Importer
from localtrack.catalog.news import Mark, news
from tests.catalog import strategies
from tests.catalog.test_convergence import Growing


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_news_add_up_to_the_whole(data: st.DataObject) -> None:
    """Looks for news, joined to what was known, show every run as one look at everything does."""
    journals = data.draw(strategies.journals())
    connection = database.open_to_write(database.MEMORY, network=False)
    reached = [0] * len(journals)
    importer = Importer(connection, "", lambda name: Growing(journals[int(name)], reached[int(name)]))
    known: dict[str, RunEntry] = {}
    mark = Mark()
    for _ in range(4):
        for number, journal in enumerate(journals):
            reached[number] += data.draw(st.integers(0, len(journal.items) - reached[number]))
            importer.bring({str(number): Signature("changed", 0, settled=False)})
        found = news(connection, (1, 1), mark)
        if found is not None:
            mark = found.mark
            known = {} if found.whole else known
            known.update({run.run_id: run for run in found.runs})
        assert known == {run.run_id: run for run in listings.run_index(connection)}
    assert news(connection, (1, 1), mark) is None
    connection.close()
