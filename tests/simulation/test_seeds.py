"""The real engine against the modelled remote, and against its own protocol broken on purpose."""

from __future__ import annotations

import pytest

from tests.simulation import breakages
from tests.simulation.breakages import Breakage
from tests.simulation.daemon import DaemonSimulation
from tests.simulation.simulate import simulate

#: 100 shares of 20 seeds: a failure names its share, its seed and the command that replays it.
SHARES, SEEDS = 100, 20
DAEMON_SHARES = 50

BREAKAGES = [
    Breakage(breakages.BlindResend, 50),
    Breakage(breakages.LostMeansDone, 50),
    Breakage(breakages.AnyAnswerIsGood, 200),
    Breakage(breakages.BadRequestIsFinal, 500),
    Breakage(breakages.NoSettleTime, 100),
    Breakage(breakages.TrustsEveryServer, 100),
    Breakage(breakages.TwinsSent, 100),
    Breakage(breakages.AcknowledgeBeforeSending, 100),
    Breakage(breakages.WatermarkBeforeReply, 100),
    Breakage(breakages.NoIntents, 300),
    Breakage(breakages.CreateNotAnnounced, 300),
    Breakage(breakages.NothingFound, 100),
    Breakage(breakages.NoSweep, 1500),
    Breakage(breakages.WritesNotRemembered, 2000),
    Breakage(breakages.OutsideEditsOverwritten, 100),
    Breakage(breakages.PinsForgotten, 200),
    Breakage(breakages.ParamsTaken, 200),
    Breakage(breakages.OthersOverlooked, 100),
    Breakage(breakages.SavesNotDurable, 100),
    Breakage(breakages.UploadsNotRemembered, 2500),
    Breakage(breakages.ChangedFilesKept, 100),
    Breakage(breakages.ModelsForgotten, 100),
    Breakage(breakages.LinksForgotten, 100),
    Breakage(breakages.LinksNotRead, 1500),
    Breakage(breakages.RunProvesModel, 200),
    Breakage(breakages.LocalModelIds, 100),
    Breakage(breakages.ModelsAssumed, 100),
]


@pytest.mark.parametrize("share", range(SHARES))
def test_the_remote_ends_as_the_journals_say(share: int) -> None:
    """Through faults, kills, late executions, late reads and people's edits, the remote ends as the oracle says."""
    for seed in range(share * SEEDS, (share + 1) * SEEDS):
        outline = simulate(seed)
        assert not outline.problems, f"{outline.problems}\nreplay it: python -m tests.simulation --seed {seed}"


@pytest.mark.parametrize("share", range(DAEMON_SHARES))
def test_news_while_the_engine_works(share: int) -> None:
    """An engine that is told of news while it works, as the daemon's is, ends as well as one made for a pass."""
    for seed in range(share * SEEDS, (share + 1) * SEEDS):
        outline = simulate(seed, kind=DaemonSimulation)
        assert not outline.problems, f"{outline.problems}\nreplay it: python -m tests.simulation --daemon --seed {seed}"


@pytest.mark.parametrize("breakage", BREAKAGES, ids=lambda breakage: breakage.name)
def test_a_broken_protocol_is_noticed(breakage: Breakage) -> None:
    """Each breakage of the protocol makes a seed fail, within the number of seeds that is stated for it."""
    assert any(simulate(seed, breakage.shell).problems for seed in range(breakage.seeds)), (
        f"{breakage.name} was not noticed in {breakage.seeds} seeds"
    )


def test_the_same_seed_is_the_same_history() -> None:
    """A seed names one history: run twice, the same requests in the same order."""
    for seed in (3, 17, 42):
        assert simulate(seed).log == simulate(seed).log
