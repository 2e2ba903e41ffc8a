"""What is on the disk at the moment when a request reaches the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from localtrack_sync.protocol.effects import Load
from localtrack_sync.protocol.records import Intent, RunBinding, Watermark
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.store.state import StateReader
from tests.acceptance.harness import replay_here
from tests.acceptance.worlds import world
from tests.servers.faults import Fault, Pass
from tests.servers.proxy import FaultProxy, Seen

pytestmark = pytest.mark.server


def test_the_intent_is_on_the_disk_before_its_request_leaves(tmp_path: Path, proxy: FaultProxy) -> None:
    """While a create or a batch of points is on its way, another process reads in the delivery state that it is."""
    made = world(tmp_path / "store", f"exp {tmp_path.name}")
    run_id = made.run("one", 40)
    path = parse_remote(proxy.url).remote.state_path(made.store)
    found: dict[str, list[object]] = {}

    def rule(seen: Seen) -> Fault:
        if seen.what.endswith("runs/create") or b'"metrics":' in seen.body:
            with StateReader(path) as state:
                found[seen.what] = list(state.load(Load("run", run_id)))
        return Pass()

    proxy.rule = rule
    assert replay_here(made, proxy.url).report.complete
    [created] = found["POST runs/create"]
    assert isinstance(created, RunBinding)
    assert created.state == "creating"
    assert any(isinstance(record, Intent) for record in found["POST runs/log-batch"])
    assert not any(isinstance(record, Watermark) and record.upto for record in found["POST runs/log-batch"])
    with StateReader(path) as state:
        after = state.load(Load("run", run_id))
    assert not any(isinstance(record, Intent) for record in after)
    assert any(isinstance(record, Watermark) and record.upto for record in after)
