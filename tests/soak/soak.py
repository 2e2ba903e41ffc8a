"""The soak: live trainers, a daemon, a real server; everything dies and comes back at random, then heals."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from localtrack.store import Store
from localtrack_sync.daemon import facts_file
from localtrack_sync.daemon.facts import Standing
from tests.acceptance.harness import command_environment
from tests.servers.mlflow_server import MlflowServer
from tests.servers.proxy import FaultProxy
from tests.soak.comparison import Compared, Rest, compared, damaged, twins, unregistered
from tests.soak.programs import DaemonProcess, Logged, Trainer
from tests.soak.samples import Life, Trend, longest, rises
from tests.soak.timetable import Span, Timetable, timetable
from tests.soak.weather import LATEST_S, Weather

#: The settle time of this remote. The proxy executes no request later than `LATEST_S` after it came, and the server,
#: asked by one daemon, answers within a second or two also on a busy machine (the figures say how long it took).
SETTLE_S = 15
assert SETTLE_S > 4 * LATEST_S
#: Seconds between two steps of a trainer.
PAUSE_S = 0.5
#: Experiments: one of each store, and one that all of them write to.
SHARED = "soak, shared"
#: Seconds that a command may take.
_COMMAND_S = 900.0
#: Lines that the daemon's log may have for each thing that went wrong and for each life of the daemon; more: a storm.
LINES_A_FAULT, LINES_A_LIFE = 8, 20
#: What stands in the log of a daemon with a mistake.
_MISTAKES = ("a mistake in localtrack", "Traceback", "this is a mistake")


@dataclass(frozen=True, slots=True)
class Plan:
    """A soak.

    Attributes:
        seed: of everything that is random.
        seconds: how long things go wrong.
        trainers: at a time.
        heal_s: how long everything may take to be delivered after that.
        sample: runs of each kind whose histories are compared point by point.
        stores: how many.
    """

    seed: int
    seconds: float
    trainers: int
    heal_s: float
    sample: int = 8
    stores: int = 2


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        problems: what must not be, one line each.
        figures: name -> value, to be shown.
        verdicts: what `localtrack verify` said where it did not say that all is equal.
    """

    problems: list[str] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    verdicts: list[str] = field(default_factory=list)


