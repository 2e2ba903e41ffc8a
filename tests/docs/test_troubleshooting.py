"""docs/how-to/troubleshooting.md lists what `localtrack doctor` can find."""

from __future__ import annotations

import re
from pathlib import Path

from localtrack_sync.checkup import finding
from tests.docs.doctor_page import KINDS, PAGE, with_findings

TEXT = PAGE.read_text(encoding="utf-8")
ROOM = Path(finding.__file__).parent
ALL = {kind.id: kind for kinds in KINDS.values() for kind in kinds.values()}


def ids_in_code() -> set[str]:
    """The ids in the modules that make findings: every text there that looks like one and is one."""
    checks = "".join(path.read_text(encoding="utf-8") for path in ROOM.glob("*_checks.py"))
    return set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', checks))


def test_the_page_has_every_finding_with_its_advice() -> None:
    """The page holds each finding's words, letter for letter; `python -m tests.docs.doctor_page` renews it."""
    assert with_findings(TEXT) == TEXT
    assert [kind.id for kind in ALL.values() if kind.advice_in_general not in TEXT] == []
    assert set(re.findall(r"^### (.*)$", TEXT, re.MULTILINE)) == {kind.id for kind in ALL.values() if kind.why}


def test_every_kind_of_finding_is_made_somewhere() -> None:
    """No kind on the page is one that the code never finds, and the tables share no id."""
    assert set(ALL) - ids_in_code() == set()
    assert len(ALL) == sum(len(kinds) for kinds in KINDS.values())


def test_every_finding_says_what_why_and_what_to_do() -> None:
    """All but what is in order has a reason and an advice; each advice is one or more whole sentences."""
    for kind in ALL.values():
        in_order = kind.level is finding.Level.OK
        assert bool(kind.why) is bool(kind.advice) is not in_order, kind.id
        assert in_order or kind.why.endswith("."), kind.id
        assert not kind.title.endswith("."), kind.id
