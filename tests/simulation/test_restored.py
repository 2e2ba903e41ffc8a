"""Remotes that are restored from backups, and repaired: the same oracle, and verification agrees with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from localtrack_sync.delivery.repair import DOUBTED
from localtrack_sync.protocol.effects import Effect, Save
from localtrack_sync.protocol.records import Cell, RunBinding
from tests.simulation.restored import Restored
from tests.simulation.simulate import Shell, simulate

#: 30 shares of 20 seeds.
SHARES, SEEDS = 30, 20


@pytest.mark.parametrize("share", range(SHARES))
def test_a_repaired_remote_ends_as_the_journals_say(share: int) -> None:
    """Backups, restores, repairs that die half-way, faults, people: the remote ends as the oracle and verify say."""
    for seed in range(share * SEEDS, (share + 1) * SEEDS):
        outline = simulate(seed, kind=Restored)
        assert not outline.problems, (
            f"{outline.problems}\nreplay it: python -m tests.simulation --restored --seed {seed}"
        )


class Believing(Restored):
    """A repair that believes what the delivery state says."""

    def _doubt(self) -> None:
        pass


class Forgetting(Shell):
    """A repair that makes anew what it was told to look at."""

    def perform(self, effect: Effect) -> Any:
        if isinstance(effect, Save) and any(isinstance(r, RunBinding) and r.state == DOUBTED for r in effect.puts):
            return None
        answer = super().perform(effect)
        if isinstance(answer, tuple):
            return tuple(r for r in answer if not (isinstance(r, RunBinding) and r.state == DOUBTED))
        return answer


class Careless(Shell):
    """A repair that takes whatever stands in a tag for ours."""

    def perform(self, effect: Effect) -> Any:
        if isinstance(effect, Save) and self.simulation.repair:
            puts = tuple(replace(r, pinned=False) if isinstance(r, Cell) else r for r in effect.puts)
            effect = Save(puts, effect.drops)
        return super().perform(effect)


@pytest.mark.parametrize(
    ("kind", "shell"), [(Believing, Shell), (Restored, Forgetting), (Restored, Careless)], ids=lambda one: one.__name__
)
def test_a_broken_repair_is_noticed(kind: type[Restored], shell: type[Shell]) -> None:
    """A repair that believes, forgets or overwrites makes a seed fail, within 200 seeds."""
    assert any(simulate(seed, shell, kind).problems for seed in range(200))
