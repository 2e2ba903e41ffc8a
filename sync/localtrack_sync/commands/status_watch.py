"""`localtrack status --watch`: one line that is kept up to date, until Ctrl-C."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from localtrack.cli.table import visible
from localtrack.store import Store
from localtrack_sync.commands import delivery_now
from localtrack_sync.commands.delivery_now import Now
from localtrack_sync.store.accounts import RemoteAccount, accounts_of

#: Seconds between two looks, and the share of the time that they may take: the books of a large store take a second.
EVERY_S, SHARE = 1.0, 0.1


def watch(store: Store, stream: TextIO | None = None) -> None:
    """Show it until the user has seen enough: rewritten on a terminal, a line for each change elsewhere.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        StoreError: the store cannot be read.
    """
    out = sys.stdout if stream is None else stream
    shown = ""
    while True:
        began = time.monotonic()
        line = line_of(delivery_now.look(store), accounts_of(store), time.time_ns() // 1_000_000)
        if out.isatty():
            columns = shutil.get_terminal_size().columns - 1
            line = line[:columns]
            out.write("\r" + line.ljust(min(len(shown), columns)))
        elif line != shown:
            out.write(line + "\n")
        out.flush()
        shown = line
        time.sleep(max(EVERY_S, (time.monotonic() - began) / SHARE))


def line_of(now: Now, accounts: Sequence[RemoteAccount], now_ms: int) -> str:
    """The line."""
    parts = [_part(now, account, now_ms) for account in accounts if account.remote is not None or account.owed]
    daemon = "" if now.holder is not None else "no daemon: "
    return daemon + (" | ".join(parts) or "nothing to deliver yet")


def _part(now: Now, account: RemoteAccount, now_ms: int) -> str:
    name = "no remote yet" if account.remote is None else account.remote.url.partition("://")[2]
    facts = now.of(account.remote)
    told = f"{account.owed:,} pending" if facts is None else delivery_now.headline(facts, account.owed, now_ms)
    look = account.conflicts + account.rejected
    return visible(f"{name} {told}" + (f", {look:,} to look at" if look else ""))
