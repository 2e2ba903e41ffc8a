"""Points that were logged to logged models, read apart from the others."""

from __future__ import annotations

from collections.abc import Callable

from localtrack.catalog.catalog import Catalog
from localtrack.entities import Metric
from localtrack.journal import ops
from localtrack.journal.writer import Journal

MS = 1_700_000_000_000


def test_points_of_a_model_are_read_apart(catalog: Catalog, open_journal: Callable[[int], Journal]) -> None:
    """Of one model, of any, within the watermarks and the limit, in the order of all points."""
    journal = open_journal(0)
    run_id = "1" * 32
    journal.append(ops.RunCreate(run_id, "7", "run", "me", MS))
    for step, model_id in enumerate(["m-a", None, "m-b", "m-a", None, "m-a"]):
        journal.append(ops.LogBatch(run_id, metrics=(Metric("k", 0.5, MS, step, model_id),)))
    every = catalog.points(run_id, {}, 100)
    assert [p.model_id for p in every] == ["m-a", None, "m-b", "m-a", None, "m-a"]
    mine = catalog.points(run_id, {}, 100, model_id="m-a")
    assert [p.step for p in mine] == [0, 3, 5]
    assert [p.step for p in catalog.points(run_id, {}, 100, model_id="")] == [0, 2, 3, 5]
    after = {mine[0].incarnation: mine[0].pos}
    assert catalog.points(run_id, after, 1, model_id="m-a") == mine[1:2]
    assert catalog.points(run_id, after, 9, {mine[1].incarnation: mine[1].pos}, model_id="m-a") == mine[1:2]
    assert catalog.points(run_id, {}, 9, model_id="m-c") == ()
