"""What a lane is told of the store: jobs with their content, and the entries behind them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from localtrack_sync.protocol.jobs import Job
from localtrack_sync.store.choice import Errand, Item


@dataclass(slots=True)
class Parcel:
    """What may have changed of what goes to one remote; later parcels are joined to earlier ones.

    Attributes:
        contents: job -> changes whenever anything of it does.
        items: of the runs and models among the jobs.
    """

    contents: dict[Job, str] = field(default_factory=dict)
    items: dict[Job, Item] = field(default_factory=dict)

    def join(self, other: Parcel) -> None:
        """Add what came later."""
        self.contents.update(other.contents)
        self.items.update(other.items)


def parcel_of(errand: Errand, experiments: Mapping[str, str]) -> Parcel:
    """The parcel of an errand, with the runs and models first and oldest first; `experiments`: see `selection.Look`."""
    items: dict[Job, Item] = {}
    items |= {Job("run", run.run_id): run for run in errand.runs}
    items |= {Job("model", model.model_id): model for model in errand.models}
    contents = {job: entry.content for job, entry in items.items()}
    contents |= {Job("experiment", one): experiments.get(one, "") for one in errand.experiments}
    return Parcel(contents, items)
