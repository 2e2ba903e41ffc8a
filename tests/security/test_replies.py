"""What a server sends back is bounded: in size, packed and unpacked, in depth, in time, in kinds and in pages."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import zlib
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.cli import screen
from localtrack.cli.table import visible
from localtrack.json_text import DEPTH
from localtrack_sync.delivery.verify_points import _read_theirs
from localtrack_sync.protocol.answers import WORDS_CHARS, malformed, parsed
from localtrack_sync.protocol.effects import Failure, Reply, Request
from localtrack_sync.protocol.jobs import Ending
from localtrack_sync.protocol.limits import DIALECTS, HISTORY_PAGES
from localtrack_sync.protocol.steps import Ended
from localtrack_sync.protocol.verdict import Judged, Verdict, judge
from localtrack_sync.remote.credentials import Credential
from localtrack_sync.remote.guard import unpacked
from localtrack_sync.remote.remotes import Remote
from localtrack_sync.remote.transport import Transport, TransportSettings, post_form, retry_after
from tests.contract.test_transport import listening, received, replying
from tests.security.hostile import Answer, Hostile

BOUNDS = TransportSettings(connect_s=2.0, total_s=3.0, max_reply_bytes=100_000)
MOST = BOUNDS.max_reply_bytes


def asked(answer: Answer) -> Any:
    """What the transport makes of an answer."""
    with Hostile(lambda _request, _say: answer) as server:
        transport = Transport(Remote(server.url), Credential, BOUNDS)
        outcome = transport.send(Request("GET", "/version"))
        transport.close()
    return outcome


@pytest.mark.parametrize("size", [MOST + 1, 100_000_000])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_packed_reply_is_unpacked_within_the_same_bound(encoding: str, size: int) -> None:
    """A few kilobytes that unpack to more than a reply may have count as no reply; so many are never in memory."""
    plain = b"0" * size
    packed = gzip.compress(plain, 9) if encoding == "gzip" else zlib.compress(plain, 9)
    outcome = asked(Answer(200, packed, {"Content-Encoding": encoding}))
    assert isinstance(outcome, Failure)
    assert outcome.sent
    assert "longer than" in outcome.reason


def test_a_packed_reply_within_the_bound_is_read() -> None:
    """Some proxies pack whatever comes by, also what nobody asked to be packed."""
    outcome = asked(Answer(200, gzip.compress(b'{"a": 1}'), {"Content-Encoding": "gzip"}))
    assert isinstance(outcome, Reply)
    assert outcome.body == {"a": 1}


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip", "\x41" * 500])
def test_a_reply_that_cannot_be_unpacked_keeps_its_status_and_is_no_answer(encoding: str) -> None:
    """Kinds of packing that were not asked for, and broken ones: an error stays one, a 200 says nothing."""
    for status, verdict in ((200, Verdict.UNKNOWN), (401, Verdict.UNAUTHORIZED)):
        outcome = asked(Answer(status, b"\x1f\x8b garbage", {"Content-Encoding": encoding}))
        assert isinstance(outcome, Reply)
        assert outcome.text
        assert judge(outcome).verdict is verdict


@given(st.binary(max_size=200), st.sampled_from(["", "identity", "gzip", "deflate", "br"]), st.integers(0, 50))
def test_unpacking_never_fails_and_never_exceeds(body: bytes, encoding: str, most: int) -> None:
    """Any bytes under any name: None, or what is within the bound (or a sentence of ours)."""
    plain = unpacked(body, encoding, most)
    assert plain is None or encoding in ("", "identity") or len(plain) <= max(most, 100)


@pytest.mark.parametrize("body", [b"[" * 99_000, b'{"a":' * 50_000, b"[" * 200 + b"]" * 200, b"9" * 10_000, b"\xff"])
def test_a_deep_or_broken_reply_is_no_json(body: bytes) -> None:
    """Nested deeper than any answer, a number of thousands of digits, no UTF-8: nothing later can fall over it."""
    assert parsed(body) is None


def test_depth_is_counted_in_levels_not_in_brackets() -> None:
    """Many small objects, and brackets within text, are no depth."""
    assert parsed(json.dumps([{"a": "[" * 1000}] * 1000).encode()) is not None
    level: Any = 1
    for _ in range(DEPTH):
        level = [level]
    assert parsed(json.dumps(level).encode()) is not None
    assert parsed(json.dumps([[level]]).encode()) is None
    assert sys.getrecursionlimit() >= 5 * DEPTH


def test_texts_that_no_database_takes_are_mended() -> None:
    """Half a surrogate pair becomes the replacement character, in names and values; a whole pair stays."""
    body = b'{"a\\ud800": ["\\udfff", "\\ud83d\\ude00", "\\u0000"]}'
    assert parsed(body) == {"a\ufffd": ["\ufffd", "\U0001f600", "\0"]}


@pytest.mark.parametrize(
    "body",
    [
        {"run": []}, {"runs": {"a": 1}}, {"runs": ["x"]}, {"run": {"info": "x"}}, {"run": {"data": {"tags": {"a": 1}}}},
        {"metrics": [{"value": "many"}]}, {"metrics": [{"value": [1]}]}, {"metrics": [{"step": 2**63}]},
        {"metrics": [{"timestamp": 1e999}]}, {"metrics": [{"value": 10**400}]}, {"files": [{"file_size": "x"}]},
        {"run": {"info": {"run_id": ["x"]}}}, {"run": {"info": {"run_id": "a\x1b[31m"}}}, {"next_page_token": {}},
        {"experiment_id": "x" * 501}, {"credentials": {"part_number": 1}},
    ],
    ids=lambda body: json.dumps(body)[:50],
)  # fmt: skip
def test_a_known_field_of_another_kind_is_no_answer(body: dict[str, Any]) -> None:
    """Lists for objects, texts for numbers, numbers beyond 64 bits, ids that no terminal should see."""
    assert malformed(body)
    assert len(malformed(body)) < 200


def test_what_servers_say_is_well_formed() -> None:
    """Numbers as text, fields left out or null, NaN and infinity as words, fields that nobody knows: all fine."""
    run = {
        "info": {"run_id": "a" * 32, "end_time": None, "start_time": "17", "new": [[{"name": {}}]]},
        "data": {"metrics": [{"key": "a", "value": "NaN", "step": "-3"}, {"value": "Infinity"}, {}], "tags": None},
    }
    assert malformed({"run": run, "runs": [run], "next_page_token": ""}) == ""


@pytest.mark.parametrize("shape", ["code", "message", "text"])
def test_words_of_the_remote_are_bounded(shape: str) -> None:
    """An error of megabytes is kept as its first few thousand characters, and looked through in no time."""
    long = "node named " * 400_000
    body = None if shape == "text" else {"error_code": long if shape == "code" else "X", "message": long}
    judged = judge(Reply(500, body, long[:2000]))
    assert len(judged.words) < WORDS_CHARS + 200


def test_headers_without_end_are_left() -> None:
    """More headers than a reply has: cut off after 100 kB, by the library; the deadline ends informational replies."""
    with listening(replying(b"HTTP/1.1 200 OK\r\n", *[b"X-A: " + b"a" * 9000 + b"\r\n"] * 40)) as url:
        transport = Transport(Remote(url), Credential, BOUNDS)
        outcome = transport.send(Request("GET", "/version"))
        transport.close()
    assert isinstance(outcome, Failure)

    def forever(connection: socket.socket) -> None:
        received(connection)
        connection.settimeout(2)
        while True:
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")

    with listening(forever) as url:
        transport = Transport(Remote(url), Credential, TransportSettings(connect_s=1.0, total_s=0.5))
        outcome = transport.send(Request("GET", "/version"))
        transport.close()
    assert isinstance(outcome, Failure)
    assert outcome.sent


def test_cookies_are_not_taken() -> None:
    """What a server sets is neither kept nor sent again: in a process that runs for months they would pile up."""
    with Hostile(lambda _request, _say: Answer(200, b"{}", {"Set-Cookie": "a=b; Path=/"})) as server:
        transport = Transport(Remote(server.url), Credential, BOUNDS)
        for _ in range(2):
            transport.send(Request("GET", "/version"))
        transport.close()
    assert ["cookie" in headers for _, _, headers, _ in server.heard] == [False, False]


def test_an_answer_about_a_token_is_bounded_too() -> None:
    """Where OAuth tokens come from: in size, and in time however its bytes are spread."""
    with Hostile(lambda _request, _say: Answer(200, b"x" * (3 << 20))) as server:
        outcome = post_form(server.url, {}, ("a", "b"), BOUNDS, verify=True)
    assert isinstance(outcome, Failure)
    assert "longer than" in outcome.reason
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    with listening(replying(head, *[b"x"] * 40, pause=0.1)) as url:
        outcome = post_form(url, {}, ("a", "b"), TransportSettings(connect_s=1.0, total_s=0.5), verify=True)
    assert isinstance(outcome, Failure)
    assert outcome.sent


@given(st.one_of(st.none(), st.text(max_size=40), st.floats().map(str)), st.one_of(st.none(), st.text(max_size=40)))
def test_any_retry_after_is_a_number_or_nothing(value: str | None, date: str | None) -> None:
    """Whatever stands in the header: finite seconds, not below zero, or None."""
    seconds = retry_after(value, date)
    assert seconds is None or 0 <= seconds < float("inf")


def test_pages_without_end_are_left() -> None:
    """A history whose every page names a next one, each another: after 250 million points the run is parked."""

    class Pass:
        class desk:  # noqa: N801 - stands in for an attribute
            limits = DIALECTS["mlflow"]

    reading: Generator[Any, Any, None] = _read_theirs(Pass, "r", "loss", lambda _points: None)  # type: ignore[arg-type]
    next(reading)
    for page in range(1, HISTORY_PAGES):
        reading.send(Judged(Verdict.OK, {"metrics": [], "next_page_token": str(page)}, ""))
    with pytest.raises(Ended, match="does not end") as ended:
        reading.send(Judged(Verdict.OK, {"metrics": [], "next_page_token": "more"}, ""))
    assert ended.value.ending is Ending.PARKED


NASTY = "\x1b]0;owned\x07\x9b31m\u202e\x7f\ud800\r\n\0 ok"


def test_nothing_that_is_printed_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters, both kinds of escapes, right-to-left marks and lone surrogates: written out, in JSON too."""
    screen.prose(f"said: {NASTY}")
    screen.document({"a": NASTY, NASTY: [NASTY]})
    out = capsys.readouterr().out
    assert all(c.isprintable() or c == "\n" for c in out)
    assert out.isprintable() or out.encode("utf-8")
    told = json.loads(out.partition("\n{")[1].strip() + out.partition("\n{")[2])
    assert told == {"a": NASTY, NASTY: [NASTY]}
    assert visible(NASTY).isprintable()
