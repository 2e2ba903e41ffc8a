"""Any reply to any request of a real replay: nothing crashes, nothing is taken for delivered, nothing else changes."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from localtrack.errors import LocaltrackError
from localtrack.store import Store
from localtrack_sync.protocol.effects import Reply, Request
from tests.security.hostile import Answer, Hostile, reads
from tests.security.places import around, logged, replay, verify

#: Texts that hurt somebody: a terminal, a file system, a database, an address, a number.
NASTY = [
    "", "\0", "\x1b]0;owned\x07", "\x9b31m", "\u202e", "../../../etc/passwd", "/etc/passwd", "..", "C:\\x",
    "file:///etc", "1e999", "NaN", "nan", "-Infinity", "9" * 400, "{}", "'; DROP TABLE run; --",
    "http://169.254.169.254/", "a" * 70_000, "line\nline", "%2e%2e%2f", "\U0001f600", "s3://x::file:///tmp",
    "deleted", "FINISHED", "LOGGED_MODEL_READY",
]  # fmt: skip
NUMBERS = [0, -1, 2**63, -(2**63) - 1, 10**300, 10**4000, 1e308, -0.0, 1.5]
#: What no JSON library writes, but Python's reads.
RAW = [
    b"", b"null", b"[]", b"{", b"\xff\xfe", b"<html>please log in</html>", b'{"run": ' * 50_000, b"[" * 100_000,
    b'{"a": ' * 900 + b"1" + b"}" * 900, b'{"run": {"info": {"run_id": "\\ud800"}}}', b'{"experiment_id": 1e999}',
    b'{"experiment_id": NaN, "run": NaN}', b'"' + b"a" * 100_000 + b'"', b"9" * 5000, b'{"\\ud800": "\\udfff\\u0000"}',
    b"\x1f\x8b\x08\x00", b"[" * 500 + b"]" * 500,
]  # fmt: skip

scalars = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), st.sampled_from(NASTY), st.text(max_size=5))
#: Names that replies have, so that what is made up is looked at.
NAMES = [
    "run",
    "info",
    "data",
    "tags",
    "key",
    "value",
    "experiment",
    "experiment_id",
    "run_id",
    "files",
    "path",
    "name",
]
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*NAMES, *NASTY]), inner, max_size=4)
    ),
    max_leaves=8,
)


@dataclass(frozen=True)
class Bend:
    """How an answer is bent.

    Attributes:
        how: "part" of the true answer, or the "whole" of it, becomes `value`; "raw": these bytes; "status".
        place: which part, as a share of all parts.
        statuses: of the answer.
    """

    how: str
    value: Any
    place: float
    status: int
    execute: bool


bends = st.builds(
    Bend,
    st.sampled_from(["part", "part", "part", "whole", "raw", "status"]),
    values,
    st.floats(0, 0.999),
    st.sampled_from([200, 200, 200, 201, 204, 206, 301, 307, 400, 401, 403, 404, 409, 413, 418, 429, 500, 503, 599]),
    st.booleans(),
)


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a JSON value: its container and key."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, below in pairs:
        yield value, key
        yield from slots(below)


def replaced(body: Any, place: float, change: Callable[[Any], Any]) -> Any:
    """A copy in which one part is changed."""
    new = copy.deepcopy(body)
    found = list(slots(new))
    if not found:
        return change(new)
    container, key = found[int(place * len(found))]
    container[key] = change(container[key])
    return new


def bent(bend: Bend, say: Callable[[], Reply]) -> Answer:
    """The answer as it goes out."""
    if bend.how == "raw":
        return Answer(200, RAW[int(bend.place * len(RAW))], execute=bend.execute)
    if bend.how == "status":
        body = {"error_code": bend.value, "message": bend.value}
        after = "".join(c if c.isascii() and c.isprintable() else "?" for c in str(bend.value)[:20])
        return Answer(bend.status, json.dumps(body).encode(), {"Retry-After": after})
    if bend.how == "whole":
        return Answer(200, json.dumps(bend.value).encode(), execute=bend.execute)
    reply = say()
    body = replaced(reply.body, bend.place, lambda _old: bend.value)
    return Answer(reply.status, json.dumps(body).encode())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a store, to be copied."""
    place = tmp_path_factory.mktemp("template")
    logged(place)
    return place


