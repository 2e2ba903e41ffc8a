"""The table of docs/how-to/monitoring.md: `python -m tests.docs.metric_rows` writes it."""

from __future__ import annotations

import re
from pathlib import Path

from localtrack_sync.daemon.prometheus import METRICS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "monitoring.md"
_BLOCK = re.compile(r"(?<=\| metric \| kind \| labels \| meaning \|\n\| --- \| --- \| --- \| --- \|\n)(?:\|.*\n)*")


def with_rows(page: str) -> str:
    """The page with the table as it is now."""
    rows = (f"| `{one.name}` | {one.kind} | {', '.join(one.labels)} | {one.meaning.rstrip('.')} |\n" for one in METRICS)
    return _BLOCK.sub("".join(rows), page)


def main() -> None:
    """Bring the page up to date."""
    PAGE.write_text(with_rows(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
