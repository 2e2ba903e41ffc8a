"""Record bodies of a journal: ops to bytes and back (docs/journal-format.md §3). No I/O, no clock.

A payload starts with kind (u8) and stamp (u64); a body is the payload behind its checksum. The checksum starts from
`seed_of(incarnation) ^ n`, so that a body is valid at its own place only. The single metric, which is the hot path, is
one fixed struct (`METRIC_STRUCT`); a batch is columns; everything else is compact JSON.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localtrack.entities import Metric, Param, RunTag
from localtrack.journal import ops
from localtrack.json_text import loaded

METRIC = 1
BATCH = 2
SEAL = 24
#: JSON ops by kind; the payload is an object of the op's fields, defaults left out.
JSON_KINDS: dict[int, type[Any]] = {
    16: ops.ExperimentCreate,
    17: ops.ExperimentRename,
    18: ops.ExperimentTagSet,
    19: ops.ExperimentLifecycle,
    20: ops.RunCreate,
    21: ops.RunUpdate,
    22: ops.RunLifecycle,
    23: ops.Loss,
    SEAL: ops.Seal,
    25: ops.RunInputs,
    26: ops.RunOutputs,
    27: ops.RunModelLogged,
    28: ops.RunAttach,
    29: ops.ModelCreate,
    30: ops.ModelFinalize,
    31: ops.ModelTagsSet,
    32: ops.ModelParamsLogged,
    33: ops.ModelLifecycle,
    34: ops.ArtifactStored,
}
_KIND_OF = {cls: kind for kind, cls in JSON_KINDS.items()}

#: kind, stamp, run ref, key ref, value, ts minus stamp_ms, step
METRIC_STRUCT = struct.Struct("<BQHHdii")
HEAD = struct.Struct("<BQ")
#: kind, stamp, flags, run ref, count of metrics
BATCH_HEAD = struct.Struct("<BQBHH")
CRC_BYTES = 4

ONE_KEY = 1
ONE_TS = 2
ONE_STEP = 4
WIDE_TS = 8
WIDE_STEP = 16
LITERAL = 32
TAIL = 64

_INT32 = 2**31
_SWAP = sys.byteorder == "big"


class BadBodyError(Exception):
    """A body that cannot be trusted; the message is the reason, one line for people."""


class UnknownNameError(BadBodyError):
    """The body is whole, but a name it refers to is not known (yet): `ref` is its number."""

    def __init__(self, ref: int) -> None:
        super().__init__(f"refers to name {ref}, which is lost")
        self.ref = ref


def seed_of(incarnation: str) -> int:
    """Where the checksums of this journal start: the checksum of record n starts from `seed ^ n`."""
    return zlib.crc32(bytes.fromhex(incarnation))


def seal(payload: bytes, seed: int, n: int) -> bytes:
    """The body of record n: checksum, then payload."""
    return zlib.crc32(payload, seed ^ n).to_bytes(CRC_BYTES, "little") + payload


def opened(body: object, seed: int, n: int) -> bytes:
    """The payload of record n.

    Raises:
        BadBodyError: not a body of this journal at this place.
    """
    if not isinstance(body, bytes) or len(body) < CRC_BYTES + HEAD.size:
        raise BadBodyError("is not a record")
    payload = body[CRC_BYTES:]
    if zlib.crc32(payload, seed ^ n) != int.from_bytes(body[:CRC_BYTES], "little"):
        raise BadBodyError("checksum does not match")
    return payload


def text_to_bytes(text: str) -> bytes:
    """UTF-8; a lone surrogate, which Python allows in a str, keeps its bits."""
    return text.encode("utf-8", "surrogatepass")


def bytes_to_text(data: bytes) -> str:
    """Inverse of `text_to_bytes`."""
    return data.decode("utf-8", "surrogatepass")


def name_crc(text: bytes, ref: int, seed: int) -> int:
    """Checksum of a row of the table `name`."""
    return zlib.crc32(text, seed ^ ref ^ 0x80000000)


def _to_json(value: object) -> bytes:
    return text_to_bytes(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


# ---------------------------------------------------------------------------------------- everything but metrics


def encode_op(op: ops.Op, stamp: int) -> bytes:
    """Payload of any op but LogBatch."""
    if isinstance(op, ops.Unknown):
        return HEAD.pack(op.kind, stamp) + op.payload
    kind = _KIND_OF[type(op)]
    fields = type(op).__dataclass_fields__
    content = {name: value for name in fields if (value := getattr(op, name)) != fields[name].default}
    return HEAD.pack(kind, stamp) + _to_json(content)


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down: no field of an op is a list."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _decode_json_op(kind: int, data: bytes) -> ops.Op:
    """An op of a kind of `JSON_KINDS`; Unknown when a newer version wrote fields that this one does not know."""
    try:
        content = loaded(bytes_to_text(data))
        op: ops.Op = JSON_KINDS[kind](**{name: _frozen(value) for name, value in content.items()})
    except (ValueError, TypeError, AttributeError):
        return ops.Unknown(kind, data)
    return op


# ------------------------------------------------------------------------------------------------------- batches


def _column(code: str, values: Iterable[Any]) -> bytes:
    column = array(code, values)
    if _SWAP:
        column.byteswap()
    return column.tobytes()


def _integers(values: list[int], base: int, one: int, wide: int) -> tuple[int, bytes]:
    """Flags and bytes of a column: one value if all are equal, 32 bits relative to `base` if that is enough."""
    flags = 0
    if values.count(values[0]) == len(values):
        flags, values = one, values[:1]
    try:
        return flags, _column("i", [value - base for value in values] if base else values)
    except OverflowError:
        return flags | wide, _column("q", values)


def encode_batch(
    stamp: int,
    run_id: str,
    batch: tuple[Sequence[Metric], Sequence[Param], Sequence[RunTag], Sequence[str]],
    refs: Mapping[str, int],
    defined: Mapping[str, int] | None,
) -> bytes:
    """Payload of one call's metrics, params, tags and deleted tags.

    Args:
        stamp: stamp of the record.
        run_id: the run.
        batch: metrics, params, tags, keys of deleted tags.
        refs: name -> ref; holds the run and every key.
        defined: the part of `refs` that this record defines; None: names are written out, `refs` is not used.

    Raises:
        OverflowError, TypeError: a value does not fit (rules above the journal refuse these).
    """
    metrics, params, tags, deleted = batch
    count = len(metrics)
    assert count <= ops.POSITIONS_PER_RECORD, "a record holds at most POSITIONS_PER_RECORD metrics"
    literal = defined is None
    tail: dict[str, object] = {}
    flags = 0
    columns = b""
    if count:
        flags, columns = _encode_columns(stamp >> ops.COUNTER_BITS, metrics, None if literal else refs, tail)
    if literal:
        flags |= LITERAL
        tail["r"] = run_id
    elif defined:
        tail["d"] = [[ref, text] for text, ref in defined.items()]
    if params:
        tail["p"] = [[param.key, param.value] for param in params]
    if tags:
        tail["t"] = [[tag.key, tag.value] for tag in tags]
    if deleted:
        tail["x"] = list(deleted)
    head = BATCH_HEAD.pack(BATCH, stamp, flags | TAIL if tail else flags, 0 if literal else refs[run_id], count)
    return head + columns + _to_json(tail) if tail else head + columns


def _encode_columns(
    base: int, metrics: Sequence[Metric], refs: Mapping[str, int] | None, tail: dict[str, object]
) -> tuple[int, bytes]:
    """Flags and bytes of the columns; literal keys, models and datasets go into `tail`."""
    keys = [metric.key for metric in metrics]
    flags = 0
    if keys.count(keys[0]) == len(keys):
        flags, keys = ONE_KEY, keys[:1]
    values = _column("d", [metric.value for metric in metrics])
    if refs is None:
        tail["k"] = keys
        key_bytes = b""
    else:
        key_bytes = _column("H", [refs[key] for key in keys])
    ts_flags, ts_bytes = _integers([metric.timestamp for metric in metrics], base, ONE_TS, WIDE_TS)
    step_flags, step_bytes = _integers([metric.step for metric in metrics], 0, ONE_STEP, WIDE_STEP)
    linked = [
        [i, m.model_id, m.dataset_name, m.dataset_digest]
        for i, m in enumerate(metrics)
        if m.model_id is not None or m.dataset_name is not None or m.dataset_digest is not None
    ]
    if linked:
        tail["m"] = linked
    return flags | ts_flags | step_flags, values + key_bytes + ts_bytes + step_bytes


class Batch:
    """A decoded BATCH payload: columns of equal length, and the tail. `defines` are the names it brings."""

    __slots__ = ("_key_refs", "_run_ref", "count", "defines", "flags", "stamp", "steps", "tail", "ts", "values")

    def __init__(self, payload: bytes) -> None:
        _, self.stamp, self.flags, self._run_ref, self.count = BATCH_HEAD.unpack_from(payload)
        at = BATCH_HEAD.size
        flags, count = self.flags, self.count
        self.values, at = _read_column(payload, at, "d", count)
        one = min(count, 1)
        self._key_refs: Sequence[int] = ()
        if not flags & LITERAL:
            self._key_refs, at = _read_column(payload, at, "H", one if flags & ONE_KEY else count)
        ts, at = _read_column(payload, at, "q" if flags & WIDE_TS else "i", one if flags & ONE_TS else count)
        if not flags & WIDE_TS:
            base = self.stamp >> ops.COUNTER_BITS
            ts = [base + value for value in ts]
        self.ts: Sequence[int] = list(ts) * count if flags & ONE_TS else ts
        steps, at = _read_column(payload, at, "q" if flags & WIDE_STEP else "i", one if flags & ONE_STEP else count)
        self.steps: Sequence[int] = list(steps) * count if flags & ONE_STEP else steps
        self.tail: dict[str, Any] = loaded(bytes_to_text(payload[at:])) if flags & TAIL else {}
        if not flags & TAIL and at != len(payload):
            raise ValueError("bytes left over")
        self.defines: dict[int, str] = dict(self.tail.get("d", ()))

    def run_id(self, names: Mapping[int, str]) -> str:
        """The run; raises UnknownNameError."""
        return str(self.tail["r"]) if self.flags & LITERAL else _name(names, self._run_ref)

    def keys(self, names: Mapping[int, str]) -> list[str]:
        """Key of each metric; raises UnknownNameError."""
        if self.flags & LITERAL:
            keys = list(self.tail["k"]) if self.count else []
        else:
            keys = [_name(names, ref) for ref in self._key_refs]
        return keys * self.count if self.flags & ONE_KEY else keys

    def links(self) -> dict[int, tuple[str | None, str | None, str | None]]:
        """Index of a metric -> model id, dataset name, dataset digest."""
        return {i: (model, name, digest) for i, model, name, digest in self.tail.get("m", ())}

    def op(self, names: Mapping[int, str]) -> ops.LogBatch:
        """The op; raises UnknownNameError."""
        links = self.links()
        none = (None, None, None)
        columns = zip(self.keys(names), self.values, self.ts, self.steps, strict=True)
        return ops.LogBatch(
            run_id=self.run_id(names),
            metrics=tuple(Metric(k, v, t, s, *links.get(i, none)) for i, (k, v, t, s) in enumerate(columns)),
            params=tuple(Param(key, value) for key, value in self.tail.get("p", ())),
            tags=tuple(RunTag(key, value) for key, value in self.tail.get("t", ())),
            deleted_tags=tuple(self.tail.get("x", ())),
        )


def _read_column(payload: bytes, at: int, code: str, count: int) -> tuple[Sequence[Any], int]:
    column = array(code)
    end = at + count * column.itemsize
    column.frombytes(payload[at:end])
    if len(column) != count:
        raise ValueError("columns are cut short")
    if _SWAP:
        column.byteswap()
    return column, end


def _name(names: Mapping[int, str], ref: int) -> str:
    try:
        return names[ref]
    except KeyError:
        raise UnknownNameError(ref) from None


# ------------------------------------------------------------------------------------------------- whole records


def read_batch(payload: bytes) -> Batch | None:
    """The batch in a payload of kind BATCH, or None when a newer version wrote it in another way."""
    try:
        return Batch(payload)
    except (ValueError, KeyError, TypeError, struct.error):
        return None


def _decode_batch(payload: bytes, names: dict[int, str]) -> ops.Op:
    batch = read_batch(payload)
    if batch is None:
        return ops.Unknown(BATCH, payload[HEAD.size :])
    names.update(batch.defines)
    try:
        return batch.op(names)
    except (ValueError, KeyError, TypeError):
        return ops.Unknown(BATCH, payload[HEAD.size :])


def decode(payload: bytes, n: int, names: dict[int, str]) -> ops.Record:
    """The record in a payload whose checksum holds. Names that it defines are added to `names`.

    Raises:
        UnknownNameError: it refers to a name that is not in `names`.
    """
    kind, stamp = HEAD.unpack_from(payload)
    op: ops.Op
    if kind == METRIC and len(payload) == METRIC_STRUCT.size:
        _, _, run, key, value, delta, step = METRIC_STRUCT.unpack(payload)
        metric = Metric(_name(names, key), value, (stamp >> ops.COUNTER_BITS) + delta, step)
        op = ops.LogBatch(_name(names, run), (metric,))
    elif kind == BATCH:
        op = _decode_batch(payload, names)
    elif kind in JSON_KINDS:
        op = _decode_json_op(kind, payload[HEAD.size :])
    else:
        op = ops.Unknown(kind, payload[HEAD.size :])
    return ops.Record(n, stamp, op)
