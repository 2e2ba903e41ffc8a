"""docs/operations.md lists what the service offers."""

from __future__ import annotations

import re
from pathlib import Path

from localtrack.service import Service

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_operation_on_the_page_is_a_method() -> None:
    """Each row of the tables of operations names a method of the service."""
    tables = PAGE[PAGE.index("## Experiments") :]
    named = [name for name in re.findall(r"^\| (\w+) \|", tables, re.MULTILINE) if name != "operation"]
    assert len(named) >= 35
    assert [name for name in named if not callable(getattr(Service, name, None))] == []


def test_every_rule_on_the_page_is_explained() -> None:
    """Each row ends with two rules for sending again, and the page says what they mean."""
    rules = set(re.findall(r"^\| (\w+) \| ", PAGE[: PAGE.index("## Experiments")], re.MULTILINE)) - {"rule"}
    rows = re.findall(r"^\| \w+ \|.*\| (\w+) \| (\w+) \|$", PAGE[PAGE.index("## Experiments") :], re.MULTILINE)
    assert {one for row in rows for one in row} - {"SQL", "others"} == rules
