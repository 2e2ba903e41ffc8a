"""Every kind of request times every fault, one at a time: on the first try, while recovering, after a kill.

python -m tests.simulation.matrix runs all of it; `make test` runs the first request of each kind in a small world.
Which kinds there are is found by running worlds without faults: a request that the engine learns to send, and the world
makes it send, is covered without a change here.
"""

# ruff: noqa: T201 - a command prints
from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from localtrack_sync.engine.engine import PROBE_JOB, Engine
from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.jobs import JobResult
from tests.simulation.simulate import Killed, Shell, Simulation, guarded

#: The faults of the reliability plan, and what the modelled network does for each.
FAULTS: dict[str, tuple[str, ...]] = {
    "F1 refused": ("refused",),
    "F2 TLS failure": ("refused",),  # what the engine hears of it is the same: nothing was sent
    "F3 reset before the body": ("lost",),
    "F4 reset in the middle of the body": ("lost",),
    "F5 dies before the commit": ("lost",),
    "F6 dies after the commit": ("lost after",),
    "F7 partial commit": ("half",),
    "F8 500 without a commit": ("500",),
    "F9 500 or 503 after the commit": ("500 after", "503 after"),
    "F10 429 or 503 with Retry-After": ("throttled", "503"),
    "F11 timeout, then a late commit": ("zombie",),
    "F12 reply byte by byte": ("slow",),
    "F13 cut JSON": ("cut after",),
    "F14 HTML": ("html", "html after"),
    "F15 401 or 403": ("unauthorized", "forbidden"),
    "F16 no such route": ("misrouted",),
    "F17 redirect": ("redirect",),
    "F18 executed twice": ("twice",),
    "F19 stale read": ("stale",),
    "400 as an echo of an earlier try": ("twin",),
}
TROUBLES = tuple(dict.fromkeys(trouble for troubles in FAULTS.values() for trouble in troubles))
#: Of the modelled remote.
FLAVOURS = ("sql", "file", "old")
#: Where the fault strikes.
MODES = ("first try", "recovery", "restart")
#: Limits that docs/replay.md names: (kind, trouble, flavours).
LIMITS = (
    ("POST runs/create", "twice", ("sql", "old", "file")),
    ("POST logged-models", "twice", ("sql", "old", "file")),
    ("POST runs/log-batch metrics", "twice", ("file",)),
    ("POST runs/log-inputs", "twice", ("file",)),
    ("POST runs/outputs", "twice", ("file",)),
    ("POST runs/log-model", "twice", ("file",)),
    ("POST runs/log-model", "misrouted", ("file",)),
    ("POST experiments/delete-experiment-tag", "misrouted", ("sql", "old", "file")),
)
#: Seeds whose worlds are looked at for kinds of requests; the last ones send what is rare.
SEEDS = (*range(120), 238, 491, 1126)
#: Requests that every replay begins with.
_FACTS = ("GET mlflow/server-info", "GET version")
_ID = re.compile(r"^(r?\d+|m-\w+|a[0-9a-f]{8}|[0-9a-f]{32})$")


def kind_of(request: Request) -> str:
    """Name of a kind of request: verb, path without ids, and what it writes when one path writes several things."""
    path = re.sub(r"^/(api/[23]\.0/)?(mlflow/(?!server-info))?", "", request.path)
    path, place, _ = path.partition("artifacts/artifacts/")
    parts = ["{}" if _ID.match(part) else part for part in f"{path}{place}".split("/")]
    name = f"{request.method} {'/'.join(parts)}"
    if "/tags/" in path:
        name = name[: name.rindex("/")] + "/{}"
    if path in ("runs/log-batch", "runs/update"):
        names = sorted(set(json.loads(request.body or b"{}")) - {"run_id", "end_time"})
        name += " " + " ".join(names)
    return name


@dataclass(frozen=True)
class Case:
    """One cell of the matrix.

    Attributes:
        nth: which request of the kind it strikes, from 0.
    """

    kind: str
    trouble: str
    mode: str
    flavour: str
    seed: int
    nth: int = 0

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.kind} #{self.nth}, {self.trouble}, {self.mode}, {self.flavour}, seed {self.seed}"


