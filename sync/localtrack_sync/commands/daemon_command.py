"""`localtrack daemon`: the service, its commands by name."""

from __future__ import annotations

import click

from localtrack_sync.commands.daemon_install import install, uninstall
from localtrack_sync.commands.daemon_look import logs, status
from localtrack_sync.commands.daemon_process import restart, run, start, stop


class InOrder(click.Group):
    """Commands in the order in which they are needed, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """As they were added."""
        return list(self.commands)


@click.group(cls=InOrder, short_help="Deliver all the time, in the background.")
def daemon() -> None:
    """Deliver what is owed all the time, in the background: start it, stop it, look at it, install it.

    One daemon delivers any number of stores to all of their servers, as training goes on, and waits while a server is
    away. `localtrack status` shows what it has delivered and what is still owed.
    """


for _command in (start, stop, restart, status, logs, run, install, uninstall):
    daemon.add_command(_command)
