"""Every kind of request times every fault, one at a time: the remote ends as the journals say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.simulation import breakages
from tests.simulation.matrix import FAULTS, LIMITS, MODES, TROUBLES, cases, census, outcome
from tests.simulation.simulate import Shell

PAGE = (Path(__file__).parents[2] / "docs" / "replay.md").read_text(encoding="utf-8")
#: What `make test` covers of each flavour of remote; `make fault-matrix` covers all.
COVERED = {"sql": MODES, "file": ("first try", "restart")}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("flavour", COVERED)
def test_one_fault_at_each_kind_of_request(flavour: str, trouble: str) -> None:
    """Whatever request it strikes, first try, while recovering, after a kill: nothing missing, nothing doubled."""
    struck = 0
    for case in cases(flavour):
        if case.trouble == trouble and case.mode in COVERED[flavour]:
            problems, hit = outcome(case)
            assert not problems, f"{case.name}: {problems}"
            struck += hit
    assert struck >= len(census(flavour)), "hardly any case was one"


def test_the_page_lists_the_kinds_of_requests() -> None:
    """Each kind that docs/replay.md lists is exercised, and each kind that the engine sends is in the list."""
    listed = re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) [^`]+)`", PAGE)
    assert sorted({" ".join(kind.split()) for kind in listed}) == sorted({*census("sql"), *census("file")})


def test_every_fault_of_the_plan_is_in_the_matrix() -> None:
    """The nineteen faults of the plan, each as at least one thing that the modelled network does."""
    assert [name.split()[0] for name in FAULTS][:19] == [f"F{number}" for number in range(1, 20)]
    assert all(FAULTS.values())


def test_what_is_left_out_is_a_limit_that_the_docs_name() -> None:
    """Left out: a proxy that executes a request twice; a 404 for a route that servers may lack. The page says so."""
    assert {trouble for _, trouble, _ in LIMITS} == {"twice", "misrouted"}
    assert "A proxy that executes a request twice" in PAGE
    assert "lacks the route" in PAGE


@pytest.mark.parametrize(
    ("shell", "flavour", "kind"),
    [
        (breakages.BlindResend, "sql", "POST runs/create"),
        (breakages.LostMeansDone, "sql", "POST runs/update status"),
        (breakages.AnyAnswerIsGood, "sql", "POST runs/outputs"),
        (breakages.NoSettleTime, "file", "POST runs/create"),
        (breakages.WatermarkBeforeReply, "file", "POST runs/log-batch metrics"),
        (breakages.NoIntents, "file", "POST runs/log-batch metrics"),
        (breakages.CreateNotAnnounced, "sql", "POST runs/create"),
    ],
)
def test_the_matrix_notices_a_broken_protocol(shell: type[Shell], flavour: str, kind: str) -> None:
    """Broken in one place, the protocol fails in a cell of the kind of request that it matters for."""
    worlds = (case for size in (0.0, 0.25, 0.5) for case in cases(flavour, size=size) if case.kind == kind)
    assert any(outcome(case, shell)[0] for case in worlds)
