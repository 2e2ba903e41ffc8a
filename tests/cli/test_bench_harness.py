"""The bench harness: every module's rows beside their yardsticks; gaps and broken measurements are told."""

from __future__ import annotations

from bench.__main__ import measure, table


def test_a_missing_module_is_told() -> None:
    """A room without a benchmark is said to have none."""
    assert measure("nothing_of_the_kind")["trouble"] == "not written yet"


def test_a_row_stands_beside_its_yardstick() -> None:
    """The table shows ours, the yardstick, their ratio and the target."""
    row = {
        "what": "x",
        "ours": 12.5,
        "yardstick": 10,
        "ratio": 1.25,
        "target": "at most 1.5 x",
        "unit": "us",
        "met": True,
    }
    told = "\n".join(table([{"name": "journal", "rows": [row]}]))
    for word in ("12.5", "10", "1.25", "at most 1.5 x", "us", "met"):
        assert word in told
