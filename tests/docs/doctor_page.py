"""The findings inside docs/how-to/troubleshooting.md: `python -m tests.docs.doctor_page` writes them."""

from __future__ import annotations

import re
from pathlib import Path

from localtrack_sync.checkup.finding import Group, Kind
from localtrack_sync.checkup.local_kinds import DAEMON, MACHINE, STORE
from localtrack_sync.checkup.remote_kinds import REMOTE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "troubleshooting.md"
KINDS = {Group.MACHINE: MACHINE, Group.STORE: STORE, Group.DAEMON: DAEMON, Group.REMOTE: REMOTE}
_BLOCK = re.compile(r"<!-- findings: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def findings_of(group: Group) -> str:
    """The entries of one group; what is in order stands in one line."""
    kinds = KINDS[group].values()
    fine = ", ".join(f"`{kind.id}`" for kind in kinds if not kind.why)
    told = [_entry(kind) for kind in kinds if kind.why]
    return "\n\n".join([f"In order: {fine}.", *told])


def _entry(kind: Kind) -> str:
    return f"### {kind.id}\n\n*{kind.level.value}.* **{kind.title}.** {kind.why}\n\n-> {kind.advice_in_general}"


def with_findings(page: str) -> str:
    """The page with every finding as it is now."""

    def block(hit: re.Match[str]) -> str:
        return f"<!-- findings: {hit[1]} -->\n\n{findings_of(Group(hit[1]))}\n\n<!-- end -->"

    return _BLOCK.sub(block, page)


def main() -> None:
    """Bring the page up to date."""
    PAGE.write_text(with_findings(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
