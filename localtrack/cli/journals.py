"""How the journals of a store are: open or closed, damaged, short of what could not be written."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from localtrack.catalog.entries import JournalEntry
from localtrack.cli import screen, wording
from localtrack.cli.table import Column
from localtrack.journal.ops import Damage
from localtrack.store import Store

#: Journals in good order that are listed without --journals: with one journal per process there may be thousands.
LISTED = 5

COLUMNS = [
    Column("journal", least=20),
    Column("state"),
    Column("size", right=True),
    Column("records", right=True, rank=1),
    Column("trouble", least=16),
]


def print_journals(store: Store, journals: Sequence[JournalEntry], *, every: bool) -> None:
    """Print a summary, then the journals in trouble and the newest others (all with `every`)."""
    states = Counter(state_of(journal) for journal in journals)
    told = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    click.secho("Journals", bold=True, nl=False)
    click.echo(f"  {told or 'none'}, {wording.size(sum(size_of(store, journal) for journal in journals))} in all")
    sick = [journal for journal in journals if trouble_of(journal)]
    well = [journal for journal in journals if not trouble_of(journal)]
    shown = sick + (well if every else well[:LISTED])
    if shown:
        rows = [
            [
                journal.file or f"(file is gone) {journal.incarnation}",
                state_of(journal),
                wording.size(size_of(store, journal)),
                f"{journal.upto:,}",
                _short(store, journal) or "none",
            ]
            for journal in shown
        ]
        screen.table(COLUMNS, rows, indent="  ")
    if len(shown) < len(journals):
        click.echo(f"  and {len(journals) - len(shown):,} more in good order: localtrack status --journals")


def size_of(store: Store, journal: JournalEntry) -> int:
    """Bytes on the disk, with the write-ahead log, where the newest records of an open journal are."""
    try:
        log = os.path.getsize(os.path.join(store.journals, f"{journal.file}-wal")) if journal.file else 0
    except OSError:  # closed in good order: there is none
        log = 0
    return journal.size + log


def _short(store: Store, journal: JournalEntry) -> str:
    """Its trouble without its path, which stands beside it."""
    return trouble_of(journal).replace(f"journal {os.path.join(store.journals, journal.file)} ", "")


def state_of(journal: JournalEntry) -> str:
    """`closed`; `open`; `left open`: its process ran on this machine and is gone; `unreadable`; `gone`: the file is."""
    if journal.incarnation is None:
        return "unreadable"
    if journal.sealed:
        return "closed"
    if not journal.file:
        return "gone"
    return "left open" if journal.host == socket.gethostname() and not _alive(journal.pid) else "open"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 asks and does nothing
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def trouble_of(journal: JournalEntry) -> str:
    """What is wrong with a journal, in one line; empty when nothing is."""
    told = [journal.error] if journal.error else []
    told += [damage_in_words(damage) for damage in journal.damage]
    told += [f"{wording.count(n, kind)} could not be written" for kind, n in sorted(journal.losses.items()) if n]
    if journal.unknown_ops:
        told.append(f"{wording.count(journal.unknown_ops, 'record')} of a newer localtrack")
    return "; ".join(told)


def damage_in_words(damage: Damage) -> str:
    """The reason; most name their records themselves."""
    return (
        damage.reason if "record" in damage.reason else f"records {damage.first_n} to {damage.last_n}: {damage.reason}"
    )


def described(store: Store, journal: JournalEntry) -> dict[str, Any]:
    """One journal for `--json`; the fields are documented in docs/cli.md."""
    return {
        "file": journal.file,
        "incarnation": journal.incarnation,
        "state": state_of(journal),
        "host": journal.host,
        "pid": journal.pid,
        "user": journal.user,
        "size": size_of(store, journal),
        "records": journal.upto,
        "created_ms": journal.created_ms,
        "last_ms": journal.last_ms,
        "damage": [{"first": d.first_n, "last": d.last_n, "reason": d.reason} for d in journal.damage],
        "losses": journal.losses,
        "unknown_ops": journal.unknown_ops,
        "error": journal.error,
    }
