"""docs/operations.md lists what the service offers."""

from __future__ import annotations

import re
from pathlib import Path

from localtrack.service import Service

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_every_operation_on_the_page_is_a_method() -> None:
    """Each row of the tables of operations names a method of the service."""
    tables = PAGE[PAGE.index("## Experiments") : PAGE.index("## What shows it")]
    named = [name for name in re.findall(r"^\| (\w+) \|", tables, re.MULTILINE) if name != "operation"]
    assert len(named) >= 35
    assert [name for name in named if not callable(getattr(Service, name, None))] == []


def test_every_rule_on_the_page_is_explained() -> None:
    """Each row ends with two rules for sending again, and the page says what they mean."""
    rules = set(re.findall(r"^\| (\w+) \| ", PAGE[: PAGE.index("## Experiments")], re.MULTILINE)) - {"rule"}
    rows = re.findall(r"^\| \w+ \|.*\| (\w+) \| (\w+) \|$", PAGE[PAGE.index("## Experiments") :], re.MULTILINE)
    assert {one for row in rows for one in row} - {"SQL", "others"} == rules


def test_every_operation_is_shown_by_tests_that_exist() -> None:
    """Each operation of the tables has a test without a server, and if it is replayed, one against a real server."""
    tables, shown = PAGE.split("## What shows it")
    rows = re.findall(r"^\| (\w+) \| `(test_\w+)` \| (?:`(test_\w+)`|local) \|$", shown, re.MULTILINE)
    operations = re.findall(
        r"^\| (\w+) \|.*\| (\w+) \| \w+ \|$", tables[tables.index("## Experiments") :], re.MULTILINE
    )
    operations = [(name, rule) for name, rule in operations if name != "operation"]
    assert [name for name, _, _ in rows] == [name for name, _ in operations]
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = set(re.findall(r"def (test_\w+)", tests))
    assert {name for _, *names in rows for name in names if name} <= known
    replayed = {name for name, rule in operations if rule != "local"} - {"attach_run"}
    assert replayed <= {name for name, _, there in rows if there}
