"""`localtrack runs`: the runs of a store, newest first."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from localtrack.catalog.catalog import Catalog
from localtrack.catalog.entries import RunEntry
from localtrack.cli import screen, wording
from localtrack.cli.delivery import Delivery, deliveries
from localtrack.cli.options import existing, json_option, store_option
from localtrack.cli.table import Column
from localtrack.errors import StoreError
from localtrack.store import Store

DEFAULT_LIMIT = 50
#: Stands for the experiment of a run that was attached to: only the remote, or another store, knows it.
NOT_KNOWN = "(attached)"

COLUMNS = [
    Column("run"),
    Column("name", least=10),
    Column("experiment", least=8, rank=2),
    Column("status"),
    Column("started", rank=1),
    Column("took", right=True, rank=4),
    Column("points", right=True, rank=3),
    Column("delivery", least=9),
]


@click.command(short_help="List the runs of this store, newest first.")
@click.option("--experiment", "names", multiple=True, metavar="NAME", help="Only this experiment (may be repeated).")
@click.option("--deleted", is_flag=True, help="List the deleted runs instead.")
@click.option(
    "--limit", type=click.IntRange(min=0), default=DEFAULT_LIMIT, show_default=True, help="At most so many; 0: all."
)
@store_option
@json_option
def runs(store: Store, names: Sequence[str], limit: int, *, deleted: bool, as_json: bool) -> None:
    """List the runs of this store, newest first.

    On a terminal, run ids are shortened to what tells them apart; in a pipe they are whole. Every command takes the
    short form.
    """
    with Catalog(existing(store)) as catalog:
        entries = catalog.run_index()
    _refuse_unknown(names, entries)
    matching = [run for run in entries if run.deleted == deleted and (not names or run.experiment_name in names)]
    matching.sort(key=lambda run: (-run.start_time, run.run_id))
    listed = matching[:limit] if limit else matching
    known, trouble = deliveries(store)
    if as_json:
        screen.document(_document(store, listed, len(matching), known, trouble))
    else:
        _print(listed, len(matching), known, trouble, deleted=deleted)


def _refuse_unknown(names: Sequence[str], entries: Sequence[RunEntry]) -> None:
    """An experiment that has no runs here is more often a slip of the keyboard than a question."""
    have = sorted({run.experiment_name for run in entries})
    for name in names:
        if name not in have:
            near = difflib.get_close_matches(name, have, 3) or have[:5]
            raise StoreError(
                f"No run of this store belongs to an experiment named {name!r}",
                f"It has runs of: {', '.join(near)}" if near else "It has no runs yet.",
            )


def _print(
    listed: Sequence[RunEntry], matching: int, known: dict[str, list[Delivery]], trouble: str, *, deleted: bool
) -> None:
    if not listed:
        click.echo("No deleted runs." if deleted else "No runs.")
        return
    ids = screen.short_ids([run.run_id for run in listed])
    now_ms = time.time_ns() // 1_000_000
    screen.table(COLUMNS, [_row(run, ids, known.get(run.run_id, []), now_ms) for run in listed])
    if matching > len(listed):
        click.echo(f"\n{len(listed):,} of {matching:,} runs; all of them: --limit 0")
    if trouble:
        screen.prose(f"\nDelivery is not known: {trouble}.")


def _row(run: RunEntry, ids: dict[str, str], delivered: Sequence[Delivery], now_ms: int) -> list[str]:
    end = run.end_time if run.end_time is not None else now_ms if run.status == "RUNNING" else None
    return [
        ids[run.run_id],
        run.name,
        run.experiment_name or NOT_KNOWN,
        run.status,
        wording.moment(run.start_time),
        wording.span((end - run.start_time) / 1000) if end is not None else "",
        f"{run.points:,}",
        ", ".join(dict.fromkeys(one.short for one in delivered)) or "no remote",
    ]


def _document(
    store: Store, listed: Sequence[RunEntry], matching: int, known: dict[str, list[Delivery]], trouble: str
) -> dict[str, Any]:
    return {
        "schema": 1,
        "store": store.path,
        "matching": matching,
        "delivery_trouble": trouble,
        "runs": [described(run, known.get(run.run_id, [])) for run in listed],
    }


def described(run: RunEntry, delivered: Sequence[Delivery]) -> dict[str, Any]:
    """One run for `--json`; the fields are documented in docs/cli.md."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment_id": run.experiment_id,
        "experiment": run.experiment_name,
        "status": run.status,
        "deleted": run.deleted,
        "start_time": run.start_time,
        "end_time": run.end_time,
        "attached": run.attached,
        "counts": {
            "params": run.params,
            "tags": run.tags,
            "points": run.points,
            "inputs": run.inputs,
            "outputs": run.outputs,
            "files": run.files,
            "bytes": run.bytes,
        },
        "delivery": [asdict(one) for one in delivered],
    }
