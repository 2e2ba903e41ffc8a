"""Is what the server holds what the training program logged? Three parties are asked, each on its own. Pure.

- the witness (`demo.witness`): what the training program itself wrote down;
- the store: what localtrack's own client reads back;
- the server: what MLflow's own client reads, in MLflow's own virtual environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UID = "localtrack.uid"
PARENT = "mlflow.parentRunId"


@dataclass
class Ledger:
    """Everything one party knows, flattened so that two ledgers can be compared.

    Attributes:
        runs: local run ids.
        params, own_tags, set_tags: (run, key, value); own tags are the user's, set tags `mlflow.*`.
        points: (run, key, step, value) of every metric point; values by `repr`, so that NaN equals NaN.
        timed_points: the same with the timestamp, empty when the party does not know it.
        ends: (run, name, status, start, end, parent), start and end None when the party does not know them.
    """

    runs: list[str] = field(default_factory=list)
    params: list[tuple[str, str, str]] = field(default_factory=list)
    own_tags: list[tuple[str, str, str]] = field(default_factory=list)
    set_tags: list[tuple[str, str, str]] = field(default_factory=list)
    points: list[tuple[str, str, int, str]] = field(default_factory=list)
    timed_points: list[tuple[str, str, int, str, int]] = field(default_factory=list)
    ends: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, run: str, told: Mapping[str, Any], parent: str | None) -> None:
        """Add one run; its points are (key, step, repr(value), timestamp or None)."""
        self.runs.append(run)
        self.params += [(run, key, value) for key, value in told["params"].items()]
        for key, value in told["tags"].items():
            if key.startswith("localtrack.") or key == PARENT:
                continue  # our own proof, and an id that differs by design: compared in `ends`
            (self.set_tags if key.startswith("mlflow.") else self.own_tags).append((run, key, value))
        self.points += [(run, key, step, value) for key, step, value, _ in told["points"]]
        self.timed_points += [(run, key, step, value, ts) for key, step, value, ts in told["points"] if ts is not None]
        self.ends.append((run, told["name"], told["status"], told["start_time"], told["end_time"], parent))

    def sorted(self) -> Ledger:
        """Itself, with every list in order."""
        for rows in vars(self).values():
            rows.sort(key=repr)
        return self


def from_witness(notes: Mapping[str, Mapping[str, Any]]) -> Ledger:
    """The ledger of the training program's own notes."""
    ledger = Ledger()
    for run, told in notes.items():
        points = [(key, step, repr(float(value)), None) for key, value, step in told["points"]]
        ledger.add(run, {**told, "points": points, "start_time": None, "end_time": None}, told["parent"])
    return ledger.sorted()


def from_server(experiments: Mapping[str, Mapping[str, Any]]) -> Ledger:
    """The ledger of what MLflow's client read (see `tests.servers.reader`); runs named by local id."""
    ledger = Ledger()
    runs = [run for experiment in experiments.values() for run in experiment["runs"]]
    local = {run["run_id"]: run["tags"].get(UID, run["run_id"]) for run in runs}
    for run in runs:
        points = [(key, step, value, ts) for key, history in run["points"].items() for ts, step, value in history]
        parent = run["tags"].get(PARENT)
        ledger.add(local[run["run_id"]], {**run, "points": points}, local.get(parent, parent))
    return ledger.sorted()


def from_store(store: str, experiment: str) -> Ledger:
    """The ledger of what localtrack's own client reads from the store at `store`."""
    from localtrack import TrackingClient

    client = TrackingClient(store)
    found = client.get_experiment_by_name(experiment)
    ledger = Ledger()
    assert found is not None
    for run in client.search_runs([found.experiment_id], max_results=1000):
        histories = [client.get_metric_history(run.info.run_id, key) for key in run.data.metrics]
        told = {
            "name": run.info.run_name,
            "status": run.info.status,
            "start_time": run.info.start_time,
            "end_time": run.info.end_time,
            "params": run.data.params,
            "tags": run.data.tags,
            "points": [(m.key, m.step, repr(float(m.value)), m.timestamp) for history in histories for m in history],
        }
        ledger.add(run.info.run_id, told, run.data.tags.get(PARENT))
    return ledger.sorted()


@dataclass(frozen=True)
class Row:
    """One line of the table: what, how many each party knows (None: it does not know), and whether they are equal."""

    what: str
    counts: tuple[int | None, int | None, int | None]
    equal: bool


def compare(witness: Ledger, store: Ledger, server: Ledger) -> list[Row]:
    """The rows of the table; every one compares contents, not only counts."""

    def row(what: str, *parties: list[Any] | None) -> Row:
        known = [party for party in parties if party is not None]
        counts = tuple(None if party is None else len(party) for party in parties)
        assert len(counts) == 3
        return Row(what, counts, all(party == known[0] for party in known))

    def timeless(ends: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return [(run, name, status, parent) for run, name, status, _, _, parent in ends]

    return [
        row("runs", witness.runs, store.runs, server.runs),
        row("params", witness.params, store.params, server.params),
        row("tags that the script set", witness.own_tags, store.own_tags, server.own_tags),
        row("tags that were set for it", None, store.set_tags, server.set_tags),
        row("metric points: key, step, value", witness.points, store.points, server.points),
        row("metric points: with their time", None, store.timed_points, server.timed_points),
        row("name, status, parent of the run", timeless(witness.ends), timeless(store.ends), timeless(server.ends)),
        row("start and end time of the run", None, store.ends, server.ends),
    ]
