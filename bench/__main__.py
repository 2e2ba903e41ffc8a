"""`python -m bench`: every number of localtrack beside its yardstick, measured in the same run, as a table and as JSON.

A bench module has `rows() -> list[dict]` with the keys
    what       what is measured, with its circumstances
    ours       the number of localtrack
    yardstick  the number of the thing it is compared with, measured beside it (None: an absolute limit)
    ratio      ours / yardstick (None without a yardstick)
    target     the promise, as words: "at most 1.5 x", "under 60 ms"
    unit       unit of `ours` and `yardstick`
and may have the keys `met` (bool: whether the target was met) and `beside` (what the yardstick is).
No test asserts a time: a busy machine is no reason for a red build. The ratio is what counts.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localtrack.cli.table import Column, render

MODULES = ("journal", "catalog", "api", "artifacts", "planner", "replay", "uploads")
#: Of the daemon, as a process, for many minutes: only when they are asked for (`make bench-scale`).
LONG = ("idle", "live", "fair", "scale")
KEYS = {"what", "ours", "yardstick", "ratio", "target", "unit"}
RESULTS = Path(__file__).resolve().parents[1] / ".cache" / "bench.json"


def machine() -> dict[str, Any]:
    """Where the numbers were measured: they mean little without it."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def measure(name: str) -> dict[str, Any]:
    """Run one bench module; what goes wrong is an entry of the results, never a gap in them."""
    if importlib.util.find_spec(f"bench.{name}") is None:
        return {"name": name, "rows": [], "trouble": "not written yet"}
    began = time.monotonic()
    try:
        rows = importlib.import_module(f"bench.{name}").rows()
        for row in rows:
            assert row.keys() >= KEYS, f"bench.{name}: a row lacks {sorted(KEYS - row.keys())}"
    except Exception as error:  # noqa: BLE001 - one broken measurement must not hide the others
        return {"name": name, "rows": [], "trouble": f"{type(error).__name__}: {error}"}
    return {"name": name, "rows": rows, "trouble": "", "seconds": round(time.monotonic() - began, 1)}


def shown(value: object) -> str:
    """A number in four digits, nothing for nothing."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def verdict(row: dict[str, Any]) -> str:
    """`met`, `MISSED`, or nothing when the module does not judge."""
    return {True: "met", False: "MISSED", None: ""}[row.get("met")]


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of the table."""
    columns = [
        Column("what", least=24),
        Column("ours", right=True),
        Column("yardstick", right=True),
        Column("unit"),
        Column("ratio", right=True),
        Column("target", least=12),
        Column(""),
    ]
    body = [
        [*(shown(row[key]) for key in ("what", "ours", "yardstick", "unit", "ratio", "target")), verdict(row)]
        for result in results
        for row in result["rows"]
    ]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return render(columns, body, width) if body else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a measurement broke (a missed target is told, and is no error)."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Every number beside its yardstick.")
    parser.add_argument("--only", action="append", choices=[*MODULES, *LONG], help="one room (may be given again)")
    parser.add_argument("--daemon", action="store_true", help=f"the daemon, for some 20 minutes: {', '.join(LONG)}")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="PATH", help="where to write the JSON")
    options = parser.parse_args(arguments)
    results = []
    for name in options.only or (LONG if options.daemon else MODULES):
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        results.append(measure(name))
    print("\n".join(table(results)))
    for result in results:
        if result["trouble"]:
            print(f"{result['name']}: no numbers: {result['trouble']}")
    where = machine()
    report = {"machine": where, "results": results}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\n" + ", ".join(f"{key} {value}" for key, value in where.items()))
    print(f"JSON: {options.json}")
    return 1 if any(result["trouble"] not in {"", "not written yet"} for result in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
