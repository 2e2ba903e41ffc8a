"""The metrics as text: what is told, what is left out, what cannot break the format."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace

import pytest

from localtrack_sync.daemon.facts import DaemonFacts, RemoteFacts, Standing
from localtrack_sync.daemon.prometheus import METRICS, exposition

REMOTE = RemoteFacts(
    url="https://tracking.example",
    workspace="team",
    standing=Standing.OFFLINE,
    since=1_700_000_000.5,
    trouble="s3cret words of the remote",
    next_attempt=1_700_000_060.0,
    last_success=1_699_999_999.0,
    delivered=41,
    rate=7.0,
    lag_s=12.25,
    connections=3,
    jobs=5,
    owed=17,
)
FACTS = DaemonFacts(
    pid=7,
    host="node",
    version="0.1.0",
    started=1_699_000_000.0,
    written=1_700_000_001.0,
    memory_bytes=50_000_000,
    watching="events",
    remotes=(REMOTE,),
)
HERE = '{store="/a",remote="https://tracking.example",workspace="team"}'
#: One line of a sample, by the definition of the format.
_SAMPLE = re.compile(
    r'(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?P<labels>\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? '
    r"(?P<value>-?[0-9.]+(?:e[+-]?[0-9]+)?|NaN|[+-]Inf)"
)


def samples(text: str) -> dict[str, str]:
    """Name with labels -> value. Fails where the text breaks the format: a series told twice, a type told late."""
    found: dict[str, str] = {}
    typed: list[str] = []
    assert text == "" or text.endswith("\n")
    for line in text.split("\n")[:-1]:
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in typed
            assert kind in {"gauge", "counter"}
            typed.append(name)
        elif not line.startswith("# HELP "):
            hit = _SAMPLE.fullmatch(line)
            assert hit, line
            assert hit["name"] == typed[-1], "samples of one metric stand together, below their type"
            series = hit["name"] + (hit["labels"] or "")
            assert series not in found
            found[series] = hit["value"]
    return found


def test_every_fact_is_told() -> None:
    """Each number of the facts is found under its name, with store, remote and workspace as labels."""
    found = samples(exposition({"/a": FACTS}))
    assert found["localtrack_build_info" + '{version="0.1.0"}'] == "1"
    assert found["localtrack_process_start_time_seconds"] == "1699000000.0"
    assert found["localtrack_process_resident_memory_bytes"] == "50000000"
    assert found['localtrack_last_report_timestamp_seconds{store="/a"}'] == "1700000001.0"
    assert found['localtrack_store_ok{store="/a"}'] == "1"
    assert found['localtrack_store_watched_by_events{store="/a"}'] == "1"
    assert found["localtrack_remote_up" + HERE] == "0"
    assert found["localtrack_remote_standing_start_timestamp_seconds" + HERE] == "1700000000.5"
    assert found["localtrack_last_success_timestamp_seconds" + HERE] == "1699999999.0"
    assert found["localtrack_next_attempt_timestamp_seconds" + HERE] == "1700000060.0"
    assert found["localtrack_owed_records" + HERE] == "17"
    assert found["localtrack_delivered_records_total" + HERE] == "41"
    assert found["localtrack_lag_seconds" + HERE] == "12.25"
    assert found["localtrack_unfinished_jobs" + HERE] == "5"
    assert found["localtrack_connections_limit" + HERE] == "3"
    assert {name.partition("{")[0] for name in found} == {metric.name for metric in METRICS}


def test_what_is_not_known_is_left_out() -> None:
    """A value that is None has no line, rather than a zero that would be a lie."""
    remote = replace(REMOTE, owed=None, last_success=None, next_attempt=None)
    text = exposition({"/a": replace(FACTS, remotes=(remote,))})
    for name in ("owed_records", "last_success", "next_attempt"):
        assert name not in text
    assert exposition({}) == ""
    assert RemoteFacts("http://a", "", Standing.IDLE, 0.0).owed is None


@pytest.mark.parametrize("standing", list(Standing))
def test_exactly_one_standing_is_1(standing: Standing) -> None:
    """Of all standings of a remote the one that holds is 1; only an offline remote is not up."""
    found = samples(exposition({"/a": replace(FACTS, remotes=(replace(REMOTE, standing=standing),))}))
    told = {name: value for name, value in found.items() if name.startswith("localtrack_remote_standing{")}
    assert len(told) == len(Standing)
    assert [name for name, value in told.items() if value == "1"] == [
        f'localtrack_remote_standing{HERE[:-1]},standing="{standing.name.lower()}"}}'
    ]
    assert found["localtrack_remote_up" + HERE] == str(int(standing is not Standing.OFFLINE))


def test_several_stores_and_remotes_are_told_apart() -> None:
    """Each store and remote has its own series; the process is told once, as the newest report has it."""
    other = replace(FACTS, written=FACTS.written + 1, memory_bytes=60_000_000, trouble="unreadable", watching="polling")
    both = replace(other, remotes=(REMOTE, replace(REMOTE, workspace=""), replace(REMOTE, url="http://b", owed=0)))
    found = samples(exposition({"/a": FACTS, "/b": both}))
    assert len([name for name in found if name.startswith("localtrack_owed_records")]) == 4
    assert found['localtrack_owed_records{store="/b",remote="http://b",workspace="team"}'] == "0"
    assert found["localtrack_process_resident_memory_bytes"] == "60000000"
    assert (found['localtrack_store_ok{store="/a"}'], found['localtrack_store_ok{store="/b"}']) == ("1", "0")
    assert found['localtrack_store_watched_by_events{store="/b"}'] == "0"


def test_no_label_breaks_the_format() -> None:
    """Quotes, backslashes, line ends and bytes that are no text stay inside their label."""
    path = '/a "quoted" \\ and\nbroken \udcff'
    text = exposition({path: FACTS})
    found = samples(text)
    assert 'localtrack_store_ok{store="/a \\"quoted\\" \\\\ and\\nbroken ?"}' in found
    assert text.encode("utf-8")


def test_no_secret_and_no_words_of_a_remote_are_told() -> None:
    """User, password and query of an address are left out, and so is what a remote said."""
    remote = replace(REMOTE, url="https://ada:s3cret@host/path?token=s3cret")
    text = exposition({"/a": replace(FACTS, remotes=(remote,))})
    assert "s3cret" not in text
    assert 'remote="https://host/path"' in text


def test_a_series_is_told_once() -> None:
    """Two remotes of the same name would make Prometheus refuse everything: the last one counts."""
    remotes = (replace(REMOTE, owed=1), replace(REMOTE, owed=2))
    assert samples(exposition({"/a": replace(FACTS, remotes=remotes)}))["localtrack_owed_records" + HERE] == "2"


@pytest.mark.parametrize(
    ("value", "told"), [(math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (1e-9, "1e-09"), (2.0, "2.0")]
)
def test_numbers_are_written_as_the_format_wants(value: float, told: str) -> None:
    """Not a number and the infinities have names of their own there."""
    text = exposition({"/a": replace(FACTS, remotes=(replace(REMOTE, lag_s=value),))})
    assert samples(text)["localtrack_lag_seconds" + HERE] == told


def test_names_follow_the_conventions() -> None:
    """Names have our prefix, counters end with _total, times and sizes with their unit; labels are told."""
    for metric in METRICS:
        assert re.fullmatch(r"localtrack_[a-z_]+", metric.name)
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert not re.search(r"_(ms|minutes|kb|mb|pct)$", metric.name)
        assert "\n" not in metric.meaning
    told = {name for metric in METRICS for name in metric.labels}
    assert told == {"version", "store", "remote", "workspace", "standing"}
    for name in samples(exposition({"/a": FACTS})):
        metric = next(one for one in METRICS if one.name == name.partition("{")[0])
        assert tuple(re.findall(r'(\w+)="', name)) == metric.labels


def test_facts_without_a_metric_are_known() -> None:
    """A fact that is added gets a metric, or its name here: these are told in `localtrack status` only."""
    told_elsewhere = {"trouble", "rate", "pid", "host"}
    known = {field.name for kind in (RemoteFacts, DaemonFacts) for field in fields(kind)}
    with_metric = {
        "url", "workspace", "standing", "since", "next_attempt", "last_success", "delivered", "lag_s", "connections",
        "jobs", "owed", "version", "started", "written", "memory_bytes", "watching", "remotes",
    }  # fmt: skip
    assert known == told_elsewhere | with_metric
