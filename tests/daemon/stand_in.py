"""`localtrack daemon` with a loop that delivers nothing: a program of its own, for tests of the process around it.

The variable STAND_IN says how the loop behaves: "" stops when it is asked to, "deaf" does not, "fails" raises,
"idle" ends by itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from localtrack.cli import failures
from localtrack.errors import StoreError
from localtrack_sync.commands.daemon_command import daemon
from localtrack_sync.commands.daemon_parts import Parts
from localtrack_sync.daemon.daemon_settings import DaemonSettings
from localtrack_sync.daemon.service import Log, Supervisor
from localtrack_sync.shell.replay import Stop

PROGRAM = (sys.executable, __file__)
ROUND_S = 0.02


def serve(settings: DaemonSettings, environ: Mapping[str, str], log: Log, stop: Stop, supervisor: Supervisor) -> int:
    """Waits for the wish to stop."""
    how = environ.get("STAND_IN", "")
    supervisor.ready()
    supervisor.status("nothing to deliver")
    log("info", "loop runs", stores=len(settings.stores))
    if how == "fails":
        raise StoreError("the disk is gone", "Look for it.")
    while not stop.wanted or how == "deaf":
        supervisor.alive()
        time.sleep(ROUND_S)
        if how == "idle":
            return 0
    log("info", "loop ends")
    return 0


def main() -> int:
    """As the console script; the first argument is `daemon`."""
    try:
        return daemon.main(sys.argv[2:], obj=Parts(serve, PROGRAM), standalone_mode=False) or 0
    except Exception as error:  # noqa: BLE001 - as localtrack.cli.entry does
        return failures.report(error)


if __name__ == "__main__":
    sys.exit(main())
