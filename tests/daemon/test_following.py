"""What goes where, looked at again and again: all looks together are one look at everything."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from localtrack import TrackingClient
from localtrack.catalog.catalog import Catalog
from localtrack.entities import Metric
from localtrack.errors import ReplayError
from localtrack.service import Service
from localtrack.settings import load
from localtrack.store import Store
from localtrack_sync.daemon.parcel import parcel_of
from localtrack_sync.protocol.jobs import Job
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.shell.selection import Following, Look, Wanted, chosen
from localtrack_sync.store.choice import Choice

NOW = 1_700_000_000_000
REMOTES = (None, "http://a", "http://b")


class Writers:
    """Several journals that somebody writes to at random: runs for several remotes, models, experiments."""

    def __init__(self, store: Store, home: Path, seed: int) -> None:

        self.random = random.Random(seed)
        environ = {"HOME": str(home)}
        self.store, self.settings = store, load(environ)
        self.services = [Service(store, self.settings, remote=remote) for remote in REMOTES]
        self.client = TrackingClient(store.path)
        self.experiments = [self.client.create_experiment("exp 0")]
        self.runs: list[str] = []

    def act(self) -> None:
        """One thing more."""
        kind = self.random.choice(["run", "run", "point", "point", "end", "delete", "model", "experiment", "tag"])
        if kind == "experiment":
            self.experiments.append(self.client.create_experiment(f"exp {len(self.experiments)}"))
        elif kind == "tag":
            self.client.set_experiment_tag(self.random.choice(self.experiments), "t", str(self.random.random()))
        elif kind == "run" or not self.runs:
            service = self.random.choice(self.services)
            made = service.create_run(self.random.choice(self.experiments), "name", "me", NOW)
            self.runs.append(made.info.run_id)
        else:
            self._to_run(kind, self.random.choice(self.runs))

    def _to_run(self, kind: str, run_id: str) -> None:
        if kind != "delete":
            self.client.restore_run(run_id)
        match kind:
            case "point":
                self.client.log_batch(run_id, metrics=[Metric("loss", self.random.random(), NOW, 1)])
            case "end":
                self.client.set_terminated(run_id, "FINISHED", NOW + 5)
            case "delete":
                self.client.delete_run(run_id) if self.random.random() < 0.5 else self.client.restore_run(run_id)
            case "model":
                experiment_id = self.client.get_run(run_id).info.experiment_id
                source = run_id if self.random.random() < 0.7 else None
                self.client.create_logged_model(experiment_id, name="net", source_run_id=source)


def parcels(choice: Choice) -> dict[Remote, dict[Job, str]]:
    """What goes to each remote: runs and models with their content, experiments."""
    return {errand.address.remote: parcel_of(errand, {}).contents for errand in choice.errands}


def joined(whole: dict[Remote, dict[Job, str]], look: Look) -> None:
    """Add what a look found."""
    for remote, contents in parcels(look.choice).items():
        whole.setdefault(remote, {}).update(contents)


@pytest.mark.parametrize("seed", range(12))
def test_all_looks_together_are_one_look_at_everything(tmp_path: Path, seed: int) -> None:
    """Whatever is logged between the looks, and with a look at everything in between."""
    store, environ = Store.at(tmp_path / "store"), {"HOME": str(tmp_path / "home"), "LOCALTRACK_REMOTE": "http://c"}
    writers = Writers(store, tmp_path / "home", seed)
    found: dict[Remote, dict[Job, str]] = {}
    with Catalog(store) as catalog:
        following = Following(catalog, load(environ), environ)
        for turn in range(25):
            for _ in range(writers.random.randrange(4)):
                writers.act()
            catalog.refresh()
            look = following.look(whole=turn % 9 == 8)
            if look is not None:
                joined(found, look)
            whole = parcels(chosen(catalog, Wanted(None, (), ()), load(environ), environ))
            for remote, contents in whole.items():
                assert contents.items() <= found[remote].items()
            for remote, contents in found.items():
                more = contents.keys() - whole.get(remote, {}).keys()
                assert {job.kind for job in more} <= {"experiment"}, "one that was empty has runs for another remote"
        assert following.look() is None
        last = following.look(whole=True)
        assert last is not None
        assert last.whole
        assert set(following.runs) == set(writers.runs)


def test_a_look_that_fails_is_made_again(tmp_path: Path) -> None:
    """What it would have found is found by the next: the mark moves with success only."""
    store, bad = Store.at(tmp_path / "store"), {"HOME": str(tmp_path), "LOCALTRACK_REMOTE": "nonsense"}
    Writers(store, tmp_path, 1).act()
    environ: dict[str, str] = {"HOME": str(tmp_path), "LOCALTRACK_REMOTE": "http://c"}
    with Catalog(store) as catalog:
        catalog.refresh()
        settings = load(environ)
        following = Following(catalog, load(bad), bad)
        for _ in range(2):
            with pytest.raises(ReplayError):
                following.look()
        again = Following(catalog, settings, environ)
        assert again.look() is not None
        assert again.look() is None
