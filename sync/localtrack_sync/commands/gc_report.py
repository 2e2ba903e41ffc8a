"""What `localtrack gc` says, in words and as JSON, and what it ends with."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from localtrack.cli import failures, screen, wording
from localtrack.cli.table import Column, visible
from localtrack.store import Store
from localtrack_sync.commands.summary import EXIT_OWED
from localtrack_sync.shell.gc_session import Collected, Fate, GcSettings

#: Different reasons that are listed for what stays.
REASONS = 12


def told(store: Store, done: Collected, wish: GcSettings, *, as_json: bool) -> int:
    """Say what went, or would go, and what stays. Returns the exit code."""
    code = exit_code(done)
    if as_json:
        screen.document(_document(store, done, wish, code))
        return code
    going = [fate for fate in done.fates if fate.files]
    staying = [fate for fate in done.fates if fate.kept]
    click.echo(f"Store {store.path}: {wording.size(done.total)} of files")
    if done.blocked:
        screen.prose(f"Nothing may be removed here: {visible(done.blocked)}.", "  ")
        click.echo("  -> localtrack status")
    if done.put_back:
        files = wording.count(done.put_back, "file")
        click.echo(f"  An earlier gc died: {files} that it had moved aside are back in their place.")
    if going:
        click.echo(click.style("Removed:" if wish.delete else "Would be removed:", bold=True))
        _table(going)
    if staying:
        click.echo(click.style("Kept:", bold=True))
        _reasons(staying)
    _sums(done, going, staying, delete=wish.delete)
    return code


def exit_code(done: Collected) -> int:
    """1: the store is not in order, or the machine refused; 3: a server was away, or it was stopped; else 0."""
    if done.blocked or any(fate.trouble for fate in done.fates):
        return failures.EXIT_ERROR
    return EXIT_OWED if done.away or done.interrupted else 0


def _table(going: Sequence[Fate]) -> None:
    columns = [
        Column("run or model"),
        Column("name", least=10),
        Column("experiment", least=8, rank=1),
        Column("last record", rank=2),
        Column("files", right=True),
        Column("size", right=True),
    ]
    ids = screen.short_ids([fate.holder.id for fate in going])
    now_ms = time.time_ns() // 1_000_000
    screen.table(
        columns,
        [
            [
                ids[fate.holder.id],
                fate.holder.name,
                fate.holder.experiment,
                wording.ago(fate.holder.newest_ms, now_ms),
                f"{fate.files:,}",
                wording.size(fate.bytes),
            ]
            for fate in going
        ],
        "  ",
    )


def _reasons(staying: Sequence[Fate]) -> None:
    numbers: Counter[str] = Counter(fate.reason for fate in staying)
    sizes: Counter[str] = Counter()
    for fate in staying:
        sizes[fate.reason] += fate.kept_bytes
    example = {fate.reason: fate.holder.id for fate in reversed(staying)}
    for reason, number in numbers.most_common(REASONS):
        of = f"{number:,}, {wording.size(sizes[reason])}" if number > 1 else wording.size(sizes[reason])
        screen.prose(f"{visible(reason)} ({of}): {example[reason]}{' and others' if number > 1 else ''}", "  ")
    if len(numbers) > REASONS:
        click.echo(f"  and {len(numbers) - REASONS:,} other reasons (--json lists them)")


def _sums(done: Collected, going: Sequence[Fate], staying: Sequence[Fate], *, delete: bool) -> None:
    if not done.fates:
        click.echo("No run and no logged model has files here that could go.")
        return
    files = wording.count(sum(fate.files for fate in going), "file")
    kept = wording.size(sum(fate.kept_bytes for fate in staying))
    verb = "were removed" if delete else "would go"
    click.echo(f"{files}, {wording.size(done.freed)}, {verb}; {kept} stay.")
    if done.interrupted:
        click.echo("Stopped before the end; what was removed is removed, what is left can be removed later.")
    for reason in done.away.values():
        screen.prose(visible(reason), "")
    if done.away:
        click.echo("-> localtrack gc again, when it answers")
    if not delete:
        click.echo("Nothing was removed: this was a dry run. With --delete each file is read back first, whole.")


def _document(store: Store, done: Collected, wish: GcSettings, code: int) -> dict[str, Any]:
    told: dict[str, list[dict[str, Any]]] = {"run": [], "model": []}
    for fate in done.fates:
        holder = fate.holder
        told[holder.kind].append(
            {
                f"{holder.kind}_id": holder.id, "name": holder.name, "experiment": holder.experiment,
                "newest_ms": holder.newest_ms, "files": fate.files, "bytes": fate.bytes, "remotes": list(fate.remotes),
                "kept": fate.kept, "kept_bytes": fate.kept_bytes, "reason": fate.reason,
            }
        )  # fmt: skip
    return {
        "schema": 1, "store": store.path, "exit_code": code, "dry_run": not wish.delete,
        "older_than_s": wish.older_than_s, "max_bytes": wish.max_bytes, "total_bytes": done.total,
        "files": sum(fate.files for fate in done.fates), "bytes": done.freed, "put_back": done.put_back,
        "blocked": done.blocked, "interrupted": done.interrupted,
        "away": [{"remote": remote.url, "reason": reason} for remote, reason in done.away.items()],
        "runs": told["run"], "models": told["model"],
    }  # fmt: skip
