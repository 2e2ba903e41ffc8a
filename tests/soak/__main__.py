# ruff: noqa: T201 - a command prints
"""python -m tests.soak: 30 minutes of kills and outages with 20 live trainers; prints figures."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.servers.mlflow_server import MlflowServer
from tests.soak.soak import Plan, soak


def main() -> int:
    """Run; the exit code is 1 when something is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long things go wrong")
    parser.add_argument("--trainers", type=int, default=20, help="how many train at a time")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random")
    parser.add_argument("--heal-minutes", type=float, default=15.0, help="how long healing may take")
    parser.add_argument("--keep", type=Path, help="directory for stores and logs; kept")
    arguments = parser.parse_args()
    home: Path = arguments.keep or Path(tempfile.mkdtemp(prefix="localtrack-soak-"))
    home.mkdir(parents=True, exist_ok=True)
    plan = Plan(arguments.seed, 60 * arguments.minutes, arguments.trainers, 60 * arguments.heal_minutes, sample=20)
    with MlflowServer(home / "server") as server:
        outcome = soak(plan, home, server, lambda line: print(line, flush=True))
    print()
    for name, value in outcome.figures.items():
        print(f"{name}: {value}")
    print("\n" + ("\n".join(outcome.problems) or "all as it must be"))
    if outcome.problems:
        print(f"\nstores and logs: {home}")
    elif arguments.keep is None:
        shutil.rmtree(home)
    return bool(outcome.problems)


if __name__ == "__main__":
    sys.exit(main())
