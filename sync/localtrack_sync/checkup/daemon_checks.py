"""Findings about the daemon of a store, and about what it needs of this machine. Pure."""

from __future__ import annotations

from localtrack.cli import wording
from localtrack_sync.checkup.facts import DaemonLook
from localtrack_sync.checkup.finding import Finder, Finding
from localtrack_sync.checkup.local_kinds import DAEMON
from localtrack_sync.store.lock import Holder

_find = Finder(DAEMON)

#: Other programs of the same user need watches too.
WATCHES_LEAST = 8192
INSTANCES_LEAST = 16


def daemon_findings(look: DaemonLook) -> list[Finding]:
    """What there is to say about the daemon."""
    found = []
    if look.trouble:
        found.append(_find("daemon-unknown", look.trouble, path=look.lock))
    elif look.holder is None:
        found.append(_find("daemon-stopped"))
    else:
        found.append(_find("daemon-running", _who(look.holder)))
    return [*found, *_inotify(look), *_linger(look)]


def _who(holder: Holder) -> str:
    told = f"it runs as process {holder.pid}" if holder.pid else "it runs"
    told += f" on {holder.host}" if holder.host else ""
    told += f" since {holder.since}" if holder.since else ""
    return told + (f" ({holder.command})" if holder.command else "")


def _inotify(look: DaemonLook) -> list[Finding]:
    if not look.events or look.watches is None or look.instances is None:
        return []  # it looks by itself, or by other means than inotify
    wanted = max(WATCHES_LEAST, 2 * look.directories)
    here = (
        f"The limit is {look.watches:,}; this store has {wording.count(look.directories, 'directory', 'directories')}."
    )
    low = []
    if look.watches < wanted:
        low.append(_find("inotify-watches-low", here, wanted=str(max(wanted, 65_536))))
    if look.instances < INSTANCES_LEAST:
        low.append(_find("inotify-instances-low", f"The limit is {look.instances:,}."))
    return low or [_find("inotify", f"events: {look.watches:,} watches, {look.instances:,} instances")]


def _linger(look: DaemonLook) -> list[Finding]:
    if not look.systemd:
        return []
    if look.linger:
        return [_find("linger", "user services outlive logins")]
    return [_find("linger-off-service" if look.service else "linger-off")]
