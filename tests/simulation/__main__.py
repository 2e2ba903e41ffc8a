# ruff: noqa: T201 - a command prints
"""python -m tests.simulation --seeds N: run seeds, stop at the first failure and say how to replay it."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.daemon import DaemonSimulation
from tests.simulation.restored import Restored
from tests.simulation.simulate import Simulation, simulate


def main() -> int:
    """Run; the exit code is 1 when a seed fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--seed", type=int, help="run this one seed and print what happened")
    parser.add_argument("--keep-going", action="store_true", help="count failures instead of stopping at the first")
    parser.add_argument("--restored", action="store_true", help="the remote is restored from backups, and repaired")
    parser.add_argument("--daemon", action="store_true", help="the engine is told of news while it works")
    arguments = parser.parse_args()
    kind = Restored if arguments.restored else DaemonSimulation if arguments.daemon else Simulation
    if arguments.seed is not None:
        outline = simulate(arguments.seed, kind=kind)
        print("\n".join(outline.log))
        print("\n".join(outline.problems) or "all as it must be")
        return bool(outline.problems)
    begun, failed, requests, kills = time.monotonic(), 0, 0, 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        outline = simulate(seed, kind=kind)
        requests += outline.requests
        kills += outline.kills
        if outline.problems:
            failed += 1
            option = "--restored " if arguments.restored else "--daemon " if arguments.daemon else ""
            print(
                f"seed {seed} fails: {outline.problems[0]}\n  replay: python -m tests.simulation {option}--seed {seed}"
            )
            if not arguments.keep_going:
                return 1
    took = time.monotonic() - begun
    print(f"{arguments.seeds} seeds, {failed} failed, {requests} requests, {kills} kills, {took:.1f} s")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
