"""docs/replay.md says what the code does: its tables are made from the code's."""

from __future__ import annotations

from pathlib import Path

from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.protocol.limits import DATABRICKS, MLFLOW
from localtrack_sync.protocol.verdict import RULES, Rule
from tests.simulation.test_seeds import BREAKAGES, SEEDS, SHARES

PAGE = (Path(__file__).parents[3] / "docs" / "replay.md").read_text(encoding="utf-8")


def verdict_row(rule: Rule) -> str:
    """A row of the verdict table in the page."""
    conditions = []
    if rule.statuses is not None:
        first, last = rule.statuses
        conditions.append(f"HTTP {first}" if first == last else f"HTTP {first} to {last}")
    if rule.codes:
        conditions.append(" or ".join(f"`{code}`" for code in rule.codes))
    if rule.words:
        conditions.append("message contains " + " or ".join(f'"{words}"' for words in rule.words.split("|")))
    if rule.json is False:
        conditions.append("no error_code")
    return f"| {', '.join(conditions) or 'anything else'} | {rule.verdict.name} | {rule.why} |"


def test_the_page_has_the_verdict_table() -> None:
    """Every row of the table that decides is in the page, in its order, word for word."""
    assert "\n".join(verdict_row(rule) for rule in RULES) in PAGE


def test_the_page_has_every_breakage_and_its_bound() -> None:
    """The page lists each breakage of the protocol that the simulator must notice, and within how many seeds."""
    rows = [f"| {b.name} | {' '.join((b.shell.__doc__ or '').split())} | {b.seeds} |" for b in BREAKAGES]
    assert "\n".join(rows) in PAGE
    assert f"{SHARES * SEEDS:,} seeds" in PAGE


def test_the_page_names_the_settings_as_they_are() -> None:
    """The numbers of the page are the defaults of the code."""
    settings = ReplaySettings()
    assert settings.settle_s is None
    assert f"settle time, {MLFLOW.settle_s:.0f} seconds** (for Databricks {DATABRICKS.settle_s:.0f};" in PAGE
    assert f"{settings.connections} connections" in PAGE
    assert f"{settings.window:,} points" in PAGE
