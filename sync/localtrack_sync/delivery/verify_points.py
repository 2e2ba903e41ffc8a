"""The history of one metric, ours and the remote's, compared point by point in the memory of a page. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from localtrack.entities import Metric, PagedList
from localtrack_sync.delivery.run_pass import RunPass
from localtrack_sync.delivery.tally import Sample, Tally, Unlike, suspects, unlike, within
from localtrack_sync.protocol.effects import ReadHistory
from localtrack_sync.protocol.findings import Finding, Standing
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.limits import HISTORY_PAGES
from localtrack_sync.protocol.request import get_history
from localtrack_sync.protocol.steps import Ended, Part, read
from localtrack_sync.protocol.values import Identity, canonical, remote_identity
from localtrack_sync.protocol.verdict import Verdict

#: Points that a finding shows.
EXAMPLES = 3
#: Points of ours that are read at once; MLflow's clients read as many of a server's.
PAGE = 25_000


class KnownPoints:
    """Points that the remote refused, or that are parked.

    Attributes:
        reasons: identity -> what the delivery state says of it.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.reasons: dict[Identity, str] = {}
        for name, records in (("rejected", ledger.rejected), ("parked", ledger.parked)):
            for (kind, _), record in records.items():
                if kind == "metric":
                    self.reasons[remote_identity(json.loads(record.value))] = f"{name}: {record.reason}"


@dataclass(slots=True)
class Course:
    """One reading of both histories.

    Attributes:
        ours, theirs: told of the points, page by page; ours distinct, with the spellings of a value as often as they
            were logged when `spellings` is set.
    """

    ours: Callable[[Iterable[Identity]], None]
    theirs: Callable[[Iterable[Identity]], None]
    spellings: bool = False


def compare_points(p: RunPass, remote_id: str, key: str, known: KnownPoints) -> Part[list[Finding]]:
    """What the remote lacks, has more, or has twice of one metric."""
    aside = {point: reason for point, reason in known.reasons.items() if point[0] == key}
    there: set[Identity] = set()
    ours, theirs = Tally(), Tally()

    def apart(points: Iterable[Identity]) -> list[Identity]:
        return [point for point in points if point not in aside] if aside else list(points)

    def shown(points: Iterable[Identity]) -> list[Identity]:
        points = list(points)
        there.update(point for point in points if point in aside)
        return apart(points)

    yield from _read(p, remote_id, key, Course(lambda q: ours.add(apart(q)), lambda q: theirs.add(shown(q))))
    found = [_known(key, point, reason) for point, reason in sorted(aside.items(), key=str) if point not in there]
    differing = suspects(ours, theirs)
    if not differing:
        return found
    sample = Sample(within(ours, theirs, differing))
    second = Course(
        lambda q: sample.take(apart(q), sample.ours), lambda q: sample.take(apart(q), sample.theirs), spellings=True
    )
    yield from _read(p, remote_id, key, second)
    return found + _findings(p, key, ours.total, theirs.total, unlike(ours, theirs, sample, differing, EXAMPLES))


def _read(p: RunPass, remote_id: str, key: str, course: Course) -> Part[None]:
    yield from _read_ours(p.desired.run_id, key, course)
    yield from _read_theirs(p, remote_id, key, course.theirs)


def _read_ours(run_id: str, key: str, course: Course) -> Part[None]:
    """Our history comes in the order of timestamp, step and value, so that equal points are neighbours."""
    token, last, spelled = None, None, None
    while True:
        page: PagedList[Metric] = yield ReadHistory(run_id, key, PAGE, token)
        points = []
        for metric in page:
            point = (key, metric.step, metric.timestamp, canonical(metric.value))
            spelling = metric.value + 0.0
            if point != last or (course.spellings and spelling == spelling and spelling != spelled):  # noqa: PLR0124
                points.append(point)
            last, spelled = point, spelling
        course.ours(points)
        token = page.token
        if not token:
            return


def _read_theirs(p: RunPass, remote_id: str, key: str, take: Callable[[Iterable[Identity]], None]) -> Part[None]:
    token = ""
    for _ in range(HISTORY_PAGES):
        judged = yield from read(get_history(remote_id, key, p.desk.limits.history_page, token))
        if judged.verdict is Verdict.GONE:
            return  # the file store knows no metric of this name
        if judged.verdict is not Verdict.OK:
            raise Ended(Ending.PARKED, f"the history of metric {key} cannot be read: {judged.words}")
        take([remote_identity(metric) for metric in judged.body.get("metrics") or ()])
        before, token = token, str(judged.body.get("next_page_token") or "")
        if not token or token == before:
            return
    raise Ended(Ending.PARKED, f"the history of metric {key} does not end on the remote")


def _known(key: str, point: Identity, reason: str) -> Finding:
    return Finding("metric", key, "missing", _told([point]), None, 1, Standing.KNOWN, reason)


def _findings(p: RunPass, key: str, ours: int, theirs: int, how: Unlike) -> list[Finding]:
    found = []
    if how.missing[0]:
        told = _told(how.missing[1], how.missing[0])
        found.append(Finding("metric", key, "missing", told, _points(theirs), how.missing[0]))
    if how.extra[0]:
        other = "others logged it to this run, which was created elsewhere"
        known = (Standing.FOREIGN, other) if p.desired.attached else (Standing.DIFFERENT, "")
        told = _told(how.extra[1], how.extra[0])
        found.append(Finding("metric", key, "extra", _points(ours), told, how.extra[0], *known))
    if how.twice[0]:
        told = _told(how.twice[1], how.twice[0])
        found.append(Finding("metric", key, "twice", _points(ours), told, how.twice[0]))
    return found


def _points(number: int) -> str:
    return f"{number:,} points" if number != 1 else "1 point"


def _told(points: Sequence[Identity], number: int = 1) -> str:
    """Examples: `step 3 at 1700000000003: 0.25`."""
    shown = ", ".join(f"step {step} at {ts}: {value}" for _, step, ts, value in points)
    return f"{shown}, ..." if number > len(points) else shown
