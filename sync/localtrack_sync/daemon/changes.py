"""What of a daemon's facts is worth a line in the log: one line per change of state. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing

#: Level, event, and what varies.
Line: TypeAlias = tuple[str, str, dict[str, object]]
#: Standings between which a live training goes to and fro all the time.
_ONLINE = frozenset({Standing.IDLE, Standing.WORKING})
_LEVELS = {Standing.FAILED: "error", Standing.OFFLINE: "warning", Standing.PAUSED: "warning", Standing.BUSY: "warning"}


@dataclass(slots=True)
class Changes:
    """Remembers what was said of one store."""

    _said: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    _trouble: str = ""
    _left: dict[str, int] = field(default_factory=dict)

    def of(self, facts: DaemonFacts, left: Mapping[str, int]) -> list[Line]:
        """The lines that are due now.

        Args:
            facts: how things stand.
            left: reason -> runs that go nowhere for it.
        """
        lines: list[Line] = []
        if facts.trouble != self._trouble:
            self._trouble = facts.trouble
            lines.append(
                ("error", "store in trouble", {"trouble": facts.trouble})
                if facts.trouble
                else ("info", "store works again", {})
            )
        for remote in facts.remotes:
            lines += self._remote(remote)
        lines += [
            ("warning", "runs go nowhere", {"runs": runs, "reason": reason})
            for reason, runs in left.items()
            if self._left.get(reason) is None
        ]
        self._left = dict(left)
        return lines

    def _remote(self, facts: RemoteFacts) -> list[Line]:
        key = (facts.url, facts.workspace)
        state = "online" if facts.standing in _ONLINE else facts.standing.value
        trouble = facts.trouble if facts.standing in (Standing.FAILED, Standing.PAUSED) else ""
        before = self._said.get(key)
        if before == (state, trouble):
            return []
        self._said[key] = (state, trouble)
        what: dict[str, object] = {"remote": facts.url, "state": state}
        if facts.workspace:
            what["workspace"] = facts.workspace
        if state != "online" and facts.trouble:
            what["trouble"] = facts.trouble
        return [(_LEVELS.get(facts.standing, "info"), "remote", what)]


def summary(stores: Sequence[DaemonFacts]) -> str:
    """All of it in one line, for whoever has room for one (systemd's status)."""
    remotes = [remote for facts in stores for remote in facts.remotes]
    troubled = [facts.trouble for facts in stores if facts.trouble]
    if troubled:
        return f"in trouble: {troubled[0].splitlines()[0]}"
    if not remotes:
        return "nothing to deliver yet"
    worst = [remote for remote in remotes if remote.standing not in _ONLINE]
    if worst:
        more = f" and {len(worst) - 1} more" if len(worst) > 1 else ""
        return f"{worst[0].standing.value}: {worst[0].url}{more}"
    jobs = sum(remote.jobs for remote in remotes)
    return f"delivering {jobs} runs" if jobs else f"up to date with {len(remotes)} remote{'s' * (len(remotes) > 1)}"
