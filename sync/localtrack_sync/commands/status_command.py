"""`localtrack status`: what is owed, what is delivered, what needs a look, and how the journals are."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from localtrack.catalog.catalog import Catalog
from localtrack.cli import journals as books
from localtrack.cli import screen, wording
from localtrack.cli.options import existing, json_option, store_option
from localtrack.cli.table import visible
from localtrack.store import Store
from localtrack_sync.commands import delivery_now, status_watch
from localtrack_sync.commands.delivery_now import Now
from localtrack_sync.daemon.facts import RemoteFacts
from localtrack_sync.store.accounts import RemoteAccount, accounts_of

#: Different reasons that are listed for each remote.
REASONS = 5

COLOURS = {"delivered": "green", "owed": "yellow", "conflicts": "red", "rejected": "red", "parked": "yellow"}
KINDS = ("delivered", "owed", "conflicts", "rejected", "parked", "superseded")


@click.command(short_help="Show what is owed, what is delivered, what needs a look.")
@click.option("--journals", "every", is_flag=True, help="List every journal, not only the newest and those in trouble.")
@click.option("--watch", is_flag=True, help="Show one line, kept up to date, until Ctrl-C.")
@store_option
@json_option
def status(store: Store, *, every: bool, watch: bool, as_json: bool) -> None:
    """Show what is owed to each remote, what is delivered, what needs a look, and how the journals are.

    When a daemon runs: also how it stands with each remote, how fast it delivers and how far it is behind.

    Reads this store only; no server is asked. Ends with 0 unless the store cannot be read.
    """
    if watch and (as_json or every):
        raise click.UsageError("--watch shows one line: it goes with neither --json nor --journals.")
    if watch:
        status_watch.watch(existing(store))
    with Catalog(existing(store)) as catalog:
        every_journal = catalog.journals()
    accounts = accounts_of(store)
    journals = sorted(every_journal, key=lambda journal: (journal.created_ms, journal.file), reverse=True)
    now_ms = time.time_ns() // 1_000_000
    now = delivery_now.look(store)
    if as_json:
        screen.document(
            {
                "schema": 1,
                "store": store.path,
                "daemon": delivery_now.described(now),
                "remotes": [_remote_facts(store, account, now, now_ms) for account in accounts],
                "journals": [books.described(store, journal) for journal in journals],
            }
        )
        return
    click.echo(f"Store {store.path}")
    click.echo(delivery_now.daemon_line(now, now_ms))
    if now.facts is not None and now.facts.trouble:
        screen.prose(click.style(visible(now.facts.trouble), fg="red"), "  ")
    known = [account.remote.url for account in accounts if account.remote is not None]
    for account in accounts:
        click.echo()
        _print_remote(store, account, now, now_ms, known)
    if not accounts:
        click.echo("\nNothing to deliver: no run has been logged yet.")
    click.echo()
    books.print_journals(store, journals, every=every)


def synced(store: Store, account: RemoteAccount) -> bool:
    """Whether a replay to this remote was ever started."""
    return account.remote is not None and os.path.exists(account.remote.state_path(store))


def _print_remote(store: Store, account: RemoteAccount, now: Now, now_ms: int, known: Sequence[str]) -> None:
    facts = now.of(account.remote)
    if facts is None:
        told = "" if synced(store, account) else "(never synced)"
    else:
        told = click.style(delivery_now.headline(facts, account.owed, now_ms), fg=delivery_now.colour(facts))
    name = visible(str(account.remote or "No remote yet"))
    click.echo(click.style(name, bold=True) + (f"  {told}" if told else ""))
    if facts is not None and facts.trouble:
        screen.prose(visible(facts.trouble), "  ")
    sums = {kind: getattr(account, kind) for kind in KINDS}
    cells = max(len(f"{number:,}") for number in sums.values())
    for kind, number in sums.items():
        if number or kind != "superseded":
            told = click.style(f"{number:>{cells},}", fg=COLOURS.get(kind) if number else None)
            click.echo(f"  {kind:<11} {told}{_detail(account, kind, now_ms)}")
    for reason, items in Counter(r for item in account.items for r in item.reasons).most_common(REASONS):
        screen.prose(f"{visible(reason)} ({wording.count(items, 'time')})", "  ")
    for step in _next_steps(account, known, facts):
        click.echo(f"  -> {visible(step)}")


def _detail(account: RemoteAccount, kind: str, now_ms: int) -> str:
    runs = sum(1 for run in account.runs if getattr(run, kind))
    models = sum(1 for model in account.models if getattr(model, kind))
    if not runs and not models:
        return ""
    told = f"  in {wording.runs_and_models(runs, models)}"
    if kind == "owed" and account.oldest_owed_ms is not None:
        told += f", oldest {wording.ago(account.oldest_owed_ms, now_ms)}"
    if kind == "owed" and account.bytes_owed:
        told += f", {wording.size(account.bytes_owed)} of files"
    return told


def _next_steps(account: RemoteAccount, known: Sequence[str], facts: RemoteFacts | None) -> list[str]:
    """What to run; a daemon that delivers needs no help."""
    steps = []
    if facts is not None and facts.standing in delivery_now.ALARMING:
        steps.append("localtrack doctor")
    if (account.owed or account.parked) and facts is None:
        if account.remote is None:
            steps.append(f"localtrack sync --to {known[0] if len(known) == 1 else 'http://HOST'}")
        else:
            steps.append("localtrack sync" if account.trusted else f"localtrack sync --to {account.remote.url}")
    if account.conflicts or account.rejected or account.parked:
        steps.append("localtrack conflicts")
    return steps


def _remote_facts(store: Store, account: RemoteAccount, now: Now, now_ms: int) -> dict[str, Any]:
    oldest = account.oldest_owed_ms
    return {
        "remote": None if account.remote is None else account.remote.url,
        "workspace": None if account.remote is None else account.remote.workspace,
        "trusted": account.trusted,
        "synced": synced(store, account),
        "runs": len(account.runs),
        "models": len(account.models),
        "total": account.total,
        **{kind: getattr(account, kind) for kind in KINDS},
        "bytes_owed": account.bytes_owed,
        "oldest_owed_ms": oldest,
        "oldest_owed_age_s": None if oldest is None else max(0.0, (now_ms - oldest) / 1000),
        "delivery": delivery_now.described_remote(now.of(account.remote)),
        "reasons": sorted({reason for item in account.items for reason in item.reasons}),
    }
