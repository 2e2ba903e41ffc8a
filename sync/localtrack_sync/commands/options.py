"""Options that commands share which talk to remotes: which runs, and how."""

from __future__ import annotations

import click

#: `--run ID`, repeatable: parameter `runs`.
run_option = click.option(
    "--run", "runs", multiple=True, metavar="ID", help="Only this run (or the beginning of its id). Repeatable."
)

#: `--experiment NAME`, repeatable: parameter `experiments`.
experiment_option = click.option(
    "--experiment", "experiments", multiple=True, metavar="NAME", help="Only runs of this one. Repeatable."
)

#: `--connections N`: parameter `connections`, None when it is not given.
connections_option = click.option(
    "--connections",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Requests open at once. Default: the setting connections, 2 unless set.",
)

#: `--patience SECONDS`: parameter `patience`.
patience_option = click.option(
    "--patience",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try when the server is away.",
)
