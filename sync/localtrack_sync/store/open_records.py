"""What of one run, logged model or experiment a remote does not have yet and may still get, as keys to compare. Pure.

The counterpart of `books` for who waits: no sums, and of a state of earlier too. What is parked, rejected or collided
is not among it: waiting does not bring it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from localtrack.catalog.desired import DesiredExperiment, DesiredModel, DesiredRun, StoredFile
from localtrack_sync.delivery.experiment_pass import ExperimentPass
from localtrack_sync.delivery.item_pass import DELETED, ItemPass
from localtrack_sync.delivery.model_pass import ModelPass
from localtrack_sync.delivery.repair import NAME
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.protocol.cells import is_settled
from localtrack_sync.protocol.jobs import Progress, ReplaySettings
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.request import PARENT_TAG
from localtrack_sync.protocol.steps import Desk
from localtrack_sync.uploads.file_place import file_open

#: Kind, key and wanted value of a record. Points are not among them: see `points_open`.
Open: TypeAlias = frozenset[tuple[str, str, str | None]]


def desk_of(dialect: str) -> Desk:
    """A desk for looking: it asks no remote and draws no random numbers."""
    return Desk(ReplaySettings(dialect=dialect), _no_rng, Progress())


def open_in_run(
    desk: Desk,
    ledger: Ledger,
    desired: DesiredRun,
    parent: str | None,
    models: Mapping[str, str],
    files: Iterable[StoredFile],
) -> Open:
    """What is open of a run, without its points; arguments as in `books.account`."""
    run = RunPass(desk, ledger, desired, parent, models=dict(models), files=tuple(files))
    if ledger.whole_parked() is not None:
        return frozenset()
    if not run.is_bound:
        return frozenset({("run", run.uid, None)})
    found = _open_in_item(run)
    found |= {(kind, key, None) for kind, key in run.owed_links()}
    found |= {("log_model", name, None) for name in run.owed_entries()}
    parent_cell = ledger.cells.get(PARENT_TAG)
    if PARENT_TAG in desired.tags and (parent_cell is None or (parent_cell.base is None and not parent_cell.pinned)):
        found.add(("tag", PARENT_TAG, desired.tags[PARENT_TAG]))
    if not any(kind in ("name", "lifecycle", "status") for kind, _ in ledger.conflicts):
        life = "1" if desired.deleted else "0"
        if run.status_owed():
            found.add(("status", "", run.status()))
        if not is_settled(ledger.cells.get(DELETED), life):
            found.add(("life", "", life))
    return _not_parked(found, ledger)


def points_open(ledger: Ledger, heads: Mapping[str, int]) -> bool:
    """Whether points of a run up to `heads` (incarnation -> position) lie beyond the watermarks."""
    marks = ledger.watermarks
    done = ledger.whole_parked() is not None
    return not done and any(inc not in marks or head > marks[inc].upto for inc, head in heads.items())


def open_in_model(desk: Desk, ledger: Ledger, desired: DesiredModel, files: Iterable[StoredFile]) -> Open:
    """What is open of a logged model."""
    model = ModelPass(desk, ledger, desired, files=tuple(files))
    if ledger.whole_parked() is not None or (ledger.run is not None and model.gone_with_us()):
        return frozenset()
    if not model.is_bound:
        return frozenset({("model", model.uid, None)})
    found = _open_in_item(model)
    if model.status_owed():
        found.add(("status", "", desired.status))
    if desired.deleted:
        found.add(("life", "", "1"))
    return _not_parked(found, ledger)


def open_in_experiment(desk: Desk, ledger: Ledger, desired: DesiredExperiment) -> Open:
    """What is open of an experiment."""
    if any(kind == "experiment" for kind, _ in ledger.parked):
        return frozenset()
    if ledger.experiment is None:
        return frozenset({("experiment", desired.experiment_id, None)})
    wanted: dict[str, str | None] = {**dict.fromkeys(desired.dropped_tags), **desired.tags}
    wanted[NAME], wanted[DELETED] = desired.name, "1" if desired.deleted else "0"
    owed = ExperimentPass(desk, ledger, desired).owed()
    if desk.limits.names_are_paths and ledger.cells.get(NAME) is not None:
        owed = [key for key in owed if key != NAME]  # which folder it is in is not known here
    return _not_parked({("tag", key, wanted.get(key)) for key in owed}, ledger)


def _open_in_item(item: ItemPass) -> set[tuple[str, str, str | None]]:
    found: set[tuple[str, str, str | None]] = {("param", key, value) for key, value in item.owed_params().items()}
    found |= {("tag", key, value) for key, value in item.owed_tags().items()}
    return found | {("file", file.path, file.sha256) for file in item.files if file_open(item.ledger, file)}


def _not_parked(found: set[tuple[str, str, str | None]], ledger: Ledger) -> Open:
    parked = ledger.parked
    every_file = ("file", "") in parked
    return frozenset(one for one in found if (one[0], one[1]) not in parked and not (every_file and one[0] == "file"))


def _no_rng() -> float:
    raise AssertionError("looking draws no random numbers")