class Cell(Simulation):
    """A simulation without any trouble but that of its case."""

    SWEEPS = 2  # the fault may strike in the first

    def __init__(
        self, seed: int, flavour: str, case: Case | None = None, shell: Callable[[Simulation], Shell] = Shell
    ) -> None:
        super().__init__(seed, shell, flavour)
        self.network.faults = self.network.stale = 0.0
        self.kill_share = self.edit_share = self.lose_share = 0.0
        self.case = case
        self.seen: Counter[str] = Counter()
        self.struck = False
        self.network.script = self._script
        self._job = self._hit_job = PROBE_JOB - 1
        self._phase = "waiting"

    def _verified(self) -> list[str]:
        self._phase = "over"  # what is only looked at afterwards is no part of the case
        return super()._verified()

    def _start(self, engine: Engine, generation: int, job: int, request: Request) -> None:
        self._job = job
        super()._start(engine, generation, job, request)
        if self._phase == "restart":
            self._phase = "restarted"
            raise Killed

    def _script(self, request: Request) -> str | None:
        """What happens to the request that is going out now."""
        if self._phase == "over":
            return None
        kind, case = kind_of(request), self.case
        nth = self.seen[kind]
        self.seen[kind] += 1
        if case is None:
            return None
        if self._phase == "waiting" and kind == case.kind and nth == case.nth:
            if case.mode == "first try":
                return self._strike(case.trouble)
            self._phase, self._hit_job = case.mode, self._job
            return "lost after" if case.mode == "restart" or case.seed % 2 else "lost"
        recovering = self._phase == "recovery" and self._job == self._hit_job
        restarted = self._phase == "restarted" and kind not in _FACTS
        return self._strike(case.trouble) if recovering or restarted else None

    def _strike(self, trouble: str) -> str:
        self._phase, self.struck = "struck", True
        return trouble

    def _pass(self) -> list[JobResult]:
        try:
            return super()._pass()
        except Killed:  # by the case, which does it once
            self.outline.kills += 1
            return super()._pass()


@cache
def census(flavour: str) -> dict[str, list[tuple[int, int, int]]]:
    """Kind of request -> (requests in all, seed, requests of the kind) of the worlds that send it, shortest first."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for seed in SEEDS:
        cell = Cell(seed, flavour)
        outline = guarded(cell)
        assert not outline.problems, f"seed {seed} fails without any fault: {outline.problems}"
        for kind, count in cell.seen.items():
            found.setdefault(kind, []).append((cell.seen.total(), seed, count))
    return {kind: sorted(worlds) for kind, worlds in sorted(found.items())}


def cases(flavour: str, nth: int = 0, size: float = 0.0) -> Iterator[Case]:
    """The matrix of one flavour.

    Args:
        flavour: of the remote.
        nth: which request of each kind is struck, from 0.
        size: how large a world is taken of those that send such a request: 0 the smallest, 1 the largest.
    """
    for kind, worlds in census(flavour).items():
        fitting = [seed for _, seed, count in worlds if count > nth]
        for trouble in TROUBLES if fitting else ():
            seed = fitting[round(size * (len(fitting) - 1))]
            if not any((kind, trouble) == limit[:2] and flavour in limit[2] for limit in LIMITS):
                yield from (Case(kind, trouble, mode, flavour, seed, nth) for mode in MODES)


def outcome(case: Case, shell: Callable[[Simulation], Shell] = Shell) -> tuple[list[str], bool]:
    """What went wrong in a case, and whether its fault struck at all."""
    cell = Cell(case.seed, case.flavour, case, shell)
    return guarded(cell).problems, cell.struck


def main() -> int:
    """Everything: all flavours, the first three requests of each kind, small and large worlds."""
    tried, failed = 0, 0
    for flavour in FLAVOURS:
        for nth in range(3):
            for size in (0.0, 0.5, 1.0):
                for case in cases(flavour, nth, size):
                    tried += 1
                    problems, _ = outcome(case)
                    failed += bool(problems)
                    if problems:
                        print(f"{case.name}: {problems[0]}")
        print(f"{flavour}: {tried} cases so far, {failed} failed", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
