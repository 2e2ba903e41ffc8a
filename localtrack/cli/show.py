"""`localtrack show RUN`: one run, whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from localtrack.artifacts.place import Owner, Place, owner_to_read
from localtrack.artifacts.removed import Note, absent, notes_of
from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import RunEntry
from localtrack.cli import screen, wording
from localtrack.cli.delivery import Delivery, deliveries
from localtrack.cli.linked import DATASETS, MODELS, LinkedModel, dataset_row, linked_models, model_row
from localtrack.cli.options import existing, json_option, store_option
from localtrack.cli.runs import NOT_KNOWN, described
from localtrack.cli.table import Column, visible
from localtrack.entities import Metric, Run
from localtrack.errors import StoreError
from localtrack.store import Store

#: How many runs an ambiguous name lists.
CANDIDATES = 8
PAIR = [Column("name", least=12), Column("value", least=12)]
LATEST = [Column("name", least=12), Column("last value", right=True), Column("step", right=True)]


@click.command(short_help="Show one run: params, last metrics, tags, inputs, models, delivery.")
@click.argument("run")
@store_option
@json_option
def show(run: str, store: Store, *, as_json: bool) -> None:
    """Show one run: params, last metrics, tags, inputs, models, delivery.

    RUN is a run id, the beginning of one, or a name that only one run has.
    """
    with Catalog(existing(store)) as catalog:
        entry = find(run, catalog.run_index())
        whole, latest = catalog.run(entry.run_id, refresh=False), catalog.latest(entry.run_id, refresh=False)
        assert whole is not None, f"run {entry.run_id} is in the index and not in the catalog"
        models = linked_models(whole, catalog.model_index(refresh=False))
    known, trouble = deliveries(store)
    delivered = known.get(entry.run_id, [])
    removed = _removed(store, entry)
    if as_json:
        screen.document(_document(store, entry, whole, latest, models, delivered, trouble, len(removed)))
    else:
        _print(entry, whole, latest, models, delivered, trouble, removed)


def _removed(store: Store, entry: RunEntry) -> list[Note]:
    """Files of the run that `localtrack gc` removed here."""
    notes = notes_of(store, entry.run_id)
    if not notes:
        return []
    with Place(store, owner_to_read(store, Owner(entry.run_id, entry.experiment_id))) as place:
        return absent(place, notes.values(), "")


def find(given: str, entries: Sequence[RunEntry]) -> RunEntry:
    """The run that `given` means.

    Raises:
        StoreError: none, or more than one; the hint says which there are.
    """
    exact = [run for run in entries if run.run_id == given]
    matching = exact or [run for run in entries if given and run.run_id.startswith(given.lower())]
    matching = matching or [run for run in entries if run.name == given]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise StoreError(f"No run of this store is called {given!r}", "See what there is: localtrack runs --limit 0")
    some = ", ".join(f"{run.run_id} ({visible(run.name)})" for run in matching[:CANDIDATES])
    more = f" and {len(matching) - CANDIDATES} more" if len(matching) > CANDIDATES else ""
    raise StoreError(f"{given!r} may mean {len(matching)} runs; give more of the id", f"{some}{more}")


def _print(
    entry: RunEntry,
    run: Run,
    latest: Sequence[Metric],
    models: Sequence[LinkedModel],
    delivered: Sequence[Delivery],
    trouble: str,
    removed: Sequence[Note],
) -> None:
    click.secho(visible(entry.name or entry.run_id), bold=True)
    _facts(entry, run, removed)
    _rows("Params", PAIR, sorted(run.data.params.items()))
    _rows("Metrics", LATEST, [(one.key, wording.number(one.value), f"{one.step:,}") for one in latest])
    _rows("Tags", PAIR, sorted(run.data.tags.items()))
    if run.inputs.dataset_inputs:
        _rows("Datasets", DATASETS, [dataset_row(one) for one in run.inputs.dataset_inputs])
    if models:
        _rows("Models", MODELS, [model_row(one) for one in models])
    click.secho("\nDelivery", bold=True)
    for one in delivered:
        _delivery(one)
    if trouble:
        screen.prose(f"not known: {trouble}", "  ")
    elif not delivered:
        screen.prose("no remote yet: localtrack sync --to http://HOST", "  ")


def _facts(entry: RunEntry, run: Run, removed: Sequence[Note]) -> None:
    end = run.info.end_time
    took = f", took {wording.span((end - run.info.start_time) / 1000)}" if end is not None else ""
    facts = {
        "run": entry.run_id,
        "experiment": entry.experiment_name or NOT_KNOWN,
        "status": entry.status + (" (deleted)" if entry.deleted else ""),
        "started": wording.moment(run.info.start_time) + took,
        "user": run.info.user_id,
        "points": f"{entry.points:,} of {wording.count(len(run.data.metrics), 'metric')}",
    }
    if entry.files:
        facts["files"] = f"{entry.files:,}, {wording.size(entry.bytes)}"
    if removed:
        size = wording.size(sum(note.size for note in removed))
        facts["removed"] = (
            f"{wording.count(len(removed), 'file')}, {size}, by localtrack gc; {removed[0].remote} has them"
        )
    for name, value in facts.items():
        click.echo(f"  {name:<12}{visible(value)}")


def _rows(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    click.secho(f"\n{title}", bold=True)
    if rows:
        screen.table(columns, rows, indent="  ")
    else:
        click.echo("  none")


def _delivery(one: Delivery) -> None:
    if one.remote is None:
        screen.prose(f"no remote yet; {wording.count(one.owed, 'record')} to deliver: localtrack sync --to URI", "  ")
        return
    counts = {
        "delivered": one.delivered,
        "owed": one.owed,
        "conflicts": one.conflicts,
        "rejected": one.rejected,
        "parked": one.parked,
        "superseded": one.superseded,
    }
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "nothing to deliver"
    screen.prose(f"{one.remote}: {told}", "  ")
    for reason in one.reasons:
        screen.prose(visible(reason), "    ")
    if one.link:
        click.echo(f"    {visible(one.link)}")


def _document(
    store: Store,
    entry: RunEntry,
    run: Run,
    latest: Sequence[Metric],
    models: Sequence[LinkedModel],
    delivered: Sequence[Delivery],
    trouble: str,
    removed: int,
) -> dict[str, Any]:
    return {
        "schema": 1,
        "store": store.path,
        "delivery_trouble": trouble,
        "run": {
            **described(entry, delivered),
            "user": run.info.user_id,
            "artifact_uri": run.info.artifact_uri,
            "files_removed": removed,
            "params": run.data.params,
            "metrics": {one.key: {"value": one.value, "step": one.step, "timestamp": one.timestamp} for one in latest},
            "tags": run.data.tags,
            "datasets": [
                {**asdict(one.dataset), "input_tags": {tag.key: tag.value for tag in one.tags}}
                for one in run.inputs.dataset_inputs
            ],
            "models": [one._asdict() for one in models],
        },
    }
