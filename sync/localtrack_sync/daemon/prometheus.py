"""What the daemon says of itself, for Prometheus: the text exposition format, version 0.0.4. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/ - docs/how-to/monitoring.md lists the metrics. Words that a
remote sent (RemoteFacts.trouble) are left out: each new text would be a new time series.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing

#: What an HTTP reply with this text has to say of it.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_Labels = tuple[tuple[str, str], ...]
_Samples = Iterable[tuple[_Labels, float | None]]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: with its unit and, for counters, `_total`.
        kind: gauge or counter.
        meaning: one line for people.
        labels: names of its labels.
        samples: its values for the daemon as its stores tell it; None: not known now, and left out.
    """

    name: str
    kind: str
    meaning: str
    labels: tuple[str, ...]
    samples: Callable[[Mapping[str, DaemonFacts]], _Samples]


def exposition(stores: Mapping[str, DaemonFacts]) -> str:
    """The metrics of a daemon in Prometheus' text format.

    Args:
        stores: path of each of its stores, and what is said there; empty: the daemon has nothing to say yet.
    """
    return "".join(_family(metric, metric.samples(stores)) for metric in METRICS)


def _family(metric: Metric, samples: _Samples) -> str:
    # A series may stand there once only, or the whole reply is refused: the last one counts.
    values = {labels: value for labels, value in samples if value is not None}
    if not values:
        return ""
    lines = [f"# HELP {metric.name} {_escaped(metric.meaning)}", f"# TYPE {metric.name} {metric.kind}"]
    lines += [f"{metric.name}{_braces(labels)} {_number(value)}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"


def _braces(labels: _Labels) -> str:
    if not labels:
        return ""
    told = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels)
    return f"{{{told}}}"


def _escaped(text: str) -> str:
    # A path need not be text: what is no Unicode becomes a question mark, or the reply could not be encoded.
    return text.encode("utf-8", "replace").decode("utf-8").replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _url(url: str) -> str:
    """An address without what may be secret in it; the facts hold none, and this is the last door."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def _of_process(
    name: str,
    meaning: str,
    read: Callable[[DaemonFacts], float],
    label: Callable[[DaemonFacts], _Labels] = lambda _: (),
) -> Metric:
    """A metric of the process: told once, as the store says that was written last."""

    def samples(stores: Mapping[str, DaemonFacts]) -> _Samples:
        if stores:
            newest = max(stores.values(), key=lambda facts: facts.written)
            yield label(newest), read(newest)

    names = ("version",) if name.endswith("_info") else ()
    return Metric(name, "gauge", meaning, names, samples)


def _of_store(name: str, meaning: str, read: Callable[[DaemonFacts], float]) -> Metric:
    def samples(stores: Mapping[str, DaemonFacts]) -> _Samples:
        for path, facts in stores.items():
            yield (("store", path),), read(facts)

    return Metric(name, "gauge", meaning, ("store",), samples)


def _of_remote(name: str, meaning: str, read: Callable[[RemoteFacts], float | None], kind: str = "gauge") -> Metric:
    def samples(stores: Mapping[str, DaemonFacts]) -> _Samples:
        for path, remote in _remotes(stores):
            yield _labels(path, remote), read(remote)

    return Metric(name, kind, meaning, _REMOTE, samples)


def _standings(stores: Mapping[str, DaemonFacts]) -> _Samples:
    for path, remote in _remotes(stores):
        for standing in Standing:
            yield (*_labels(path, remote), ("standing", standing.name.lower())), int(remote.standing is standing)


def _remotes(stores: Mapping[str, DaemonFacts]) -> Iterable[tuple[str, RemoteFacts]]:
    return ((path, remote) for path, facts in stores.items() for remote in facts.remotes)


_REMOTE = ("store", "remote", "workspace")


def _labels(path: str, remote: RemoteFacts) -> _Labels:
    return tuple(zip(_REMOTE, (path, _url(remote.url), remote.workspace), strict=True))


METRICS: tuple[Metric, ...] = (
    _of_process(
        "localtrack_build_info", "Always 1; says the version.", lambda _: 1, lambda facts: (("version", facts.version),)
    ),
    _of_process("localtrack_process_start_time_seconds", "When the daemon began.", lambda facts: facts.started),
    _of_process(
        "localtrack_process_resident_memory_bytes", "Resident memory of the daemon.", lambda facts: facts.memory_bytes
    ),
    _of_store(
        "localtrack_last_report_timestamp_seconds",
        "When the daemon last said how this store is: an old time in a file means that no daemon runs.",
        lambda facts: facts.written,
    ),
    _of_store(
        "localtrack_store_ok",
        "1: the store can be read; 0: something is wrong with it.",
        lambda facts: int(not facts.trouble),
    ),
    _of_store(
        "localtrack_store_watched_by_events",
        "1: news of this store come as events; 0: by looking from time to time.",
        lambda facts: int(facts.watching == "events"),
    ),
    _of_remote(
        "localtrack_remote_up",
        "0: the remote does not answer; 1: it does, or has not been asked yet.",
        lambda remote: int(remote.standing is not Standing.OFFLINE),
    ),
    Metric(
        "localtrack_remote_standing",
        "gauge",
        "1 for how things stand with the remote, 0 for each of the other standings.",
        (*_REMOTE, "standing"),
        _standings,
    ),
    _of_remote(
        "localtrack_remote_standing_start_timestamp_seconds", "When that standing began.", lambda remote: remote.since
    ),
    _of_remote(
        "localtrack_last_success_timestamp_seconds",
        "When the remote last answered; missing when it never did.",
        lambda remote: remote.last_success,
    ),
    _of_remote(
        "localtrack_next_attempt_timestamp_seconds",
        "When a remote that is away is tried again; missing when none is waited for.",
        lambda remote: remote.next_attempt,
    ),
    _of_remote(
        "localtrack_owed_records",
        "Records that the remote does not have yet; missing while they are not counted.",
        lambda remote: remote.owed,
    ),
    _of_remote(
        "localtrack_delivered_records_total",
        "Records delivered since the daemon began.",
        lambda remote: remote.delivered,
        "counter",
    ),
    _of_remote(
        "localtrack_lag_seconds",
        "Age of the oldest change that could be delivered and is not; 0 when there is none.",
        lambda remote: remote.lag_s,
    ),
    _of_remote(
        "localtrack_unfinished_jobs",
        "Runs, models and experiments that are being delivered, or wait for it.",
        lambda remote: remote.jobs,
    ),
    _of_remote(
        "localtrack_connections_limit", "Requests that may be open at once now.", lambda remote: remote.connections
    ),
)