@contextmanager
def copied(template: Path) -> Iterator[tuple[Path, Store]]:
    """A copy of the place, in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "place"
        shutil.copytree(template, place)
        yield place, Store.at(place / "store")


#: Examples of each test; more by the environment.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "7"))
FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)  # fmt: skip


@FUZZ
@given(
    plan=st.lists(bends, min_size=1, max_size=6),
    share=st.sampled_from([0.1, 0.4, 1.0]),
    seed=st.integers(0, 999),
    errand=st.sampled_from(["sync", "sync", "repair", "verify"]),
)
def test_no_reply_crashes_a_replay_or_writes_elsewhere(
    template: Path, plan: list[Bend], share: float, seed: int, errand: str
) -> None:
    """Lies of every form, in part or whole: what is documented comes of it, and only the store's state has changed."""
    rng = random.Random(seed)

    def script(_request: Request, say: Callable[[], Reply]) -> Answer | None:
        return bent(rng.choice(plan), say) if rng.random() < share else None

    with copied(template) as (place, store), Hostile(seed=seed) as server:
        before = around(place, store)
        if errand != "sync":
            assert replay(store, server.url).report.complete
        server.script = script
        with suppress(LocaltrackError):
            if errand == "verify":
                verify(store, server.url, patience_s=120.0)
            else:
                replay(store, server.url, patience_s=120.0, repair=errand == "repair")
        assert around(place, store) == before


#: What is no answer to anything, and so must never count as one.
_UNLIKE: dict[type, list[Any]] = {
    dict: [1, "x", [[]]],
    list: [{"a": 1}, 7, "x"],
    str: [["x"], {"k": []}],
    int: ["many", [1], 2**70],
}


def unlike(value: Any, rng: random.Random) -> Any:
    """A value of another kind."""
    return rng.choice(_UNLIKE.get(type(value), [[{}]]))


@FUZZ
@given(share=st.sampled_from([0.2, 0.5]), seed=st.integers(0, 10**6), flavour=st.sampled_from(["sql", "file"]))
def test_what_no_answer_said_is_never_taken_for_delivered(
    template: Path, share: float, seed: int, flavour: str
) -> None:
    """Answers that are none, while nothing, or everything, is executed: at last all has arrived, once."""
    rng = random.Random(seed)

    def script(request: Request, say: Callable[[], Reply]) -> Answer | None:
        if rng.random() >= share or request.path == "/version":
            return None
        if reads(request) and isinstance(say().body, dict) and say().status == 200:
            return Answer(200, json.dumps(replaced(say().body, rng.random(), lambda old: unlike(old, rng))).encode())
        raw = rng.choice([raw for raw in RAW if raw and not raw.startswith(b'{"')])
        return Answer(rng.choice([200, 500]), raw, execute=rng.random() < 0.5)

    with copied(template) as (_, store), Hostile(script, seed, flavour) as server:
        with suppress(LocaltrackError):
            replay(store, server.url, patience_s=600.0)
        server.script = lambda _request, _say: None
        for _ in range(3):
            ended = replay(store, server.url)
            left = [one.reasons for one in (*ended.accounts, *ended.models) if one.owed or one.parked]
            if ended.report.complete and not left:
                break
        assert ended.report.complete, ended.report
        assert left == []
        (run,) = [run for run in server.remote.runs.values() if not run.deleted]
        assert [(m[0], m[1]) for m in sorted(run.metrics)] == [("loss", step) for step in range(5)]
        assert run.params == {"lr": "0.1", "layers": "2"}
        assert {"stage": "train", "who": "me"}.items() <= run.tags.items()
        assert run.status == "FINISHED"
        assert server.remote.files[f"{run.run_id}/sub/weights.bin"] == b"weights"
