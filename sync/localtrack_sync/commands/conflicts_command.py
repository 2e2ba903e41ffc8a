"""`localtrack conflicts`: what could not be delivered as it is, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import click

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import RunEntry
from localtrack.cli import screen
from localtrack.cli.options import existing, json_option, store_option
from localtrack.cli.table import visible
from localtrack.store import Store
from localtrack_sync.protocol.records import Conflict, Parked, Rejected, RunBinding
from localtrack_sync.store.accounts import state_paths
from localtrack_sync.store.state import StateReader

#: Where an entry stands when journals disagree and no remote is involved yet.
LOCAL = ""

ADVICE = {
    "conflict": "Conflicts: what stands on the remote was left alone. What was logged here is kept in this store, and "
    "on the remote run in tags named localtrack.conflict.*",
    "rejected": "Rejected: the remote refused these records, in the words above. They are kept in this store and not "
    "sent again.",
    "parked": "Parked: these wait for a change on the remote (a deleted run is restored, a newer server). Each "
    "`localtrack sync` tries them again.",
}


@dataclass(frozen=True)
class Entry:
    """One record that could not be delivered as it is.

    Attributes:
        remote: URL, "" when journals disagree among themselves.
        scope, scope_id: "run", "model" or "experiment", and its local id.
        name: name of the run, logged model or experiment.
        link: the run's or model's page on the remote, or None.
        state: "conflict", "rejected" or "parked".
        kind: "param", "journals", "tag", "metric", "model_metric", "dataset", "model_input", "output", "log_model",
            "status", "name", "lifecycle"; "run", "model", "experiment": all of it.
        key: name of the param, tag or metric; id of the model.
        ours, theirs: what was logged here, and what stands there (None: nothing, or not a matter of values).
        reason: the remote's words or ours, "" for a conflict.
        since_ms: milliseconds since the epoch, or None.
    """

    remote: str
    scope: str
    scope_id: str
    name: str
    link: str | None
    state: str
    kind: str
    key: str
    ours: str | None
    theirs: str | None
    reason: str = ""
    since_ms: int | None = None

    @property
    def told(self) -> str:
        """The entry as a sentence."""
        if self.state == "conflict":
            if self.kind == "journals":
                return f"journals disagree: {_quoted(self.ours)} counts, not {_quoted(self.theirs)}"
            return f"logged {_quoted(self.ours)}, the remote has {_quoted(self.theirs)}"
        value = f" {_quoted(self.ours)}" if self.ours else ""
        return f"{self.state}{value}: {self.reason}"


@click.command(short_help="List what could not be delivered as it is, and why.")
@store_option
@json_option
def conflicts(store: Store, *, as_json: bool) -> None:
    """List what could not be delivered as it is: conflicts, rejected and parked records, with the reason.

    Conflict: the remote holds another value that is not ours to change. Rejected: the remote refused a record.
    Parked: a record waits for a change on the remote.
    """
    found = list(entries(existing(store)))
    if as_json:
        screen.document({"schema": 1, "store": store.path, "entries": [asdict(entry) for entry in found]})
        return
    if not found:
        click.echo("No conflicts, nothing rejected, nothing parked.")
    for place in dict.fromkeys((entry.remote, entry.scope, entry.scope_id) for entry in found):
        _print_place([entry for entry in found if (entry.remote, entry.scope, entry.scope_id) == place])
    for state in dict.fromkeys(entry.state for entry in found):
        screen.prose(ADVICE[state])


def entries(store: Store) -> Iterator[Entry]:
    """Every entry of every remote, then the params that journals of this store disagree on.

    Raises:
        StoreError: the catalog or a delivery state cannot be read.
    """
    with Catalog(store) as catalog:
        index = catalog.run_index()
        models = catalog.model_index(refresh=False)
        disputed = [one for run in index if run.param_conflicts for one in _among_journals(catalog, run)]
    names = {("run", run.run_id): run.name for run in index}
    names |= {("model", model.model_id): model.name for model in models}
    names |= {("experiment", run.experiment_id): run.experiment_name for run in index}
    seen = set()
    for path in state_paths(store):
        with StateReader(path) as state:
            for entry in _of_remote(state, names):
                seen.add((entry.scope_id, entry.kind, entry.key))
                yield entry
    yield from (one for one in disputed if (one.scope_id, one.kind, one.key) not in seen)


def _among_journals(catalog: Catalog, run: RunEntry) -> Iterator[Entry]:
    desired = catalog.desired_run(run.run_id, refresh=False)
    for one in desired.param_conflicts if desired else ():
        others = ", ".join(value for value, _ in one.others)
        where = (LOCAL, "run", run.run_id, run.name, None)
        yield Entry(*where, "conflict", "journals", one.key, one.winner, others)


def _of_remote(state: StateReader, names: dict[tuple[str, str], str]) -> Iterator[Entry]:
    url = state.remote.url
    links = {one.scope_id: _page(url, state.remote.dialect, one) for one in state.records(RunBinding) if one.remote_id}

    def entry(record: Conflict | Rejected | Parked, how: str, ours: str | None, theirs: str | None, why: str) -> Entry:
        name = names.get((record.scope, record.scope_id), record.scope_id)
        where = (str(state.remote), record.scope, record.scope_id, name, links.get(record.scope_id))
        since_ms = round(record.since_wall_s * 1000) or None
        return Entry(*where, how, record.kind, record.key, ours, theirs, why, since_ms)

    for collided in state.records(Conflict):
        yield entry(collided, "conflict", collided.ours, collided.theirs, "")
    for refused in state.records(Rejected):
        yield entry(refused, "rejected", refused.value, None, refused.reason)
    for waiting in state.records(Parked):
        yield entry(waiting, "parked", waiting.value, None, waiting.reason)


def _page(url: str, dialect: str, bound: RunBinding) -> str:
    """Where the remote's web page shows a run or logged model."""
    start = f"{url}/#mlflow" if dialect == "databricks" else f"{url}/#"
    if bound.scope == "model":
        return f"{start}/experiments/{bound.experiment_remote_id}/models/{bound.remote_id}"
    if dialect == "databricks":
        return f"{start}/experiments/{bound.experiment_remote_id}/runs/{bound.remote_id}"
    return f"{start}/runs/{bound.remote_id}"


def _print_place(found: Sequence[Entry]) -> None:
    first = found[0]
    title = f"{first.scope} {visible(first.name)}"
    click.echo(click.style(title, bold=True) + (f"  {visible(first.scope_id)}" if first.scope != "experiment" else ""))
    click.echo(visible(f"  {first.link or first.remote or 'in this store'}"))
    for entry in found:
        kind = "param" if entry.kind == "journals" else entry.kind
        screen.prose(visible(f"{kind} {entry.key}: {entry.told}" if entry.key else f"{kind}: {entry.told}"), "  ")
    click.echo()


def _quoted(value: str | None) -> str:
    return "nothing" if value is None else f"'{value}'"
