"""`python -m demo`: train with no server, start one, replay twice, compare. Exit code 0: all is equal."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from demo.compare import Row, compare, from_server, from_store, from_witness
from localtrack.cli.table import Column, render
from tests.servers.mlflow_server import MlflowServer
from tests.servers.reader import MlflowReader
from tests.servers.venv import CACHE, MLFLOW_VERSION, mlflow_python

HOME = CACHE / "demo"
EXPERIMENT = "digits"
#: Seconds: training takes about 15 here and a replay about 5; a slow machine may take ten times as long.
TIMEOUT = 300


@dataclass(frozen=True)
class Demo:
    """Where the demo keeps its things, and the server it will use later."""

    home: Path
    server: MlflowServer

    @property
    def store(self) -> str:
        """The store that the training writes and the replay reads."""
        return str(self.home / "store")

    @property
    def notes(self) -> Path:
        """What the training program wrote down for itself."""
        return self.home / "witness.json"

    def run(self, *command: str) -> float:
        """Run a program of this venv, its output shown; returns seconds.

        Raises:
            SystemExit: it failed.
        """
        settings = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "LOCALTRACK_"))}
        began = time.monotonic()
        done = subprocess.run(
            command,
            env={**settings, "LOCALTRACK_STORE": self.store},
            timeout=TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
        return time.monotonic() - began


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def heading(text: str) -> None:
    """The beginning of a step."""
    say(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else f"\n{text}")


def nobody_listens(port: int) -> str:
    """What a connection to the port gets: the words of the refusal.

    Raises:
        SystemExit: somebody listens there.
    """
    with socket.socket() as probe:
        try:
            probe.connect(("127.0.0.1", port))
        except ConnectionRefusedError as refusal:
            return f"127.0.0.1:{port}: {(refusal.strerror or 'refused').lower()}"
    raise SystemExit(f"something already listens on port {port}; start the demo again")


def localtrack(demo: Demo, *arguments: str) -> float:
    """Run the real `localtrack` command; returns seconds."""
    say(f"$ localtrack {' '.join(arguments)}")
    return demo.run(str(Path(sys.executable).with_name("localtrack")), *arguments)


def show(rows: list[Row]) -> bool:
    """Print the table; returns whether all of it is equal."""
    columns = (
        [Column("")] + [Column(title, right=True) for title in ("training", "store", "MLflow")] + [Column("equal")]
    )
    body = [
        [row.what, *("" if n is None else f"{n:,}" for n in row.counts), "yes" if row.equal else "NO"] for row in rows
    ]
    for line in render(columns, body, None):
        say(line)
    return all(row.equal for row in rows)


def story(demo: Demo) -> bool:
    """The whole way; returns whether the server holds exactly what was logged."""
    heading("1. Train, with no server anywhere")
    say(f"{nobody_listens(demo.server.port)} (the address where a server will be later)")
    seconds = demo.run(sys.executable, "-m", "demo.train", str(demo.notes))
    witness = from_witness(json.loads(demo.notes.read_text(encoding="utf-8")))
    say(f"{len(witness.runs)} runs, {len(witness.points):,} metric points logged in {seconds:.0f} s, to {demo.store}")

    localtrack(demo, "status")
    sync = ("sync", "--to", demo.server.url)

    heading(f"2. Start an MLflow {MLFLOW_VERSION} server with a SQLite file, and replay")
    with demo.server, MlflowReader() as reader:
        first = localtrack(demo, *sync)
        once = from_server(reader.dump(demo.server.url, [EXPERIMENT]))

        heading("3. Replay again: nothing is owed, nothing is sent twice")
        second = localtrack(demo, *sync)
        twice = from_server(reader.dump(demo.server.url, [EXPERIMENT]))

    heading("4. Compare: the training program's own notes, the store, and the server through MLflow's own client")
    same = show([*compare(witness, from_store(demo.store, EXPERIMENT), twice), after_second(once, twice)])
    say(f"\nreplay: {len(witness.points) / first:,.0f} points/s ({first:.1f} s, start of the program included);")
    say(f"replay again: {second:.1f} s")
    return same


def after_second(once: object, twice: object) -> Row:
    """The row that says that the second replay changed nothing on the server."""
    return Row("second replay changed nothing", (None, None, None), once == twice)


def main() -> int:
    """Tell the story; returns the exit code."""
    began = time.monotonic()
    if not (CACHE / f"mlflow-{MLFLOW_VERSION}" / ".ready").exists():
        say(f"Making a virtual environment with mlflow {MLFLOW_VERSION} (once; about a minute and some downloads) ...")
    mlflow = mlflow_python().with_name("mlflow")
    shutil.rmtree(HOME, ignore_errors=True)  # what an earlier demo left
    HOME.mkdir(parents=True)
    demo = Demo(HOME, MlflowServer(HOME / "server"))
    same = story(demo)
    say(f"{time.monotonic() - began:.0f} s in all. The server that the demo started has ended.")
    if not same:
        say("\nNOT EQUAL: please report this with the directory .cache/demo")
        return 1
    say("\nLook at the runs in MLflow's own UI (then open http://127.0.0.1:5000):")
    say(f"  {os.path.relpath(mlflow)} server --port 5000 --backend-store-uri sqlite:///{demo.server.database}")
    say("or in the terminal:")
    say(f"  .venv/bin/localtrack runs --store {os.path.relpath(demo.store)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
