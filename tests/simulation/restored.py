"""A simulation in which the remote is restored from an old backup, and repaired by `sync --repair`."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from localtrack_sync.delivery.repair import doubt
from tests.simulation.simulate import SETTLE_S, Killed, Shell, Simulation


class Restored(Simulation):
    """Between passes the remote is backed up, and later restored; then repairs are tried, also under faults.

    Attributes:
        backup: what the remote held, and what people had done to it by then.
        lost: the remote was restored, and nothing was repaired since.
    """

    def __init__(self, seed: int, shell: Callable[[Simulation], Shell] = Shell) -> None:
        super().__init__(seed, shell)
        self.fate = random.Random(seed + 1)
        self.backup: Any = None
        self.lost = False
        self._back_up()

    def between(self) -> None:
        """A backup, a restore, a repair that may fail half-way; or nothing."""
        what = self.fate.random()
        if what < 0.3:
            self._back_up()
        elif what < 0.7:
            self._restore()
        if self.lost and self.fate.random() < 0.5:
            self._repair()

    def at_peace(self) -> None:
        """At last somebody restores once more, or not; and somebody repairs it, undisturbed."""
        if self.fate.random() < 0.5:
            self._restore()
        self.launcher.finish(self.network.now)
        self.repair = True
        self._doubt()
        for _ in range(3):
            self._pass()
            self.network.run_until(self.network.now + 2 * SETTLE_S)
        self.repair = False

    def _back_up(self) -> None:
        remote, people = self.remote, self.people
        kept = (remote.experiments, remote.runs, remote.logged.models, remote.restored, remote.files)
        acts = (people.edits, people.deleted, people.perhaps, people.restored, people.wrote)
        self.backup = copy.deepcopy((kept, acts, (self.launcher.launched, self.launcher.waiting)))
        self.network.log.append(f"{self.network.now:9.2f} BACKUP")

    def _restore(self) -> None:
        """The remote is what it was; people's later edits are gone with the rest."""
        remote, people = self.remote, self.people
        before = set(remote.runs)
        kept, acts, launched = copy.deepcopy(self.backup)
        remote.experiments, remote.runs, remote.logged.models, remote.restored, files = kept
        if self.fate.random() < 0.5:  # else the files lie in a storage of their own
            remote.files = files
        remote.lost |= before - set(remote.runs)
        people.edits, people.deleted, people.perhaps, people.restored, people.wrote = acts
        self.launcher.launched, self.launcher.waiting = launched
        remote.stale_until.clear()
        remote.logged.stale_until.clear()
        people.lost_state_at = self.network.now
        self.lost = True
        self.network.log.append(f"{self.network.now:9.2f} RESTORED")

    def _doubt(self) -> None:
        self.state.save(doubt(self.state.all()))

    def _repair(self) -> None:
        """One try; it may be killed, and later passes may go on with what it has begun."""
        self.repair = True
        self._doubt()
        try:
            self._pass()
        except Killed:
            self.outline.kills += 1
            self.generation += 1
        self.repair = False
        self.lost = self.fate.random() < 0.5
