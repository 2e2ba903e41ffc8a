"""One verification from opening to report: reads the store, its delivery state and the remote; writes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import ModelEntry, RunEntry
from localtrack_sync.protocol.effects import Load, Save
from localtrack_sync.protocol.findings import verdict_of
from localtrack_sync.protocol.jobs import Ending, Job, JobResult
from localtrack_sync.protocol.records import Record, RemoteFacts
from localtrack_sync.remote.remotes import Address
from localtrack_sync.shell.replay import Bench, Report, Stop, Watcher, inspect
from localtrack_sync.shell.session import SyncSettings, connect
from localtrack_sync.store.accounts import logged_model_account, run_account
from localtrack_sync.store.choice import Errand
from localtrack_sync.store.state import StateReader, exists
from localtrack_sync.verification.verify_experiment import VERIFY_EXPERIMENT
from localtrack_sync.verification.verify_model import VERIFY_MODEL
from localtrack_sync.verification.verify_run import VERIFY_RUN

UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of one run or experiment.

    Attributes:
        kind: "run", "model" or "experiment".
        name: its name in the store; `experiment`: that of its experiment.
        result: what was found.
        owed: records that were never delivered, so that `localtrack sync` is what is missing.
    """

    kind: str
    id: str
    name: str
    experiment: str
    result: JobResult
    owed: int = 0

    @property
    def verdict(self) -> str:
        """Word for it: "equal", "known", "different" or "unverified"."""
        if self.result.ending is not Ending.DELIVERED:
            return UNVERIFIED
        return verdict_of(self.result.findings)


@dataclass(frozen=True, slots=True)
class Verification:
    """How a verification ended.

    Attributes:
        seconds: how long it took.
    """

    address: Address
    report: Report
    verified: tuple[Verified, ...] = field(default_factory=tuple)
    seconds: float = 0.0


class Untouched:
    """A delivery state that is only read; without a file nothing is known. A `replay.State`."""

    def __init__(self, reader: StateReader | None) -> None:
        self._reader = reader

    def load(self, load: Load) -> tuple[Record, ...]:
        """Answer a `Load`."""
        return () if self._reader is None else self._reader.load(load)

    def save(self, save: Save) -> None:
        """What the remote says of itself is not kept, and nothing else is saved."""
        assert all(isinstance(record, RemoteFacts) for record in (*save.puts, *save.drops)), save

    def flush(self) -> None:
        """Nothing to do."""


def run_verification(
    catalog: Catalog, errand: Errand, settings: SyncSettings, watcher: Watcher, stop: Stop
) -> Verification:
    """Compare the runs and experiments of an errand with their remote.

    Args:
        catalog: of the store, brought up to date.
        errand: what to compare, and with which remote.
        settings: how.
        watcher: told how it gets on.
        stop: ends it early.

    Raises:
        ReplayError: the settings of TLS, proxy or credentials cannot be used.
        StoreError: the catalog or the delivery state cannot be read.
    """
    began = time.monotonic()
    path = errand.address.remote.state_path(catalog.store)
    reader = StateReader(path) if exists(path) else None
    try:
        wires = connect(catalog.store, errand.address, settings)
        try:
            remote = errand.address.remote
            how = replace(settings.replay, dialect=remote.dialect, netloc=urlsplit(remote.url).netloc)
            bench = Bench(catalog, Untouched(reader), wires, how, settings.clock, settings.wall)
            report = inspect(bench, _jobs(errand), watcher, stop)
        finally:
            wires.close()
        verified = _verified(catalog, reader, errand, report)
    finally:
        if reader is not None:
            reader.close()
    return Verification(errand.address, report, verified, time.monotonic() - began)


def _jobs(errand: Errand) -> list[Job]:
    runs = [Job(VERIFY_RUN, run.run_id) for run in errand.runs]
    models = [Job(VERIFY_MODEL, model.model_id) for model in errand.models]
    return [*(Job(VERIFY_EXPERIMENT, one) for one in errand.experiments), *runs, *models]


def _verified(catalog: Catalog, reader: StateReader | None, errand: Errand, report: Report) -> tuple[Verified, ...]:
    found = []
    for one in errand.experiments:
        experiment = catalog.experiment(one, refresh=False)
        name = experiment.name if experiment is not None else one
        found.append(Verified("experiment", one, name, name, report.results[Job(VERIFY_EXPERIMENT, one)]))
    for run in errand.runs:
        result = report.results[Job(VERIFY_RUN, run.run_id)]
        owed = _owed(catalog, reader, run) if result.findings else 0
        found.append(Verified("run", run.run_id, run.name, run.experiment_name, result, owed))
    names = {run.experiment_id: run.experiment_name for run in errand.runs}
    for model in errand.models:
        result = report.results[Job(VERIFY_MODEL, model.model_id)]
        owed = _model_owed(catalog, reader, model, names) if result.findings else 0
        experiment_name = names.get(model.experiment_id, model.experiment_id)
        found.append(Verified("model", model.model_id, model.name, experiment_name, result, owed))
    return tuple(found)


def _model_owed(catalog: Catalog, reader: StateReader | None, model: ModelEntry, names: Mapping[str, str]) -> int:
    settled = reader.settled() if reader is not None else {}
    return logged_model_account(catalog, reader, model, settled, names).owed


def _owed(catalog: Catalog, reader: StateReader | None, run: RunEntry) -> int:
    account = run_account(catalog, reader, run, reader.settled() if reader is not None else {})
    return account.owed
