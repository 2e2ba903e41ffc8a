"""Stores and server side by side, read by means of our own: catalogs, the trainers' accounts, and MLflow's REST."""

from __future__ import annotations

import json
import random
import sqlite3
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from localtrack.catalog.catalog import Catalog
from localtrack.store import Store
from tests.soak.programs import Logged
from tests.soak.trainer import METRICS

UID = "localtrack.uid"


@final
class Rest:
    """MLflow's REST of a server on this machine, for reading."""

    def __init__(self, url: str) -> None:
        assert url.startswith("http://127.0.0.1:"), "tests talk to this machine only"
        self._base = f"{url}/api/2.0/mlflow"
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def runs(self, experiments: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Local id -> the runs with that uid that are not deleted; "": those that are not ours."""
        ids = []
        for name in experiments:
            query = urllib.parse.urlencode({"experiment_name": name})
            ids.append(self._ask(f"experiments/get-by-name?{query}")["experiment"]["experiment_id"])
        found: dict[str, list[dict[str, Any]]] = {}
        for run in self._pages("runs/search", {"experiment_ids": ids, "max_results": 500}, "runs"):
            tags = {tag["key"]: tag["value"] for tag in run["data"].get("tags", [])}
            found.setdefault(tags.get(UID, ""), []).append(run)
        return found

    def points(self, run_id: str, key: str) -> list[tuple[int, int, float]]:
        """All that the history of a metric holds: (step, time in ms, value)."""
        found, token = [], ""
        while True:
            query = urllib.parse.urlencode(
                {"run_id": run_id, "metric_key": key, "max_results": 5000, "page_token": token}
            )
            page = self._ask(f"metrics/get-history?{query}")
            found += [(int(m.get("step", 0)), int(m["timestamp"]), float(m["value"])) for m in page.get("metrics", [])]
            token = page.get("next_page_token", "")
            if not token:
                return found

    def _pages(self, path: str, body: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            page = self._ask(path, {**body, **({"page_token": token} if token else {})})
            yield from page.get(name, [])
            token = page.get("next_page_token")
            if not token:
                return

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._base}/{path}", data, {"Content-Type": "application/json"})  # noqa: S310  checked above
        with self._opener.open(request, timeout=120) as reply:
            answer: dict[str, Any] = json.loads(reply.read())
        return answer


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found.

    Attributes:
        problems: what is missing, doubled or different, one line each.
        looked_into: runs whose histories were read.
    """

    problems: tuple[str, ...]
    runs: int
    points: int
    files: int
    looked_into: int


def unregistered(stores: Sequence[Path], logged: Mapping[str, Logged]) -> int:
    """How many files that trainers wrote are in no catalog yet: others' files are found by the daemon."""
    missing = 0
    for store in stores:
        with Catalog(Store.at(store)) as catalog:
            catalog.refresh()
            for run_id, account in logged.items():
                if account.store == store and account.files:
                    missing += len(account.files - {file.path for file in catalog.files(run_id, refresh=False)})
    return missing


def damaged(store: Path) -> list[str]:
    """SQLite files of a store that are damaged, or were and have been put aside; nobody may have them open to write."""
    found = [f"{path}: the catalog was damaged" for path in store.glob("*.damaged*")]
    for path in (store / "catalog.db", *sorted((store / "sync").glob("*.db"))):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            told = [str(line) for (line,) in connection.execute("PRAGMA integrity_check")]
        if told != ["ok"]:
            found.append(f"{path} is damaged: {told[:3]}")
    return found


def twins(there: Mapping[str, Sequence[object]]) -> list[str]:
    """Runs of ours that are on the server twice."""
    return [uid for uid, copies in there.items() if uid and len(copies) > 1]


def compared(
    stores: Sequence[Path], logged: Mapping[str, Logged], rest: Rest, experiments: Sequence[str], seed: int, sample: int
) -> Compared:
    """Catalogs against the trainers' accounts, the server against the catalogs.

    Args:
        stores: all stores of the soak.
        logged: what the trainers wrote down.
        rest: of the server.
        experiments: names of all experiments.
        seed: chooses the runs that are looked into.
        sample: how many of each kind (resumed, killed, others) are looked into.
    """
    there = rest.runs(experiments)
    problems = [f"run {uid}: {len(copies)} times on the server" for uid, copies in there.items() if len(copies) > 1]
    here: set[str] = set()
    points = files = looked = 0
    chosen = _chosen(logged, seed, sample)
    for store in stores:
        with Catalog(Store.at(store)) as catalog:
            index = catalog.run_index()
            here |= {entry.run_id for entry in index}
            points += sum(entry.points for entry in index)
            files += sum(entry.files for entry in index)
            for run_id, account in logged.items():
                if account.store == store:
                    problems += _against_account(catalog, run_id, account)
                if run_id in chosen and account.store == store and run_id in there:
                    looked += 1
                    problems += _histories(catalog, run_id, there[run_id][0]["info"]["run_id"], rest)
    problems += [f"run {one}: logged, but not on the server" for one in sorted(here - there.keys())]
    problems += [f"run {one or 'without a uid'}: on the server, but not logged" for one in sorted(there.keys() - here)]
    problems += [f"run {one}: its trainer had it, the catalog has not" for one in sorted(logged.keys() - here)]
    return Compared(tuple(problems), len(here), points, files, looked)


def _chosen(logged: Mapping[str, Logged], seed: int, sample: int) -> set[str]:
    """Some runs that a kill ended or cut, some that no kill touched."""
    rng = random.Random(f"{seed} sample")
    chosen: set[str] = set()
    for touched in (True, False):
        some = sorted(run_id for run_id, account in logged.items() if bool(account.deaths) is touched)
        chosen.update(rng.sample(some, min(sample, len(some))))
    return chosen


def _against_account(catalog: Catalog, run_id: str, account: Logged) -> list[str]:
    """All that was acknowledged is in the catalog, and beyond that at most one step for each kill."""
    steps = Counter(p.step for p in catalog.points(run_id, {}, 10_000_000, refresh=False) if p.key == METRICS[0])
    lost = account.steps - steps
    more = (steps - account.steps).total()
    files = account.files - {file.path for file in catalog.files(run_id, refresh=False)}
    found = [f"run {run_id}: steps {sorted(lost)[:5]} were logged, the catalog has not got them"] if lost else []
    found += [f"run {run_id}: files {sorted(files)[:5]} were logged, the catalog has not got them"] if files else []
    if more > account.deaths:
        found.append(f"run {run_id}: {more} steps more than were logged, after {account.deaths} kills")
    return found


def _histories(catalog: Catalog, run_id: str, remote_id: str, rest: Rest) -> list[str]:
    """Each metric's history there holds the distinct points of here, each once."""
    found = []
    points = catalog.points(run_id, {}, 10_000_000, refresh=False)
    for key in METRICS:
        ours = {(point.step, point.ts, point.value) for point in points if point.key == key}
        theirs = rest.points(remote_id, key)
        if len(theirs) != len(ours) or set(theirs) != ours:
            found.append(f"run {run_id}: {key}: {len(ours)} distinct points here, {len(theirs)} there")
    return found
