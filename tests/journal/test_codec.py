"""Record bodies: what goes in comes out, and what was changed is refused."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.entities import Metric
from localtrack.journal import codec, ops
from tests.journal.samples import RUN, any_op, batches, exact

INCARNATION = "00112233445566778899aabbccddeeff"
SEED = codec.seed_of(INCARNATION)
stamps = st.integers(0, 2**63 - 1)


def encode(op: ops.Op, stamp: int, *, literal: bool = False) -> bytes:
    """Payload of an op in a journal that knows no names yet."""
    if not isinstance(op, ops.LogBatch):
        return codec.encode_op(op, stamp)
    names = {op.run_id, *(metric.key for metric in op.metrics)}
    refs = {name: ref for ref, name in enumerate(sorted(names), 1)}
    batch = (op.metrics, op.params, op.tags, op.deleted_tags)
    return codec.encode_batch(stamp, op.run_id, batch, {} if literal else refs, None if literal else refs)


@settings(deadline=None)
@given(any_op, stamps, st.booleans(), st.integers(1, 2**40))
def test_every_op_round_trips(op: ops.Op, stamp: int, literal: bool, n: int) -> None:
    """Any op of any kind, with any text, time, step and float, is read back as it was written."""
    body = codec.seal(encode(op, stamp, literal=literal), SEED, n)
    record = codec.decode(codec.opened(body, SEED, n), n, {})
    assert (record.n, record.stamp) == (n, stamp)
    assert exact(record.op) == exact(op)


@settings(deadline=None)
@given(any_op, stamps, st.integers(1, 2**40), st.data())
def test_every_flipped_bit_is_found(op: ops.Op, stamp: int, n: int, data: st.DataObject) -> None:
    """A body with any single bit flipped is refused."""
    body = bytearray(codec.seal(encode(op, stamp), SEED, n))
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(codec.BadBodyError):
        codec.opened(bytes(body), SEED, n)


def test_every_bit_of_one_metric() -> None:
    """All 264 bits of a single metric's body are covered by its checksum."""
    body = codec.seal(codec.METRIC_STRUCT.pack(codec.METRIC, 1 << 56, 1, 2, 0.5, 0, 7), SEED, 3)
    assert len(body) == 33
    for bit in range(len(body) * 8):
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(codec.BadBodyError):
            codec.opened(bytes(changed), SEED, 3)


@settings(deadline=None)
@given(any_op, stamps, st.integers(1, 2**31), st.integers(1, 2**31), st.binary(min_size=16, max_size=16))
def test_a_body_is_valid_at_its_own_place_only(op: ops.Op, stamp: int, n: int, other: int, incarnation: bytes) -> None:
    """A body that was moved to another number or into another journal is refused."""
    body = codec.seal(encode(op, stamp), SEED, n)
    if other != n:
        with pytest.raises(codec.BadBodyError):
            codec.opened(body, SEED, other)
    seed = codec.seed_of(incarnation.hex())
    if seed != SEED:
        with pytest.raises(codec.BadBodyError):
            codec.opened(body, seed, n)


@settings(deadline=None)
@given(st.integers(0, 255), stamps, st.binary(max_size=60))
def test_what_a_newer_version_wrote_is_kept(kind: int, stamp: int, content: bytes) -> None:
    """Any payload of any kind decodes to an op, to Unknown with its bytes, or to a missing name."""
    payload = codec.HEAD.pack(kind, stamp) + content
    try:
        record = codec.decode(payload, 1, {1: RUN})
    except codec.UnknownNameError:
        return
    assert record.stamp == stamp
    if kind not in {codec.METRIC, codec.BATCH, *codec.JSON_KINDS}:
        assert record.op == ops.Unknown(kind, content)


@settings(deadline=None)
@given(batches, stamps)
def test_a_batch_cut_short_is_not_misread(op: ops.LogBatch, stamp: int) -> None:
    """A batch payload that ends early is Unknown or refers to a lost name: never a shorter batch of wrong values."""
    payload = encode(op, stamp)
    for length in range(codec.BATCH_HEAD.size, len(payload)):
        batch = codec.read_batch(payload[:length])
        assert batch is None or not op.metrics or len(batch.values) == len(op.metrics)


def test_floats_keep_their_bits() -> None:
    """NaN, the infinities, -0.0, the smallest and the greatest double are stored bit by bit."""
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1]
    op = ops.LogBatch(RUN, tuple(Metric("k", value, 0, 0) for value in values))
    payload = encode(op, 0)
    read = codec.decode(payload, 1, {}).op
    assert isinstance(read, ops.LogBatch)
    assert [struct.pack("<d", m.value) for m in read.metrics] == [struct.pack("<d", value) for value in values]


def test_equal_columns_are_stored_once() -> None:
    """A call that logs ten metrics at one time and step spends 10 bytes on each: value and key."""
    op = ops.LogBatch(RUN, tuple(Metric(f"k{i}", 0.5, 1_700_000_000_000, 3) for i in range(10)))
    refs = {RUN: 1} | {f"k{i}": i + 2 for i in range(10)}
    payload = codec.encode_batch(1_700_000_000_000 << 16, RUN, (op.metrics, (), (), ()), refs, {})
    assert len(payload) == codec.BATCH_HEAD.size + 10 * (8 + 2) + 4 + 4


def test_more_metrics_than_positions_are_refused() -> None:
    """A record never holds more metrics than a position can count: that is a mistake of the caller."""
    metrics = tuple(Metric("k", 0.0, 0, 0) for _ in range(ops.POSITIONS_PER_RECORD + 1))
    with pytest.raises(AssertionError):
        encode(ops.LogBatch(RUN, metrics), 0)