def soak(plan: Plan, home: Path, server: MlflowServer, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Let things go wrong as planned, heal everything, compare.

    Args:
        plan: what is to happen.
        home: an empty directory for stores and logs.
        server: running; it is killed and started again.
        say: told how it gets on.
    """
    return _Soak(plan, home, server, say).run()


@final
class _Soak:
    def __init__(self, plan: Plan, home: Path, server: MlflowServer, say: Callable[[str], None]) -> None:
        self.plan, self.home, self.server, self.say = plan, home, server, say
        self.table: Timetable = timetable(plan.seed, plan.seconds, plan.trainers)
        self.stores = [home / f"store-{number}" for number in range(plan.stores)]
        self.weather = Weather(plan.seed)
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self.begun = time.monotonic()
        self.failures: list[str] = []

    def run(self) -> Outcome:
        with ExitStack() as cleanup:
            self.proxy = cleanup.enter_context(FaultProxy(self.server.port, self.weather, remember=False))
            self.environ = command_environment(
                str(self.stores[0]), LOCALTRACK_REMOTE=self.proxy.url, LOCALTRACK_SETTLE_SECONDS=str(SETTLE_S)
            )
            self.daemon = DaemonProcess(self.stores, self.environ, self.home / "daemon.log", self.begun)
            cleanup.callback(self.daemon.close)
            self.trainers = [self._trainer(number) for number in range(self.plan.trainers)]
            for trainer in self.trainers:
                cleanup.callback(trainer.close)
            cleanup.callback(self.over.set)
            self._go_wrong()
            took = self._heal()
            return self._judge(took)

    def _trainer(self, number: int) -> Trainer:
        store = self.stores[number % len(self.stores)]
        experiment = SHARED if number % 3 == 2 else f"soak, {store.name}"
        return Trainer(number, store, experiment, self.home, self.plan.seed, PAUSE_S)

    # --- while things go wrong ---

    def _go_wrong(self) -> None:
        self.daemon.start()
        for trainer in self.trainers:
            trainer.start()
        actors = [self._actor("network", self.table.network, self._sky, self._clear)]
        actors.append(self._actor("server", self.table.server, self._server_down, self._server_up))
        actors.append(self._actor("daemon", self.table.daemon, self.daemon.end, lambda _: self.daemon.start()))
        for trainer, spans in zip(self.trainers, self.table.trainers, strict=True):
            actors.append(self._actor("", spans, trainer.end, _starter(trainer)))
        for actor in actors:
            actor.start()
        while (
            not self.over.wait(min(60.0, max(0.0, self.plan.seconds - self._now()))) and self._now() < self.plan.seconds
        ):
            self.say(f"{self._now():5.0f} s: {self.proxy.requests:,} requests, {self._standings()}")
        for actor in actors:
            actor.join(_COMMAND_S)
        self.failures += [f"an actor hangs: {actor.name}" for actor in actors if actor.is_alive()]

    def _actor(
        self, name: str, spans: Sequence[Span], begin: Callable[[str], None], end: Callable[[str], None]
    ) -> threading.Thread:
        def act() -> None:
            try:
                for span in spans:
                    if self.over.wait(max(0.0, span.begin - self._now())):
                        return
                    begin(span.what)
                    self.over.wait(max(0.0, span.end - self._now()))
                    end(span.what)
                    if name:
                        self.counts[f"{name}: {span.what}"] += 1
            except Exception as error:  # noqa: BLE001 - told in the end, by another thread
                self.failures.append(f"{name or 'trainer'}: {type(error).__name__}: {error}")
                self.over.set()

        return threading.Thread(target=act, name=name or "trainer", daemon=True)

    def _sky(self, what: str) -> None:
        self.weather.sky = what
        if what == "refused":
            self._refusing = self.proxy.refusing()
            self._refusing.__enter__()

    def _clear(self, what: str) -> None:
        if what == "refused":
            self._refusing.__exit__(None, None, None)
        self.weather.sky = "clear"

    def _server_down(self, how: str) -> None:
        if how == "kill":
            self.server.kill()
        else:
            self.server.stop()

    def _server_up(self, _: str) -> None:
        self.server.restart()

    # --- afterwards ---

    def _heal(self) -> float | None:
        """Everything works again; seconds until all is delivered, None: not in time."""
        for trainer in self.trainers:
            trainer.end("stop")
        self.proxy.settle()
        healed = self._now()
        self.say(f"{healed:5.0f} s: everything works again: {self._standings()}")
        until = time.monotonic() + self.plan.heal_s
        logged = self._logged()
        pause = threading.Event()  # never set: a pause between two looks
        while time.monotonic() < until and not self.failures and not self.daemon.trouble:
            if self._calm() and not unregistered(self.stores, logged) and self._owed() == 0 and not self._twins():
                return self._now() - healed
            pause.wait(1.0)
        return None

    def _calm(self) -> bool:
        """The daemon says that it has nothing to do."""
        facts = [facts_file.read(Store.at(store)) for store in self.stores]
        return all(
            one is not None
            and one.pid == self.daemon.pid
            and not one.trouble
            and one.remotes
            and all(remote.standing is Standing.IDLE and not remote.lag_s for remote in one.remotes)
            for one in facts
        )

    def _owed(self) -> int:
        """Records that are owed, by the books."""
        owed = 0
        for store in self.stores:
            done = self._command(store, "status", "--json")
            document = json.loads(done.stdout)
            owed += sum(int(remote["owed"]) for remote in document["remotes"])
            self.reasons = sorted({r for remote in document["remotes"] for r in remote["reasons"]})
        return owed

    def _logged(self) -> dict[str, Logged]:
        """What the trainers wrote down."""
        return {run_id: each for trainer in self.trainers for run_id, each in trainer.logged().items()}

    def _twins(self) -> list[str]:
        return twins(Rest(self.server.url).runs(self._experiments()))

    def _experiments(self) -> list[str]:
        return sorted({trainer.experiment for trainer in self.trainers})

    def _command(self, store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "localtrack", *arguments, "--store", str(store)],
            env=self.environ, capture_output=True, text=True, timeout=_COMMAND_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _judge(self, healed_s: float | None) -> Outcome:
        outcome = Outcome(list(self.failures))
        if healed_s is None:
            outcome.problems.append(f"not all was delivered within {self.plan.heal_s:g} s: {self._standings()}")
        peak = longest(self.daemon.lives)
        self.daemon.end("stop")
        outcome.problems += self.daemon.trouble + [line for one in self.trainers for line in one.trouble]
        logged = self._logged()
        rest = Rest(self.server.url)
        there = compared(self.stores, logged, rest, self._experiments(), self.plan.seed, self.plan.sample)
        outcome.problems += there.problems
        for store in self.stores:
            outcome.problems += damaged(store)
            self._verify(store, outcome)
        if peak is not None:
            outcome.problems += rises(peak)
        lines = self._log(outcome)
        if self.proxy.slowest_s > SETTLE_S and outcome.problems:
            outcome.problems.append(
                f"(the server took {self.proxy.slowest_s:.0f} s for a request, longer than the settle time)"
            )
        outcome.figures = self._figures(healed_s, there, peak, lines)
        return outcome

    def _verify(self, store: Path, outcome: Outcome) -> None:
        done = self._command(store, "verify")
        if done.returncode != 0:
            told = (done.stdout + done.stderr)[-3000:]
            outcome.problems.append(f"localtrack verify of {store.name} ended with {done.returncode}:\n{told}")

    def _log(self, outcome: Outcome) -> int:
        """Lines of the daemon's log; a storm or a mistake is a problem."""
        lines = self.daemon.log.read_text(encoding="utf-8", errors="replace").splitlines()
        outcome.problems += [f"daemon.log: {line[:500]}" for line in lines if any(m in line for m in _MISTAKES)][:5]
        faults = len(self.table.network) + len(self.table.server)
        most = (LINES_A_FAULT * faults + LINES_A_LIFE * len(self.daemon.lives)) * len(self.stores)
        if len(lines) > most:
            outcome.problems.append(f"daemon.log: {len(lines)} lines, more than {most}: a storm")
        return len(lines)

    def _figures(self, healed_s: float | None, there: Compared, trend: Trend | None, lines: int) -> dict[str, str]:
        lives: list[Life] = self.daemon.lives
        ends = sum((trainer.ends for trainer in self.trainers), Counter[str]())
        samples = [sample for life in lives for sample in life.samples]
        figures = {
            "seed, seconds, trainers": f"{self.plan.seed}, {self.plan.seconds:g}, {self.plan.trainers}",
            **{name: f"{count}" for name, count in sorted(self.counts.items())},
            **{f"trainers: {how}": f"{count}" for how, count in sorted(ends.items())},
            "faults done to requests": ", ".join(
                f"{name} {count}" for name, count in sorted(self.weather.done.items())
            ),
            "requests": f"{self.proxy.requests:,}",
            "slowest request": f"{self.proxy.slowest_s:.1f} s",
            "runs": f"{there.runs:,}, {there.looked_into} compared point by point",
            "points": f"{there.points:,}",
            "files": f"{there.files:,}",
            "time to heal": "too long" if healed_s is None else f"{healed_s:.0f} s",
            "daemon.log": f"{lines} lines",
        }
        if samples:
            figures["daemon, at most"] = (
                f"{max(s.memory for s in samples) / 1e6:.0f} MB, {max(s.handles for s in samples)} handles, "
                f"{max(s.threads for s in samples)} threads"
            )
        if trend is not None:
            figures[f"longest life of {len(lives)}, {trend.seconds:.0f} s, medians of 2nd and 3rd third"] = (
                f"{trend.memory[0] / 1e6:.1f} to {trend.memory[1] / 1e6:.1f} MB, "
                f"{trend.handles[0]:.0f} to {trend.handles[1]:.0f} handles, "
                f"{trend.threads[0]:.0f} to {trend.threads[1]:.0f} threads"
            )
        return figures

    def _now(self) -> float:
        return time.monotonic() - self.begun

    def _standings(self) -> str:
        """How the daemon stands with each store, in a few words."""
        told = []
        for store in self.stores:
            facts = facts_file.read(Store.at(store))
            remotes = [] if facts is None else facts.remotes
            words = [f"{r.standing.name.lower()}, {r.jobs} jobs, lag {r.lag_s:.0f} s {r.trouble[:80]}" for r in remotes]
            told.append(f"{store.name}: {'; '.join(words) or 'not known'}")
        return " | ".join(told)


def _starter(trainer: Trainer) -> Callable[[str], None]:
    return lambda how: trainer.start(resume=how == "kill and resume")
