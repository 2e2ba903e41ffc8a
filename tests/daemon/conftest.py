"""Fixtures of the daemon's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.processes import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A home without daemons, before and after."""
    made = House(tmp_path)
    yield made
    made.clear()
