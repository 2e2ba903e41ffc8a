"""A thousand daemons and one small server: what `python -m tests.simulation.herd` shows for 20 seeds, for one."""

from __future__ import annotations

import pytest

from localtrack_sync.protocol.gate import GateSettings
from tests.simulation.herd import LOAD, SCENARIOS, Herd, Scenario, problems_of

#: One that comes back as it was, one that comes back half as fast and a cold start: `make herd` runs them all.
SOME = (SCENARIOS[0], SCENARIOS[2], SCENARIOS[5])


@pytest.mark.parametrize("scenario", SOME, ids=lambda scenario: scenario.name)
def test_a_herd_does_not_trample_the_server(scenario: Scenario) -> None:
    """At most 1.5 x capacity is offered over any 10 s, nobody waits longer than 15 minutes, and all is delivered."""
    herded = Herd(scenario, seed=1).run()
    assert problems_of(herded, scenario) == []


def test_a_herd_that_does_not_hold_back_is_noticed() -> None:
    """The limit tests something: without splay and ramp the same herd offers more."""
    scenario = SCENARIOS[-1]
    rude = GateSettings(splay_s=0.0, reconnect_splay_s=0.0, ramp_s=0.0)
    assert Herd(scenario, seed=1, settings=rude).run().most(10.0) > LOAD * scenario.capacity


def test_the_same_seed_is_the_same_herd() -> None:
    """A seed names one history."""
    small = Scenario("small", daemons=50, capacity=5.0, queue=10)
    assert Herd(small, 3).run() == Herd(small, 3).run()
