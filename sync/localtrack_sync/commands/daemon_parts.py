"""What the commands of the daemon share: which stores, and the programs that they start."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from localtrack.store import Store
from localtrack_sync.daemon.detached import PROGRAM
from localtrack_sync.daemon.foreground import Serve
from localtrack_sync.daemon.service import serve
from localtrack_sync.daemon.settings_file import load_daemon_settings
from localtrack_sync.store.lock import Holder


@dataclass(frozen=True, slots=True)
class Parts:
    """What the commands are put together from; a click object of this type takes the place of the defaults.

    Attributes:
        serve: the daemon's loop.
        program: how localtrack is started.
        platform: as sys.platform.
    """

    serve: Serve = serve
    program: tuple[str, ...] = PROGRAM
    platform: str = sys.platform


def parts() -> Parts:
    """Those of the command that runs now."""
    return click.get_current_context().find_object(Parts) or Parts()


def _stores(context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> tuple[str, ...]:
    before = context.find_root().params.get("store")
    return tuple(Store.at(path).path for path in given or ((before,) if before else ()))


def stores_option(command: Any) -> Any:
    """`--store PATH`, repeatable; the command gets `stores`: absolute paths, none when none was named."""
    return click.option(
        "--store",
        "stores",
        metavar="PATH",
        multiple=True,
        callback=_stores,
        help="Store directory; repeatable. Default: those of the settings.",
    )(command)


def settled(stores: tuple[str, ...]) -> list[Store]:
    """The stores that are meant: those named, else those of the settings."""
    return [Store(path) for path in stores or load_daemon_settings(os.environ).stores]


def named(holder: Holder) -> str:
    """`The daemon (process 12, since 2026-01-31 10:00:00 +0000)`."""
    return f"The daemon (process {holder.pid}, since {holder.since})"
