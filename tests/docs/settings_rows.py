"""The tables of docs/settings.md: `python -m tests.docs.settings_rows` writes them; see test_settings_page.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from localtrack.settings_table import SHARED, Setting, written
from localtrack_sync.daemon.settings_table import DAEMON

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
TABLES: dict[str, Sequence[Setting]] = {"shared": SHARED, "daemon": DAEMON}
HEAD = "| variable | in the file | default | meaning |\n| --- | --- | --- | --- |"
_BLOCK = re.compile(r"<!-- settings: (\w+) -->(?:\n\n\|.*(?:\n\|.*)*)?")


def row(setting: Setting) -> str:
    """The line of one setting."""
    usual = setting.default_words or (setting.default if isinstance(setting.default, str) else written(setting.default))
    meaning = setting.meaning + (f"; {setting.range}" if setting.range else "")
    return f"| `{setting.variable}` | `{setting.key}` | {usual} | {meaning} |"


def with_rows(page: str) -> str:
    """The page with every table as it is now."""

    def block(hit: re.Match[str]) -> str:
        rows = "\n".join(row(setting) for setting in TABLES[hit[1]])
        return f"<!-- settings: {hit[1]} -->\n\n{HEAD}\n{rows}"

    return _BLOCK.sub(block, page)


def main() -> None:
    """Bring docs/settings.md up to date."""
    PAGE.write_text(with_rows(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
