"""docs/how-to/monitoring.md cannot drift: its table and its alerts name the metrics that the daemon tells."""

from __future__ import annotations

import re

from localtrack_sync.daemon.facts import Standing
from localtrack_sync.daemon.prometheus import METRICS
from tests.docs.metric_rows import PAGE, with_rows

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_is_that_of_the_code() -> None:
    """The page lists every metric, letter for letter; `python -m tests.docs.metric_rows` renews it."""
    assert with_rows(TEXT) == TEXT
    assert TEXT.count("\n| `localtrack_") == len(METRICS)


def test_alerts_use_metrics_and_labels_that_exist() -> None:
    """Every metric, label and standing in the example of alerts is one that the daemon tells."""
    rules = TEXT[TEXT.index("## Alerts") :]
    known = {metric.name: metric for metric in METRICS}
    used = set(re.findall(r"\blocaltrack_\w+", rules))
    assert used <= set(known)
    assert len(used) >= 5
    for rule in rules.split("- alert: ")[1:]:
        labels = {label for name in re.findall(r"\blocaltrack_\w+", rule) for label in known[name].labels}
        assert set(re.findall(r"\$labels\.(\w+)", rule)) <= labels
    standings = re.search(r'standing=~"([\w|]+)"', rules)
    assert standings
    assert set(standings[1].split("|")) <= {standing.name.lower() for standing in Standing}


def test_every_standing_is_explained() -> None:
    """The page names each standing that the label can have."""
    assert [standing for standing in Standing if f"`{standing.name.lower()}` ({standing.value})" not in TEXT] == []
